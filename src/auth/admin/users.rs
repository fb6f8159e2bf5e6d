//! Users: who there is, and who may sign in.

use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::auth::Auth;
use crate::auth::admin::caller::Caller;
use crate::auth::admin::{Act, LAST_ADMINISTRATOR, log_if, note, page};
use crate::auth::error::AuthError;
use crate::domain::account::{Profile, User, UserState};
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::change::Revision;
use crate::domain::id::{PrincipalId, UserId};
use crate::domain::password::Password;
use crate::store::{
    ChangeUserError, Changed, CreateUserError, NewUser, ProfileChange, Taken, UpdateUserError, UserKey,
};

const READ: &str = "postern:users:read";
const WRITE: &str = "postern:users:write";
const DELETE: &str = "postern:users:delete";

/// A user to be made.
pub struct CreateUser {
    pub profile: Profile,
    pub password: Option<NewPassword>,
    /// Makes a retry safe.
    pub request_id: Option<Uuid>,
}

/// A password that an administrator sets.
pub struct NewPassword {
    pub password: Password,
    /// The next sign-in asks for another one, which the administrator does not know.
    pub due: bool,
}

/// Which users to list, in the order of their ids.
pub struct ListUsers {
    /// Of e-mail address, user name or display name; empty: all.
    pub prefix: String,
    pub state: Option<UserState>,
    pub after: Option<UserId>,
    pub page_size: u32,
}

impl Auth {
    pub async fn create_user(&self, caller: &Caller, create: CreateUser) -> Result<(User, Revision), AuthError> {
        let id = UserId::generate();
        let act = Act::new(caller, "CreateUser").on(id);
        self.permit(&act, WRITE, None)?;
        let CreateUser { profile, password, request_id } = create;
        let mut event = act.event(AuditKind::UserCreated, self.clock.now());
        let (password_hash, password_due) = match password {
            Some(NewPassword { password, due }) => {
                self.rules.passwords.check(&password, &profile).await?;
                self.admit_administrator(act.event(AuditKind::Throttled, self.clock.now())).await?;
                note_due(&mut event, due);
                (Some(self.passwords.hash(password).await?), due)
            }
            None => (None, false),
        };
        let new = NewUser { id, profile, password_hash, password_due, request_id, bindings: Vec::new() };
        let created = self.store.create_user(&new, &event).await.map_err(|why| match why {
            CreateUserError::Taken(what) => taken(what),
            CreateUserError::UnknownRole(_) => AuthError::internal(why),
            CreateUserError::Store(why) => why.into(),
        })?;
        log_if(!created.repeated, &event);
        Ok((created.user, self.seen(created.revision).await))
    }

    pub async fn get_user(&self, caller: &Caller, key: &UserKey) -> Result<User, AuthError> {
        let act = Act::new(caller, "GetUser");
        self.permit(&act, READ, None)?;
        self.store.user(key).await?.ok_or(AuthError::NotFound { what: "user" })
    }

    /// One page, and whether there are more.
    pub async fn list_users(&self, caller: &Caller, list: &ListUsers) -> Result<(Vec<User>, bool), AuthError> {
        let act = Act::new(caller, "ListUsers");
        self.permit(&act, READ, None)?;
        let users = self.store.list_users(&list.prefix, list.state, list.after, list.page_size + 1).await?;
        Ok(page(users, list.page_size))
    }

    pub async fn update_user(
        &self,
        caller: &Caller,
        id: UserId,
        etag: Option<&str>,
        change: ProfileChange,
    ) -> Result<(User, Revision), AuthError> {
        let act = Act::new(caller, "UpdateUser").on(id);
        self.permit(&act, WRITE, None)?;
        // Who can give a user another address can sign in as them by the mail that is sent there.
        self.may_become(&act, &PrincipalId::User(id)).await?;
        let mut event = act.event(AuditKind::UserUpdated, self.clock.now());
        event.detail.push(("fields", fields(&change).join(" ")));
        let (user, revision) = self.store.update_user(id, etag, change, &event).await.map_err(|why| match why {
            UpdateUserError::NotFound => AuthError::NotFound { what: "user" },
            UpdateUserError::StaleEtag => AuthError::EtagMismatch,
            UpdateUserError::Taken(what) => taken(what),
            UpdateUserError::Store(why) => why.into(),
        })?;
        log_if(true, &event);
        Ok((user, self.seen(revision).await))
    }

