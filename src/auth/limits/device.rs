//! What a device has from a sign-in, sealed: it shows it at the next one, and is no stranger.

use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::auth::Auth;
use crate::auth::error::AuthError;
use crate::domain::id::UserId;
use crate::domain::time::Timestamp;
use crate::store::CredentialAnswer;
use crate::vault::seal::Place;

/// A device that is not used for so long is a stranger again.
const DEVICE_TTL: Duration = Duration::from_hours(400 * 24);
const DEVICE_PREFIX: &str = "pdt_";
const DEVICE_PLACE: Place<'static> = Place { kind: "device", partition: "", key: "" };

/// A device on which somebody has signed in before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::auth) struct KnownDevice {
    user: UserId,
    pub(super) id: Uuid,
    /// The user's version at that time.
    epoch: i64,
}

impl Auth {
    /// What the device may show at its next sign-in.
    pub(in crate::auth) fn device_token(
        &self,
        user: UserId,
        epoch: i64,
        now: Timestamp,
    ) -> Result<SecretString, AuthError> {
        let mut plain = Vec::with_capacity(40);
        plain.extend_from_slice(user.uuid().as_bytes());
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(AuthError::internal)?;
        plain.extend_from_slice(&id);
        plain.extend_from_slice(&epoch.to_be_bytes());
        let sealed = self.limits.devices.seal(&DEVICE_PLACE, now + DEVICE_TTL, &plain).map_err(AuthError::internal)?;
        Ok(SecretString::from(format!("{DEVICE_PREFIX}{}", URL_SAFE_NO_PAD.encode(sealed))))
    }

    /// Anything that is none, or is over, is a stranger's.
    pub(in crate::auth) fn open_device_token(&self, token: &SecretString) -> Option<KnownDevice> {
        let text = token.expose_secret().strip_prefix(DEVICE_PREFIX)?;
        let opened = self.limits.devices.open(&DEVICE_PLACE, &URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        if opened.expires_at <= self.clock.now() {
            return None;
        }
        let (user, rest) = opened.plain.split_first_chunk::<16>()?;
        let (id, epoch) = rest.split_first_chunk::<16>()?;
        Some(KnownDevice {
            user: UserId::from_uuid(Uuid::from_bytes(*user)),
            id: Uuid::from_bytes(*id),
            epoch: i64::from_be_bytes(epoch.try_into().ok()?),
        })
    }
}

impl KnownDevice {
    /// Whether it is one of this user, whose sessions have not been ended since.
    pub(in crate::auth) fn is_of(&self, answer: &CredentialAnswer) -> bool {
        let owner = answer.found.as_ref().filter(|found| found.user == self.user);
        owner.is_some_and(|found| self.epoch >= found.owner.floor.version && self.epoch >= answer.fence.version)
    }
}
