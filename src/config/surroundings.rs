//! The settings held against this machine: whether the files they name are there and private, and whether there is memory
//! for what they ask. Reads, and never makes or changes anything; what a file holds is not told.

mod redis;

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statvfs};
use secrecy::ExposeSecret as _;

pub(super) use self::redis::holds_a_password;
use super::production::Judgement;
use super::{Client, Config, Passwords, Postgres, Profile, SecretError, SecretSource, Store, Tls, Vault};
use crate::breached::BreachedFile;
use crate::domain::client::ClientSecret;

/// What the process needs beside the memory of its hashing threads.
const BASE_BYTES: u64 = 64 << 20;
/// No certificate or chain of them is longer.
const PEM_BYTES_MAX: u64 = 1 << 20;
const WRITABLE_BY_ANYBODY: u32 = 0o002;

pub(super) fn judge(config: &Config) -> Judgement {
    let mut found = Judgement::default();
    master_key(config, &mut found);
    if let Some(tls) = &config.tls {
        certificates(tls, &mut found);
    }
    if let Store::Postgres(server) = &config.store {
        postgres(server, config.profile, &mut found);
    }
    if let Vault::Redis(server) = &config.vault {
        redis::judge(server, config.profile, &mut found);
    }
    for (index, client) in config.clients.iter().enumerate() {
        secrets(index, client, &mut found);
    }
    if config.serves_gateway() {
        gateway(config, &mut found);
    }
    breached(&config.passwords, &mut found);
    pepper(&config.passwords, &mut found);
    memory(&config.passwords, config.profile, memory_limit(), &mut found);
    found
}

fn master_key(config: &Config, found: &mut Judgement) {
    let SecretSource::File(path) = &config.keys.master else { return };
    let key = "keys.master.file";
    match config.keys.master.open() {
        Ok(_) => {}
        // The first start makes one.
        Err(SecretError::Missing { .. }) if config.profile == Profile::Development => {}
        Err(SecretError::Missing { path }) => {
            let right = "put it there, or make the first one with `postern master-key new`";
            found.refuse(key, format!("{} does not exist", path.display()), right);
        }
        Err(why) => found.refuse(key, why.to_string(), "a file of your own, chmod 600"),
    }
    if config.profile == Profile::Production
        && let Some(folder) = path.parent()
        && is_open_to_all(folder)
    {
        let wrong = format!("anybody may put another file in its place: {} is open to all", folder.display());
        found.refuse(key, wrong, "a folder that only you may write");
    }
}

fn breached(passwords: &Passwords, found: &mut Judgement) {
    let Some(path) = &passwords.breached_file else { return };
    if let Err(why) = BreachedFile::at(path.clone()).check() {
        let right = "the list of Have I Been Pwned by SHA-1, ordered by hash";
        found.refuse("passwords.breached_file", format!("{}: {why}", path.display()), right);
    }
}

fn pepper(passwords: &Passwords, found: &mut Judgement) {
    let Some(path) = &passwords.pepper_file else { return };
    if let Err(why) = SecretSource::File(path.clone()).open() {
        let right = "a file of your own, chmod 600, made with `postern master-key new`";
        found.refuse("passwords.pepper_file", why.to_string(), right);
    }
}

