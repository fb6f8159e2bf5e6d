//! Identities: which user is meant by a provider and its id of a person, how somebody new gets an account, and how the ways
//! into one come and go. Each change is one transaction, so that no crash leaves a user without a way in.

use std::collections::BTreeSet;

use crate::domain::account::{Email, Profile as UserProfile};
use crate::domain::audit::AuditEvent;
use crate::domain::id::{PrincipalId, UserId};
use crate::domain::identity::{EmailTrust, IDENTITIES_MAX, IdentityKey, Profile, ProviderId};
use crate::domain::permission::Scope;
use crate::domain::role::{BoundRole, RoleId};
use crate::domain::time::Timestamp;
use crate::store::engine::{Row, query, query_scalar};
use crate::store::standing::{credential, one};
use crate::store::write::Write;
use crate::store::{CredentialAnswer, NewUser, Store, StoreError, sql};

/// What the store knows of an identity.
#[derive(Debug)]
pub struct IdentityAnswer {
    pub answer: CredentialAnswer,
    /// Below whom the subject was unique when the identity was linked; unset if nobody has it.
    pub issuer: Option<String>,
}

/// An identity as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub key: IdentityKey,
    pub display_name: String,
    /// May be empty.
    pub email: String,
    pub link_time: Timestamp,
    /// Unset: never.
    pub sign_in_time: Option<Timestamp>,
}

/// Somebody whom a provider vouches for, and whom nobody here knows by this identity.
pub struct Arrival<'a> {
    pub profile: &'a Profile,
    /// The id of the user who is made, if one is.
    pub id: UserId,
    /// What they hold then, everywhere.
    pub roles: &'a [RoleId],
    /// Whether somebody unknown gets an account.
    pub sign_up: bool,
    /// Whether the address alone may link to an account that has proven the same one.
    pub link_by_email: bool,
    /// Written if a user is made, and if an identity is linked; the target is filled in.
    pub created: &'a AuditEvent,
    pub linked: &'a AuditEvent,
}

/// What became of an arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Another sign-in was faster.
    Known(UserId),
    Created(UserId),
    Linked(UserId),
    /// This user has the address, and the address alone does not link.
    AddressTaken(UserId),
    /// Nobody is made, by the operator's choice.
    Stranger,
}

