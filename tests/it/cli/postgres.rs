//! The program on PostgreSQL, as an operator has it: the README's way with both of the examples' settings, migration by many
//! at once, and faults that name the setting, say what to do, and never show a password.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use postern_rig::postgres::Postgres;
use postern_rig::redis::{Flavour, Redis};
use rustix::process::Signal;
use serde_json::Value;

use super::{DONE, NOT_AUTHENTICATED, Outcome, Person, REFUSED, Served, command, finish, folder};
use crate::certificates::{Files, Leaf};

const README: &str = include_str!("../../../README.md");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/");
const WITH_REDIS: &str = include_str!("../../../examples/production/postgres-redis.toml");
const ALONE: &str = include_str!("../../../examples/production/postgres.toml");
const PASSWORD: &str = "a password of some length";

fn blocks(heading: &str, language: &str) -> Vec<&'static str> {
    let section = README.split(&format!("\n## {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    section.split(&format!("```{language}\n")).skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

/// A server as an operator finds it, and a folder in place of /run/secrets.
struct Site {
    postgres: Postgres,
    redis: &'static Redis,
    files: Files,
    operator: Person,
    elsewhere: tempfile::TempDir,
}

impl Site {
    fn new(settings: &str) -> Self {
        let (postgres, redis, files) = (Postgres::start(), Redis::shared(Flavour::Redis), Files::new());
        files.put("tls", &files.authority.sign(&Leaf::server()));
        let site = Self { postgres, redis, files, operator: Person::at(String::new()), elsewhere: folder() };
        std::fs::write(site.path("settings.toml"), site.here(settings)).unwrap();
        std::fs::copy(site.path("ca.crt"), site.operator.home.path().join("ca.crt")).unwrap();
        site.postgres
            .set_access_rules(&["host all postgres 127.0.0.1/32 trust", "host all all 127.0.0.1/32 scram-sha-256"]);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path(name)
    }

    /// With this machine's folders and ports.
    fn here(&self, text: &str) -> String {
        text.replace("/run/secrets/", &self.path("").display().to_string())
            .replace("examples/production/postgres-redis.toml", &self.path("settings.toml").display().to_string())
            .replace("examples/", EXAMPLES)
            .replace("127.0.0.1:5432", &format!("127.0.0.1:{}", self.postgres.port()))
            .replace("redis://127.0.0.1:6379", &self.redis.url())
    }

    /// A block in a shell that ends at the first command that fails.
    fn types(&self, block: &str) -> Outcome {
        let mut shell = self.operator.shell(&format!("set -e\n{}", self.here(block)));
        shell.env_remove("POSTERN_SERVER").env("PGHOST", "127.0.0.1").env("PGUSER", "postgres");
        finish(shell.env("PGPORT", self.postgres.port().to_string()), PASSWORD)
    }

    /// What a superuser does once. The passwords of the roles are asked for at a terminal, which is not here.
    fn prepare(&self, block: &str) {
        for line in block.lines().filter_map(|line| line.strip_prefix("sudo -u postgres ")) {
            if !line.contains("\\password") {
                self.types(line).ends_with(DONE);
                continue;
            }
            for (role, password) in [("postern_owner", "one-of-your-own"), ("postern", "another-one")] {
                assert!(line.contains(&format!("'\\password {role}'")), "{line}");
                self.postgres.psql("postgres", &format!("alter role {role} password '{password}'"));
            }
        }
    }

    /// A command for a server, as somebody whom no setting of this machine leads there.
    fn asks(&self, server: &str, line: &str, words: &str) -> Outcome {
        let words = self.here(&format!("{words} --ca ca.crt --client-secret-file /run/secrets/cli.secret"));
        let mut command = self.operator.command();
        finish(command.args(words.split(' ')).env("POSTERN_SERVER", server), line)
    }

    /// Administration of the store itself, with these settings.
    fn offline(&self, settings: &str, line: &str, words: &str) -> Outcome {
        let mut program = command(self.elsewhere.path());
        program.args(["admin", "--offline", "no-such-folder", "--config"]).arg(self.path(settings));
        finish(program.args(words.split(' ')), line)
    }

    fn program(&self, words: &str) -> Command {
        let mut program = command(self.elsewhere.path());
        program.args(self.here(words).split_whitespace());
        program
    }

    fn runs(&self, words: &str) -> Outcome {
        finish(&mut self.program(&format!("{words} --config examples/production/postgres-redis.toml")), "")
    }

    fn serve(&self, name: &str) -> Served {
        let mut program = self.program("--config examples/production/postgres-redis.toml");
        for listener in ["grpc", "admin", "operations"] {
            program.args([&format!("--listen.{listener}"), "127.0.0.1:0"]);
        }
        let folder = self.elsewhere.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Served::run(&folder, program)
    }

    fn secret(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn at(served: &Served, fact: &str) -> String {
    let port = served.fact(fact)["address"].as_str().unwrap().rsplit_once(':').unwrap().1;
    format!("https://localhost:{port}")
}

fn walk(settings: &str) {
    let [made, migrated, started, asked] = blocks("Production engines", "sh")[..] else { panic!("four blocks") };
    let site = Site::new(settings);
    site.prepare(blocks("Production engines", "text")[0]);
    site.types(made).ends_with(DONE).says("Wrote master key 1");
    // A server makes no tables, and says who does.
    let early = site.runs("config check").ends_with(REFUSED);
    early.complains("store.postgres.url").complains("run `postern migrate`");
    let told = site.types(migrated).ends_with(DONE).says("Role postern may read and write the tables");
    let told = told.says("A server can start on these settings").says("Created administrator admin");
    let told = told.says("no synchronous standby").says("16 connections a replica, and 2").says("the server has");
    assert!(!told.stdout.contains("pcs_"), "{}", told.stdout);

    assert_eq!(started.matches("postern --config").count(), 2, "{started}");
    let (first, second) = (site.serve("first"), site.serve("second"));
    let asked = asked.replace("https://auth.example.com:7301", &at(&first, "grpc"));
    let asked = asked.replace("https://auth.example.com:7304", &at(&first, "admin"));
    let asked = asked.replace("https://auth.example.com:7401", &at(&second, "grpc"));
    assert!(!asked.contains(".com:7"), "{asked}");
    let (before, verify) = asked.trim_end().rsplit_once('\n').unwrap();
    let (before, jq) = before.rsplit_once(" | ").unwrap();
    site.types(before).ends_with(DONE).says("Signed in as admin").says("knowledge");
    // What jq does, which not every machine has.
    assert_eq!(jq, "jq -r .tokens.accessToken >access.token");
    let exported = before
        .lines()
        .take_while(|line| line.starts_with("export "))
        .fold(String::new(), |all, line| all + line + "\n");
    let shown = site.types(&format!("{exported}{}", before.lines().last().unwrap())).ends_with(DONE);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let token = shown["tokens"]["accessToken"].as_str().unwrap();
    std::fs::write(site.operator.home.path().join("access.token"), token).unwrap();
    site.types(&format!("{exported}{verify}")).ends_with(DONE).says("ALLOW   user");
    // What was signed in at one is ended at the other.
    site.types(&format!("{exported}postern logout")).ends_with(DONE);
    std::thread::sleep(std::time::Duration::from_secs(1));
    let refused = site.types(&format!("{exported}{verify}"));
    assert_eq!(refused.code, Some(super::NOT_AUTHENTICATED), "{}{}", refused.stdout, refused.stderr);

    // Beside them: looking, migrating again, and one more administrator that nobody gets.
    let checked = site.runs("config check").ends_with(DONE).says("the store has schema");
    assert!(!format!("{}{}", checked.stdout, checked.stderr).contains("another-one"), "{}", checked.stdout);
    site.runs("master-key status").ends_with(DONE).says("* 1").says("same");
    let again: Value = serde_json::from_str(&site.runs("migrate --json").ends_with(DONE).stdout).unwrap();
    assert_eq!((&again["changed"], &again["grantedTo"]), (&false.into(), &Value::Null), "{again}");
    site.secret("another", PASSWORD);
    let twice = site.runs("admin bootstrap --password-file /run/secrets/another").ends_with(REFUSED);
    twice.complains("there is an administrator already");
    for served in [first, second] {
        let log = served.log();
        for secret in ["one-of-your-own", "another-one", PASSWORD] {
            assert!(!log.contains(secret), "{log}");
        }
        assert_eq!(served.end(Signal::TERM), Some(DONE));
    }
}

#[test]
fn the_way_to_postgres_and_redis_is_as_the_readme_says() {
    walk(WITH_REDIS);
}

#[test]
fn the_way_to_postgres_alone_is_the_same() {
    walk(ALONE);
}

/// Nobody stops the servers for it, and Redis may be away.
#[test]
fn a_lost_administrator_password_is_set_anew_beside_the_servers() {
    const NEW: &str = "another password of some length";
    let [made, migrated, ..] = blocks("Production engines", "sh")[..] else { panic!("four blocks") };
    let site = Site::new(WITH_REDIS);
    site.prepare(blocks("Production engines", "text")[0]);
    let settings = std::fs::read_to_string(site.path("settings.toml")).unwrap();
    std::fs::write(site.path("without-redis.toml"), settings.replace("redis-url", "no-redis-url")).unwrap();
    site.secret("no-redis-url", "redis://127.0.0.1:1");
    site.types(made).ends_with(DONE);
    let set = "users set-password admin";
    site.offline("settings.toml", NEW, set).ends_with(REFUSED).complains("run `postern migrate`");
    let told = site.types(migrated).ends_with(DONE);
    let next = format!(
        "postern login admin --server https://auth.example.com:7301 --client-secret-file {}",
        site.path("cli.secret").display()
    );
    told.says(&next);
    let early = site.offline("settings.toml", NEW, set).ends_with(REFUSED);
    early.complains("no server has started on the database").complains("start one");

    let (first, second) = (site.serve("first"), site.serve("second"));
    let at = [at(&first, "grpc"), at(&second, "grpc")];
    for server in &at {
        site.asks(server, PASSWORD, "login admin").ends_with(DONE);
        site.asks(server, "", "verify").ends_with(DONE);
    }
    site.offline("without-redis.toml", "", "users list").ends_with(DONE).says("admin");
    site.offline("without-redis.toml", "short", set).ends_with(REFUSED).complains("PASSWORD_REFUSED");
    site.offline("without-redis.toml", NEW, set).ends_with(DONE).says("Set the password of admin");
    std::thread::sleep(std::time::Duration::from_secs(1));
    for server in &at {
        site.asks(server, "", "verify").ends_with(NOT_AUTHENTICATED);
        site.asks(server, "", "refresh").ends_with(NOT_AUTHENTICATED);
        site.asks(server, PASSWORD, "login admin").ends_with(NOT_AUTHENTICATED);
        site.asks(server, NEW, "login admin").ends_with(DONE);
    }
    site.offline("settings.toml", NEW, "users create kim").ends_with(DONE).says("--offline no-such-folder --config");
    site.asks(&at[0], NEW, "login kim").ends_with(DONE);

    // The store alone is not enough: whoever has another key is not who runs the servers.
    finish(&mut site.program("master-key new --out /run/secrets/foreign-key"), "").ends_with(DONE);
    std::fs::write(site.path("foreign.toml"), settings.replace("master-key", "foreign-key")).unwrap();
    site.offline("foreign.toml", PASSWORD, set).ends_with(REFUSED).complains("another master key 1");
    site.asks(&at[1], NEW, "login admin").ends_with(DONE);
    assert!(!site.elsewhere.path().join("no-such-folder").exists());
    for served in [first, second] {
        assert_eq!(served.end(Signal::TERM), Some(DONE));
    }
}

#[test]
fn of_ten_processes_one_migrates() {
    let url = Postgres::shared().create_database();
    let folder = folder();
    let migrate = || -> Child {
        let mut command = command(folder.path());
        command.args(["migrate", "--json"]).env("POSTERN__STORE__POSTGRES__URL__VALUE", &url);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let all: Vec<Child> = (0..10).map(|_| migrate()).collect();
    let mut changed = 0;
    for one in all {
        let output = one.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        changed += i32::from(told["changed"] == true);
    }
    assert_eq!(changed, 1);
    // Nothing is made beside.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_embedded_store_needs_no_migration() {
    let folder = folder();
    let tool = |words: &str| finish(command(folder.path()).args(words.split(' ')), "");
    tool("migrate").ends_with(DONE).says("by each start of the server");
    tool("migrate --grant-to postern").ends_with(REFUSED).complains("--grant-to is for PostgreSQL");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Each command with each fault, telling all that it can.
#[test]
fn faults_name_the_setting_and_show_no_password() {
    const CANARY: &str = "c4naryPassw0rd";
    let postgres = Postgres::start();
    postgres.role("ann", "right");
    postgres.set_access_rules(&["host all ann 127.0.0.1/32 scram-sha-256"]);
    let port = postgres.port();
    let folder = folder();
    let key = folder.path().join("key");
    finish(command(folder.path()).args(["master-key", "new", "--out", "key"]), "").ends_with(DONE);
    let urls = [
        (format!("postgres://ann:{CANARY}@127.0.0.1:{port}/postgres"), "check user, password"),
        (format!("postgres://ann:{CANARY}@127.0.0.1:1/postgres"), "check the address"),
        (format!("postgres://ann:{CANARY}@no-such-host.invalid/postgres"), "check the address"),
        (format!("postgres://ann:{CANARY}@127.0.0.1:{port}/postgres?sslmode=verify-full"), "TLS"),
        (format!("postgres://ann:12/{CANARY}@127.0.0.1:{port}/postgres"), "%2F"),
        (format!("postgres://ann@127.0.0.1:{port}/postgres?passwd={CANARY}"), "sslmode"),
        (format!("ann:{CANARY}@127.0.0.1:{port}/postgres"), "postgres://"),
    ];
    for (url, right) in urls {
        let commands: [&[&str]; 4] = [
            &["config", "check"],
            &["migrate"],
            &["master-key", "status"],
            &["migrate-store", "--from", "sqlite:data"],
        ];
        for words in commands {
            let mut program = command(folder.path());
            program.args(words).env("POSTERN__STORE__POSTGRES__URL__VALUE", &url).env("POSTERN__LOG__FILTER", "trace");
            program.env("POSTERN__KEYS__MASTER__FILE", &key).env("RUST_BACKTRACE", "full");
            let told = finish(&mut program, "").ends_with(REFUSED);
            let all = format!("{}{}", told.stdout, told.stderr);
            assert!(!all.contains(CANARY) && !all.contains("ann:"), "{words:?}: {all}");
            if words[0] != "migrate-store" {
                assert!(all.contains("store.postgres.url") && all.contains(right), "{words:?}: {all}");
            }
        }
    }
    // A server that starts says as little, though it says all that it can.
    let url = format!("postgres://ann:{CANARY}@127.0.0.1:{port}/postgres");
    let mut server = super::serve(folder.path());
    server.env("POSTERN__STORE__POSTGRES__URL__VALUE", url).env("POSTERN__LOG__FILTER", "trace");
    let told = finish(&mut server, "").ends_with(REFUSED);
    assert!(!format!("{}{}", told.stdout, told.stderr).contains(CANARY), "{}", told.stderr);
    told.complains("password authentication failed").complains("store.postgres.url");
}
