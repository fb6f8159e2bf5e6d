//! What a server says once it serves: to a person, or one JSON object a line to whatever keeps the log.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::shell_word;
use super::table::{Lines, padded, plain};
use super::view::Paint;
use crate::app::{InitialPassword, StartReport, StorePlace};
use crate::config::Profile;

const DEFAULT_PORT: u16 = 7301;

/// The block on a terminal.
pub(super) fn for_people(report: &StartReport, program: &str, paint: Paint) -> String {
    let title = paint.strong(&format!("Postern {}", report.version));
    let reach = if is_local(report) { ", this machine only" } else { "" };
    let mut out = Lines::default();
    out.add(format_args!("\n  {title}   {} profile{reach}\n", profile(report.profile)));
    let created =
        |created, then: &str, otherwise: &str| if created { format!("created, {then}") } else { otherwise.to_owned() };
    let schema = format!("schema {}", report.schema);
    let reflection = if report.reflection { "reflection on" } else { "reflection off" };
    let tls = if report.tls { "TLS" } else { "no TLS" };
    let mut rows = vec![
        ("store", store(&report.store), created(report.store_created, &schema, &schema)),
        (
            "keys",
            report.master_key_path.as_deref().map_or_else(|| "master key from the settings".to_owned(), path),
            created(report.master_key_created, "keep it with your backups", "opened"),
        ),
        ("", format!("{} {}", report.signing_key.algorithm, short(&report.signing_key.kid)), "signing".to_owned()),
        ("gRPC", report.grpc.to_string(), format!("{tls}, {reflection}")),
    ];
    if let Some(vault) = &report.vault {
        rows.insert(1, ("vault", plain(vault), "sessions".to_owned()));
    }
    if let Some(admin) = report.admin {
        rows.push(("admin", admin.to_string(), format!("{tls}, AdminService is only here")));
    }
    if let Some(url) = &report.gateway {
        rows.push(("browser", plain(url), String::new()));
    }
    rows.extend([
        ("issuer", plain(&report.issuer), "in every token".to_owned()),
        ("health", format!("{}://{}/readyz", scheme(report), reachable(report.operations)), String::new()),
        ("metrics", format!("{}://{}/metrics", scheme(report), reachable(report.operations)), String::new()),
    ]);
    for (name, what, how) in rows {
        let line = format!("  {}{}  {}", padded(name, 10), padded(&what, 32), paint.faint(&how));
        out.add(line.trim_end());
    }
    if let Some(administrator) = &report.administrator {
        let user = &administrator.user;
        match &administrator.password {
            InitialPassword::Shown(password) => {
                let password = paint.strong(password.expose_secret());
                out.add(format_args!(
                    "\n  Administrator, shown this once:\n    user      {user}\n    password  {password}"
                ));
            }
            InitialPassword::InFile(file) => {
                let file = path(file);
                out.add(format_args!("\n  Administrator:\n    user      {user}\n    password  in {file}"));
            }
        }
        let login = paint.strong(&format!("{} login {}{}", shell_word(program), shell_word(user), server_flag(report)));
        out.add(format_args!("\n  Next, in another terminal:\n    {login}"));
    }
    let millis = report.elapsed.as_millis();
    out.add(format_args!("\n  Ready in {millis} ms. Ctrl-C stops it; everything is kept.\n"));
    out.finish()
}

/// One fact a line. Never the password, whatever the report holds: lines are kept.
pub(super) fn for_programs(report: &StartReport) -> String {
    let mut facts = vec![
        json!({ "fact": "postern", "version": report.version, "profile": profile(report.profile) }),
        json!({ "fact": "store", "path": store(&report.store), "created": report.store_created,
                "schema": report.schema }),
        json!({ "fact": "master_key", "path": report.master_key_path.as_deref().map(path), "created": report.master_key_created }),
        json!({ "fact": "signing_key", "algorithm": report.signing_key.algorithm, "kid": report.signing_key.kid }),
        json!({ "fact": "issuer", "url": report.issuer }),
        json!({ "fact": "grpc", "address": report.grpc.to_string(), "tls": report.tls, "reflection": report.reflection }),
    ];
    if let Some(vault) = &report.vault {
        facts.push(json!({ "fact": "vault", "address": plain(vault) }));
    }
    if let Some(admin) = report.admin {
        facts.push(json!({ "fact": "admin", "address": admin.to_string(), "tls": report.tls }));
    }
    facts.push(json!({ "fact": "operations", "address": report.operations.to_string(), "tls": report.tls }));
    if let Some(url) = &report.gateway {
        facts.push(json!({ "fact": "gateway", "url": url, "tls": report.tls }));
    }
    if let Some(administrator) = &report.administrator {
        let file = match &administrator.password {
            InitialPassword::InFile(file) => Value::from(path(file)),
            InitialPassword::Shown(_) => Value::Null,
        };
        facts.push(json!({ "fact": "administrator", "user": administrator.user, "password_file": file }));
    }
    let millis = u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX);
    facts.push(json!({ "fact": "ready", "after_ms": millis }));
    let mut out = Lines::default();
    for fact in &facts {
        out.add(fact);
    }
    out.finish()
}