#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    #[error("accounts.roles: there is no role `{0}`")]
    UnknownRole(RoleId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("there is no such user")]
    NoUser,
    #[error("another user has this identity")]
    Taken,
    #[error("the user has as many identities as may be")]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum UnlinkError {
    #[error("the user has no such identity")]
    NotFound,
    #[error("the user would have no way in")]
    LastWayIn,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// The user with this identity, to be signed in.
    pub async fn credential_by_identity(&self, key: &IdentityKey) -> Result<IdentityAnswer, StoreError> {
        const BY_IDENTITY: &str = concat!(
            "SELECT ",
            now!(),
            " AS now, feed.fence, feed.fence_at, p.hash, p.due, i.issuer, ",
            owner_columns!(),
            " FROM feed LEFT JOIN identities i ON i.provider = $2 AND i.subject = $3 LEFT JOIN users u ON u.id = i.user_id \
             LEFT JOIN passwords p ON p.user_id = u.id ",
            join_bindings!()
        );
        let rows = query(BY_IDENTITY)
            .bind(self.clock.offset_micros())
            .bind(key.provider.as_str())
            .bind(key.subject.as_str())
            .fetch_all(&self.reader)
            .await?;
        let issuer = one(&rows)?.try_get("issuer")?;
        Ok(IdentityAnswer { answer: credential(&rows)?, issuer })
    }

    /// Whether this identity is this user's.
    pub async fn has_identity(&self, user: UserId, key: &IdentityKey) -> Result<bool, StoreError> {
        const HAS: &str = "SELECT count(*) FROM identities WHERE user_id = $1 AND provider = $2 AND subject = $3";
        let count: i64 = query_scalar(HAS)
            .bind(user.uuid())
            .bind(key.provider.as_str())
            .bind(key.subject.as_str())
            .fetch_one(&self.reader)
            .await?;
        Ok(count > 0)
    }

    /// The database's time.
    pub async fn time(&self) -> Result<Timestamp, StoreError> {
        const NOW: &str = concat!("SELECT ", now!());
        let micros = query_scalar(NOW).bind(self.clock.offset_micros()).fetch_one(&self.reader).await?;
        Ok(Timestamp::from_micros(micros))
    }

    /// Finds, links or makes a user for somebody whose identity nobody had a moment ago.
    pub async fn admit(&self, arrival: &Arrival<'_>) -> Result<Admitted, AdmitError> {
        let mut write = self.write().await?;
        let key = &arrival.profile.key;
        if let Some((user, _)) = write.holder(key).await? {
            return Ok(Admitted::Known(user));
        }
        if let Some(email) = &arrival.profile.email
            && let Some((user, may_link)) = write.holder_of_address(email).await?
        {
            if !(arrival.link_by_email && may_link) || write.identities_of(user).await? >= IDENTITIES_MAX {
                return Ok(Admitted::AddressTaken(user));
            }
            write.insert_identity(user, arrival.profile, true).await?;
            write.audit(&about(arrival.linked, user)).await?;
            write.commit().await?;
            return Ok(Admitted::Linked(user));
        }
        if !arrival.sign_up {
            return Ok(Admitted::Stranger);
        }
        write.make_user(arrival).await?;
        write.commit().await?;
        Ok(Admitted::Created(arrival.id))
    }

    /// Notes what the provider said this time, and that somebody came. A name that came from there follows.
    pub async fn note_sign_in(&self, user: UserId, profile: &Profile, now: Timestamp) -> Result<(), StoreError> {
        const FOLLOW: &str = "UPDATE users SET display_name = $4, update_time = $5, etag = etag + 1 \
            WHERE id = $1 AND display_name <> $4 AND display_name <> '' \
            AND display_name = (SELECT display_name FROM identities WHERE provider = $2 AND subject = $3)";
        const NOTE: &str = "UPDATE identities SET display_name = $3, email = $4, email_verified = $5, sign_in_time = $6 \
            WHERE provider = $1 AND subject = $2";
        let Profile { key, display_name, .. } = profile;
        if !display_name.is_empty() {
            query(FOLLOW)
                .bind(user.uuid())
                .bind(key.provider.as_str())
                .bind(key.subject.as_str())
                .bind(display_name.as_str())
                .bind(now.micros())
                .execute(&self.writer)
                .await?;
        }
        query(NOTE)
            .bind(key.provider.as_str())
            .bind(key.subject.as_str())
            .bind(display_name.as_str())
            .bind(address(profile))
            .bind(profile.verified_email().is_some())
            .bind(now.micros())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// In the order in which they were linked.
    pub async fn identities(&self, user: UserId) -> Result<Vec<Identity>, StoreError> {
        const LIST: &str = "SELECT provider, subject, display_name, email, link_time, sign_in_time \
            FROM identities WHERE user_id = $1 ORDER BY link_time, provider, subject";
        let rows = query(LIST).bind(user.uuid()).fetch_all(&self.reader).await?;
        rows.iter().map(identity).collect()
    }

    /// Adds an identity. One that the user has already stays as it is.
    pub async fn link_identity(
        &self,
        user: UserId,
        profile: &Profile,
        audit: &AuditEvent,
    ) -> Result<Identity, LinkError> {
        let mut write = self.write().await?;
        if !write.principal_exists(&PrincipalId::User(user)).await? {
            return Err(LinkError::NoUser);
        }
        match write.holder(&profile.key).await? {
            Some((holder, identity)) if holder == user => return Ok(identity),
            Some(_) => return Err(LinkError::Taken),
            None => {}
        }
        if write.identities_of(user).await? >= IDENTITIES_MAX {
            return Err(LinkError::TooMany);
        }
        write.insert_identity(user, profile, false).await?;
        write.audit(audit).await?;
        let linked = write.holder(&profile.key).await?.ok_or(StoreError::corrupt("a new identity is missing"))?;
        write.commit().await?;
        Ok(linked.1)
    }

    /// Takes an identity away, unless it is the last way in: a password is one, and so is an identity at one of the
    /// `usable` providers, under the issuer that it was linked under.
    pub async fn unlink_identity(
        &self,
        user: UserId,
        key: &IdentityKey,
        usable: &BTreeSet<(ProviderId, String)>,
        audit: &AuditEvent,
    ) -> Result<(), UnlinkError> {
        let mut write = self.write().await?;
        match write.holder(key).await? {
            Some((holder, _)) if holder == user => {}
            _ => return Err(UnlinkError::NotFound),
        }
        if !write.has_another_way_in(user, key, usable).await? {
            return Err(UnlinkError::LastWayIn);
        }
        write.delete_identity(key).await?;
        write.audit(audit).await?;
        write.commit().await?;
        Ok(())
    }
}

impl Write {
    pub(super) async fn holder(&mut self, key: &IdentityKey) -> Result<Option<(UserId, Identity)>, StoreError> {
        const HOLDER: &str = "SELECT user_id, provider, subject, display_name, email, link_time, sign_in_time \
            FROM identities WHERE provider = $1 AND subject = $2";
        let found = query(HOLDER)
            .bind(key.provider.as_str())
            .bind(key.subject.as_str())
            .fetch_optional(self.connection())
            .await?;
        found.map(|row| Ok((UserId::from_uuid(row.try_get("user_id")?), identity(&row)?))).transpose()
    }

    /// Who has this address, and whether they have proven it and may sign in: whoever registered another's address before
    /// its owner came must gain nothing by it.
    async fn holder_of_address(&mut self, email: &Email) -> Result<Option<(UserId, bool)>, StoreError> {
        const HOLDER: &str = "SELECT id, email_verified, state FROM users WHERE email_canonical = $1";
        let found = query(HOLDER).bind(email.canonical()).fetch_optional(self.connection()).await?;
        let Some(row) = found else { return Ok(None) };
        let may_link = row.try_get("email_verified")? && sql::is_active(row.try_get("state")?)?;
        Ok(Some((UserId::from_uuid(row.try_get("id")?), may_link)))
    }

