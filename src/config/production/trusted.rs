//! What production does not take of an issuer whose tokens are traded in.

use super::super::{IssuerKeys, PersonBy, TrustedIssuer};
use super::providers::secret;
use super::{Judgement, relative};

pub(super) fn judge(key: &str, issuer: &TrustedIssuer, found: &mut Judgement) {
    match &issuer.keys {
        IssuerKeys::Published { uri, private_network, ca, .. } => {
            if !uri.starts_with("https://") {
                let wrong = format!("{uri} is in clear text: whoever stands between gives out the keys");
                found.refuse(format!("{key}.jwks_uri"), wrong, "https://…");
            }
            if let Some(ca) = ca.as_ref().filter(|ca| !ca.is_absolute()) {
                found.refuse(format!("{key}.ca"), relative(ca), "a path from the root: /run/secrets/…");
            }
            if *private_network {
                let wrong = "its keys may be asked for at private addresses";
                found.warn(format!("{key}.private_network"), wrong, "false, unless it is in a network of yours");
            }
        }
        IssuerKeys::Shared(source) => {
            secret(&format!("{key}.secret"), Some(source), found);
            if issuer.until.is_none() {
                let wrong = "whoever has the old secret signs in as anybody, for good";
                found.warn(format!("{key}.until"), wrong, "the day on which the migration is over");
            }
        }
    }
    if !issuer.once {
        let wrong = "whoever finds a token that was traded in can trade it in again";
        found.warn(format!("{key}.once"), wrong, "true");
    }
    if issuer.person == PersonBy::Email {
        let wrong = "addresses change hands, and the account's next owner is who the issuer says has it";
        found.warn(format!("{key}.person"), wrong, "external_id");
    }
}
