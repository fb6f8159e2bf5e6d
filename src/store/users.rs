//! Accounts: who there is, and what identifies them.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::domain::account::{Email, Identifier, Profile, User, UserName, UserState};
use crate::domain::audit::AuditEvent;
use crate::domain::change::Revision;
use crate::domain::id::{PrincipalId, UserId};
use crate::domain::role::{BoundRole, RoleId};
use crate::store::engine::{Connection, Row, query};
use crate::store::write::Write;
use crate::store::{Store, StoreError, sql};

/// A user to be made.
pub struct NewUser {
    pub id: UserId,
    pub profile: Profile,
    pub password_hash: Option<SecretString>,
    /// Whether the first sign-in asks for another password.
    pub password_due: bool,
    /// The same id within a day gets the same user.
    pub request_id: Option<Uuid>,
    /// Granted in the same step, so that no first administrator is left without their role.
    pub bindings: Vec<BoundRole>,
}

impl fmt::Debug for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewUser").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How a user came to be.
#[derive(Clone, Debug)]
pub struct Created {
    pub user: User,
    pub revision: Revision,
    /// An earlier call with this request id made it.
    pub repeated: bool,
}

/// What somebody else has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Email,
    UserName,
    ExternalId,
}

#[derive(Debug, thiserror::Error)]
pub enum CreateUserError {
    #[error("another user has it: {0:?}")]
    Taken(Taken),
    #[error("there is no role `{0}`")]
    UnknownRole(RoleId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum UpdateUserError {
    #[error("there is no such user")]
    NotFound,
    #[error("the user has changed since")]
    StaleEtag,
    #[error("another user has it: {0:?}")]
    Taken(Taken),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// By what a user is found.
#[derive(Clone, Debug)]
pub enum UserKey {
    Id(UserId),
    ExternalId(String),
    Identifier(Identifier),
}

/// What to set; what is `None` stays, `Some(None)` clears. A new e-mail address is unproven unless the change says otherwise.
#[derive(Clone, Debug, Default)]
pub struct ProfileChange {
    pub external_id: Option<String>,
    pub email: Option<Option<Email>>,
    pub email_verified: Option<bool>,
    pub user_name: Option<Option<UserName>>,
    pub display_name: Option<String>,
}

macro_rules! select_users {
    ($rest:literal) => {
        concat!(
            "SELECT u.id, u.external_id, u.email, u.email_verified, u.user_name, u.display_name, u.state, u.create_time, \
             u.update_time, u.etag, p.user_id IS NOT NULL AS has_password \
             FROM users u LEFT JOIN passwords p ON p.user_id = u.id WHERE ",
            $rest
        )
    };
}

impl Store {
    pub async fn create_user(&self, new: &NewUser, audit: &AuditEvent) -> Result<Created, CreateUserError> {
        let mut write = self.write().await?;
        if let Some(request_id) = new.request_id
            && let Some(user) = created_by(write.connection(), request_id).await?
        {
            return Ok(Created { user, revision: write.commit().await?, repeated: true });
        }
        if let Some((taken, _)) = taken(write.connection(), new.id, &new.profile).await? {
            return Err(CreateUserError::Taken(taken));
        }
        write.insert_user(new).await?;
        for bound in &new.bindings {
            if !write.role_exists(&bound.role).await? {
                return Err(CreateUserError::UnknownRole(bound.role.clone()));
            }
            write.bind_role(&PrincipalId::User(new.id), bound, audit.actor.as_ref()).await?;
        }
        write.audit(audit).await?;
        let user = by_id(write.connection(), new.id).await?.ok_or(StoreError::corrupt("a new user is missing"))?;
        // Nothing for the verifiers to learn: no token speaks for this user yet.
        Ok(Created { user, revision: write.commit().await?, repeated: false })
    }

    pub async fn user(&self, key: &UserKey) -> Result<Option<User>, StoreError> {
        const BY_EXTERNAL_ID: &str = select_users!("u.external_id = $1");
        const BY_EMAIL: &str = select_users!("u.email_canonical = $1");
        const BY_USER_NAME: &str = select_users!("u.user_name_canonical = $1");
        let (statement, text) = match key {
            UserKey::Id(id) => {
                let mut connection = self.reader.acquire().await?;
                let user = by_id(&mut connection, *id).await?;
                connection.commit().await?;
                return Ok(user);
            }
            UserKey::ExternalId(id) => (BY_EXTERNAL_ID, id),
            UserKey::Identifier(Identifier::Email(canonical)) => (BY_EMAIL, canonical),
            UserKey::Identifier(Identifier::UserName(canonical)) => (BY_USER_NAME, canonical),
        };
        let row = query(statement).bind(text.as_str()).fetch_optional(&self.reader).await?;
        row.as_ref().map(user).transpose()
    }

    /// Users in the order of their ids, those behind `after`; only those with `prefix` at the start of their e-mail
    /// address, user name or display name (empty: all).
    pub async fn list_users(
        &self,
        prefix: &str,
        state: Option<UserState>,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<User>, StoreError> {
        const LIST: &str = select_users!(
            "u.id > $1 AND ($2 IS NULL OR u.state = $2) AND ($3 = '' \
             OR substr(u.email_canonical, 1, length($3)) = $3 OR substr(u.user_name_canonical, 1, length($3)) = $3 \
             OR substr(u.display_name, 1, length($4)) = $4 OR substr(lower(u.display_name), 1, length($3)) = $3) \
             ORDER BY u.id LIMIT $5"
        );
        let rows = query(LIST)
            .bind(after.map_or(Uuid::nil(), UserId::uuid))
            .bind(state.map(state_name))
            .bind(prefix.to_lowercase())
            .bind(prefix)
            .bind(limit)
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(user).collect()
    }

    pub async fn update_user(
        &self,
        id: UserId,
        etag: Option<&str>,
        change: ProfileChange,
        audit: &AuditEvent,
    ) -> Result<(User, Revision), UpdateUserError> {
        let mut write = self.write().await?;
        let user = by_id(write.connection(), id).await?.ok_or(UpdateUserError::NotFound)?;
        if etag.is_some_and(|etag| etag != user.etag) {
            return Err(UpdateUserError::StaleEtag);
        }
        let before = Profile {
            external_id: user.external_id.clone(),
            email: user.email.clone(),
            email_verified: user.email_verified,
            user_name: user.user_name.clone(),
            display_name: user.display_name.clone(),
        };
        let after = change.applied_to(&before);
        if after == before {
            return Ok((user, write.commit().await?));
        }
        if let Some((taken, _)) = taken(write.connection(), id, &after).await? {
            return Err(UpdateUserError::Taken(taken));
        }
        write.update_profile(id, &after).await?;
        write.audit(audit).await?;
        let user = by_id(write.connection(), id).await?.ok_or(UpdateUserError::NotFound)?;
        Ok((user, write.commit().await?))
    }
}

impl ProfileChange {
    fn applied_to(self, before: &Profile) -> Profile {
        let email = self.email.unwrap_or_else(|| before.email.clone());
        let same = email.as_ref().map(Email::canonical) == before.email.as_ref().map(Email::canonical);
        Profile {
            external_id: self.external_id.unwrap_or_else(|| before.external_id.clone()),
            email_verified: self.email_verified.unwrap_or(before.email_verified && same),
            email,
            user_name: self.user_name.unwrap_or_else(|| before.user_name.clone()),
            display_name: self.display_name.unwrap_or_else(|| before.display_name.clone()),
        }
    }
}

impl Write {
    pub(super) async fn insert_user(&mut self, new: &NewUser) -> Result<(), StoreError> {
        const INSERT: &str = "INSERT INTO users (id, external_id, email, email_canonical, email_verified, user_name, \
            user_name_canonical, display_name, state, version, roles_at, floor, floor_at, floor_cause, create_time, \
            update_time, etag) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, 0, 0, 'ENDED_BY_USER', $11, $11, 1)";
        const REMEMBER: &str = "INSERT INTO creations (request_id, user_id, at) VALUES ($1, $2, $3)";
        let Profile { external_id, email, email_verified, user_name, display_name } = &new.profile;
        let (version, now) = (self.least_version(), self.now().micros());
        query(INSERT)
            .bind(new.id.uuid())
            .bind(unless_empty(external_id))
            .bind(email.as_ref().map(Email::as_given))
            .bind(email.as_ref().map(Email::canonical))
            .bind(*email_verified)
            .bind(user_name.as_ref().map(UserName::as_given))
            .bind(user_name.as_ref().map(UserName::canonical))
            .bind(display_name.as_str())
            .bind(sql::ACTIVE)
            .bind(version)
            .bind(now)
            .execute(self.connection())
            .await?;
        if let Some(hash) = &new.password_hash {
            self.put_password(new.id, hash.expose_secret(), new.password_due).await?;
        }
        if let Some(request_id) = new.request_id {
            query(REMEMBER).bind(request_id).bind(new.id.uuid()).bind(now).execute(self.connection()).await?;
        }
        Ok(())
    }

    async fn update_profile(&mut self, id: UserId, profile: &Profile) -> Result<(), StoreError> {
        const UPDATE: &str = "UPDATE users SET external_id = $2, email = $3, email_canonical = $4, email_verified = $5, \
            user_name = $6, user_name_canonical = $7, display_name = $8, update_time = $9, etag = etag + 1 \
            WHERE id = $1";
        let now = self.now().micros();
        query(UPDATE)
            .bind(id.uuid())
            .bind(unless_empty(&profile.external_id))
            .bind(profile.email.as_ref().map(Email::as_given))
            .bind(profile.email.as_ref().map(Email::canonical))
            .bind(profile.email_verified)
            .bind(profile.user_name.as_ref().map(UserName::as_given))
            .bind(profile.user_name.as_ref().map(UserName::canonical))
            .bind(profile.display_name.as_str())
            .bind(now)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    pub(super) async fn put_password(&mut self, user: UserId, hash: &str, due: bool) -> Result<(), StoreError> {
        const PUT: &str = "INSERT INTO passwords (user_id, hash, set_at, due) VALUES ($1, $2, $3, $4) \
            ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, set_at = excluded.set_at, due = excluded.due, \
            failures = 0, known_failures = 0, scheme = ''";
        let now = self.now().micros();
        query(PUT).bind(user.uuid()).bind(hash).bind(now).bind(due).execute(self.connection()).await?;
        Ok(())
    }
}

async fn by_id(connection: &mut Connection, id: UserId) -> Result<Option<User>, StoreError> {
    const BY_ID: &str = select_users!("u.id = $1");
    let row = query(BY_ID).bind(id.uuid()).fetch_optional(connection).await?;
    row.as_ref().map(user).transpose()
}

async fn created_by(connection: &mut Connection, request_id: Uuid) -> Result<Option<User>, StoreError> {
    const BY_REQUEST: &str = select_users!("u.id = (SELECT user_id FROM creations WHERE request_id = $1)");
    let row = query(BY_REQUEST).bind(request_id).fetch_optional(connection).await?;
    row.as_ref().map(user).transpose()
}

/// What of a profile another user has, and who. Looked up, because SQLite does not name the constraint that an insert broke.
pub(super) async fn taken(
    connection: &mut Connection,
    user: UserId,
    profile: &Profile,
) -> Result<Option<(Taken, UserId)>, StoreError> {
    const EMAIL: &str = "SELECT id FROM users WHERE email_canonical = $1 AND id <> $2";
    const USER_NAME: &str = "SELECT id FROM users WHERE user_name_canonical = $1 AND id <> $2";
    const EXTERNAL_ID: &str = "SELECT id FROM users WHERE external_id = $1 AND id <> $2";
    let rules = [
        (Taken::Email, EMAIL, profile.email.as_ref().map(Email::canonical)),
        (Taken::UserName, USER_NAME, profile.user_name.as_ref().map(UserName::canonical)),
        (Taken::ExternalId, EXTERNAL_ID, unless_empty(&profile.external_id)),
    ];
    for (rule, statement, value) in rules {
        let Some(value) = value else { continue };
        let other = query(statement).bind(value).bind(user.uuid()).fetch_optional(&mut *connection).await?;
        if let Some(row) = other {
            return Ok(Some((rule, UserId::from_uuid(row.try_get("id")?))));
        }
    }
    Ok(None)
}

fn user(row: &Row) -> Result<User, StoreError> {
    let email: Option<&str> = row.try_get("email")?;
    let user_name: Option<&str> = row.try_get("user_name")?;
    let etag: i64 = row.try_get("etag")?;
    Ok(User {
        id: UserId::from_uuid(row.try_get("id")?),
        external_id: row.try_get::<Option<String>>("external_id")?.unwrap_or_default(),
        email: email.map(|text| sql::parse(text, "an e-mail address")).transpose()?,
        email_verified: row.try_get("email_verified")?,
        user_name: user_name.map(|text| sql::parse(text, "a user name")).transpose()?,
        display_name: row.try_get("display_name")?,
        state: if sql::is_active(row.try_get("state")?)? { UserState::Active } else { UserState::Disabled },
        has_password: row.try_get("has_password")?,
        create_time: sql::time(row, "create_time")?,
        update_time: sql::time(row, "update_time")?,
        etag: etag.to_string(),
    })
}

const fn state_name(state: UserState) -> &'static str {
    match state {
        UserState::Active => sql::ACTIVE,
        UserState::Disabled => sql::DISABLED,
    }
}

/// Unique if set, so unset is NULL.
fn unless_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