    /// Makes the user, with what they hold and their way in. An address that the provider has not proven is not theirs to
    /// occupy: it stands with the identity only. One that it proved once, and that may be another's by now, counts as unproven
    /// here: by it another identity could be linked.
    async fn make_user(&mut self, arrival: &Arrival<'_>) -> Result<(), AdmitError> {
        let profile = arrival.profile;
        let email = profile.verified_email().cloned();
        let bindings = arrival.roles.iter().map(|role| BoundRole {
            role: role.clone(),
            scope: Scope::Everywhere,
            expires_at: None,
        });
        let new = NewUser {
            id: arrival.id,
            profile: UserProfile {
                email_verified: email.is_some() && profile.email_trust == EmailTrust::Authoritative,
                email,
                display_name: profile.display_name.clone(),
                ..UserProfile::default()
            },
            password_hash: None,
            password_due: false,
            request_id: None,
            bindings: bindings.collect(),
        };
        let user = PrincipalId::User(new.id);
        self.insert_user(&new).await?;
        for bound in &new.bindings {
            if !self.role_exists(&bound.role).await? {
                return Err(AdmitError::UnknownRole(bound.role.clone()));
            }
            self.bind_role(&user, bound, None).await?;
        }
        self.insert_identity(new.id, profile, true).await?;
        self.audit(&about(arrival.created, new.id)).await?;
        Ok(())
    }

    pub(super) async fn insert_identity(
        &mut self,
        user: UserId,
        profile: &Profile,
        signs_in: bool,
    ) -> Result<(), StoreError> {
        const INSERT: &str = "INSERT INTO identities (provider, subject, user_id, issuer, display_name, email, \
            email_verified, link_time, sign_in_time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let now = self.now().micros();
        query(INSERT)
            .bind(profile.key.provider.as_str())
            .bind(profile.key.subject.as_str())
            .bind(user.uuid())
            .bind(profile.issuer.as_str())
            .bind(profile.display_name.as_str())
            .bind(address(profile))
            .bind(profile.verified_email().is_some())
            .bind(now)
            .bind(signs_in.then_some(now))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    async fn identities_of(&mut self, user: UserId) -> Result<usize, StoreError> {
        const COUNT: &str = "SELECT count(*) FROM identities WHERE user_id = $1";
        let count: i64 = query_scalar(COUNT).bind(user.uuid()).fetch_one(self.connection()).await?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    async fn has_another_way_in(
        &mut self,
        user: UserId,
        without: &IdentityKey,
        usable: &BTreeSet<(ProviderId, String)>,
    ) -> Result<bool, StoreError> {
        const PASSWORDS: &str = "SELECT count(*) FROM passwords WHERE user_id = $1";
        const OTHERS: &str =
            "SELECT provider, issuer FROM identities WHERE user_id = $1 AND (provider <> $2 OR subject <> $3)";
        let passwords: i64 = query_scalar(PASSWORDS).bind(user.uuid()).fetch_one(self.connection()).await?;
        let others = query(OTHERS)
            .bind(user.uuid())
            .bind(without.provider.as_str())
            .bind(without.subject.as_str())
            .fetch_all(self.connection())
            .await?;
        for row in &others {
            // An identity of another issuer opens nothing, whatever provider has its name now.
            let provider = sql::parse(row.try_get("provider")?, "an identity's provider")?;
            if usable.contains(&(provider, row.try_get("issuer")?)) {
                return Ok(true);
            }
        }
        Ok(passwords > 0)
    }

    async fn delete_identity(&mut self, key: &IdentityKey) -> Result<(), StoreError> {
        const DELETE: &str = "DELETE FROM identities WHERE provider = $1 AND subject = $2";
        query(DELETE).bind(key.provider.as_str()).bind(key.subject.as_str()).execute(self.connection()).await?;
        Ok(())
    }
}

fn identity(row: &Row) -> Result<Identity, StoreError> {
    Ok(Identity {
        key: IdentityKey {
            provider: sql::parse(row.try_get("provider")?, "an identity's provider")?,
            subject: sql::parse(row.try_get("subject")?, "an identity's subject")?,
        },
        display_name: row.try_get("display_name")?,
        email: row.try_get("email")?,
        link_time: sql::time(row, "link_time")?,
        sign_in_time: row.try_get::<Option<i64>>("sign_in_time")?.map(Timestamp::from_micros),
    })
}

fn address(profile: &Profile) -> &str {
    profile.email.as_ref().map_or("", Email::as_given)
}

fn about(event: &AuditEvent, user: UserId) -> AuditEvent {
    AuditEvent { target: Some(user.to_string()), ..event.clone() }
}

#[cfg(test)]
mod tests;
