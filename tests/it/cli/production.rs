//! Rows 146, 191, 192 and 204: the production profile of the real program. It starts with nothing made up, prints no
//! secret, tells strangers nothing, and does not start at all where something is missing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use postern::store::{PostgresSettings, Store};
use postern_rig::postgres::Postgres;
use postern_rig::redis::{Flavour, Redis};
use rustix::process::Signal;

use super::{DONE, Outcome, Person, REFUSED, Served, command, finish, folder};
use crate::database::Database;
use crate::support::files_below;

const ISSUER: &str = "https://auth.postern.dev";

/// A folder of an operator: settings, and a master key apart from the data.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(folder());
        std::fs::create_dir(site.0.path().join("keys")).unwrap();
        let key = "postern-master-key 1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n";
        site.secret("keys/master.key", key);
        let at = |name: &str| site.path(name).display().to_string();
        let settings = format!(
            "profile = 'production'\ndata_dir = '{}'\nissuer.url = '{ISSUER}'\nkeys.master.file = '{}'\n\
             listen = {{ grpc = '127.0.0.1:0', admin = '127.0.0.1:0', operations = '127.0.0.1:0' }}\n",
            at("data"),
            at("keys/master.key"),
        );
        std::fs::write(site.path("postern.toml"), settings).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file that is its owner's alone.
    fn secret(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let name = |path: PathBuf| path.strip_prefix(self.0.path()).unwrap().display().to_string();
        let mut names: Vec<String> = files_below(self.0.path()).into_iter().map(name).collect();
        names.sort();
        names
    }

    /// The program, run here.
    fn run(&self, arguments: &[&str]) -> Outcome {
        finish(command(self.0.path()).args(arguments), "")
    }

    fn serve(&self) -> Served {
        Served::run(self.0.path(), command(self.0.path()))
    }
}

#[test]
fn with_nothing_set_it_says_what_is_missing_and_makes_nothing() {
    let empty = folder();
    let refused = finish(command(empty.path()).args(["--profile", "production"]), "").ends_with(REFUSED);
    for key in ["issuer.url", "keys.master", "data_dir", "tls "] {
        assert!(refused.stderr.lines().any(|line| line.trim_start().starts_with(key)), "{}", refused.stderr);
    }
    assert!(refused.stderr.starts_with("error: 4 faults in the settings; nothing was started"), "{}", refused.stderr);
    assert_eq!(refused.stdout, "");
    assert_eq!(files_below(empty.path()).len(), 0);
}

