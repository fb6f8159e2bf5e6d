//! What production refuses, as a table: a server that is right, one thing changed, and what is said about it.

use super::*;

const RIGHT: &str = "profile = 'production'
data_dir = '/var/lib/postern'
issuer.url = 'https://auth.postern.dev'
keys.master.file = '/run/secrets/master.key'
[tls]
certificate = '/run/secrets/tls.crt'
key = '/run/secrets/tls.key'
client_ca = '/run/secrets/ca.crt'
";

const CLIENT: &str =
    "[[clients]]\nid = 'orders'\nroles = ['postern.backend']\nsecrets = [{ file = '/run/secrets/orders' }]\n";

/// The right one, with some lines exchanged or added; what is `-key` goes.
fn changed(changes: &[&str]) -> Case {
    let mut case = case(&format!("{RIGHT}{CLIENT}"));
    let path = case.sources.file.clone().unwrap();
    for change in changes {
        if let Some(key) = change.strip_prefix('-') {
            let kept: Vec<String> = std::fs::read_to_string(&path)
                .unwrap()
                .lines()
                .filter(|line| !line.starts_with(&format!("{key} = ")) && *line != format!("[{key}]"))
                .map(str::to_owned)
                .collect();
            std::fs::write(&path, kept.join("\n")).unwrap();
        } else {
            let (key, value) = change.split_once(" = ").unwrap();
            case = case.env(&format!("POSTERN__{}", key.to_uppercase().replace('.', "__")), value);
        }
    }
    case
}

/// Without TLS.
fn clear(changes: &[&str]) -> Case {
    let without = ["-tls", "-certificate", "-key", "-client_ca"];
    changed(&[&without[..], changes].concat())
}

fn with_client(lines: &str) -> Case {
    case(&format!("{RIGHT}[[clients]]\nid = 'orders'\nroles = ['postern.backend']\n{lines}"))
}

