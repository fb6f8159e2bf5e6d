//! Google: OpenID Connect. It vouches for an address that is its own (Gmail) or of a domain that it hosts (`hd`); any other
//! it has proven once, and it may belong to somebody else by now.

use super::oidc;
use super::words::{self, Object};
use crate::domain::identity::EmailTrust;

const GMAIL: [&str; 2] = ["gmail.com", "googlemail.com"];

pub(super) fn email_trust(said: &Object, verified: &Object) -> EmailTrust {
    if !words::is_true(said, "email_verified") {
        return EmailTrust::None;
    }
    let is_own = oidc::email(said).is_some_and(|email| {
        let domain = words::domain(&email);
        GMAIL.iter().any(|own| domain.eq_ignore_ascii_case(own))
    });
    let is_hosted = words::text(verified, "hd").is_some();
    if is_own || is_hosted { EmailTrust::Authoritative } else { EmailTrust::Verified }
}