#[test]
fn a_master_key_is_never_made() {
    let site = Site::new();
    std::fs::remove_file(site.path("keys/master.key")).unwrap();
    site.run(&[]).ends_with(REFUSED).complains("keys.master.file").complains("postern master-key new");
    site.secret("keys/master.key", "");
    site.run(&[]).ends_with(REFUSED).complains("empty");
    std::fs::set_permissions(site.path("keys/master.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    site.run(&[]).ends_with(REFUSED).complains("open to other users");
    assert_eq!(site.names(), ["keys/master.key", "postern.toml"]);
    site.secret("keys/master.key", "postern-master-key 1 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n");
    site.run(&[]).ends_with(REFUSED).complains("no randomness");
}

#[test]
fn a_right_one_starts_with_nobody_and_nothing_secret() {
    let site = Site::new();
    let served = site.serve();
    assert_eq!(served.fact("postern")["profile"], "production");
    assert_eq!(served.fact("master_key")["created"], false);
    assert_eq!(served.fact("grpc")["reflection"], false);
    assert_eq!(served.issuer(), ISSUER);
    assert!(!served.facts.iter().any(|fact| fact["fact"] == "administrator"));
    let files = site.names();
    assert!(!files.iter().any(|file| file.contains("password")), "{files:?}");

    let limits = std::fs::read_to_string(format!("/proc/{}/limits", served.child.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    assert!(served.log().contains("postern admin bootstrap"), "{}", served.log());
    assert_eq!(served.end(Signal::TERM), Some(DONE));
}

#[tokio::test]
async fn reflection_is_off() {
    let site = Site::new();
    let served = site.serve();
    let channel = crate::support::connect(served.fact("grpc")["address"].as_str().unwrap().parse().unwrap()).await;
    let mut asker = tonic::client::Grpc::new(channel);
    asker.ready().await.unwrap();
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let refused = asker.unary(tonic::Request::new(()), path, codec).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
}

#[test]
fn another_issuer_is_told_of_with_both_names() {
    let site = Site::new();
    assert_eq!(site.serve().end(Signal::TERM), Some(DONE));
    let settings = std::fs::read_to_string(site.path("postern.toml")).unwrap();
    std::fs::write(site.path("postern.toml"), settings.replace(ISSUER, "https://login.postern.dev")).unwrap();
    let served = site.serve();
    let log = served.log();
    let line = log.lines().find(|line| line.contains("the issuer has changed")).expect(&log);
    assert!(line.contains(ISSUER) && line.contains("https://login.postern.dev"), "{line}");
    assert_eq!(served.end(Signal::TERM), Some(DONE));
}

#[test]
fn settings_are_checked_without_a_server() {
    let site = Site::new();
    let before = site.names();
    let sound = site.run(&["config", "check"]).ends_with(DONE);
    let sound = sound.says("A server can start on these settings; the first start makes the store.");
    let line = |key: &str| sound.stdout.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(line("issuer.url ").ends_with("postern.toml:3"), "{}", sound.stdout);
    assert!(line("sessions.idle_ttl ").ends_with("default"), "{}", sound.stdout);
    assert_eq!(site.names(), before);

    let warned = site.run(&["config", "check", "--set", "feed.when_stale=serve", "--json"]).ends_with(DONE);
    let json: serde_json::Value = serde_json::from_str(&warned.stdout).unwrap();
    assert_eq!(json["warnings"][0]["key"], "feed.when_stale");
    assert_eq!(json["warnings"][0]["source"], "command line");

    let wrong = ["config", "check", "--set", "listen.grpc=0.0.0.0:7301", "--set", "sesions.idle_ttl=1d"];
    let wrong = |more: &[&str]| site.run(&[&wrong[..], more].concat()).ends_with(REFUSED);
    assert_eq!(wrong(&[]).complains("sesions.idle_ttl").complains("clear text on 0.0.0.0:7301").stdout, "");
    let json: serde_json::Value = serde_json::from_str(&wrong(&["--json"]).stdout).unwrap();
    assert_eq!(json["faults"].as_array().unwrap().len(), 2);

    assert_eq!(site.serve().end(Signal::TERM), Some(DONE));
    site.run(&["config", "check"]).ends_with(DONE).says("the store has schema");
    std::fs::write(site.path("data/postern.db"), "not a database, and long enough to be looked at. ".repeat(9))
        .unwrap();
    site.run(&["config", "check"]).ends_with(REFUSED).complains("is not a database");
}

#[test]
fn a_check_finds_what_a_start_would_stumble_over() {
    let site = Site::new();
    assert_eq!(site.serve().end(Signal::TERM), Some(DONE));
    let database = std::fs::read(site.path("data/postern.db")).unwrap();
    let key = std::fs::read_to_string(site.path("keys/master.key")).unwrap();
    site.secret("keys/master.key", &key.replace("AAEC", "CAEC"));
    for arguments in [&["config", "check"][..], &[]] {
        site.run(arguments).ends_with(REFUSED).complains("holds another master key 1");
    }
    site.secret("keys/master.key", &key);
    let settings = std::fs::read_to_string(site.path("postern.toml")).unwrap();
    std::fs::write(site.path("postern.toml"), settings.replace(ISSUER, "https://login.postern.dev")).unwrap();
    site.run(&["config", "check"]).ends_with(DONE).says(&format!("servers have issued as {ISSUER}"));
    assert_eq!(std::fs::read(site.path("data/postern.db")).unwrap(), database);
}

#[test]
fn a_redis_that_evicts_keeps_production_from_starting() {
    let site = Site::new();
    let redis = Redis::start_with(Flavour::Redis, &["maxmemory-policy allkeys-lru"]);
    site.secret("redis-url", &redis.url());
    let url = format!("vault.redis.url.file={}", site.path("redis-url").display());
    for arguments in [&["config", "check", "--set", &url][..], &["--set", &url]] {
        site.run(arguments).ends_with(REFUSED).complains("maxmemory-policy");
    }
    redis.cli(&["config", "set", "maxmemory-policy", "noeviction"]);
    site.run(&["config", "check", "--set", &url]).ends_with(DONE).says("no replica");
    drop(redis);
    site.run(&["config", "check", "--set", &url]).ends_with(DONE).says("no answer from Redis");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_that_nothing_stands_by() {
    let url = Postgres::shared().create_database();
    let settings = PostgresSettings { url: url.as_str().into(), pool_size: 1, pooler: false };
    Store::migrate(&settings).await.unwrap();
    let site = Site::new();
    site.secret("postgres-url", &url);
    let file = format!("store.postgres.url.file={}", site.path("postgres-url").display());
    // The owner's, which is where tables are made and nowhere else.
    let owner = "store.postgres.migrate_url.file=/nowhere/owner-url";
    let check = |more: &[&str]| {
        site.run(&[&["config", "check", "--set", &file, "--set", owner], more].concat()).ends_with(DONE)
    };
    let told = "no synchronous standby: a fail-over may forget a revocation that was acknowledged";
    check(&[]).says(told);
    let json: serde_json::Value = serde_json::from_str(&check(&["--json"]).stdout).unwrap();
    let warning = json["warnings"].as_array().unwrap().iter().find(|warning| warning["wrong"] == told).unwrap();
    assert_eq!((&warning["key"], &warning["source"]), (&"store.postgres.url".into(), &"command line".into()));
}

#[test]
fn a_check_shows_no_secret() {
    let empty = folder();
    let canary = "postern-master-key 1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    let mut check = command(empty.path());
    check.env("POSTERN__KEYS__MASTER__VALUE", canary).args(["config", "check"]);
    let shown = finish(&mut check, "").ends_with(DONE).says("(hidden)");
    assert!(!format!("{}{}", shown.stdout, shown.stderr).contains("AAECAw"));
    let mut json = command(empty.path());
    json.env("POSTERN__KEYS__MASTER__VALUE", canary).args(["config", "check", "--json"]);
    let shown = finish(&mut json, "").ends_with(DONE);
    assert!(!format!("{}{}", shown.stdout, shown.stderr).contains("AAECAw"));
    assert_eq!(files_below(empty.path()).len(), 0);
}

#[test]
fn the_first_administrator_and_client_are_written_once() {
    let site = Site::new();
    site.secret("password", "a password of some length\n");
    let at = |name: &str| site.path(name).display().to_string();
    let (password, secret) = (at("password"), at("web.secret"));
    let bootstrap = ["admin", "bootstrap", "--password-file", &password];
    let client = ["--client", "web", "--client-secret-file", &secret];

    // Whatever is refused writes nothing that stands in the way.
    site.run(&[&bootstrap[..], &client, &["--client-role", "postern.frnot"]].concat())
        .ends_with(REFUSED)
        .complains("no role `postern.frnot`");
    site.run(&[&bootstrap[..], &["--client", "web"]].concat()).ends_with(REFUSED).complains("--client-secret-file");
    site.secret("short", "short\n");
    site.run(&["admin", "bootstrap", "--password-file", &at("short")]).ends_with(REFUSED).complains("at least 15");
    site.secret("common", "1qaz2wsx3edc4rfv\n");
    site.run(&["admin", "bootstrap", "--password-file", &at("common")]).ends_with(REFUSED).complains("most common");
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o644)).unwrap();
    site.run(&bootstrap).ends_with(REFUSED).complains("open to other users");
    site.secret("password", "a password of some length\n");

    let made = site.run(&[&bootstrap[..], &client].concat()).ends_with(DONE).says("Created administrator admin");
    let held = std::fs::read_to_string(&secret).unwrap();
    assert!(held.starts_with("pcs_") && !format!("{}{}", made.stdout, made.stderr).contains(held.trim_end()));
    assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    for again in [&bootstrap[..], &[&bootstrap[..], &["--user", "second"]].concat()] {
        site.run(again).ends_with(REFUSED).complains("there is an administrator already");
    }

    let served = site.serve();
    assert!(!served.log().contains("admin bootstrap"), "{}", served.log());
    site.run(&bootstrap).ends_with(REFUSED).complains("Stop the server first");
    let person = Person::at(served.url());
    let known = |words: &str| format!("{words} --client-secret-file {secret}");
    person.types("a password of some length", &known("login admin")).ends_with(DONE);
    person.does(&known("verify --require postern:users:write")).ends_with(DONE).says("ALLOW");
    // Nobody acts for a call without a credential here.
    person.does("verify").ends_with(REFUSED).complains("client");
    assert_eq!(served.end(Signal::TERM), Some(DONE));
}

#[tokio::test]
async fn what_bootstrap_makes_is_audited_and_what_it_refuses_is_not_made() {
    let site = Site::new();
    site.secret("password", "a password of some length\n");
    let path = |name: &str| site.path(name).display().to_string();
    let (password, secret) = (path("password"), path("web.secret"));
    let all = ["admin", "bootstrap", "--password-file", &password, "--client", "web", "--client-secret-file", &secret];
    site.run(&[&all[..], &["--client-role", "postern.frnot"]].concat()).ends_with(REFUSED);
    for reserved in ["dev", "offline"] {
        let bootstrap = ["admin", "bootstrap", "--password-file", &password, "--client", reserved];
        let refused = site.run(&[&bootstrap[..], &["--client-secret-file", &secret]].concat());
        refused.ends_with(REFUSED).complains("belongs to Postern itself");
    }
    let mut database = Database::in_file(&site.path("data/postern.db")).await;
    assert_eq!((database.count("users").await, database.count("audit").await), (0, 0));
    site.run(&all).ends_with(DONE);
    assert_eq!(database.audited("sys_bootstrap").await, 1);
    assert_eq!(database.audited("client_created").await, 1);
    site.run(&all).ends_with(REFUSED);
    assert_eq!((database.count("users").await, database.count("audit").await), (1, 2));
}

/// An administrator whom no client signs in could not make one either, and a second bootstrap is refused.
#[test]
fn nobody_is_made_whom_no_client_could_sign_in() {
    let site = Site::new();
    site.secret("password", "a password of some length\n");
    site.secret("web.secret", &format!("pcs_{}", "A".repeat(43)));
    let path = |name: &str| site.path(name).display().to_string();
    let before = site.names();
    let bootstrap = ["admin", "bootstrap", "--password-file", &path("password")];
    let refused = || site.run(&bootstrap).ends_with(REFUSED).complains("nobody could sign in");
    refused().complains("--client NAME --client-secret-file FILE").complains("[[clients]]");
    assert_eq!(site.names(), before);
    // Where a server has made the store already, nothing but it is there.
    assert_eq!(site.serve().end(Signal::TERM), Some(DONE));
    refused();
    assert!(site.serve().log().contains("nobody can administer this service yet"));

    let settings = std::fs::read_to_string(site.path("postern.toml")).unwrap();
    let declare = |token_audiences: &str| {
        let secret = path("web.secret");
        let client = format!(
            "[[clients]]\nid = 'web'\nsecrets = [{{ file = '{secret}' }}]\nroles = ['postern.front', 'postern.backend']\n\
             audience = '{ISSUER}'\ntoken_audiences = {token_audiences}\n"
        );
        std::fs::write(site.path("postern.toml"), format!("{settings}{client}")).unwrap();
    };
    declare("['https://orders.postern.dev']");
    refused();
    declare(&format!("['https://orders.postern.dev', '{ISSUER}']"));
    let next = format!("postern login admin --server http://127.0.0.1:0 --client-secret-file {}", path("web.secret"));
    site.run(&bootstrap).ends_with(DONE).says(&next);
    let served = site.serve();
    let login = format!("login admin --client-secret-file {}", path("web.secret"));
    Person::at(served.url()).types("a password of some length", &login).ends_with(DONE);
    assert_eq!(served.end(Signal::TERM), Some(DONE));
}

#[test]
fn the_password_may_be_piped_and_the_secret_brought_along() {
    let site = Site::new();
    let secret = format!("pcs_{}", "A".repeat(43));
    site.secret("web.secret", &secret);
    let path = site.path("web.secret").display().to_string();
    let mut bootstrap = command(site.0.path());
    bootstrap.args(["admin", "bootstrap", "--user", "kim", "--client", "web", "--client-secret-file", &path]);
    finish(&mut bootstrap, "a password of some length").ends_with(DONE).says("Created administrator kim");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), secret);
    let served = site.serve();
    let person = Person::at(served.url());
    let login = format!("login kim --client-secret-file {path}");
    person.types("a password of some length", &login).ends_with(DONE);
    assert_eq!(served.end(Signal::TERM), Some(DONE));
}