fn warnings(case: Case) -> String {
    let loaded = Config::load_all(case.sources).unwrap_or_else(|error| panic!("{error}"));
    loaded.warnings.iter().map(|fault| format!("{}: {}", fault.key, fault.wrong)).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_right_one_starts_without_a_word() {
    let loaded = Config::load_all(changed(&[]).sources).unwrap_or_else(|error| panic!("{error}"));
    assert!(loaded.warnings.is_empty());
    let config = loaded.config;
    assert_eq!(config.listen.grpc.to_string(), "0.0.0.0:7301");
    assert_eq!(config.listen.admin.unwrap().to_string(), "127.0.0.1:7304");
    assert_eq!(config.listen.operations.to_string(), "127.0.0.1:7303");
    assert_eq!(config.log.format, LogFormat::Json);
    assert!(Config::load(clear(&["listen.insecure = mesh"]).sources).is_ok());
    assert!(Config::load(clear(&["listen.grpc = 127.0.0.1:7301"]).sources).is_ok());
}

#[test]
fn nothing_set_is_refused_in_four_lines() {
    let sources = Sources { overrides: vec![("profile".into(), "production".into())], ..Sources::default() };
    insta::assert_snapshot!(Config::load(sources).unwrap_err(), @r#"
    4 faults in the settings; nothing was started
      data_dir     ./postern-data is for development                  data_dir = "/var/lib/postern"
      issuer.url   missing: the https URL that goes into `iss`        issuer.url = "https://auth.example.com"
      keys.master  missing: create one with `postern master-key new`  keys.master = { file = "/run/secrets/master.key" }
      tls          clear text on 0.0.0.0:7301                         [tls], or listen.insecure = "mesh"
    "#);
}

#[test]
fn every_unsafe_combination_is_refused() {
    insta::assert_snapshot!(changed(&["-issuer.url"]).fault(), @r#"issuer.url  missing: the https URL that goes into `iss`  issuer.url = "https://auth.example.com""#);
    insta::assert_snapshot!(changed(&["issuer.url = http://auth.postern.dev"]).fault(), @r#"POSTERN__ISSUER__URL  issuer.url  http://auth.postern.dev is in clear text: keys fetched from there prove nothing  issuer.url = "https://auth.example.com""#);
    insta::assert_snapshot!(changed(&["issuer.url = https://localhost:7302"]).fault(), @r#"POSTERN__ISSUER__URL  issuer.url  localhost is another machine for everybody who reads it  issuer.url = "https://auth.example.com""#);
    insta::assert_snapshot!(changed(&["issuer.url = https://a.localhost"]).fault(), @r#"POSTERN__ISSUER__URL  issuer.url  a.localhost is another machine for everybody who reads it  issuer.url = "https://auth.example.com""#);
    insta::assert_snapshot!(changed(&["issuer.url = https://127.0.0.1"]).fault(), @r#"POSTERN__ISSUER__URL  issuer.url  127.0.0.1 is an address, which moves; tokens keep the name  issuer.url = "https://auth.example.com""#);
    insta::assert_snapshot!(changed(&["issuer.url = https://[::1]"]).fault(), @r#"POSTERN__ISSUER__URL  issuer.url  [::1] is an address, which moves; tokens keep the name  issuer.url = "https://auth.example.com""#);
    insta::assert_snapshot!(changed(&["issuer.url = https://203.0.113.9"]).fault(), @r#"POSTERN__ISSUER__URL  issuer.url  203.0.113.9 is an address, which moves; tokens keep the name  issuer.url = "https://auth.example.com""#);
    insta::assert_snapshot!(changed(&["-keys.master.file"]).fault(), @r#"keys.master  missing: create one with `postern master-key new`  keys.master = { file = "/run/secrets/master.key" }"#);
    insta::assert_snapshot!(changed(&["keys.master.file = master.key"]).fault(), @r#"POSTERN__KEYS__MASTER__FILE  keys.master.file  master.key depends on the working directory  keys.master = { file = "/run/secrets/master.key" }"#);
    insta::assert_snapshot!(case(&RIGHT.replace("keys.master.file = '/run/secrets/master.key'", "keys.master.value = 'canary'")).fault(), @r#"postern.toml:4  keys.master.value  the key itself stands in the settings, which are copied and shown  keys.master = { file = "/run/secrets/master.key" }"#);
    insta::assert_snapshot!(changed(&["-keys.master.file"]).flag("keys.master.value", "canary").fault(), @r#"command line  keys.master.value  every process of the machine can read the command line  keys.master = { file = "/run/secrets/master.key" }"#);
    insta::assert_snapshot!(changed(&["-data_dir"]).fault(), @r#"data_dir  ./postern-data is for development  data_dir = "/var/lib/postern""#);
    insta::assert_snapshot!(changed(&["data_dir = ./data"]).fault(), @r#"POSTERN__DATA_DIR  data_dir  ./data depends on the working directory  data_dir = "/var/lib/postern""#);
    insta::assert_snapshot!(changed(&["store.sqlite.path = postern.db"]).fault(), @r#"POSTERN__STORE__SQLITE__PATH  store.sqlite.path  postern.db depends on the working directory  "/var/lib/postern/postern.db""#);
    insta::assert_snapshot!(changed(&["tls.key = tls.key"]).fault(), @"POSTERN__TLS__KEY  tls.key  tls.key depends on the working directory  a path from the root: /run/secrets/…");
    insta::assert_snapshot!(changed(&["tls.certificate = tls.crt"]).fault(), @"POSTERN__TLS__CERTIFICATE  tls.certificate  tls.crt depends on the working directory  a path from the root: /run/secrets/…");
    insta::assert_snapshot!(changed(&["tls.client_ca = ca.crt"]).fault(), @"POSTERN__TLS__CLIENT_CA  tls.client_ca  ca.crt depends on the working directory  a path from the root: /run/secrets/…");
    insta::assert_snapshot!(clear(&[]).fault(), @r#"tls  clear text on 0.0.0.0:7301  [tls], or listen.insecure = "mesh""#);
    insta::assert_snapshot!(clear(&["listen.grpc = 10.0.0.1:7301"]).fault(), @r#"tls  clear text on 10.0.0.1:7301  [tls], or listen.insecure = "mesh""#);
    insta::assert_snapshot!(clear(&["listen.grpc = 127.0.0.1:7301", "listen.operations = 0.0.0.0:7303"]).fault(), @r#"tls  clear text on 0.0.0.0:7303  [tls], or listen.insecure = "mesh""#);
    insta::assert_snapshot!(clear(&["listen.grpc = 127.0.0.1:7301", "listen.admin = 10.0.0.1:7304"]).fault(), @r#"tls  clear text on 10.0.0.1:7304  [tls], or listen.insecure = "mesh""#);
    insta::assert_snapshot!(changed(&["listen.insecure = mesh"]).fault(), @r#"POSTERN__LISTEN__INSECURE  listen.insecure  "mesh" beside [tls]: it cannot be both  keep one of them"#);
    insta::assert_snapshot!(changed(&["-client_ca", "listen.admin = 0.0.0.0:7304"]).fault(), @r#"POSTERN__LISTEN__ADMIN  listen.admin  anybody may try to administer at 0.0.0.0:7304  tls.client_ca, or "127.0.0.1:7304""#);
    insta::assert_snapshot!(changed(&["-client_ca", "tls.require_client_certificate = true"]).fault(), @r#"postern.toml:6  tls.require_client_certificate  true, but nobody is named who vouches for one  client_ca = "…""#);
    insta::assert_snapshot!(changed(&["listen.admin = 127.0.0.1:7301"]).fault(), @"POSTERN__LISTEN__ADMIN  listen.admin  127.0.0.1:7301 is also listen.grpc  a port of its own");
    insta::assert_snapshot!(changed(&["vault.redis.url.file = redis-url"]).fault(), @r#"POSTERN__VAULT__REDIS__URL__FILE  vault.redis.url.file  redis-url depends on the working directory  url = { file = "/run/secrets/redis-url" }"#);
    insta::assert_snapshot!(changed(&[]).with("[vault.redis]\nurl.value = 'rediss://me:canary@redis'").fault(), @r#"postern.toml:15  vault.redis.url.value  the password in it stands in the settings, which are copied and shown  url = { file = "/run/secrets/redis-url" }"#);
    insta::assert_snapshot!(changed(&[]).with("[vault.redis]\nurl.value = 'rediss://redis'\npassword.value = 'canary'").fault(), @r#"postern.toml:16  vault.redis.password.value  the password in it stands in the settings, which are copied and shown  password = { file = "/run/secrets/redis-password" }"#);
    insta::assert_snapshot!(changed(&["vault.redis.url.value = rediss://me:canary@redis", "vault.redis.ca = ca.pem"]).fault(), @"POSTERN__VAULT__REDIS__CA  vault.redis.ca  ca.pem depends on the working directory  a path from the root: /run/secrets/…");
    insta::assert_snapshot!(changed(&["log.filter = debug"]).fault(), @r#"POSTERN__LOG__FILTER  log.filter  "debug" logs more than production should keep  "info", or "info,postern=debug" for an hour"#);
    insta::assert_snapshot!(changed(&["log.filter = info,h2=debug"]).fault(), @r#"POSTERN__LOG__FILTER  log.filter  "h2=debug" logs more than production should keep  "info", or "info,postern=debug" for an hour"#);
    insta::assert_snapshot!(changed(&["log.filter = info,postern=trace"]).fault(), @r#"POSTERN__LOG__FILTER  log.filter  "postern=trace" logs more than production should keep  "info", or "info,postern=debug" for an hour"#);
    insta::assert_snapshot!(changed(&["log.filter = info,[rpc]"]).fault(), @r#"POSTERN__LOG__FILTER  log.filter  "[rpc]" logs more than production should keep  "info", or "info,postern=debug" for an hour"#);
    insta::assert_snapshot!(with_client("secrets = [{ value = 'pcs_canary' }]").fault(), @r#"postern.toml:12  clients[0].secrets[0].value  the secret itself stands in the settings, which are copied and shown  { file = "/run/secrets/…" }"#);
    insta::assert_snapshot!(with_client("secrets = [{ file = 'orders' }]").fault(), @r#"postern.toml:12  clients[0].secrets[0].file  orders depends on the working directory  "/run/secrets/…""#);
    insta::assert_snapshot!(changed(&["-client_ca"]).with("mtls_sans = ['orders']").fault(), @"postern.toml:12  clients[0].mtls_sans  nobody is named who vouches for certificates  tls.client_ca, or a secret instead");
    insta::assert_snapshot!(clear(&["listen.insecure = mesh"]).with("mtls_sans = ['orders']").fault(), @"postern.toml:9  clients[0].mtls_sans  nobody is named who vouches for certificates  tls.client_ca, or a secret instead");
    insta::assert_snapshot!(changed(&["sesions.idle_ttl = 7d"]).fault(), @"POSTERN__SESIONS__IDLE_TTL  sesions.idle_ttl  unknown key  did you mean sessions.idle_ttl?");
}

impl Case {
    fn with(self, line: &str) -> Self {
        let path = self.sources.file.clone().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}\n{line}\n")).unwrap();
        self
    }
}

#[test]
fn what_is_wrong_by_itself_is_told_once() {
    insta::assert_snapshot!(changed(&["issuer.url = auth.postern.dev"]).fault(), @r#"POSTERN__ISSUER__URL  issuer.url  "auth.postern.dev" does not start with https:// or http://  "https://auth.example.com""#);
    insta::assert_snapshot!(changed(&["listen.admin = 7304"]).fault(), @r#"POSTERN__LISTEN__ADMIN  listen.admin  "7304" is not an address with a port  "127.0.0.1:7304" or "[::1]:7304""#);
}

#[test]
fn what_is_the_operators_choice_is_warned_of() {
    assert_eq!(warnings(changed(&["log.filter = warn,postern=debug,postern::auth=debug"])), "");
    insta::assert_snapshot!(warnings(changed(&["issuer.url = https://auth.example.com"])), @"issuer.url: auth.example.com belongs to the documentation");
    insta::assert_snapshot!(warnings(changed(&["keys.master.file = /var/lib/postern/master.key"])), @"keys.master.file: lies beside what it seals: whoever copies the folder has both");
    insta::assert_snapshot!(warnings(changed(&["passwords.min_length = 14"])), @"passwords.min_length: 14 is little for a password that stands alone");
    insta::assert_snapshot!(warnings(changed(&["feed.when_stale = serve"])), @"feed.when_stale: a replica that hears nothing goes on saying yes");
    let served = ["gateway.url = https://auth.postern.dev", "listen.insecure = mesh"];
    insta::assert_snapshot!(warnings(clear(&served)), @r#"
    gateway.trusted_proxies: to the limits on tries, all browsers behind the proxy are one address, or none
    gateway.clients: nobody can sign in through it
    "#);
    assert!(!warnings(changed(&served[..1])).contains("trusted_proxies"));
    insta::assert_snapshot!(warnings(changed(&["tls.require_client_certificate = true"])), @"clients[0].mtls_sans: no certificate is its own, and each connection needs one");
    insta::assert_snapshot!(warnings(case(&format!("{RIGHT}{}", CLIENT.replace("postern.backend", "postern.admin")))), @"clients[0].roles: a program that administers everything");
    insta::assert_snapshot!(warnings(case(&format!("{RIGHT}{}", CLIENT.replace("'postern.backend'", "")))), @"clients[0].roles: it may call nothing");
}

#[test]
fn a_key_in_the_environment_is_taken() {
    let config = changed(&["-keys.master.file", "keys.master.value = canary"]).config();
    assert!(matches!(config.keys.master, SecretSource::Value(_)));
}

#[test]
fn providers_are_public_and_their_secrets_are_files() {
    let with = |lines: &str| case(&format!("{RIGHT}{CLIENT}[[providers]]\nid = 'kakao'\nclient_id = 'c'\n{lines}"));
    for (lines, told) in [
        (
            "client_secret = { value = 'canary' }",
            "providers[0].client_secret.value  the secret itself stands in the settings",
        ),
        (
            "client_secret = { file = 'kakao' }",
            "providers[0].client_secret.file  kakao depends on the working directory",
        ),
        ("admin_key = { value = 'canary' }", "providers[0].admin_key.value"),
        ("ca = 'ca.pem'", "providers[0].ca  ca.pem depends on the working directory"),
        ("issuer = 'https://127.0.0.1:8443'", "providers[0].issuer  https://127.0.0.1:8443 is this machine"),
        ("issuer = 'http://localhost:8080'", "providers[0].issuer  http://localhost:8080 is this machine"),
        (
            "jwks_uri = 'http://127.0.0.1:8080/jwks'",
            "providers[0].jwks_uri  http://127.0.0.1:8080/jwks is in clear text",
        ),
        ("redirect_uri = 'http://localhost/back'", "providers[0].redirect_uri"),
    ] {
        let fault = with(lines).fault();
        assert!(fault.contains(told) && !fault.contains("canary"), "{lines}: {fault}");
    }
    let safe = "client_secret = { file = '/run/secrets/kakao' }\n";
    assert_eq!(warnings(with(safe)), "");
    assert!(warnings(with(&format!("{safe}private_network = true"))).contains("providers[0].private_network"));
}

#[test]
fn issuers_publish_over_https_and_their_secrets_are_files() {
    let old = "[[trusted_issuers]]\nname = 'old'\nclients = ['shop']\n";
    let with = |lines: &str| case(&format!("{RIGHT}{CLIENT}{old}{lines}"));
    let published = "issuer = 'https://sso.example.com'\naudience = 'shop'\n";
    for (lines, told) in [
        ("secret = { value = 'canary' }", "trusted_issuers[0].secret.value  the secret itself stands in the settings"),
        ("secret = { file = 'old' }", "trusted_issuers[0].secret.file  old depends on the working directory"),
        (
            &format!("{published}jwks_uri = 'http://127.0.0.1:8080/keys'"),
            "trusted_issuers[0].jwks_uri  http://127.0.0.1:8080/keys is in clear text",
        ),
        (
            &format!("{published}jwks_uri = 'https://sso.example.com/keys'\nca = 'ca.pem'"),
            "trusted_issuers[0].ca  ca.pem depends on the working directory",
        ),
    ] {
        let fault = with(lines).fault();
        assert!(fault.contains(told) && !fault.contains("canary"), "{lines}: {fault}");
    }
    let file = "secret = { file = '/run/secrets/old' }\n";
    assert!(warnings(with(file)).contains("trusted_issuers[0].until"));
    let ending = format!("{file}until = '2027-03-31T00:00:00Z'\n");
    assert_eq!(warnings(with(&ending)), "");
    assert!(warnings(with(&format!("{ending}once = false"))).contains("trusted_issuers[0].once"));
    assert!(warnings(with(&format!("{ending}person = 'email'"))).contains("trusted_issuers[0].person"));
}
