//! A server's process: started in a home, signalled with all its children, never left behind.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::home::{Home, NOBODY, is_root};
use crate::wait_until;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    Own,
    /// As root, `nobody`; else the user itself.
    NeverRoot,
}

pub(crate) struct Process {
    child: Child,
    number: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Its log and its number are named by `name`, of which there is one at a time in a home.
    pub(crate) fn start(home: &Home, name: &str, user: User, program: &Path, arguments: &[String]) -> Self {
        let number = home.path().join("run").join(name);
        let log = home.path().join(format!("{name}.log"));
        let output = File::create(&log).unwrap();
        let mut command = Command::new("sh");
        // The number is written by the process itself: were its parent killed in between, nobody would know of it.
        command.args(["-c", r#"echo $$ >"$0" && exec "$@""#]).arg(&number);
        let child = demoted(command, user, program)
            .args(arguments)
            .env("HOME", home.path())
            .current_dir(home.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { child, number, log }
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self, how: Signal) {
        self.signal(how);
        wait_until("a server that was asked to end has ended", || self.is_over());
    }

    pub(crate) fn kill(self) {
        drop(self);
    }

    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
        self.children().into_iter().for_each(|child| send(child, Signal::STOP));
    }

    pub(crate) fn resume(&self) {
        self.children().into_iter().for_each(|child| send(child, Signal::CONT));
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        send(Pid::from_child(&self.child), signal);
    }

    fn children(&self) -> Vec<Pid> {
        let parent = self.child.id().to_string();
        let numbers = std::fs::read_dir("/proc").unwrap().flatten();
        numbers
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
            .filter(|pid| stat(*pid).is_some_and(|stat| stat.1 == parent))
            .collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_over() {
            // Stopped, it cannot start another child meanwhile.
            self.signal(Signal::STOP);
            let children = self.children();
            children.iter().for_each(|child| send(*child, Signal::KILL));
            self.signal(Signal::KILL);
            self.child.wait().ok();
            // As orphans they are somebody else's to collect, dead all the same.
            let is_alive = |pid: &Pid| stat(*pid).is_some_and(|(state, _)| state != "Z" && state != "X");
            wait_until("the children of a killed server are gone", || !children.iter().any(is_alive));
        }
        std::fs::remove_file(&self.number).ok();
    }
}

/// Runs a tool to its end, and panics with what it said unless it succeeds.
pub(crate) fn must(home: &Home, user: User, program: &Path, arguments: &[&str]) {
    let name = format!("tool-{}", crate::next());
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let mut process = Process::start(home, &name, user, program, &arguments);
    let status = process.child.wait().unwrap();
    assert!(status.success(), "{} {arguments:?} failed: {}", program.display(), process.log());
    std::fs::remove_file(&process.log).ok();
}

fn demoted(mut command: Command, user: User, program: &Path) -> Command {
    if user == User::NeverRoot && is_root() {
        let nobody = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
        command.arg("setpriv").args(nobody).arg("--clear-groups");
    }
    command.arg(program);
    command
}

fn send(pid: Pid, signal: Signal) {
    // It may be gone already.
    kill_process(pid, signal).ok();
}

/// The state of a process and its parent's number.
fn stat(pid: Pid) -> Option<(String, String)> {
    let line = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // Its name, in brackets, may hold anything.
    let mut fields = line.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
}
