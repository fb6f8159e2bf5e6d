//! Values of the domain as messages. Must not know from which flow they come.

use std::time::Duration;

use secrecy::ExposeSecret as _;

use crate::auth;
use crate::auth::challenge::{ChallengeKind, Issued};
use crate::auth::sessions::SessionView;
use crate::domain::permission::Tenant;
use crate::domain::role::BoundRole;
use crate::domain::session::{AnswerKind, Device};
use crate::domain::standing::EndCause;
use crate::domain::time::Timestamp;
use crate::proto::auth::v1 as wire;
use crate::verifier::{self, Assurance, Granted, Identity, Level};

pub fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or_default();
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

/// A duration of ours is never longer than a message can say.
pub fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(duration).unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

/// A count of ours is never greater than a message can say.
pub fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

pub fn tenant(tenant: Option<&Tenant>) -> String {
    tenant.map(ToString::to_string).unwrap_or_default()
}

pub fn token_pair(pair: &auth::TokenPair) -> wire::TokenPair {
    wire::TokenPair {
        access_token: pair.access_token.expose_secret().to_owned(),
        access_expire_time: Some(timestamp(pair.access_expire_time)),
        refresh_token: pair.refresh_token.expose_secret().to_owned(),
        refresh_expire_time: Some(timestamp(pair.refresh_expire_time)),
        session_id: pair.session_id.to_string(),
        session_expire_time: Some(timestamp(pair.session_expire_time)),
    }
}

pub fn sign_in((tokens, subject): (auth::TokenPair, auth::Subject)) -> wire::SignIn {
    let device_token = tokens.device_token.as_ref().map(|token| token.expose_secret().to_owned()).unwrap_or_default();
    let (tokens, principal) = (Some(token_pair(&tokens)), Some(self::subject(subject)));
    wire::SignIn { tokens, principal, device_token, user_created: false }
}

pub fn challenge(issued: &Issued) -> wire::Challenge {
    let kind = |kind: &ChallengeKind| match kind {
        ChallengeKind::NewPassword => wire::ChallengeKind::NewPassword.into(),
        ChallengeKind::LinkIdentity => wire::ChallengeKind::LinkIdentity.into(),
    };
    wire::Challenge {
        challenge_token: issued.token.expose_secret().to_owned(),
        kinds: issued.kinds.iter().map(kind).collect(),
        expire_time: Some(timestamp(issued.expire_time)),
    }
}

/// Whom fresh tokens speak for. Without roles: only Verify is asked for them, and only it says what counts.
pub fn subject(subject: auth::Subject) -> wire::Principal {
    wire::Principal {
        id: subject.user.to_string(),
        kind: wire::PrincipalKind::User.into(),
        external_id: subject.external_id,
        session_id: subject.session.to_string(),
        client_id: subject.client.to_string(),
        auth_time: Some(timestamp(subject.auth_time)),
        amr: subject.amr,
        expire_time: Some(timestamp(subject.expire_time)),
        roles: Vec::new(),
    }
}

/// Whom a token speaks for, with the roles that count at `roles_at`.
pub fn identity(identity: &Identity, roles_at: Option<Timestamp>) -> wire::Principal {
    let roles = roles_at.map(|now| {
        let living = identity.bindings().filter(|bound| bound.expires_at.is_none_or(|end| now < end));
        living.map(role_in_tenant).collect()
    });
    wire::Principal {
        id: identity.user().to_string(),
        kind: wire::PrincipalKind::User.into(),
        external_id: identity.external_id().unwrap_or_default().to_owned(),
        session_id: identity.session().to_string(),
        client_id: identity.client_id().to_string(),
        auth_time: Some(timestamp(identity.auth_time())),
        amr: identity.amr().to_vec(),
        expire_time: Some(timestamp(identity.expires_at())),
        roles: roles.unwrap_or_default(),
    }
}

fn role_in_tenant(bound: &BoundRole) -> wire::RoleInTenant {
    wire::RoleInTenant { role: bound.role.to_string(), tenant: tenant(bound.scope.tenant()) }
}

