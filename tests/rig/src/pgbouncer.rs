//! PgBouncer in transaction mode: between two transactions a client may be given another connection to the server.

use crate::home::{Home, give_to_nobody};
use crate::postgres::Postgres;
use crate::process::{Process, User};
use crate::{programs, tail, wait_until};

pub struct PgBouncer {
    // Before its home, which goes last.
    process: Process,
    #[cfg_attr(not(test), expect(dead_code, reason = "goes with it"))]
    home: Home,
    port: u16,
}

impl PgBouncer {
    pub fn start(postgres: &Postgres) -> Self {
        Self::start_with(postgres, &[])
    }

    /// With settings of its `[pgbouncer]` section, such as `default_pool_size`.
    pub fn start_with(postgres: &Postgres, settings: &[(&str, &str)]) -> Self {
        Self::before(postgres.port(), settings)
    }

    /// Before whatever listens on that port of this machine.
    pub fn before(server: u16, settings: &[(&str, &str)]) -> Self {
        let program = programs::find("pgbouncer", &[], "apt-get install pgbouncer");
        let home = Home::new();
        for _ in 0..10 {
            let port = crate::port();
            let file = home.path().join("pgbouncer.ini");
            std::fs::write(&file, configuration(port, server, settings)).unwrap();
            give_to_nobody(&file);
            let arguments = [file.to_str().unwrap().to_owned()];
            let mut process = Process::start(&home, "pgbouncer", User::NeverRoot, &program, &arguments);
            let mut is_over = false;
            wait_until("PgBouncer accepts connections", || {
                is_over = process.is_over();
                is_over || process.log().contains("process up")
            });
            if !is_over {
                return Self { process, home, port };
            }
            let log = process.log();
            assert!(log.contains("Address already in use"), "PgBouncer does not start: {}", tail(&log));
        }
        panic!("PgBouncer found every port taken");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// By name or URL; as the superuser, whoever asks.
    pub fn url(&self, database: &str) -> String {
        let name = database.rsplit_once('/').map_or(database, |(_, name)| name);
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }

    #[cfg(test)]
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// Of two lines for the same setting, the later one holds.
fn configuration(port: u16, server: u16, settings: &[(&str, &str)]) -> String {
    let mut lines = format!(
        "[databases]
* = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 500
server_tls_sslmode = prefer
"
    );
    for (setting, value) in settings {
        lines += &format!("{setting} = {value}\n");
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A client that stays connected, and its answers to what it is asked.
    struct Client(Child, BufReader<std::process::ChildStdout>);

    impl Client {
        fn new(url: &str) -> Self {
            let mut psql = Command::new(programs::postgres().join("psql"));
            psql.args(["-X", "-q", "-A", "-t", url]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut psql = psql.spawn().unwrap();
            let answers = BufReader::new(psql.stdout.take().unwrap());
            Self(psql, answers)
        }

        fn ask(&mut self, sql: &str) -> String {
            writeln!(self.0.stdin.as_mut().unwrap(), "{sql};").unwrap();
            let mut answer = String::new();
            self.1.read_line(&mut answer).unwrap();
            answer.trim_end().to_owned()
        }
    }

    impl Drop for Client {
        fn drop(&mut self) {
            drop(self.0.stdin.take());
            self.0.wait().ok();
        }
    }

    #[test]
    fn clients_share_a_connection_to_the_server_and_keep_transactions_apart() {
        let postgres = Postgres::shared();
        let database = postgres.create_database();
        let bouncer = PgBouncer::start_with(postgres, &[("default_pool_size", "1")]);
        let [mut one, mut other] = [(); 2].map(|()| Client::new(&bouncer.url(&database)));
        let server = one.ask("select pg_backend_pid()");
        assert_eq!(other.ask("select pg_backend_pid()"), server);
        // What a session would keep to itself, both have: so it is transactions that are pooled.
        one.ask("select set_config('my.own', 'seen', false)");
        assert_eq!(other.ask("select current_setting('my.own')"), "seen");
        assert_eq!(one.ask("begin; create table t (n int); select 1"), "1");
        writeln!(other.0.stdin.as_mut().unwrap(), "select count(*) from t;").unwrap();
        one.ask("insert into t values (1); commit; select 2");
        let mut count = String::new();
        other.1.read_line(&mut count).unwrap();
        assert_eq!(count, "1\n");
    }
}
