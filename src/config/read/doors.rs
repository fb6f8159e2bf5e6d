//! Where it listens, and under which certificate.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::super::reader::{Key, Section, Wrong, quoted};
use super::super::{Insecure, Listen, Source, Tls};

pub(super) fn listen(section: &mut Section<'_>, is_loopback_only: bool, out: &mut Listen) {
    let key = |name, meaning| Key { name, meaning, bounds: "an address with a port".to_owned() };
    let address = |example: &str, text: &str| address(text, example, is_loopback_only);

    let meaning = "AuthService, and in development AdminService too";
    let example = out.grpc.to_string();
    let grpc = section.text(key("grpc", meaning), &mut out.grpc, ToString::to_string, |text| address(&example, text));
    let meaning = "AdminService, on a port of its own";
    let show = |address: &Option<SocketAddr>| address.map(|address| address.to_string()).unwrap_or_default();
    let admin =
        section.text(key("admin", meaning), &mut out.admin, show, |text| address("127.0.0.1:7304", text).map(Some));
    let example = out.operations.to_string();
    let operations = section.text(
        key("operations", "`/livez`, `/readyz`, `/metrics`"),
        &mut out.operations,
        ToString::to_string,
        |text| address(&example, text),
    );
    let example = out.gateway.to_string();
    let meaning = "the gateway, for browsers";
    let gateway =
        section.text(key("gateway", meaning), &mut out.gateway, ToString::to_string, |text| address(&example, text));
    let insecure = [("mesh", Some(Insecure::Mesh))];
    section.word("insecure", "who encrypts, where there is no `[tls]`: a service mesh", &insecure, &mut out.insecure);

    let mut doors = vec![("grpc", out.grpc, grpc)];
    doors.extend(out.admin.map(|address| ("admin", address, admin)));
    doors.push(("operations", out.operations, operations));
    doors.push(("gateway", out.gateway, gateway));
    for (index, (name, address, source)) in doors.iter().enumerate() {
        if let Some((other, _, place)) = doors.iter().take(index).find(|(_, other, _)| clash(*address, *other)) {
            let wrong = Wrong::new(format!("{address} is also listen.{other}"), "a port of its own");
            section.fault(name, source.clone().max(place.clone()), wrong);
        }
    }
}

fn address(text: &str, example: &str, is_loopback_only: bool) -> Result<SocketAddr, Wrong> {
    let Ok(address) = text.parse::<SocketAddr>() else {
        let port = example.rsplit(':').next().unwrap_or_default();
        return Err(Wrong::new(
            format!("{} is not an address with a port", quoted(text)),
            format!("\"{example}\" or \"[::1]:{port}\""),
        ));
    };
    if is_loopback_only && !address.ip().is_loopback() {
        return Err(Wrong::new(
            format!("{address} can be reached by others, and development is for this machine"),
            format!("\"127.0.0.1:{0}\" or \"[::1]:{0}\"", address.port()),
        ));
    }
    Ok(address)
}

/// Whether both cannot be listened on: an unspecified address takes the port of all others.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let is_any = |address: SocketAddr| address.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || is_any(one) || is_any(other))
}

/// Nothing, unless anything of it was written.
pub(super) fn tls(section: &mut Section<'_>) -> Option<Tls> {
    let (mut certificate, mut key, mut client_ca, mut require) = (None, None, None, false);
    let sources = [
        section.optional_path(
            "certificate",
            "PEM, the server's own first; read anew when it changes",
            &mut certificate,
        ),
        section.optional_path("key", "PEM, its owner's alone (0600)", &mut key),
        section.optional_path("client_ca", "PEM: who vouches for client certificates", &mut client_ca),
        section.flag("require_client_certificate", "of every connection to gRPC", &mut require),
    ];
    let written = sources.iter().find(|source| **source != Source::Default)?.clone();
    let mut needed = |name: &'static str, path: Option<PathBuf>, right: &str| {
        if path.is_none() && !section.is_at_fault(name) {
            section.fault(name, written.clone(), Wrong::new("missing", right));
        }
        path.unwrap_or_default()
    };
    let (certificate, key) =
        (needed("certificate", certificate, "certificate = \"…\""), needed("key", key, "key = \"…\""));
    if require && client_ca.is_none() && !section.is_at_fault("client_ca") {
        let wrong = Wrong::new("true, but nobody is named who vouches for one", "client_ca = \"…\"");
        section.fault("require_client_certificate", written, wrong);
    }
    Some(Tls { certificate, key, client_ca, require_client_certificate: require })
}