pub fn rotation(kind: AnswerKind) -> wire::Rotation {
    match kind {
        AnswerKind::Advanced => wire::Rotation::Advanced,
        AnswerKind::Repeated => wire::Rotation::Repeated,
        AnswerKind::Healed => wire::Rotation::Healed,
        AnswerKind::Late => wire::Rotation::Late,
        AnswerKind::Held => wire::Rotation::Held,
    }
}

pub fn check(check: &verifier::Check) -> wire::Check {
    wire::Check { permission: check.permission.to_string(), tenant: tenant(check.tenant.as_ref()) }
}

pub fn grant(grant: &Granted) -> wire::Grant {
    wire::Grant {
        role: grant.role.to_string(),
        inherited_role: grant.inherited_role.as_ref().map(ToString::to_string).unwrap_or_default(),
        pattern: grant.pattern.to_string(),
        tenant: tenant(grant.scope.tenant()),
    }
}

pub fn assurance(assurance: Assurance) -> wire::Assurance {
    let level = match assurance.level {
        Level::Any => wire::AssuranceLevel::Unspecified,
        Level::SingleFactor => wire::AssuranceLevel::SingleFactor,
        Level::MultiFactor => wire::AssuranceLevel::MultiFactor,
    };
    wire::Assurance { max_age: assurance.max_age.map(duration), level: level.into() }
}

pub fn freshness(freshness: verifier::Freshness) -> wire::Freshness {
    wire::Freshness {
        revision: freshness.revision.to_string(),
        age: freshness.age.map(duration),
        stale: freshness.stale,
    }
}

pub fn session(view: SessionView) -> wire::Session {
    wire::Session {
        id: view.id.to_string(),
        user_id: view.user.to_string(),
        client_id: view.client.map(|client| client.to_string()).unwrap_or_default(),
        current: view.current,
        create_time: view.create_time.map(timestamp),
        last_refresh_time: view.last_refresh_time.map(timestamp),
        idle_expire_time: view.idle_end.map(timestamp),
        expire_time: Some(timestamp(view.absolute_end)),
        auth_time: view.auth_time.map(timestamp),
        amr: view.amr,
        method: view.method,
        device: Some(device(view.device)),
        end_time: view.end.map(|end| timestamp(end.time)),
        end_cause: view.end.map_or(wire::EndCause::Unspecified, |end| end_cause(end.cause)).into(),
    }
}

fn device(device: Device) -> wire::Device {
    let Device { ip_address, user_agent, display_name } = device;
    wire::Device { ip_address, user_agent, display_name, ..wire::Device::default() }
}

fn end_cause(cause: EndCause) -> wire::EndCause {
    match cause {
        EndCause::Logout => wire::EndCause::Logout,
        EndCause::EndedByUser => wire::EndCause::EndedByUser,
        EndCause::EndedByAdmin => wire::EndCause::EndedByAdmin,
        EndCause::RefreshReused => wire::EndCause::RefreshReused,
        EndCause::Idle => wire::EndCause::Idle,
        EndCause::Expired => wire::EndCause::Expired,
        EndCause::CredentialChanged => wire::EndCause::CredentialChanged,
        EndCause::UserDisabled => wire::EndCause::UserDisabled,
        EndCause::Replaced => wire::EndCause::Replaced,
        EndCause::SessionLimit => wire::EndCause::SessionLimit,
        EndCause::Lost => wire::EndCause::Lost,
        EndCause::EndedForAll => wire::EndCause::EndedForAll,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_have_positive_nanos() {
        let before = timestamp(Timestamp::from_micros(-1));
        assert_eq!((before.seconds, before.nanos), (-1, 999_999_000));
        let after = timestamp(Timestamp::from_micros(1_500_000));
        assert_eq!((after.seconds, after.nanos), (1, 500_000_000));
    }

    /// The log, the store and the wire must name a cause alike.
    #[test]
    fn every_cause_has_its_name_on_the_wire() {
        for cause in EndCause::ALL {
            assert_eq!(end_cause(cause).as_str_name(), format!("END_CAUSE_{}", cause.name()));
        }
    }
}
