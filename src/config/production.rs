//! What production does not start with, and what it warns of: one pure judgement over settings that are each sound by
//! themselves. Development needs none of it, since it listens on loopback only.
//!
//! Left to the operator, with a warning: `feed.when_stale = "serve"`, passwords below 15 code points, HS256, a declared
//! client that administers. Nothing of this can be switched off: a server that is unsafe on purpose is a development one.

mod providers;
mod trusted;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use tracing_subscriber::filter::LevelFilter;

use super::read::host_of;
use super::surroundings::holds_a_password;
use super::{Client, Config, DEFAULT_DATA_DIR, Fault, Insecure, SecretSource, Source, Store, Vault, WhenStale};

/// What NIST asks of a password that stands alone (SP 800-63B-4, section 3.1.1.2).
const MIN_LENGTH_ADVISED: usize = 15;

/// Something about a setting: what is wrong, what would be right.
pub(super) struct Finding {
    pub(super) key: String,
    pub(super) wrong: String,
    pub(super) right: String,
}

impl Finding {
    pub(super) fn at(self, source_of: impl Fn(&str) -> Source) -> Fault {
        Fault::new(source_of(&self.key), self.key, self.wrong, self.right)
    }
}

#[derive(Default)]
pub(super) struct Judgement {
    /// It does not start.
    pub(super) refusals: Vec<Finding>,
    /// It starts, and says so.
    pub(super) warnings: Vec<Finding>,
}

impl Judgement {
    pub(super) fn refuse(&mut self, key: impl Into<String>, wrong: impl Into<String>, right: impl Into<String>) {
        self.refusals.push(Finding { key: key.into(), wrong: wrong.into(), right: right.into() });
    }

    pub(super) fn warn(&mut self, key: impl Into<String>, wrong: impl Into<String>, right: impl Into<String>) {
        self.warnings.push(Finding { key: key.into(), wrong: wrong.into(), right: right.into() });
    }
}

/// Judges the settings together. `source_of` says where a setting, or anything below a section, was written.
pub(super) fn judge(config: &Config, source_of: impl Fn(&str) -> Source) -> Judgement {
    let mut found = Judgement::default();
    issuer(config, &mut found);
    master_key(config, &source_of, &mut found);
    places(config, &source_of, &mut found);
    vault(config, &source_of, &mut found);
    doors(config, &mut found);
    log(config, &mut found);
    if config.serves_gateway() {
        gateway(config, &mut found);
    }
    for (index, client) in config.clients.iter().enumerate() {
        declared(config, &format!("clients[{index}]"), client, &mut found);
    }
    for (index, provider) in config.providers.iter().enumerate() {
        providers::judge(&format!("providers[{index}]"), provider, &mut found);
    }
    for (index, issuer) in config.trusted_issuers.iter().enumerate() {
        trusted::judge(&format!("trusted_issuers[{index}]"), issuer, &mut found);
    }
    if config.keys.algorithm.name() == "HS256" {
        let wrong = "HS256 has no public half: only this service can check its tokens";
        found.warn("keys.algorithm", wrong, "EdDSA, or ES256 if others check them");
    }
    if config.passwords.min_length < MIN_LENGTH_ADVISED {
        let wrong = format!("{} is little for a password that stands alone", config.passwords.min_length);
        found.warn("passwords.min_length", wrong, format!("{MIN_LENGTH_ADVISED} or more"));
    }
    if config.feed.when_stale == WhenStale::Serve {
        let wrong = "a replica that hears nothing goes on saying yes";
        found.warn("feed.when_stale", wrong, "\"refuse\", or backends that heed the mark in the answer");
    }
    found
}

fn issuer(config: &Config, found: &mut Judgement) {
    let right = "issuer.url = \"https://auth.example.com\"";
    let key = "issuer.url";
    let Some(url) = &config.issuer.url else {
        return found.refuse(key, "missing: the https URL that goes into `iss`", right);
    };
    let host = host_of(url);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if !url.starts_with("https://") {
        found.refuse(key, format!("{url} is in clear text: keys fetched from there prove nothing"), right);
    } else if bare == "localhost" || bare.ends_with(".localhost") {
        found.refuse(key, format!("{host} is another machine for everybody who reads it"), right);
    } else if bare.parse::<IpAddr>().is_ok() {
        found.refuse(key, format!("{host} is an address, which moves; tokens keep the name"), right);
    } else if ["example.com", "example.org", "example.net"].iter().any(|name| is_within(bare, name)) {
        found.warn(key, format!("{host} belongs to the documentation"), "a name of your own");
    }
}

