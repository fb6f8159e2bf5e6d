//! PostgreSQL servers.

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// Runs the server until nobody holds its standard input any more, then removes its directory.
const SUPERVISOR: &str = r#"
"$@" >"$RIG_DIR/log" 2>&1 &
server=$!
cat >/dev/null
kill -QUIT $server 2>/dev/null
wait $server
rm -rf "$RIG_DIR"
"#;

/// A server of its own.
pub struct Postgres {
    port: u16,
    /// Its standard input ends with this process, and with it the server.
    _supervisor: Child,
}

impl Postgres {
    /// One for all tests of this process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    pub fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("postern-postgres-").tempdir().unwrap().keep();
        let programs = programs();
        let as_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let mut run: Vec<String> = Vec::new();
        if as_root {
            // The server refuses to run as root.
            assert!(Command::new("chown").arg("nobody").arg(&directory).status().unwrap().success());
            run = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"].map(str::to_owned).to_vec();
        }
        let data = directory.join("data").display().to_string();
        let mut initdb = run.clone();
        initdb.push(programs.join("initdb").display().to_string());
        initdb.extend(
            ["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D", &data].map(str::to_owned),
        );
        let made = Command::new(&initdb[0]).args(&initdb[1..]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut serve = run;
        serve.push(programs.join("postgres").display().to_string());
        serve.extend(["-D", &data, "-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"].map(str::to_owned));
        let sockets = format!("unix_socket_directories={}", directory.display());
        serve.extend(["-c", &sockets, "-c", "fsync=off", "-c", "max_connections=400"].map(str::to_owned));
        let supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .args(serve)
            .env("RIG_DIR", &directory)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let server = Self { port, _supervisor: supervisor };
        for _ in 0..200 {
            if server.try_psql("postgres", "SELECT 1").is_ok() {
                return server;
            }
            sleep(Duration::from_millis(50));
        }
        panic!("PostgreSQL does not start: {}", std::fs::read_to_string(directory.join("log")).unwrap_or_default());
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The URL of a new, empty database.
    pub fn create_database(&self) -> String {
        let name = name();
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// A copy of the database of a URL, to which nobody is connected.
    pub fn create_database_from(&self, url: &str) -> String {
        let (name, template) = (name(), url.rsplit('/').next().unwrap());
        self.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}"));
        self.url(&name)
    }

    /// What a statement answers.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        self.try_psql(database, sql).unwrap_or_else(|why| panic!("{sql}: {why}"))
    }

    fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let said = Command::new("psql")
            .args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", &self.url(database), "-c", sql])
            .output();
        let said = said.expect("psql: apt-get install postgresql-client");
        if said.status.success() {
            Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&said.stderr).into_owned())
        }
    }
}

fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Debian keeps them apart by version.
fn programs() -> PathBuf {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL: apt-get install postgresql")
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|path| Path::new(path).join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().expect("PostgreSQL: apt-get install postgresql")
}