/// Also a sticky one: whoever made a file there may exchange it. Kubernetes mounts secrets in folders of mode 1777, but
/// read-only, and then the mode means nothing.
fn is_open_to_all(folder: &Path) -> bool {
    let is_open = |metadata: std::fs::Metadata| metadata.permissions().mode() & WRITABLE_BY_ANYBODY != 0;
    std::fs::metadata(folder).is_ok_and(is_open)
        && !statvfs(folder).is_ok_and(|volume| volume.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn postgres(server: &Postgres, profile: Profile, found: &mut Judgement) {
    let right = "postgres://user:password@host:5432/database?sslmode=verify-full&sslrootcert=/path/ca.pem";
    // Who only serves need not have the owner's.
    let owner = server.migrate_url.as_ref().filter(|_| server.migrate);
    let urls = [("store.postgres.url", Some(&server.url)), ("store.postgres.migrate_url", owner)];
    for (key, secret) in urls {
        match secret.map(SecretSource::open) {
            Some(Err(why)) => found.refuse(key, why.to_string(), "a file of your own, chmod 600"),
            Some(Ok(url)) if profile == Profile::Production => {
                if let Some(wrong) = is_readable_on_the_way(url.expose_secret()) {
                    found.refuse(key, wrong, right);
                }
            }
            Some(Ok(_)) | None => {}
        }
    }
}

/// Whether somebody between us and the server could read along or answer in its place. A URL without `sslmode` means
/// `verify-full`, save on this machine.
fn is_readable_on_the_way(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (authority, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = authority.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = host.strip_prefix('[').map_or_else(
        || host.rsplit_once(':').map_or(host, |(host, _port)| host),
        |address| address.split(']').next().unwrap_or_default(),
    );
    let own = host.is_empty()
        || host == "localhost"
        || host.starts_with("%2F")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    // One `host` among the parameters is the one that counts.
    let mut modes = parameters.split('&').filter_map(|pair| pair.split_once('='));
    let own = own && !parameters.split('&').any(|pair| pair.starts_with("host"));
    let weak = modes.find(|(name, mode)| matches!(*name, "sslmode" | "ssl-mode") && *mode != "verify-full")?;
    (!own).then(|| format!("sslmode={} lets others read along or answer in the server's place", weak.1))
}

fn certificates(tls: &Tls, found: &mut Judgement) {
    let mut certificate = |key: &str, path: &Path| {
        if let Err(wrong) = holds(path, "CERTIFICATE") {
            found.refuse(key, wrong, "certificates in PEM");
        }
    };
    certificate("tls.certificate", &tls.certificate);
    if let Some(path) = &tls.client_ca {
        certificate("tls.client_ca", path);
    }
    let right = "a private key in PEM, chmod 600";
    match SecretSource::File(tls.key.clone()).open() {
        Ok(text) if !text.expose_secret().contains("PRIVATE KEY-----") => {
            found.refuse("tls.key", format!("{}: holds no private key", tls.key.display()), right);
        }
        Ok(_) => {}
        Err(why) => found.refuse("tls.key", why.to_string(), right),
    }
}

fn holds(path: &Path, label: &str) -> Result<(), String> {
    let told = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    if !std::fs::metadata(path).map_err(|why| told(&why))?.is_file() {
        return Err(told(&"not a regular file"));
    }
    let mut text = String::new();
    let file = File::open(path).map_err(|why| told(&why))?;
    file.take(PEM_BYTES_MAX).read_to_string(&mut text).map_err(|why| told(&why))?;
    if text.contains(&format!("-----BEGIN {label}-----")) { Ok(()) } else { Err(told(&"holds no certificate")) }
}

/// As [`judge`], for a gateway that is a process of its own.
pub(super) fn judge_gateway(config: &Config) -> Judgement {
    let mut found = Judgement::default();
    if let Some(tls) = &config.tls {
        certificates(tls, &mut found);
    }
    gateway(config, &mut found);
    let ca = config.gateway.server_ca.as_ref();
    if let Some(Err(wrong)) = ca.map(|path| holds(path, "CERTIFICATE")) {
        found.refuse("gateway.server_ca", wrong, "a certificate in PEM");
    }
    found
}

fn gateway(config: &Config, found: &mut Judgement) {
    for (index, client) in config.gateway.clients.iter().enumerate() {
        if let Some(source) = &client.secret {
            secret(&format!("gateway.clients[{index}].secret"), source, found);
        }
    }
}

fn secrets(index: usize, client: &Client, found: &mut Judgement) {
    for (number, source) in client.secrets.iter().enumerate() {
        secret(&format!("clients[{index}].secrets[{number}]"), source, found);
    }
}

fn secret(key: &str, secret: &SecretSource, found: &mut Judgement) {
    let (form, place) = match secret {
        SecretSource::File(path) => ("file", format!("{}: ", path.display())),
        SecretSource::Value(_) => ("value", String::new()),
    };
    let wrong = match secret.open() {
        Err(why) => why.to_string(),
        Ok(text) if text.expose_secret().parse::<ClientSecret>().is_err() => {
            format!("{place}no secret of a client")
        }
        Ok(_) => return,
    };
    let right = "`pcs_` and 32 random bytes in base64url, chmod 600";
    found.refuse(format!("{key}.{form}"), wrong, right);
}

/// Out of memory, the system would end the process in the middle of a storm of sign-ins.
fn memory(passwords: &Passwords, profile: Profile, limit: Option<u64>, found: &mut Judgement) {
    let Some(limit) = limit else { return };
    let hashing = (passwords.threads as u64).saturating_mul(u64::from(passwords.memory_kib) << 10);
    let needed = hashing.saturating_add(BASE_BYTES);
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    if needed <= limit {
        return;
    }
    let wrong = format!(
        "{} threads of {} KiB need {} MiB with all else, and there are {}",
        passwords.threads,
        passwords.memory_kib,
        mib(needed),
        mib(limit)
    );
    let right = "fewer threads, or more memory";
    match profile {
        Profile::Production => found.refuse("passwords.threads", wrong, right),
        Profile::Development => found.warn("passwords.threads", wrong, right),
    }
}

/// At least one: whether that fits is for [`judge`] to say.
pub(super) fn threads_that_fit(memory_kib: u32, limit: Option<u64>) -> usize {
    let room = limit.map(|limit| limit.saturating_sub(BASE_BYTES) / (u64::from(memory_kib) << 10).max(1));
    room.map_or(usize::MAX, |room| usize::try_from(room).unwrap_or(usize::MAX)).max(1)
}

/// What this process may use: the limit of its control group, and what the machine has.
pub(super) fn memory_limit() -> Option<u64> {
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let group = groups.iter().filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok());
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    group.chain(machine).min()
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DEFAULT_DATA_DIR;

    /// The right production settings over files in a folder, changed.
    fn told(change: impl FnOnce(&Path, &mut Config)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let mut config = Config::production_defaults(dir.path());
        config.passwords.threads = 1;
        config.keys.master = SecretSource::File(file("master.key", "canary"));
        config.tls = Some(Tls {
            certificate: file("tls.crt", "-----BEGIN CERTIFICATE-----\ncanary"),
            key: file("tls.key", "-----BEGIN PRIVATE KEY-----\ncanary"),
            client_ca: Some(file("ca.crt", "-----BEGIN CERTIFICATE-----\ncanary")),
            require_client_certificate: false,
        });
        config.passwords.pepper_file = Some(file("pepper", "canary"));
        config.passwords.breached_file = Some(file("breached", &format!("{}:1\n", "0".repeat(40))));
        change(dir.path(), &mut config);
        let found = judge(&config);
        let line = |finding: &super::super::production::Finding| {
            format!("{}: {}", finding.key, finding.wrong).replace(dir.path().to_str().unwrap(), "DIR")
        };
        found.refusals.iter().map(line).collect()
    }

    /// Row 167.
    #[test]
    fn production_speaks_to_postgres_elsewhere_in_secret_only() {
        for (url, wrong) in [
            ("postgres://ann@db.example/orders", None),
            ("postgres://ann@db.example/orders?sslmode=verify-full", None),
            ("postgres://ann:sslmode=disable@db.example/orders", None),
            ("postgres://ann@db.example/orders?sslmode=disable", Some("sslmode=disable")),
            ("postgres://ann@db.example/orders?sslmode=prefer", Some("sslmode=prefer")),
            ("postgres://ann@db.example/orders?sslmode=require", Some("sslmode=require")),
            ("postgres://ann@db.example/orders?sslmode=verify-full&sslmode=verify-ca", Some("sslmode=verify-ca")),
            ("postgres://ann@127.0.0.1/orders?sslmode=disable&host=db.example", Some("sslmode=disable")),
            ("postgres://ann@127.0.0.1/orders?sslmode=disable", None),
            ("postgres://ann@[::1]:5432/orders?sslmode=disable", None),
        ] {
            let told = is_readable_on_the_way(url);
            assert_eq!(told.as_deref().and_then(|told| told.split(' ').next()), wrong, "{url}");
        }
    }

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn files_are_there_and_private() {
        assert_eq!(told(|_, _| {}), [""; 0]);
        let one = |change: fn(&Path)| {
            let told = told(|dir, _| change(dir));
            assert!(told.len() == 1 && !told[0].contains("canary"), "{told:?}");
            told.concat()
        };
        insta::assert_snapshot!(one(|dir| std::fs::remove_file(dir.join("master.key")).unwrap()), @"keys.master.file: DIR/master.key does not exist");
        insta::assert_snapshot!(one(|dir| mode(&dir.join("master.key"), 0o644)), @"keys.master.file: DIR/master.key: open to other users (mode 0644); close it: chmod 600 'DIR/master.key'");
        insta::assert_snapshot!(one(|dir| mode(dir, 0o777)), @"keys.master.file: anybody may put another file in its place: DIR is open to all");
        insta::assert_snapshot!(one(|dir| mode(dir, 0o1777)), @"keys.master.file: anybody may put another file in its place: DIR is open to all");
        insta::assert_snapshot!(one(|dir| mode(&dir.join("tls.key"), 0o640)), @"tls.key: DIR/tls.key: open to other users (mode 0640); close it: chmod 600 'DIR/tls.key'");
        insta::assert_snapshot!(one(|dir| std::fs::remove_file(dir.join("tls.key")).unwrap()), @"tls.key: DIR/tls.key: there is no such file");
        insta::assert_snapshot!(one(|dir| std::fs::write(dir.join("tls.key"), "canary").unwrap()), @"tls.key: DIR/tls.key: holds no private key");
        insta::assert_snapshot!(one(|dir| std::fs::remove_file(dir.join("tls.crt")).unwrap()), @"tls.certificate: DIR/tls.crt: No such file or directory (os error 2)");
        insta::assert_snapshot!(one(|dir| std::fs::write(dir.join("ca.crt"), "canary").unwrap()), @"tls.client_ca: DIR/ca.crt: holds no certificate");
        insta::assert_snapshot!(one(|dir| std::fs::write(dir.join("breached"), "B\nA\n").unwrap()), @"passwords.breached_file: DIR/breached: a line is not a SHA-1 hash in upper case, a colon and a count");
        insta::assert_snapshot!(one(|dir| mode(&dir.join("pepper"), 0o644)), @"passwords.pepper_file: DIR/pepper: open to other users (mode 0644); close it: chmod 600 'DIR/pepper'");
        insta::assert_snapshot!(one(|dir| std::fs::remove_file(dir.join("breached")).unwrap()), @"passwords.breached_file: DIR/breached: No such file or directory (os error 2)");
        insta::assert_snapshot!(one(|dir| std::fs::remove_file(dir.join("ca.crt")).unwrap()), @"tls.client_ca: DIR/ca.crt: No such file or directory (os error 2)");
    }

    #[test]
    fn a_secret_of_a_client_is_there_and_private() {
        let client = |dir: &Path, config: &mut Config| {
            let client = Client {
                id: "orders".parse().unwrap(),
                display_name: String::new(),
                mtls_sans: Vec::new(),
                secrets: vec![SecretSource::File(dir.join("orders"))],
                audience: String::new(),
                token_audiences: Vec::new(),
                return_urls: Vec::new(),
                roles: Vec::new(),
                session_policy: crate::domain::client::SessionLimits::default(),
            };
            config.clients.push(client);
        };
        insta::assert_snapshot!(told(client).concat(), @"clients[0].secrets[0].file: DIR/orders: there is no such file");
        let open = told(|dir, config| {
            client(dir, config);
            std::fs::write(dir.join("orders"), "canary").unwrap();
            mode(&dir.join("orders"), 0o644);
        });
        let other = told(|dir, config| {
            client(dir, config);
            std::fs::write(dir.join("orders"), "canary").unwrap();
            mode(&dir.join("orders"), 0o600);
        });
        insta::assert_snapshot!(other.concat(), @"clients[0].secrets[0].file: DIR/orders: no secret of a client");
        insta::assert_snapshot!(open.concat(), @"clients[0].secrets[0].file: DIR/orders: open to other users (mode 0644); close it: chmod 600 'DIR/orders'");
    }

    #[test]
    fn development_makes_its_own_key() {
        let dir = tempfile::tempdir().unwrap();
        assert!(judge(&Config::development_defaults(dir.path())).refusals.is_empty());
    }

    #[test]
    fn hashing_fits_into_the_memory() {
        let mut passwords = Config::development_defaults(Path::new(DEFAULT_DATA_DIR)).passwords;
        (passwords.threads, passwords.memory_kib) = (16, 65_536);
        let judged = |profile, limit| {
            let mut found = Judgement::default();
            memory(&passwords, profile, limit, &mut found);
            (found.refusals.len(), found.warnings.len(), found.refusals.pop().map(|finding| finding.wrong))
        };
        let needed = (16 * 64 + 64) << 20;
        assert_eq!(judged(Profile::Production, Some(needed)).0, 0);
        assert_eq!(judged(Profile::Production, None).0, 0);
        let (refusals, _, wrong) = judged(Profile::Production, Some(needed - 1));
        assert_eq!(refusals, 1);
        insta::assert_snapshot!(wrong.unwrap(), @"16 threads of 65536 KiB need 1088 MiB with all else, and there are 1088");
        assert_eq!(judged(Profile::Development, Some(1 << 20)), (0, 1, None));
    }

    #[test]
    fn as_many_threads_as_the_memory_holds() {
        let limit = |mib: u64| Some((64 + mib) << 20);
        assert_eq!(threads_that_fit(65_536, limit(640)), 10);
        assert_eq!(threads_that_fit(65_536, limit(639)), 9);
        assert_eq!(threads_that_fit(65_536, limit(0)), 1);
        assert_eq!(threads_that_fit(65_536, Some(0)), 1);
        assert_eq!(threads_that_fit(65_536, None), usize::MAX);
    }

    #[test]
    fn the_machine_says_what_it_has() {
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert_eq!(total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert!(memory_limit().is_some_and(|bytes| bytes > 1 << 20));
    }
}
