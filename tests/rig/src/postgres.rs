//! PostgreSQL servers of a test's own, and one that the tests of a process share.

mod disaster;

pub use disaster::Backup;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::process::Signal;

use crate::home::{Home, give_to_nobody};
use crate::process::{Process, User, must};
use crate::{next, programs, tail, wait_until};

/// Without syncing: what a killed server has written the system still has, so that kills lose nothing. Only a power cut
/// would. Commits are synchronous as always. Shared memory is in files of the server's own, which go with its directory;
/// what the system keeps elsewhere would stay after a kill.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 300
shared_buffers = 32MB
fsync = off
dynamic_shared_memory_type = mmap
wal_init_zero = off
max_wal_size = 1GB
log_min_messages = warning
";

/// The superuser, whom every rule of access trusts.
const ADMIN: &str = "postgres";

pub struct Postgres {
    // Before its home, which goes last.
    process: Option<Process>,
    home: Home,
    programs: PathBuf,
    port: u16,
    name: String,
}

impl Postgres {
    /// The one server that the tests of this process share. What a test needs for itself is a database on it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server of the test's own, to stop, kill or replicate.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server of the test's own with settings as in `postgresql.conf`.
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let mut server = Self::create(settings);
        server.launch_anywhere();
        server
    }

    /// A server that speaks only TLS over TCP: its certificate and key, and the authority that client certificates have to
    /// be from, if a client shows one; paths of PEM files.
    pub fn start_tls(certificate: &Path, key: &Path, authority: &Path) -> Self {
        let mut server = Self::create(&[
            ("ssl", "on"),
            ("ssl_cert_file", "server.crt"),
            ("ssl_key_file", "server.key"),
            ("ssl_ca_file", "authority.crt"),
        ]);
        for (from, to) in [(certificate, "server.crt"), (key, "server.key"), (authority, "authority.crt")] {
            let to = server.data().join(to);
            std::fs::copy(from, &to).unwrap();
            // Its own and nobody else's, as it demands of a key.
            std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            give_to_nobody(&to);
        }
        server.write_access_rules(&["hostssl all all 127.0.0.1/32 trust"]);
        server.launch_anywhere();
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its name for `synchronous_standby_names`, unique in this process.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As the superuser, over TCP.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{ADMIN}@127.0.0.1:{}/{database}", self.port)
    }

    /// As a role that [`Postgres::role`] made.
    pub fn url_as(&self, role: &str, password: &str, database: &str) -> String {
        format!("postgres://{role}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// The URL of a new, empty database.
    pub fn create_database(&self) -> String {
        self.create_database_from("template1")
    }

    /// The URL of a new database with all that another has, which is given by its name or URL and which nobody may be
    /// connected to meanwhile.
    pub fn create_database_from(&self, template: &str) -> String {
        let name = format!("test_{}", next());
        self.psql("postgres", &format!("create database {name} template {}", name_of(template)));
        self.url(&name)
    }

    /// By name or URL; ends the connections that it still has.
    pub fn drop_database(&self, database: &str) {
        self.psql("postgres", &format!("drop database {} with (force)", name_of(database)));
    }

    /// A role that may log in. It owns nothing, and everybody is trusted without a password until
    /// [`Postgres::set_access_rules`] says otherwise.
    pub fn role(&self, name: &str, password: &str) {
        self.psql("postgres", &format!("create role \"{name}\" login password '{password}'"));
    }

    /// Replaces the rules for TCP in `pg_hba.conf`, for new connections. [`Postgres::psql`] and standbys use the socket,
    /// which stays open to them.
    pub fn set_access_rules(&self, rules: &[&str]) {
        self.write_access_rules(rules);
        self.psql("postgres", "select pg_reload_conf()");
    }

    /// Changes a setting that needs no restart.
    pub fn set(&self, setting: &str, value: &str) {
        self.psql("postgres", &format!("alter system set {setting} = '{value}'; select pg_reload_conf();"));
        wait_until("PostgreSQL has read its settings again", || {
            self.psql("postgres", &format!("select reset_val from pg_settings where name = '{setting}'")) == value
        });
    }

    /// Runs statements as the superuser, each in a transaction of its own. The answer is its rows, columns parted by `|`.
    /// The database is given by its name or URL.
    ///
    /// # Panics
    /// With what the server said, when a statement fails.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let mut command = Command::new(self.programs.join("psql"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        let mut psql = command
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", ADMIN, "-d", name_of(database)])
            .args(["-p", &self.port.to_string(), "-h"])
            .arg(self.sockets())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Refused at once, it does not read to the end.
        psql.stdin.take().unwrap().write_all(sql.as_bytes()).ok();
        let output = psql.wait_with_output().unwrap();
        assert!(output.status.success(), "psql: {}\nin {sql}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// What the server has logged since its last start.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    #[cfg(test)]
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    fn create(settings: &[(&str, &str)]) -> Self {
        let server = Self::empty();
        server.copy(&template().join("."), &server.data());
        server.configure(SETTINGS);
        for (setting, value) in settings {
            server.configure(&format!("{setting} = '{value}'\n"));
        }
        server
    }

    fn empty() -> Self {
        let home = Home::new();
        home.create_for_nobody("data");
        home.create_for_nobody("sockets");
        let name = format!("postgres_{}", next());
        Self { process: None, home, programs: programs::postgres(), port: 0, name }
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn sockets(&self) -> PathBuf {
        self.home.path().join("sockets")
    }

    /// Of two lines for the same setting, the later one holds.
    fn configure(&self, lines: &str) {
        let file = std::fs::OpenOptions::new().append(true).open(self.data().join("postgresql.conf"));
        file.unwrap().write_all(lines.as_bytes()).unwrap();
    }

    fn write_access_rules(&self, rules: &[&str]) {
        let rules = [&["local all all trust", "local replication all trust"], rules].concat().join("\n");
        std::fs::write(self.data().join("pg_hba.conf"), rules + "\n").unwrap();
    }

    fn launch_anywhere(&mut self) {
        for _ in 0..10 {
            self.port = crate::port();
            match self.launch() {
                Ok(()) => return,
                Err(log) => assert!(is_port_taken(&log), "PostgreSQL does not start: {}", tail(&log)),
            }
        }
        panic!("PostgreSQL found every port taken");
    }

    /// Until it accepts connections; its log if it ends instead.
    fn launch(&mut self) -> Result<(), String> {
        assert!(self.process.is_none(), "PostgreSQL is running already");
        let status = self.data().join("postmaster.pid");
        self.clear_away();
        let [data, sockets] = [self.data(), self.sockets()].map(|path| path.to_str().unwrap().to_owned());
        let arguments = ["-D", &data, "-k", &sockets, "-p", &self.port.to_string()].map(ToOwned::to_owned);
        let program = self.programs.join("postgres");
        let mut process = Process::start(&self.home, "postgres", User::NeverRoot, &program, &arguments);
        let mut is_over = false;
        wait_until("PostgreSQL accepts connections", || {
            is_over = process.is_over();
            let lines = std::fs::read_to_string(&status).unwrap_or_default();
            is_over || lines.lines().nth(7).is_some_and(|line| matches!(line.trim(), "ready" | "standby"))
        });
        if is_over {
            return Err(process.log());
        }
        self.process = Some(process);
        Ok(())
    }

    /// What a server that was killed has left, all of whose processes are gone: a small piece of shared memory, named in
    /// the file that says a server is running.
    fn clear_away(&self) {
        let status = self.data().join("postmaster.pid");
        let lines = std::fs::read_to_string(&status).unwrap_or_default();
        if let Some(memory) = lines.lines().nth(6).and_then(|line| line.split_whitespace().next_back()) {
            let ipcrm = programs::find("ipcrm", &[], "apt-get install util-linux");
            Command::new(ipcrm).args(["-m", memory]).stderr(Stdio::null()).status().unwrap();
        }
        std::fs::remove_file(&status).ok();
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("PostgreSQL is running")
    }

    fn end(&mut self, how: Signal) {
        self.process.take().expect("PostgreSQL is running").end(how);
    }
}

/// The data of a new server, made once in a process: copying them costs a tenth. So all servers of a process have the same
/// system identifier, and are told apart by their ports alone.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<(Home, PathBuf)> = OnceLock::new();
    let (_, data) = TEMPLATE.get_or_init(|| {
        let home = Home::new();
        home.create_for_nobody("data");
        let data = home.path().join("data");
        let arguments = ["-D", data.to_str().unwrap(), "-U", ADMIN, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"];
        // Small files of log: the usual 16 MB take most of the time.
        let arguments = [&arguments[..], &["--no-sync", "--no-instructions", "--wal-segsize=1"]].concat();
        must(&home, User::NeverRoot, &programs::postgres().join("initdb"), &arguments);
        (home, data)
    });
    data
}

fn is_port_taken(log: &str) -> bool {
    log.contains("Address already in use")
}

/// The name in a URL; a name stays as it is.
fn name_of(database: &str) -> &str {
    let name = database.rsplit_once('/').map_or(database, |(_, name)| name);
    name.split('?').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_of_the_shared_server_are_apart() {
        let postgres = Postgres::shared();
        assert!(std::ptr::eq(postgres, Postgres::shared()));
        let one = postgres.create_database();
        postgres.psql(&one, "create table t (n int); insert into t values (1), (2)");
        let copy = postgres.create_database_from(&one);
        postgres.psql(&one, "delete from t");
        assert_eq!(postgres.psql(&copy, "select n, n * 2 from t order by n"), "1|2\n2|4");
        let other = postgres.create_database();
        assert_eq!(postgres.psql(&other, "select to_regclass('t') is null"), "t");
        postgres.drop_database(&copy);
        let names = postgres.psql("postgres", "select datname from pg_database");
        assert!(!names.contains(name_of(&copy)) && names.contains(name_of(&one)), "{names}");
        assert_eq!(postgres.psql(&one, "show max_connections"), "300");
    }

    #[test]
    #[should_panic(expected = "does not exist")]
    fn a_failed_statement_panics_with_what_the_server_said() {
        Postgres::shared().psql("postgres", "select 1; select * from nowhere; select 2");
    }

    #[test]
    fn settings_and_passwords_are_as_they_were_asked_for() {
        let postgres = Postgres::start_with(&[("work_mem", "7MB")]);
        assert_eq!(postgres.psql("postgres", "show work_mem"), "7MB");
        postgres.set("statement_timeout", "1234");
        assert_eq!(postgres.psql("postgres", "show statement_timeout"), "1234ms");
        postgres.role("ann", "right");
        postgres.set_access_rules(&["host all ann 127.0.0.1/32 scram-sha-256"]);
        let log_in = |password| {
            let url = postgres.url_as("ann", password, "postgres");
            let psql = postgres.programs.join("psql");
            Command::new(psql).args(["-X", "-c", "select 1", &url]).output().unwrap().status.success()
        };
        assert!(log_in("right"));
        assert!(!log_in("wrong"));
    }
    #[test]
    fn over_tls_only_the_encrypted_are_let_in() {
        let directory = tempfile::tempdir().unwrap();
        let [certificate, key] = crate::certificate(directory.path());
        let postgres = Postgres::start_tls(&certificate, &key, &certificate);
        let ask = |parameters: &str| {
            let url = format!("{}?{parameters}", postgres.url("postgres"));
            let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
            let mut psql = Command::new(postgres.programs.join("psql"));
            psql.env("PGSSLROOTCERT", &certificate).args(["-X", "-A", "-t", "-c", sql, &url]).output().unwrap()
        };
        assert_eq!(ask("sslmode=verify-full").stdout, b"t\n");
        let refused = ask("sslmode=disable");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("no encryption"), "{refused:?}");
        assert_eq!(postgres.psql("postgres", "select 1"), "1");
    }
}