    /// Ends all sessions, and lets the user sign in no more.
    pub async fn disable_user(&self, caller: &Caller, id: UserId, words: &str) -> Result<Revision, AuthError> {
        let act = Act::new(caller, "DisableUser").on(id);
        let event = self.change_of(&act, WRITE, id, AuditKind::UserDisabled, words).await?;
        self.changed(self.store.disable_user(id, &event).await, &event).await
    }

    /// Lets the user sign in again. What was ended stays ended.
    pub async fn enable_user(&self, caller: &Caller, id: UserId, words: &str) -> Result<Revision, AuthError> {
        let act = Act::new(caller, "EnableUser").on(id);
        let event = self.change_of(&act, WRITE, id, AuditKind::UserEnabled, words).await?;
        self.changed(self.store.enable_user(id, &event).await, &event).await
    }

    /// Deletes a user for good. One who is not there is no error: a retry must not fail.
    pub async fn delete_user(&self, caller: &Caller, id: UserId, words: &str) -> Result<Revision, AuthError> {
        let act = Act::new(caller, "DeleteUser").on(id);
        let event = self.change_of(&act, DELETE, id, AuditKind::UserDeleted, words).await?;
        self.changed(self.store.delete_user(id, &event).await, &event).await
    }

    /// Sets a password and ends all sessions.
    pub async fn set_password(
        &self,
        caller: &Caller,
        id: UserId,
        password: NewPassword,
    ) -> Result<Revision, AuthError> {
        let act = Act::new(caller, "SetPassword").on(id);
        let NewPassword { password, due } = password;
        let mut event = self.change_of(&act, WRITE, id, AuditKind::PasswordSet, "").await?;
        // One that breaks a rule costs no hash, and counts for nothing.
        self.check_new_password(id, &password).await?;
        self.admit_administrator(act.event(AuditKind::Throttled, self.clock.now())).await?;
        note_due(&mut event, due);
        let hash = self.passwords.hash(password).await?;
        // Again: the hash waited in a queue, and meanwhile the user may have been given what the actor does not hold.
        self.may_become(&act, &PrincipalId::User(id)).await?;
        let set = self.store.set_password(id, hash.expose_secret(), due, &event).await;
        self.changed(set.map(|revision| Changed { changed: true, revision }), &event).await
    }

    /// The event of a change to one user, once its actor may make it.
    async fn change_of(
        &self,
        act: &Act<'_>,
        permission: &'static str,
        id: UserId,
        kind: AuditKind,
        words: &str,
    ) -> Result<AuditEvent, AuthError> {
        self.permit(act, permission, None)?;
        self.stay_above(act, &PrincipalId::User(id)).await?;
        let mut event = act.event(kind, self.clock.now());
        note(&mut event, words);
        Ok(event)
    }

    async fn changed(
        &self,
        change: Result<Changed, ChangeUserError>,
        event: &AuditEvent,
    ) -> Result<Revision, AuthError> {
        let Changed { changed, revision } = change.map_err(|why| match why {
            ChangeUserError::NotFound => AuthError::NotFound { what: "user" },
            ChangeUserError::LastAdministrator => AuthError::LastOne { why: LAST_ADMINISTRATOR },
            ChangeUserError::Store(why) => why.into(),
        })?;
        log_if(changed, event);
        Ok(self.seen(revision).await)
    }
}

fn note_due(event: &mut AuditEvent, due: bool) {
    if due {
        event.detail.push(("must_change", "true".to_owned()));
    }
}

fn taken(what: Taken) -> AuthError {
    AuthError::IdentifierTaken {
        field: match what {
            Taken::Email => "email",
            Taken::UserName => "user_name",
            Taken::ExternalId => "external_id",
        },
    }
}

/// Which fields a change sets; their values are personal data, and the audit log is kept for good.
fn fields(change: &ProfileChange) -> Vec<&'static str> {
    let ProfileChange { external_id, email, email_verified, user_name, display_name } = change;
    let all = [
        (external_id.is_some(), "external_id"),
        (email.is_some(), "email"),
        (email_verified.is_some(), "email_verified"),
        (user_name.is_some(), "user_name"),
        (display_name.is_some(), "display_name"),
    ];
    all.into_iter().filter_map(|(set, name)| set.then_some(name)).collect()
}