fn is_within(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn master_key(config: &Config, source_of: impl Fn(&str) -> Source, found: &mut Judgement) {
    let right = "keys.master = { file = \"/run/secrets/master.key\" }";
    let source = source_of("keys.master");
    match (&config.keys.master, source) {
        (_, Source::Default) => found.refuse("keys.master", "missing: create one with `postern master-key new`", right),
        (SecretSource::File(path), _) if !path.is_absolute() => {
            found.refuse("keys.master.file", relative(path), right);
        }
        (SecretSource::Value(_), Source::File { .. }) => {
            found.refuse(
                "keys.master.value",
                "the key itself stands in the settings, which are copied and shown",
                right,
            );
        }
        (SecretSource::Value(_), Source::CommandLine) => {
            found.refuse("keys.master.value", "every process of the machine can read the command line", right);
        }
        (SecretSource::File(path), _) if path.starts_with(&config.data_dir) => {
            let wrong = "lies beside what it seals: whoever copies the folder has both";
            found.warn("keys.master.file", wrong, "a folder that is not backed up with the data");
        }
        _ => {}
    }
}

/// A path that starts at the working directory names another place for each way of starting.
fn places(config: &Config, source_of: impl Fn(&str) -> Source, found: &mut Judgement) {
    match &config.store {
        Store::Sqlite { path: database } => {
            if source_of("data_dir") == Source::Default {
                let wrong = format!("{DEFAULT_DATA_DIR} is for development");
                found.refuse("data_dir", wrong, "data_dir = \"/var/lib/postern\"");
            } else if !config.data_dir.is_absolute() {
                found.refuse("data_dir", relative(&config.data_dir), "data_dir = \"/var/lib/postern\"");
            }
            if source_of("store.sqlite.path") != Source::Default && !database.is_absolute() {
                found.refuse("store.sqlite.path", relative(database), "\"/var/lib/postern/postern.db\"");
            }
        }
        // Nothing is kept here then.
        Store::Postgres(server) => {
            let right = "url = { file = \"/run/secrets/postgres-url\" }";
            written_secret("store.postgres.url", &server.url, right, &source_of, found);
            if let Some(url) = &server.migrate_url {
                written_secret("store.postgres.migrate_url", url, right, &source_of, found);
            }
        }
    }
    let Some(tls) = &config.tls else { return };
    let files = [
        ("tls.certificate", Some(&tls.certificate)),
        ("tls.key", Some(&tls.key)),
        ("tls.client_ca", tls.client_ca.as_ref()),
    ];
    for (key, path) in files {
        if let Some(path) = path.filter(|path| !path.is_absolute()) {
            found.refuse(key, relative(path), "a path from the root: /run/secrets/…");
        }
    }
}

/// Whether the way to Redis is safe is judged where its URL can be read.
fn vault(config: &Config, source_of: impl Fn(&str) -> Source, found: &mut Judgement) {
    let Vault::Redis(redis) = &config.vault else { return };
    let secret = |key, secret: &SecretSource, right, found: &mut Judgement| {
        written_secret(key, secret, right, &source_of, found);
    };
    if matches!(redis.url, SecretSource::File(_)) || holds_a_password(&redis.url) {
        secret("vault.redis.url", &redis.url, "url = { file = \"/run/secrets/redis-url\" }", found);
    }
    if let Some(password) = &redis.password {
        secret("vault.redis.password", password, "password = { file = \"/run/secrets/redis-password\" }", found);
    }
    if let Some(ca) = redis.ca.as_ref().filter(|ca| !ca.is_absolute()) {
        found.refuse("vault.redis.ca", relative(ca), "a path from the root: /run/secrets/…");
    }
}

/// A secret that is copied and shown with what stands around it is none.
fn written_secret(
    key: &str,
    secret: &SecretSource,
    right: &str,
    source_of: impl Fn(&str) -> Source,
    found: &mut Judgement,
) {
    match (secret, source_of(key)) {
        (SecretSource::File(path), _) if !path.is_absolute() => {
            found.refuse(format!("{key}.file"), relative(path), right);
        }
        (SecretSource::Value(_), Source::File { .. }) => {
            let wrong = "the password in it stands in the settings, which are copied and shown";
            found.refuse(format!("{key}.value"), wrong, right);
        }
        (SecretSource::Value(_), Source::CommandLine) => {
            found.refuse(format!("{key}.value"), "every process of the machine can read the command line", right);
        }
        _ => {}
    }
}

fn relative(path: &Path) -> String {
    format!("{} depends on the working directory", path.display())
}

fn doors(config: &Config, found: &mut Judgement) {
    let listen = &config.listen;
    let is_mesh = listen.insecure == Some(Insecure::Mesh);
    let mut doors = vec![("listen.grpc", listen.grpc), ("listen.operations", listen.operations)];
    if config.serves_gateway() {
        doors.push(("listen.gateway", listen.gateway));
    }
    doors.extend(listen.admin.map(|address| ("listen.admin", address)));
    let open: Vec<&(&str, SocketAddr)> = doors.iter().filter(|(_, address)| !address.ip().is_loopback()).collect();
    let client_ca = config.tls.as_ref().and_then(|tls| tls.client_ca.as_ref());

    if config.tls.is_some() && is_mesh {
        found.refuse("listen.insecure", "\"mesh\" beside [tls]: it cannot be both", "keep one of them");
    }
    if config.tls.is_none() && !is_mesh && !open.is_empty() {
        let addresses: Vec<String> = open.iter().map(|(_, address)| address.to_string()).collect();
        let wrong = format!("clear text on {}", addresses.join(" and "));
        found.refuse("tls", wrong, "[tls], or listen.insecure = \"mesh\"");
    }
    match listen.admin {
        None => found.refuse("listen.admin", "missing: AdminService needs a port of its own", "\"127.0.0.1:7304\""),
        Some(admin) if !admin.ip().is_loopback() && config.tls.is_some() && client_ca.is_none() => {
            let wrong = format!("anybody may try to administer at {admin}");
            found.refuse("listen.admin", wrong, "tls.client_ca, or \"127.0.0.1:7304\"");
        }
        Some(_) => {}
    }
}

/// What a gateway needs, in whichever process it is.
fn gateway(config: &Config, found: &mut Judgement) {
    let gateway = &config.gateway;
    let right = "gateway.url = \"https://auth.example.com\"";
    match &gateway.url {
        None => found.refuse("gateway.url", "missing: where browsers find it", right),
        Some(url) => {
            let host = host_of(url);
            if host == "localhost" || host.ends_with(".localhost") {
                found.refuse("gateway.url", format!("{host} is another machine for everybody who reads it"), right);
            }
        }
    }
    // Browsers speak TLS, and this does not: something is in between.
    if config.tls.is_none() && gateway.trusted_proxies.is_empty() {
        let wrong = "to the limits on tries, all browsers behind the proxy are one address, or none";
        found.warn("gateway.trusted_proxies", wrong, "the proxy's addresses: [\"10.0.0.0/8\"]");
    }
    if gateway.clients.is_empty() {
        found.warn("gateway.clients", "nobody can sign in through it", "[[gateway.clients]], for each program");
    }
    for (index, client) in gateway.clients.iter().enumerate() {
        let key = format!("gateway.clients[{index}].secret");
        match &client.secret {
            Some(SecretSource::Value(_)) => {
                let wrong = "the secret itself stands in the settings, which are copied and shown";
                found.refuse(format!("{key}.value"), wrong, "{ file = \"/run/secrets/…\" }");
            }
            Some(SecretSource::File(path)) if !path.is_absolute() => {
                found.refuse(format!("{key}.file"), relative(path), "\"/run/secrets/…\"");
            }
            Some(SecretSource::File(_)) | None => {}
        }
    }
    if let Some(ca) = gateway.server_ca.as_ref().filter(|ca| !ca.is_absolute()) {
        found.refuse("gateway.server_ca", relative(ca), "a path from the root: /run/secrets/…");
    }
    // A program that this very file declares must be one that a sign-in can come back to.
    for client in &config.clients {
        let served = gateway.clients.iter().position(|served| served.id == client.id);
        if let (Some(index), true) = (served, client.return_urls.is_empty()) {
            let wrong = format!("{} has no return_urls: nobody could come back to it", client.id);
            found.warn(format!("gateway.clients[{index}].id"), wrong, "return_urls = [\"https://…\"]");
        }
    }
}

/// As [`judge`], for a gateway that is a process of its own: what the server alone reads is none of its business.
pub(super) fn judge_gateway(config: &Config) -> Judgement {
    let mut found = Judgement::default();
    gateway(config, &mut found);
    log(config, &mut found);
    let address = config.listen.gateway;
    let is_mesh = config.listen.insecure == Some(Insecure::Mesh);
    if config.tls.is_some() && is_mesh {
        found.refuse("listen.insecure", "\"mesh\" beside [tls]: it cannot be both", "keep one of them");
    }
    if config.tls.is_none() && !is_mesh && !address.ip().is_loopback() {
        found.refuse("tls", format!("clear text on {address}"), "[tls], or listen.insecure = \"mesh\"");
    }
    let server = config.gateway.server.as_deref().unwrap_or_default();
    if server.starts_with("http://") && !is_mesh && !is_loopback(&host_of(server)) {
        let wrong = format!("{server} is in clear text, and the clients' secrets go there");
        found.refuse("gateway.server", wrong, "an https URL, or listen.insecure = \"mesh\"");
    }
    found
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Lines below `info` of the libraries hold what callers sent, and all of them together fill a disk.
fn log(config: &Config, found: &mut Judgement) {
    let too_much = config.log.filter.split(',').map(str::trim).find(|part| {
        let (target, level) = part.rsplit_once('=').unwrap_or(("", part));
        // A span without a level means all levels.
        let level = level.parse().unwrap_or(LevelFilter::TRACE);
        let ours = target == "postern" || target.starts_with("postern::");
        level > LevelFilter::DEBUG || (level > LevelFilter::INFO && !ours)
    });
    if let Some(part) = too_much {
        let right = "\"info\", or \"info,postern=debug\" for an hour";
        found.refuse("log.filter", format!("{part:?} logs more than production should keep"), right);
    }
}

fn declared(config: &Config, key: &str, client: &Client, found: &mut Judgement) {
    for (number, secret) in client.secrets.iter().enumerate() {
        match secret {
            SecretSource::Value(_) => {
                let wrong = "the secret itself stands in the settings, which are copied and shown";
                found.refuse(format!("{key}.secrets[{number}].value"), wrong, "{ file = \"/run/secrets/…\" }");
            }
            SecretSource::File(path) if !path.is_absolute() => {
                found.refuse(format!("{key}.secrets[{number}].file"), relative(path), "\"/run/secrets/…\"");
            }
            SecretSource::File(_) => {}
        }
    }
    let vouched = config.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if !client.mtls_sans.is_empty() && !vouched {
        let wrong = "nobody is named who vouches for certificates";
        found.refuse(format!("{key}.mtls_sans"), wrong, "tls.client_ca, or a secret instead");
    }
    if config.tls.as_ref().is_some_and(|tls| tls.require_client_certificate) && client.mtls_sans.is_empty() {
        let wrong = "no certificate is its own, and each connection needs one";
        found.warn(format!("{key}.mtls_sans"), wrong, "the name in its certificate");
    }
    let held: BTreeSet<&str> = client.roles.iter().map(crate::domain::role::RoleId::as_str).collect();
    if held.contains("postern.admin") {
        found.warn(format!("{key}.roles"), "a program that administers everything", "a role with what it needs");
    }
    if held.is_empty() {
        found.warn(format!("{key}.roles"), "it may call nothing", "roles = [\"postern.backend\"]");
    }
}
