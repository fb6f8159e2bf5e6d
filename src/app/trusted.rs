//! Issuers outside, from settings to what the room that proves their tokens takes.

use super::StartError;
use crate::config::{IssuerKeys, PersonBy, TrustedIssuer};
use crate::oauth::trusted;

/// Opens the secrets.
///
/// # Errors
/// If a secret cannot be opened.
pub(super) fn settings(issuers: &[TrustedIssuer]) -> Result<Vec<trusted::Settings>, StartError> {
    issuers.iter().map(one).collect()
}

fn one(issuer: &TrustedIssuer) -> Result<trusted::Settings, StartError> {
    let keys = match &issuer.keys {
        IssuerKeys::Published { uri, algorithms, private_network, ca } => trusted::Keys::Published {
            uri: uri.clone(),
            algorithms: algorithms.clone(),
            private_network: *private_network,
            ca: ca.clone(),
        },
        IssuerKeys::Shared(secret) => {
            let opened = secret.open();
            let wrong = |source| StartError::IssuerSecret { name: issuer.name.clone(), source };
            trusted::Keys::Shared(opened.map_err(wrong)?)
        }
    };
    Ok(trusted::Settings {
        name: issuer.name.clone(),
        issuer: issuer.issuer.clone(),
        keys,
        audience: issuer.audience.clone(),
        claim: issuer.claim.clone(),
        person: match &issuer.person {
            PersonBy::ExternalId => trusted::PersonBy::ExternalId,
            PersonBy::Email => trusted::PersonBy::Email,
            PersonBy::UserName => trusted::PersonBy::UserName,
            PersonBy::Identity(provider) => trusted::PersonBy::Identity(provider.clone()),
        },
        clients: issuer.clients.clone(),
        max_age: issuer.max_age,
        until: issuer.until,
        once: issuer.once,
    })
}
