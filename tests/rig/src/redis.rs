//! Redis and Valkey: single servers, replicas, a cluster, and a primary that sentinels watch.

mod cluster;
mod reply;
mod sentinels;

pub use cluster::Cluster;
pub use reply::Reply;
pub use sentinels::Sentinels;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

use crate::home::Home;
use crate::process::{Process, User};
use crate::{programs, tail, wait_until};

/// More than one process has tests; those of one process never run out of databases of their own.
const DATABASES: u32 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    Redis,
    Valkey,
}

impl Flavour {
    fn server(self) -> PathBuf {
        match self {
            Self::Redis => programs::find("redis-server", &[], "apt-get install redis-server"),
            Self::Valkey => programs::valkey(),
        }
    }
}

/// All the keys of a server, with their values and times to live.
pub struct Rdb(Vec<u8>);

impl Rdb {
    /// The file, for tests that look for what must not be in it.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A server that keeps nothing on disk, unless its settings say so: started again it is empty.
pub struct Redis {
    // Before its home, which goes last.
    process: Option<Process>,
    home: Home,
    flavour: Flavour,
    port: u16,
    settings: Vec<String>,
    /// Of a server that speaks only TLS, the authority of its certificate.
    authority: Option<PathBuf>,
    databases: AtomicU32,
}

impl Redis {
    /// The one server of its kind that the tests of this process share. What a test needs for itself is a database on it.
    pub fn shared(flavour: Flavour) -> &'static Self {
        static REDIS: OnceLock<Redis> = OnceLock::new();
        static VALKEY: OnceLock<Redis> = OnceLock::new();
        match flavour {
            Flavour::Redis => REDIS.get_or_init(|| Self::start(Flavour::Redis)),
            Flavour::Valkey => VALKEY.get_or_init(|| Self::start(Flavour::Valkey)),
        }
    }

    /// A server of the test's own.
    pub fn start(flavour: Flavour) -> Self {
        Self::start_with(flavour, &[])
    }

    /// A server of the test's own with these lines in its configuration.
    pub fn start_with(flavour: Flavour, settings: &[&str]) -> Self {
        let settings = settings.iter().map(|line| (*line).to_owned()).collect();
        Self::launch_anywhere(flavour, settings, None)
    }

    /// A server that speaks only TLS: its certificate and key, and the authority that client certificates have to be from,
    /// if a client shows one; paths of PEM files. Redis only: the Valkey that can be had was built without.
    pub fn start_tls(certificate: &Path, key: &Path, authority: &Path) -> Self {
        let settings = vec![
            format!("tls-cert-file {}", certificate.display()),
            format!("tls-key-file {}", key.display()),
            format!("tls-ca-cert-file {}", authority.display()),
            "tls-auth-clients optional".to_owned(),
        ];
        Self::launch_anywhere(Flavour::Redis, settings, Some(authority.to_owned()))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    pub fn url(&self) -> String {
        let scheme = if self.authority.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The URL of a database that nobody else in this process was given.
    pub fn create_database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        assert!(number < DATABASES, "all {DATABASES} databases are given away");
        format!("{}/{number}", self.url())
    }

    /// What `redis-cli` answers to these arguments, options such as `-n 3` or `-a password` among them.
    ///
    /// # Panics
    /// With what the server said, when it refuses.
    pub fn cli(&self, arguments: &[&str]) -> String {
        self.ask(arguments).unwrap_or_else(|refusal| panic!("redis-cli {arguments:?}: {refusal}"))
    }

    /// As [`Redis::cli`], where a refusal is an answer as well.
    pub fn ask(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(cli());
        command.env_remove("REDISCLI_AUTH").args(["-e", "-p", &self.port.to_string()]);
        if let Some(authority) = &self.authority {
            command.args(["--tls", "--cacert"]).arg(authority);
        }
        let output = command.args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        if output.status.success() {
            return Ok(said);
        }
        Err(said + String::from_utf8_lossy(&output.stderr).trim_end())
    }

    /// What the server replies to a command, both as bytes: for names that are no text. Not over TLS.
    ///
    /// # Panics
    /// With what the server said, when it refuses.
    pub fn call(&self, command: &[impl AsRef<[u8]>]) -> Reply {
        reply::exchange(self.port, command).unwrap_or_else(|refusal| panic!("the server refuses: {refusal}"))
    }

    /// A server of the same kind that follows this one, and has all that it has.
    pub fn replica_of(primary: &Self) -> Self {
        let replica = Self::start_with(primary.flavour, &[&format!("replicaof 127.0.0.1 {}", primary.port)]);
        replica.wait_for_primary();
        replica
    }

    /// Until a replica has a link to its primary and everything that came before.
    pub fn wait_for_primary(&self) {
        wait_until("the replica is in step with its primary", || {
            self.ask(&["info", "replication"]).is_ok_and(|said| said.contains("master_link_status:up"))
        });
    }

    /// Until a replica has everything that its primary has been told so far.
    pub fn wait_for(&self, primary: &Self) {
        let position = |server: &Self, field: &str| -> u64 {
            let said = server.cli(&["info", "replication"]);
            let value = said.lines().find_map(|line| line.trim_end().strip_prefix(field)?.strip_prefix(':'));
            value.map_or(0, |value| value.parse().unwrap())
        };
        let wanted = position(primary, "master_repl_offset");
        wait_until("the replica has caught up", || position(self, "slave_repl_offset") >= wanted);
    }

    /// What the server has logged since its last start.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| !process.is_over())
    }

