mod clients;
mod gateway;
mod production;
mod providers;
mod trusted;

use std::fmt::Write as _;

use std::path::Path;

use secrecy::ExposeSecret as _;

use super::*;

/// A folder with a settings file, whose name stands as `postern.toml` in what is told.
struct Case {
    dir: tempfile::TempDir,
    sources: Sources,
}

fn case(toml: &str) -> Case {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("postern.toml");
    std::fs::write(&file, toml).unwrap();
    Case { dir, sources: Sources { file: Some(file), ..Sources::default() } }
}

impl Case {
    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.sources.overrides.push((key.to_owned(), value.to_owned()));
        self
    }

    fn config(self) -> Config {
        Config::load(self.sources).unwrap()
    }

    fn told(self) -> String {
        let mut error = Config::load(self.sources).unwrap_err();
        for fault in &mut error.faults {
            if let Source::File { path, .. } = &mut fault.source {
                *path = path.strip_prefix(&self.dir).unwrap().to_owned();
            }
            fault.wrong = fault.wrong.replace(&format!("{}/", self.dir.path().display()), "");
        }
        error.to_string()
    }

    /// The one fault, without the first line.
    fn fault(self) -> String {
        let told = self.told();
        let (first, rest) = told.split_once('\n').unwrap();
        assert!(first.starts_with("1 fault "), "{told}");
        rest.trim_start().to_owned()
    }
}

#[test]
fn nothing_set_means_the_defaults() {
    let config = Config::load(Sources::default()).unwrap();
    let defaults = Config::development_defaults(Path::new(DEFAULT_DATA_DIR));
    assert_eq!(format!("{config:?}"), format!("{defaults:?}"));
}

#[test]
fn the_data_folder_moves_what_is_in_it() {
    let config = case("data_dir = '/data'").config();
    assert!(matches!(config.store, Store::Sqlite { path } if path == Path::new("/data/postern.db")));
    assert!(matches!(config.keys.master, SecretSource::File(path) if path == Path::new("/data/master.key")));
}

#[test]
fn later_layers_win() {
    let file = "[sessions]\nidle_ttl = '1h'\nrefresh_grace = '1s'\nmax_per_user = 7";
    let config = case(file)
        .env("POSTERN__SESSIONS__REFRESH_GRACE", "2s")
        .env("POSTERN__SESSIONS__MAX_PER_USER", "8")
        .env("POSTERN__REFRESH__LATE_REPEATS", "false")
        .env("POSTERN_PORT", "tcp://10.0.0.1:80")
        .env("POSTERN_SERVER", "127.0.0.1:1")
        .env("PATH", "/bin")
        .flag("sessions.max_per_user", "9")
        .flag("listen.grpc", "[::1]:0")
        .config();
    assert_eq!(config.sessions.idle_ttl, Duration::from_hours(1));
    assert_eq!(config.sessions.refresh_grace, Duration::from_secs(2));
    assert_eq!(config.sessions.max_per_user, 9);
    assert!(!config.refresh.late_repeats);
    assert_eq!(config.listen.grpc.to_string(), "[::1]:0");
}

