//! The binary as a person uses it: one process serves, others ask it, each with arguments, standard streams, an exit code
//! and a home of its own.

mod admin;
mod encrypted;
mod first_minute;
mod generate;
mod import;
mod offline;
mod operator;
mod postgres;
mod process;
mod production;
mod walk_through;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_postern");

/// How a command ends; the numbers that `--help` names.
const DONE: i32 = 0;
const REFUSED: i32 = 1;
const DENIED: i32 = 3;
const NOT_AUTHENTICATED: i32 = 4;
const UNAVAILABLE: i32 = 5;

/// Without anything of whoever runs the tests.
fn command(folder: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("TZ", "UTC").env("HOME", folder).current_dir(folder);
    command
}

/// A server process.
struct Served {
    child: Child,
    folder: PathBuf,
    facts: Vec<Value>,
}

impl Served {
    /// Serves `data` in a folder, where it also leaves its log.
    fn start(folder: &Path) -> Self {
        Self::run(folder, serve(folder))
    }

    fn run(folder: &Path, mut command: Command) -> Self {
        let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut facts: Vec<Value> = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            facts.push(serde_json::from_str(&line.unwrap()).unwrap());
            if facts.last().unwrap()["fact"] == "ready" {
                break;
            }
        }
        let served = Self { child, folder: folder.to_owned(), facts };
        assert_eq!(served.facts.last().expect("the server did not start")["fact"], "ready", "{}", served.log());
        served
    }

    fn fact(&self, name: &str) -> &Value {
        self.facts.iter().find(|fact| fact["fact"] == name).unwrap()
    }

    fn url(&self) -> String {
        format!("http://{}", self.fact("grpc")["address"].as_str().unwrap())
    }

    fn issuer(&self) -> &str {
        self.fact("issuer")["url"].as_str().unwrap()
    }

    fn admin_password_file(&self) -> PathBuf {
        self.folder.join(self.fact("administrator")["password_file"].as_str().unwrap())
    }

    fn admin_password(&self) -> String {
        std::fs::read_to_string(self.admin_password_file()).unwrap().trim_end().to_owned()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// Asks the process to end, and tells how it did.
    fn end(mut self, by: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), by).unwrap();
        for _ in 0..1_500 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server goes on after {by:?}: {}", self.log());
    }
}

impl Drop for Served {
    /// A test that failed leaves no process behind.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

fn serve(folder: &Path) -> Command {
    let mut command = command(folder);
    command.args([
        "--data",
        "data",
        "--listen.grpc",
        "127.0.0.1:0",
        "--listen.operations",
        "127.0.0.1:0",
        "--listen.gateway",
        "127.0.0.1:0",
    ]);
    command
}

/// A person at a machine of their own.
struct Person {
    home: TempDir,
    server: String,
}

/// What a command did.
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Person {
    fn at(server: String) -> Self {
        Self { home: tempfile::tempdir().unwrap(), server }
    }

    fn new(served: &Served) -> Self {
        Self::at(served.url())
    }

    /// The administrator, signed in.
    fn administrator(served: &Served) -> Self {
        let person = Self::new(served);
        person.types(&served.admin_password(), "login admin").ends_with(DONE);
        person
    }

    fn command(&self) -> Command {
        let mut command = command(self.home.path());
        command.env("XDG_STATE_HOME", self.home.path().join("state")).env("POSTERN_SERVER", &self.server);
        command
    }

    /// Runs a command whose words need no quotes.
    fn does(&self, words: &str) -> Outcome {
        self.types("", words)
    }

    /// The same, with a line on standard input.
    fn types(&self, line: &str, words: &str) -> Outcome {
        let mut command = self.command();
        command.args(words.split(' '));
        finish(&mut command, line)
    }

    /// Pastes a line into a shell in which `postern` is on the path.
    fn pastes(&self, line: &str) -> Outcome {
        finish(&mut self.shell(line), "")
    }

    fn shell(&self, script: &str) -> Command {
        let folder = Path::new(BINARY).parent().unwrap().display();
        let mut shell = Command::new("/bin/sh");
        shell.env_clear().envs(self.command().get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env("PATH", format!("{folder}:/usr/bin:/bin")).current_dir(self.home.path());
        shell.arg("-c").arg(script);
        shell
    }

    /// The answer as JSON.
    fn json(&self, words: &str, code: i32) -> Value {
        let outcome = self.does(&format!("{words} --json")).ends_with(code);
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{words}: {error}: {}", outcome.stdout))
    }

    fn state_file(&self) -> PathBuf {
        self.home.path().join("state/postern/default.json")
    }

    /// What is kept of being signed in to the server; null if nothing is.
    fn state(&self) -> Value {
        let mut state = self.state_as_it_is();
        self.entry(&mut state).map_or(Value::Null, Value::take)
    }

    /// As if the access token had ended on this machine's clock.
    fn lets_the_access_token_end(&self) {
        let mut state = self.state_as_it_is();
        let entry = self.entry(&mut state).and_then(Value::as_object_mut).unwrap();
        entry.insert("access_expire".to_owned(), 1.into());
        // In place, so that the file keeps its mode.
        std::fs::write(self.state_file(), state.to_string()).unwrap();
    }

    fn state_as_it_is(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.state_file()).unwrap()).unwrap()
    }

    fn entry<'a>(&self, state: &'a mut Value) -> Option<&'a mut Value> {
        state.get_mut("servers")?.get_mut(&self.server)
    }
}

fn finish(command: &mut Command, line: &str) -> Outcome {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read is gone before the line is written.
    drop(child.stdin.take().unwrap().write_all(format!("{line}\n").as_bytes()));
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Outcome {
    #[track_caller]
    fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn says(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "{text:?} is not in stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn complains(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not in stderr: {}\nstdout: {}", self.stderr, self.stdout);
        self
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}
