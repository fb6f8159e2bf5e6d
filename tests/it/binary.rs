//! The real program as a process of its own, for what no server inside the test can show: exit codes, words on the
//! terminal, and death at any point.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tonic::transport::Channel;

use crate::engines::Home;
use crate::support::connect;

/// A place for a data directory, with engines. The program runs there, so that it finds no settings of ours.
pub(crate) struct Place(Home);

/// A server that serves. Killed with this value.
pub(crate) struct Running {
    pub(crate) grpc: SocketAddr,
    child: Child,
    pub(crate) channel: Channel,
}

/// A server that did not start.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self(Home::untouched())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.data()
    }

    /// Of an embedded store.
    pub(crate) fn database(&self) -> PathBuf {
        self.data().join("postern.db")
    }

    pub(crate) fn master_key(&self) -> PathBuf {
        self.data().join("master.key")
    }

    pub(crate) fn home(&self) -> &Home {
        &self.0
    }

    /// The password that the first start left.
    pub(crate) fn admin_password(&self) -> String {
        std::fs::read_to_string(self.data().join("initial-admin-password")).unwrap().trim_end().to_owned()
    }

    pub(crate) fn command(&self) -> Command {
        self.arguments(Command::new(env!("CARGO_BIN_EXE_postern")))
    }

    /// The program on a disk that is full after so many blocks of 512 bytes of one file.
    pub(crate) fn command_on_full_disk(&self, blocks: u32) -> Command {
        let mut shell = Command::new("sh");
        // Ignored, the signal is an error of the write, as it is on a full disk.
        shell.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", &blocks.to_string()]);
        shell.arg(env!("CARGO_BIN_EXE_postern"));
        self.arguments(shell)
    }

    /// The program with these settings and no others.
    pub(crate) fn command_with(&self, arguments: &[&str]) -> Command {
        let mut command = self.surroundings(Command::new(env!("CARGO_BIN_EXE_postern")));
        command.args(arguments);
        command
    }

    fn arguments(&self, command: Command) -> Command {
        let any = "127.0.0.1:0";
        let mut command = self.surroundings(command);
        command.args(["--data", "data", "--listen.grpc", any, "--listen.operations", any, "--listen.gateway", any]);
        command
    }

    fn surroundings(&self, mut command: Command) -> Command {
        command.current_dir(self.path()).env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        command.envs(self.0.engines.environment());
        command
    }

    pub(crate) async fn start(&self) -> Running {
        self.try_start(self.command()).await.unwrap()
    }

    /// Until it serves, or ends.
    pub(crate) async fn try_start(&self, mut command: Command) -> Result<Running, Refused> {
        let log = self.path().join("stderr");
        command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut grpc = None;
        for line in stdout.lines() {
            let fact: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            let text = |name: &str| fact.get(name).and_then(serde_json::Value::as_str);
            match text("fact") {
                Some("grpc") => grpc = text("address").map(|address| address.parse::<SocketAddr>().unwrap()),
                Some("ready") => {
                    let grpc = grpc.unwrap();
                    return Ok(Running { child, grpc, channel: connect(grpc).await });
                }
                _ => {}
            }
        }
        let status = ended(&mut child).await;
        Err(Refused { status, stderr: std::fs::read_to_string(&log).unwrap() })
    }

    /// A start that must be refused: what the operator reads.
    pub(crate) async fn refused(&self) -> Refused {
        self.refused_by(self.command()).await
    }

    pub(crate) async fn refused_by(&self, command: Command) -> Refused {
        match self.try_start(command).await {
            Ok(_running) => panic!("it started"),
            Err(refused) => {
                assert_eq!(refused.status.code(), Some(1), "{refused:?}");
                // Before it was refused, it may have told of the engines that it found.
                let is_told = |line: &&str| !line.starts_with('{') || line.contains(r#""level":"ERROR""#);
                let lines: Vec<_> = refused.stderr.lines().filter(is_told).collect();
                let is_clear = lines.first().is_some_and(|line| line.starts_with("error: "))
                    && lines.iter().skip(1).all(|line| line.starts_with("  "))
                    && lines.len() <= 2;
                assert!(is_clear, "one line and what to do: {}", refused.stderr);
                refused
            }
        }
    }

    /// Begins to start, and is killed after a while, wherever it is by then.
    pub(crate) async fn start_and_die(&self, after: Duration) {
        let mut child = self.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(after).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Death without a word, at whatever it is doing.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What a supervisor does.
    pub(crate) async fn terminate(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        ended(&mut self.child).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

async fn ended(child: &mut Child) -> ExitStatus {
    for _ in 0..1_500 {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not end");
}

/// All bytes of a file.
pub(crate) fn bytes(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}
