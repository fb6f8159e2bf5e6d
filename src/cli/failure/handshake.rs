//! Why two sides could not agree on how to encrypt, and which flag helps.

use std::error::Error;

/// By the words of the library, since what it says passes through others that keep nothing but the words. Proven by real
/// handshakes in `tests/it/tls.rs`.
const FAULTS: [(&str, &str, &str); 9] = [
    ("UnknownIssuer", "is not trusted here", "Name who signed its certificate: --ca FILE, or POSTERN_CA"),
    ("UnsupportedCertVersion", "shows a certificate of an old form", "It needs an X.509 certificate of version 3"),
    ("CaUsedAsEndEntity", "shows an authority's certificate as its own", "It needs one that an authority has signed"),
    ("certificate expired", "shows a certificate that has ended", "Renew it on the server; it needs no restart"),
    ("not valid yet", "shows a certificate that has not begun", "Check the clocks of both machines"),
    ("not valid for name", "shows a certificate of another name", "Call it by a name that is in its certificate"),
    ("InvalidContentType", "does not speak TLS", "If it is meant to be so, write http:// instead of https://"),
    (
        "CertificateRequired",
        "wants to see a certificate",
        "Show one: --cert FILE --key FILE, or POSTERN_CERT and POSTERN_KEY",
    ),
    (
        "received fatal alert",
        "does not accept how we connect",
        "Is --cert signed by whom the server trusts ([tls] client_ca), and still valid?",
    ),
];

/// What the server does, and what to do about it, if the handshake is at fault.
pub(super) fn fault(error: &(dyn Error + 'static)) -> Option<(&'static str, &'static str)> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let words = error.to_string();
        if let Some((_, what, advice)) = FAULTS.iter().find(|(sign, _, _)| words.contains(sign)) {
            return Some((what, advice));
        }
        cause = error.source();
    }
    None
}