const fn profile(profile: Profile) -> &'static str {
    match profile {
        Profile::Development => "development",
        Profile::Production => "production",
    }
}

fn is_local(report: &StartReport) -> bool {
    let addresses = [Some(report.grpc), report.admin, Some(report.operations)];
    addresses.into_iter().flatten().all(|address| address.ip().is_loopback())
}

const fn scheme(report: &StartReport) -> &'static str {
    if report.tls { "https" } else { "http" }
}

fn path(path: &Path) -> String {
    plain(&path.display().to_string())
}

fn store(place: &StorePlace) -> String {
    match place {
        StorePlace::File(file) => path(file),
        StorePlace::Server(server) => format!("PostgreSQL {}", plain(server)),
    }
}

/// The ends of a key's id are enough to tell two keys apart at a glance.
fn short(kid: &str) -> String {
    match (kid.get(..4), kid.len().checked_sub(3).and_then(|start| kid.get(start..))) {
        (Some(head), Some(tail)) if kid.len() > 12 => format!("{head}…{tail}"),
        _ => kid.to_owned(),
    }
}

/// Nobody can connect to an address that means "all".
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Only where the client would not look by itself.
fn server_flag(report: &StartReport) -> String {
    let address = reachable(report.grpc);
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT));
    if address == usual && !report.tls { String::new() } else { format!(" --server {}://{address}", scheme(report)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{NewAdministrator, SigningKeyReport};
    use std::time::Duration;

    fn report(password: InitialPassword) -> StartReport {
        StartReport {
            version: "0.1.0",
            profile: Profile::Development,
            store: StorePlace::File("./postern-data/postern.db".into()),
            vault: None,
            store_created: true,
            schema: 1,
            master_key_path: Some("./postern-data/master.key".into()),
            master_key_created: true,
            signing_key: SigningKeyReport {
                algorithm: "EdDSA",
                kid: "qJ3vAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAx0A".to_owned(),
            },
            issuer: "http://127.0.0.1:7302".to_owned(),
            grpc: ([127, 0, 0, 1], 7301).into(),
            admin: None,
            operations: ([127, 0, 0, 1], 7303).into(),
            gateway: Some("http://127.0.0.1:7302".to_owned()),
            tls: false,
            reflection: true,
            administrator: Some(NewAdministrator { user: "admin".to_owned(), password }),
            elapsed: Duration::from_micros(43_210),
        }
    }

    fn shown() -> InitialPassword {
        InitialPassword::Shown("kelp-vivid-oxide-9-tundra".to_owned().into())
    }

    #[test]
    fn the_first_start_shows_the_way() {
        insta::assert_snapshot!(for_people(&report(shown()), "./target/release/postern", Paint::Off));
    }

    #[test]
    fn a_later_start_elsewhere_is_shorter() {
        let mut report = report(shown());
        (report.store_created, report.master_key_created, report.administrator) = (false, false, None);
        report.grpc = ([0, 0, 0, 0], 7311).into();
        insta::assert_snapshot!(for_people(&report, "postern", Paint::Off));
        report.administrator = Some(NewAdministrator { user: "admin".to_owned(), password: shown() });
        assert!(for_people(&report, "postern", Paint::Off).contains("login admin --server http://127.0.0.1:7311\n"));
    }

    #[test]
    fn what_is_encrypted_and_where_administration_is() {
        let mut report = report(shown());
        (report.tls, report.reflection, report.admin) = (true, false, Some(([10, 0, 0, 1], 7304).into()));
        let people = for_people(&report, "postern", Paint::Off);
        for line in [
            "gRPC      127.0.0.1:7301                    TLS, reflection off\n",
            "admin     10.0.0.1:7304                     TLS, AdminService is only here\n",
            "health    https://127.0.0.1:7303/readyz\n",
            "postern login admin --server https://127.0.0.1:7301\n",
        ] {
            assert!(people.contains(line), "{line}: {people}");
        }
        assert!(!people.contains("this machine only"), "{people}");
        let programs = for_programs(&report);
        assert!(programs.contains(r#"{"address":"10.0.0.1:7304","fact":"admin","tls":true}"#), "{programs}");
    }

    #[test]
    fn programs_get_a_fact_a_line_and_never_the_password() {
        let file = for_programs(&report(InitialPassword::InFile("postern-data/initial-admin-password".into())));
        insta::assert_snapshot!(file);
        for line in file.lines() {
            assert!(serde_json::from_str::<Value>(line).unwrap().is_object());
        }
        assert!(!for_programs(&report(shown())).contains("kelp"));
    }
}