#[test]
fn all_faults_are_told_at_once() {
    let told = case(
        "profile = 'development'
data_dri = './x'

[listen]
grpc = '0.0.0.0:7301'
operations = 'localhost:7303'

[sesions]
idle_ttl = '1h'

[tokens]
access_ttl = 15

[passwords]
memory_kib = 8192
iterations = 1.5

[tls]
cert = 'a'
key = 'b'
",
    )
    .env("POSTERN__LOG__FORMAT", "xml")
    .env("POSTERN__SESSIONS__MAX_PER_USER", "many")
    .flag("feed.poll_interval", "2s")
    .told();
    insta::assert_snapshot!(told, @r#"
    12 faults in the settings; nothing was started
      postern.toml:2                   data_dri               unknown key                                                                 did you mean data_dir?
      postern.toml:5                   listen.grpc            0.0.0.0:7301 can be reached by others, and development is for this machine  "127.0.0.1:7301" or "[::1]:7301"
      postern.toml:6                   listen.operations      "localhost:7303" is not an address with a port                              "127.0.0.1:7303" or "[::1]:7303"
      postern.toml:9                   sesions.idle_ttl       unknown key                                                                 did you mean sessions.idle_ttl?
      postern.toml:12                  tokens.access_ttl      15 has no unit                                                              "1m" to "1h"
      postern.toml:15                  passwords.memory_kib   8192 is out of bounds                                                       19456 to 262144
      postern.toml:16                  passwords.iterations   found a number with a fraction                                              1 to 10
      postern.toml:19                  tls.cert               unknown key                                                                 remove it
      postern.toml:20                  tls.certificate        missing                                                                     certificate = "…"
      POSTERN__LOG__FORMAT             log.format             "xml" is not known here                                                     auto, pretty or json
      POSTERN__SESSIONS__MAX_PER_USER  sessions.max_per_user  "many" is not a number                                                      1 to 1000
      command line                     feed.poll_interval     "2s" is out of bounds                                                       "50ms" to "1s"
    "#);
}

#[test]
fn a_profile_is_one_of_two() {
    insta::assert_snapshot!(case("profile = 'prod'\n[listen]\ngrpc = '0.0.0.0:7301'").fault(), @r#"postern.toml:1  profile  "prod" is not known here  development or production"#);
}

#[test]
fn a_typo_is_told_with_what_was_meant() {
    insta::assert_snapshot!(case("[session]\nidle_ttl = '1h'").fault(), @"postern.toml:2  session.idle_ttl  unknown key  did you mean sessions.idle_ttl?");
    insta::assert_snapshot!(case("access_ttl = '5m'").fault(), @"postern.toml:1  access_ttl  unknown key  did you mean tokens.access_ttl?");
    insta::assert_snapshot!(case("[feed]\npol_interval = '1s'").fault(), @"postern.toml:2  feed.pol_interval  unknown key  did you mean feed.poll_interval?");
    insta::assert_snapshot!(case("").env("POSTERN__LISTEN__GPRC", "127.0.0.1:1").fault(), @"POSTERN__LISTEN__GPRC  listen.gprc  unknown key  did you mean listen.grpc?");
    insta::assert_snapshot!(case("").env("POSTERN____", "x").fault(), @"POSTERN____  .  unknown key  remove it");
    insta::assert_snapshot!(case("").flag("listen.grcp", "127.0.0.1:1").fault(), @"command line  listen.grcp  unknown key  did you mean listen.grpc?");
    insta::assert_snapshot!(case("[[gadgets]]\nid = 'google'").fault(), @"postern.toml:1  gadgets  unknown key  remove it");
    insta::assert_snapshot!(case("\"a\\u001b[2J\" = 1").fault(), @r"postern.toml:1  a\u{1b}[2J  unknown key  remove it");
    insta::assert_snapshot!(case("").flag(&"a.".repeat(20), "x").fault(), @"command line  a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.  unknown key  too deep for any key");
}

#[test]
fn a_collector_is_an_origin() {
    let config = case("telemetry = { endpoint = 'https://otlp.example.com:4317', sample_one_in = 1 }").config();
    assert_eq!(config.telemetry.endpoint.as_deref(), Some("https://otlp.example.com:4317"));
    assert_eq!(config.telemetry.sample_one_in, 1);
    insta::assert_snapshot!(case("telemetry.endpoint = 'localhost:4317'").fault(), @r#"postern.toml:1  telemetry.endpoint  "localhost:4317" does not start with https:// or http://  "http://127.0.0.1:4317""#);
    insta::assert_snapshot!(case("telemetry.endpoint = 'http://a:4317/v1/traces'").fault(), @r#"postern.toml:1  telemetry.endpoint  "http://a:4317/v1/traces" has a path  "http://127.0.0.1:4317""#);
    insta::assert_snapshot!(case("telemetry.sample_one_in = 0").fault(), @"postern.toml:1  telemetry.sample_one_in  0 is out of bounds  1 to 1000000");
    insta::assert_snapshot!(case("telemetry.service_name = 'my shop'").fault(), @r#"postern.toml:1  telemetry.service_name  "my shop" is no such name  "postern""#);
}

#[test]
fn half_a_choice_and_two_choices_are_refused() {
    insta::assert_snapshot!(case("store = {}").fault(), @"postern.toml:1  store  chooses nothing  sqlite or postgres");
    insta::assert_snapshot!(case("[store.mysql]\nurl = 'x'").fault(), @r#"postern.toml:1  store  "mysql" is not known here  sqlite or postgres"#);
    insta::assert_snapshot!(case("[store.postgres]\npool_size = 4").fault(), @r#"postern.toml:1  store.postgres.url  missing  url = { file = "/run/secrets/postgres-url" }"#);
    insta::assert_snapshot!(case("vault = { memcached = { url = 'x' } }").fault(), @r#"postern.toml:1  vault  "memcached" is not known here  store or redis"#);
    insta::assert_snapshot!(case("[vault.redis]\nprefix = 'a:'").fault(), @r#"postern.toml:1  vault.redis.url  missing  url = { file = "/run/secrets/redis-url" }"#);
    insta::assert_snapshot!(case("[vault.redis]\nurl.value = 'redis://a'\nprefix = 'a*'").fault(), @r#"postern.toml:3  vault.redis.prefix  "a*" is no prefix  "postern:""#);
    insta::assert_snapshot!(case("[vault.redis]\nurl.value = 'redis://a'\nusername = ''").fault(), @"postern.toml:3  vault.redis.username  empty  a user's name, or nothing at all");
    insta::assert_snapshot!(case("[vault]\nstore = {}\nredis.url.value = 'redis://a'").fault(), @"postern.toml:3  vault  store and redis at once, in postern.toml:3 and postern.toml:2  keep one of them");
    insta::assert_snapshot!(case("vault = { store = { path = 'x' } }").fault(), @"postern.toml:1  vault.store.path  unknown key  remove it");
    insta::assert_snapshot!(case("[keys]\nmaster = {}").fault(), @"postern.toml:2  keys.master  chooses nothing  file or value");
    insta::assert_snapshot!(case("[keys]\nmaster = { file = '/a' }").env("POSTERN__KEYS__MASTER__VALUE", "s3cret").fault(), @"POSTERN__KEYS__MASTER__VALUE  keys.master  file and value at once, in postern.toml:2 and POSTERN__KEYS__MASTER__VALUE  keep one of them");
    insta::assert_snapshot!(case("[keys.master]\nflie = '/a'").fault(), @r#"postern.toml:2  keys.master  "flie" is not known here  file or value"#);
    insta::assert_snapshot!(case("[keys.master]\nfile = ''").fault(), @"postern.toml:2  keys.master.file  empty  a path");
    assert!(matches!(case("store = { sqlite = {} }\nvault = { store = {} }").config().vault, Vault::Store));
}

#[test]
fn a_section_is_not_a_value() {
    insta::assert_snapshot!(case("listen = '127.0.0.1:7301'").fault(), @"postern.toml:1  listen  one value where a section belongs  set the keys, not the section");
    insta::assert_snapshot!(case("[data_dir]").fault(), @"postern.toml:1  data_dir  a section where one value belongs  one value");
    insta::assert_snapshot!(case("[listen]\ngrpc = '127.0.0.1:1'").env("POSTERN__LISTEN", "x").fault(), @"POSTERN__LISTEN  listen  one value where a section belongs, whose keys are set by postern.toml:1  set the keys, not the section");
    insta::assert_snapshot!(case("").env("POSTERN__LOG", "debug").flag("log.format", "json").fault(), @"POSTERN__LOG  log  one value where a section belongs, whose keys are set by command line  set the keys, not the section");
    insta::assert_snapshot!(case("[log]\nfilter = ['info']").fault(), @"postern.toml:2  log.filter  found a list  a text in quotes");
    insta::assert_snapshot!(case("data_dir = '~/postern'").fault(), @"postern.toml:1  data_dir  `~` is only known to shells  the path written out");
}

#[test]
fn a_broken_file_is_told_by_line() {
    insta::assert_snapshot!(case("data_dir = './x'\n[listen\ngrpc = '127.0.0.1:1'\ngrpc = '127.0.0.1:1'").told(), @r"
    1 fault in the settings; nothing was started
      postern.toml:2  unclosed table, expected `]`  valid TOML
    ");
    let absent = Sources { file: Some("/nowhere/postern.toml".into()), ..Sources::default() };
    insta::assert_snapshot!(Config::load(absent).unwrap_err(), @r"
    1 fault in the settings; nothing was started
      /nowhere/postern.toml  cannot be read: No such file or directory (os error 2)  a readable TOML file
    ");
    let endless = Sources { file: Some("/dev/zero".into()), ..Sources::default() };
    insta::assert_snapshot!(Config::load(endless).unwrap_err(), @r"
    1 fault in the settings; nothing was started
      /dev/zero  cannot be read: longer than 1048576 bytes  a readable TOML file
    ");
}

#[test]
fn a_secret_is_never_told() {
    let secret = "c2VjcmV0LXNlY3JldA";
    for toml in [
        "[keys.master]\nvalue = V",
        "[keys]\nmaster = V",
        "keys = V",
        "[keys.master]\nvalu = V",
        "[keys.master]\nvalue = [V]",
    ] {
        for quote in ["'", ""] {
            let told = case(&toml.replace('V', &format!("{quote}{secret}{quote}")));
            let told = match Config::load(told.sources) {
                Ok(config) => {
                    let SecretSource::Value(value) = &config.keys.master else { panic!("{toml}") };
                    assert_eq!(value.expose_secret(), secret);
                    format!("{config:?} {config:#?}")
                }
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(!told.contains(secret), "{told}");
        }
    }
    for name in
        ["POSTERN__KEYS", "POSTERN__KEYS__MASTER", "POSTERN__KEYS__MASTER__VALU", "POSTERN__KEYS__MASTER__VALUE__X"]
    {
        let told = case("").env(name, secret).told();
        assert!(!told.contains(secret), "{told}");
    }
    let url = case("[issuer]\nurl = 'https://user:c2VjcmV0LXNlY3JldA@a.example'").fault();
    assert!(!url.contains(secret), "{url}");
}

/// Each line: the key, what is taken, what is refused.
const EDGES: &[(&str, &[&str], &[&str])] = &[
    (
        "tokens.access_ttl",
        &["'1m'", "'1h'", "'60min'", "'59m 60s'"],
        &["'59s'", "'1h 1ms'", "''", "'-1m'", "60", "true", "'0'"],
    ),
    ("sessions.idle_ttl", &["'15m'", "'90d'"], &["'14m 59s'", "'90d 1s'"]),
    ("sessions.absolute_ttl", &["'14d'", "'365d'"], &["'13d'", "'365d 1s'"]),
    ("sessions.refresh_grace", &["'0s'", "'10m'"], &["'10m 1s'", "'30'"]),
    ("sessions.max_per_user", &["1", "1000", "0x10"], &["0", "1001", "-1", "'50'", "1.0", "99999999999999999999"]),
    ("refresh.late_repeats", &["true", "false"], &["'true'", "1"]),
    ("audit.retention", &["'30d'", "'3650d'"], &["'29d'", "'0'", "30"]),
    ("passwords.min_length", &["8", "64"], &["7", "65"]),
    (
        "passwords.context_words",
        &["[]", "['Nord Shop', '김민수']", "['abc']"],
        &["['ab']", "['2026']", "['abc', 'abc']", "'abc'"],
    ),
    ("passwords.memory_kib", &["19456", "262144"], &["19455", "262145", "8192"]),
    ("passwords.iterations", &["2", "10"], &["0", "1", "11"]),
    ("passwords.parallelism", &["1", "8"], &["0", "9"]),
    ("passwords.threads", &["1", "256"], &["0", "257"]),
    ("passwords.queue", &["1", "10000"], &["0", "10001"]),
    ("feed.poll_interval", &["'50ms'", "'1s'"], &["'49ms'", "'1001ms'"]),
    ("feed.max_staleness", &["'5s'", "'10m'"], &["'4999ms'", "'601s'"]),
    ("feed.when_stale", &["'refuse'", "'serve'"], &["'Refuse'", "''", "true"]),
    ("log.addresses", &["'full'", "'truncated'", "'none'"], &["'some'", "true"]),
    ("log.format", &["'auto'", "'pretty'", "'json'"], &["'text'"]),
    (
        "log.filter",
        &["'info'", "'off'", "'INFO,h2=debug'", "'info,[rpc{request_id=a}]=trace'"],
        &["''", "'debgu'", "'info,sqlx'", "'h2=loud'"],
    ),
    (
        "listen.grpc",
        &["'127.0.0.1:0'", "'127.9.9.9:80'", "'[::1]:7301'"],
        &["'0.0.0.0:7301'", "'[::]:7301'", "'192.168.0.1:1'", "'127.0.0.1'", "'127.0.0.1:7303'", "7301"],
    ),
    ("listen.operations", &["'127.0.0.1:0'"], &["'10.0.0.1:7303'", "'127.0.0.1:7301'"]),
    (
        "issuer.url",
        &[
            "'https://auth.example.com'",
            "'http://127.0.0.1:7301'",
            "'https://a.example/realms/One'",
            "'http://[::1]:7301'",
        ],
        &[
            "''",
            "'auth.example.com'",
            "'https://'",
            "'https://a.example/'",
            "'https://a.example?x'",
            "'https://a.example#x'",
            "'https://A.example'",
            "'HTTPS://a.example'",
            "'https://u@a.example'",
            "'https://a.example:'",
            "'https://a.example:0'",
            "'https://a.example:65536'",
            "'https://:80'",
            "'https://a b'",
            "'https://é.example'",
            "'ftp://a.example'",
        ],
    ),
];

#[test]
fn every_bound_holds_at_its_edge() {
    let load = |key: &str, value: &str| Config::load(case(&format!("{key} = {value}")).sources);
    for (key, taken, refused) in EDGES {
        for value in *taken {
            assert!(load(key, value).is_ok(), "{key} = {value}: {}", load(key, value).unwrap_err());
        }
        for value in *refused {
            let error = load(key, value).expect_err(&format!("{key} = {value}"));
            let [fault] = error.faults.as_slice() else { panic!("{error}") };
            assert!(!fault.wrong.is_empty() && !fault.right.is_empty(), "{error}");
            // The one key whose bound is another key names that one.
            let named = if *key == "sessions.absolute_ttl" && *value == "'13d'" { "sessions.idle_ttl" } else { key };
            let named = if *key == "listen.grpc" && *value == "'127.0.0.1:7303'" { "listen.operations" } else { named };
            assert_eq!(fault.key, named, "{error}");
        }
    }
}

#[test]
fn one_iteration_needs_more_memory() {
    let load = |memory| Config::load(case(&format!("[passwords]\niterations = 1\nmemory_kib = {memory}")).sources);
    assert!(load(47_104).is_ok());
    insta::assert_snapshot!(load(47_103).unwrap_err().faults[0].wrong, @"1 iteration over 47103 KiB is too weak");
}

#[test]
fn the_queue_follows_the_threads() {
    let queue = |toml: &str| case(toml).config().passwords.queue;
    assert_eq!(queue("passwords.threads = 3"), 96);
    assert_eq!(queue("passwords = { threads = 3, queue = 5 }"), 5);
}

/// The example: prose starts with `# `, settings with `#`, and with `##` those of PostgreSQL and Redis.
fn example() -> String {
    uncommented("#")
}

fn uncommented(mark: &str) -> String {
    include_str!("../../postern.example.toml").lines().fold(String::new(), |mut text, line| {
        let line = match line.strip_prefix(mark) {
            Some(setting) if !setting.starts_with([' ', '#']) => setting,
            _ => line,
        };
        writeln!(text, "{line}").unwrap();
        text
    })
}

#[test]
fn the_example_changes_nothing_as_it_is() {
    let config = case(include_str!("../../postern.example.toml")).config();
    let defaults = Config::development_defaults(Path::new(DEFAULT_DATA_DIR));
    assert_eq!(format!("{config:?}"), format!("{defaults:?}"));
}

#[test]
fn the_example_shows_the_defaults() {
    let config = case(&example()).config();
    let mut defaults = Config::development_defaults(Path::new(DEFAULT_DATA_DIR));
    // What has no default, or another on each machine.
    defaults.issuer.url = Some("http://127.0.0.1:7302".to_owned());
    defaults.passwords.threads = 2;
    defaults.passwords.queue = 64;
    defaults.passwords.breached_file.clone_from(&config.passwords.breached_file);
    defaults.passwords.pepper_file.clone_from(&config.passwords.pepper_file);
    defaults.listen.admin = config.listen.admin;
    defaults.listen.insecure = config.listen.insecure;
    defaults.keys.rotate_every = config.keys.rotate_every;
    defaults.audit.retention = config.audit.retention;
    assert!(config.tls.is_some() && config.clients.len() == 1 && config.gateway.clients.len() == 1);
    (defaults.tls, defaults.clients) = (config.tls.clone(), config.clients.clone());
    assert!(config.providers.len() == 1 && config.accounts.roles.len() == 1);
    assert!(config.gateway.url.is_some() && config.gateway.clients.len() == 1);
    defaults.gateway = config.gateway.clone();
    assert!(config.telemetry.endpoint.is_some() && config.telemetry.ca.is_some());
    defaults.telemetry =
        Telemetry { sample_one_in: 10, service_name: "postern".to_owned(), ..config.telemetry.clone() };
    assert_eq!(config.trusted_issuers.len(), 1);
    defaults.trusted_issuers.clone_from(&config.trusted_issuers);
    (defaults.providers, defaults.accounts) = (config.providers.clone(), config.accounts.clone());
    assert_eq!(format!("{config:?}"), format!("{defaults:?}"));
}

#[test]
fn the_example_shows_every_key() {
    let is_of_servers = |key: &String| key.starts_with("store.postgres.") || key.starts_with("vault.redis.");
    let (servers, machine): (Vec<_>, Vec<_>) = left_out(&uncommented("##")).into_iter().partition(is_of_servers);
    assert!(machine.len() > 30, "{machine:?}");
    // Only one of each pair can stand in a file.
    assert_eq!(
        servers,
        [
            "store.postgres.url.value",
            "store.postgres.migrate_url.value",
            "vault.redis.url.value",
            "vault.redis.password.value"
        ]
    );
    let machine: Vec<_> = left_out(&example()).into_iter().filter(|key| !is_of_servers(key)).collect();
    // And the admin key is Kakao's alone, and a secret stands in the place of public keys.
    assert_eq!(
        machine,
        [
            "keys.master.value",
            "clients[0].secrets[0].value",
            "gateway.clients[0].secret.value",
            "providers[0].client_secret.value",
            "providers[0].admin_key.file",
            "providers[0].admin_key.value",
            "trusted_issuers[0].secret.file",
            "trusted_issuers[0].secret.value"
        ]
    );
}

/// The keys that a file leaves at their defaults.
fn left_out(toml: &str) -> Vec<String> {
    let case = case(toml);
    let mut report = reader::Report::default();
    let root = source::merge(case.sources, &mut report.faults).unwrap_or_else(|error| panic!("{error}"));
    reader::Section::read_root(root, &mut report, read::config);
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    let left_out = report.settings.into_iter().filter(|setting| setting.source == Source::Default);
    left_out.map(|setting| setting.key).collect()
}

/// A file of settings is read or told about, whatever stands in it, and nothing secret is told.
#[test]
fn hostile_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("postern.toml");
    let small = b"profile = 'production'\n[issuer]\nurl = 'https://id.example.com'\n[[clients]]\nid = 'shop'\n";
    postern_rig::fuzz::fuzz("configuration", &[example().as_bytes(), small, b"a.b.c = [{}]"], |input| {
        std::fs::write(&file, input).unwrap();
        let sources = Sources { file: Some(file.clone()), ..Sources::default() };
        if let Err(why) = Config::load_all(sources) {
            assert!(!why.to_string().is_empty());
        }
    });
}

/// Row 185: whoever prints all settings prints no secret, wherever one may stand.
#[test]
fn no_secret_of_any_setting_prints_itself() {
    let toml = "
        keys.master.value = 'canary-1'
        [store.postgres]
        url.value = 'postgres://postern:canary-2@127.0.0.1/postern'
        migrate_url.value = 'postgres://owner:canary-3@127.0.0.1/postern'
        [vault.redis]
        url.value = 'redis://:canary-4@127.0.0.1'
        username = 'postern'
        password.value = 'canary-5'
        [[providers]]
        id = 'kakao'
        client_id = 'c'
        client_secret.value = 'canary-6'
        admin_key.value = 'canary-7'
        [[clients]]
        id = 'shop'
        secrets = [{ value = 'canary-8' }]
    ";
    let told = match Config::load_all(case(toml).sources) {
        Ok(loaded) => format!("{:?} {:#?} {:?}", loaded.config, loaded.config, loaded.warnings),
        Err(error) => panic!("{error}"),
    };
    assert!(told.contains("shop") && told.contains("kakao"));
    assert!(!told.contains("canary"), "{told}");
}