    /// Ends it in good order.
    pub fn stop(&mut self) {
        self.process.take().expect("the server is running").end(Signal::TERM);
    }

    /// Kills it at once, as a machine that fails would.
    pub fn kill(&mut self) {
        self.process.take().expect("the server is running").kill();
    }

    /// On the same port.
    pub fn start_again(&mut self) {
        // Whoever was given the port meanwhile by the system may let go of it.
        for _ in 0..100 {
            match self.launch() {
                Ok(()) => return,
                Err(log) => assert!(is_port_taken(&log), "the server does not start again: {}", tail(&log)),
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("the server does not start again: somebody has taken port {}", self.port);
    }

    /// It stands still: connections stay open and are accepted, and nothing answers.
    pub fn pause(&mut self) {
        self.process.as_ref().expect("the server is running").pause();
    }

    pub fn resume(&mut self) {
        self.process.as_ref().expect("the server is running").resume();
    }

    pub fn save(&self) -> Rdb {
        self.cli(&["save"]);
        let file = self.dump();
        let rdb = Rdb(std::fs::read(&file).unwrap());
        // A server that keeps nothing must not find it at its next start.
        if !self.keeps_data() {
            std::fs::remove_file(file).unwrap();
        }
        rdb
    }

    /// Starts the server on its port with what it had then: whatever came later is forgotten. Not for a server that
    /// appends to a log: it would read that instead.
    pub fn restore(&mut self, rdb: &Rdb) {
        if self.process.is_some() {
            self.stop();
        }
        std::fs::write(self.dump(), &rdb.0).unwrap();
        self.start_again();
        if !self.keeps_data() {
            std::fs::remove_file(self.dump()).unwrap();
        }
    }

    #[cfg(test)]
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    fn launch_anywhere(flavour: Flavour, settings: Vec<String>, authority: Option<PathBuf>) -> Self {
        let databases = AtomicU32::new(1);
        let mut server = Self { process: None, home: Home::new(), flavour, port: 0, settings, authority, databases };
        for _ in 0..10 {
            server.port = crate::port();
            server.configure();
            match server.launch() {
                Ok(()) => return server,
                Err(log) => assert!(is_port_taken(&log), "the server does not start: {}", tail(&log)),
            }
        }
        panic!("the server found every port taken");
    }

    /// Once for each port: sentinels and clusters write into the file what they learn.
    fn configure(&self) {
        let port = match self.authority {
            None => format!("port {}", self.port),
            Some(_) => format!("port 0\ntls-port {}", self.port),
        };
        let home = self.home.path().display();
        let mut lines = format!("{port}\nbind 127.0.0.1\ndir {home}\n");
        if !self.is_sentinel() {
            // As a primary it would wait 5 s for further replicas before it serves the first.
            lines += &format!("save \"\"\nappendonly no\ndatabases {DATABASES}\nrepl-diskless-sync-delay 0\n");
        }
        for line in &self.settings {
            lines = lines + line + "\n";
        }
        std::fs::write(self.home.path().join("redis.conf"), lines).unwrap();
    }

    /// Until it accepts connections; its log if it ends instead.
    fn launch(&mut self) -> Result<(), String> {
        assert!(self.process.is_none(), "the server is running already");
        let mut arguments = vec![self.home.path().join("redis.conf").to_str().unwrap().to_owned()];
        if self.is_sentinel() {
            arguments.push("--sentinel".to_owned());
        }
        let mut process = Process::start(&self.home, "redis", User::Own, &self.flavour.server(), &arguments);
        let ready = if self.is_sentinel() { "+monitor master" } else { "Ready to accept connections" };
        let mut is_over = false;
        wait_until("the server accepts connections", || {
            is_over = process.is_over();
            is_over || process.log().contains(ready)
        });
        if is_over {
            return Err(process.log());
        }
        self.process = Some(process);
        Ok(())
    }

    fn is_sentinel(&self) -> bool {
        self.settings.iter().any(|line| line.starts_with("sentinel "))
    }

    fn keeps_data(&self) -> bool {
        self.settings.iter().any(|line| line.starts_with("save ") || line == "appendonly yes")
    }

    fn dump(&self) -> PathBuf {
        self.home.path().join("dump.rdb")
    }
}

fn cli() -> PathBuf {
    programs::find("redis-cli", &[], "apt-get install redis-tools")
}

fn is_port_taken(log: &str) -> bool {
    log.contains("Address already in use")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flavour_is_what_it_says() {
        for flavour in [Flavour::Redis, Flavour::Valkey] {
            let server = Redis::shared(flavour);
            assert!(std::ptr::eq(server, Redis::shared(flavour)));
            let is_valkey = server.cli(&["info", "server"]).contains("server_name:valkey");
            assert_eq!(is_valkey, flavour == Flavour::Valkey);
            assert_ne!(server.create_database(), server.create_database());
            assert!(server.ask(&["-n", "4095", "no-such-command"]).unwrap_err().contains("unknown command"));
        }
    }

    #[test]
    fn a_server_is_empty_after_a_stop_or_a_kill_and_restored_it_is_as_it_was() {
        for flavour in [Flavour::Redis, Flavour::Valkey] {
            let mut server = Redis::start(flavour);
            let url = server.url();
            server.cli(&["set", "key", "old"]);
            let rdb = server.save();
            server.cli(&["set", "key", "new"]);
            server.restore(&rdb);
            assert_eq!(server.cli(&["get", "key"]), "old");
            server.kill();
            assert!(std::net::TcpStream::connect(("127.0.0.1", server.port())).is_err());
            server.start_again();
            assert_eq!((server.url(), server.cli(&["dbsize"])), (url, "0".to_owned()));
            server.restore(&rdb);
            server.stop();
            server.start_again();
            assert_eq!(server.cli(&["dbsize"]), "0");
        }
    }

    #[test]
    fn settings_passwords_and_a_log_on_disk_are_as_they_were_asked_for() {
        let mut server = Redis::start_with(Flavour::Redis, &["requirepass secret", "appendonly yes"]);
        assert!(server.ask(&["get", "key"]).unwrap_err().contains("NOAUTH"));
        server.cli(&["-a", "secret", "set", "key", "value"]);
        server.stop();
        server.start_again();
        assert_eq!(server.cli(&["-a", "secret", "get", "key"]), "value");
    }

    #[test]
    fn a_replica_has_what_its_primary_has() {
        let primary = Redis::start(Flavour::Valkey);
        primary.cli(&["set", "key", "value"]);
        let replica = Redis::replica_of(&primary);
        assert_eq!(replica.cli(&["get", "key"]), "value");
        assert!(replica.ask(&["set", "key", "other"]).unwrap_err().contains("READONLY"));
    }

    #[test]
    fn a_paused_server_answers_nobody_and_then_goes_on() {
        let mut server = Redis::start(Flavour::Redis);
        server.pause();
        let mut ping = Command::new(cli());
        ping.args(["-p", &server.port().to_string(), "ping"]).stdout(std::process::Stdio::null());
        let mut waiting = ping.spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(waiting.try_wait().unwrap().is_none());
        server.resume();
        assert!(waiting.wait().unwrap().success());
    }
    #[test]
    fn over_tls_only_the_encrypted_are_answered() {
        let directory = tempfile::tempdir().unwrap();
        let [certificate, key] = crate::certificate(directory.path());
        let server = Redis::start_tls(&certificate, &key, &certificate);
        assert!(server.url().starts_with("rediss://"));
        assert_eq!(server.cli(&["ping"]), "PONG");
        let plain = Command::new(cli()).args(["-e", "-p", &server.port().to_string(), "ping"]).output().unwrap();
        assert!(!plain.status.success(), "{plain:?}");
    }
}
