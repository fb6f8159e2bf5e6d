//! What happens to servers: they stop, are killed, hang, fail over, and come back with an older state.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::{ADMIN, Postgres, is_port_taken};
use crate::process::{User, must};
use crate::{next, programs, tail, wait_until};

/// A copy of everything that a server had. It lasts as long as the server.
pub struct Backup(PathBuf);

impl Postgres {
    /// Ends connections and what they do, and the server in good order.
    pub fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Kills the whole server at once, as a machine that fails would.
    pub fn kill(&mut self) {
        self.process.take().expect("PostgreSQL is running").kill();
        self.clear_away();
    }

    /// On the same port, with everything that was committed.
    pub fn start_again(&mut self) {
        // Whoever was given the port meanwhile by the system may let go of it.
        let mut outcome = self.launch();
        for _ in 0..100 {
            match &outcome {
                Ok(()) => return,
                Err(log) => assert!(is_port_taken(log), "PostgreSQL does not start again: {}", tail(log)),
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            outcome = self.launch();
        }
        panic!("PostgreSQL does not start again: somebody has taken port {}", self.port);
    }

    /// All its processes stand still: connections stay open and are accepted, and nothing answers.
    pub fn pause(&mut self) {
        self.running().pause();
    }

    pub fn resume(&mut self) {
        self.running().resume();
    }

    /// A server that follows this one, by streaming replication.
    pub fn standby(&self) -> Self {
        let mut standby = Self::empty();
        let [data, sockets] = [standby.data(), self.sockets()].map(|path| path.to_str().unwrap().to_owned());
        let source = format!("host={sockets} port={} user={ADMIN}", self.port);
        let arguments = ["-D", &data, "-d", &source, "-w", "-X", "stream", "-c", "fast", "--no-sync"];
        must(&standby.home, User::NeverRoot, &self.programs.join("pg_basebackup"), &arguments);
        std::fs::write(standby.data().join("standby.signal"), "").unwrap();
        let name = standby.name.clone();
        standby.configure(&format!("primary_conninfo = '{source} application_name={name}'\n"));
        standby.launch_anywhere();
        wait_until("the standby is streaming", || {
            let sql = format!("select state from pg_stat_replication where application_name = '{name}'");
            self.psql("postgres", &sql) == "streaming"
        });
        standby
    }

    /// Makes a standby a primary, whether or not the old one is still there.
    pub fn promote(&mut self) {
        assert_eq!(self.psql("postgres", "select pg_promote(true, 60)"), "t", "{}", self.log());
    }

    pub fn is_in_recovery(&self) -> bool {
        self.psql("postgres", "select pg_is_in_recovery()") == "t"
    }

    /// Until a standby has applied everything that this server has committed so far.
    pub fn wait_for(&self, standby: &Self) {
        let position = self.psql("postgres", "select pg_current_wal_lsn()");
        let sql = format!("select pg_last_wal_replay_lsn() >= '{position}'");
        wait_until("the standby has caught up", || standby.psql("postgres", &sql) == "t");
    }

    /// A copy of all its data. A server that runs is stopped for it, and started again.
    pub fn backup(&mut self) -> Backup {
        let was_running = self.process.is_some();
        if was_running {
            self.stop();
        }
        let path = self.home.path().join(format!("backup-{}", next()));
        self.copy(&self.data(), &path);
        if was_running {
            self.start_again();
        }
        Backup(path)
    }

    /// Puts the data back as they were, and starts the server on its port: whatever came after the backup is forgotten.
    pub fn restore(&mut self, backup: &Backup) {
        if self.process.is_some() {
            self.stop();
        }
        std::fs::remove_dir_all(self.data()).unwrap();
        self.copy(&backup.0, &self.data());
        self.start_again();
    }

    pub(super) fn copy(&self, from: &Path, to: &Path) {
        let cp = programs::find("cp", &[], "apt-get install coreutils");
        must(&self.home, User::Own, &cp, &["-a", from.to_str().unwrap(), to.to_str().unwrap()]);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpStream;
    use std::process::{Command, Stdio};
    use std::sync::mpsc::{self, RecvTimeoutError};
    use std::time::Duration;

    use super::*;

    #[test]
    fn committed_rows_outlast_a_stop_and_a_kill() {
        let mut postgres = Postgres::start();
        let url = postgres.create_database();
        postgres.psql(&url, "create table t (n int); insert into t values (1)");
        postgres.stop();
        assert!(TcpStream::connect(("127.0.0.1", postgres.port())).is_err());
        postgres.start_again();
        assert_eq!(postgres.url(super::super::name_of(&url)), url);
        postgres.psql(&url, "insert into t values (2)");
        postgres.kill();
        assert!(TcpStream::connect(("127.0.0.1", postgres.port())).is_err());
        postgres.start_again();
        assert_eq!(postgres.psql(&url, "select sum(n) from t"), "3");
    }

    #[test]
    fn a_restored_server_has_forgotten_what_came_later() {
        let mut postgres = Postgres::start();
        postgres.psql("postgres", "create table t (n int)");
        let backup = postgres.backup();
        for _ in 0..2 {
            postgres.psql("postgres", "insert into t values (1)");
            postgres.restore(&backup);
            assert_eq!(postgres.psql("postgres", "select count(*) from t"), "0");
        }
    }

    #[test]
    fn a_standby_follows_and_takes_over() {
        let mut primary = Postgres::start();
        let mut standby = primary.standby();
        primary.set("synchronous_standby_names", standby.name());
        assert!(standby.is_in_recovery() && !primary.is_in_recovery());
        primary.psql("postgres", "create table t (n int); insert into t values (1)");
        let states = primary.psql("postgres", "select sync_state from pg_stat_replication");
        assert_eq!(states, "sync");
        primary.wait_for(&standby);
        primary.kill();
        standby.promote();
        assert!(!standby.is_in_recovery());
        standby.psql("postgres", "insert into t values (2)");
        assert_eq!(standby.psql("postgres", "select sum(n) from t"), "3");
    }

    #[test]
    fn a_paused_server_answers_nobody_and_then_goes_on() {
        let mut postgres = Postgres::start();
        let psql = || {
            let mut command = Command::new(postgres.programs.join("psql"));
            command.args(["-X", "-q", "-A", "-t", &postgres.url("postgres")]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
        };
        let mut connected = psql();
        let mut questions = connected.stdin.take().unwrap();
        let mut answers = BufReader::new(connected.stdout.take().unwrap()).lines();
        writeln!(questions, "select 1;").unwrap();
        assert_eq!(answers.next().unwrap().unwrap(), "1");
        postgres.running().pause();
        writeln!(questions, "select 2;").unwrap();
        let (send, answer) = mpsc::channel();
        let reader = std::thread::spawn(move || send.send(answers.next().unwrap().unwrap()));
        let mut newcomer = psql();
        newcomer.stdin.take().unwrap().write_all(b"select 3;").unwrap();
        assert_eq!(answer.recv_timeout(Duration::from_millis(300)), Err(RecvTimeoutError::Timeout));
        assert!(newcomer.try_wait().unwrap().is_none());
        postgres.resume();
        assert_eq!(answer.recv().unwrap(), "2");
        assert_eq!(newcomer.wait_with_output().unwrap().stdout, b"3\n");
        reader.join().unwrap().unwrap();
        drop(questions);
        assert!(connected.wait().unwrap().success());
    }
}
