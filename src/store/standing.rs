//! What sign-in and refresh ask: everything that must be known of one user or one session at one time, each in one
//! statement. Two statements could mint a token with the new version and the old roles.

use std::fmt;

use secrecy::SecretString;

use crate::domain::account::Identifier;
use crate::domain::id::{SessionId, UserId};
use crate::domain::standing::{End, Fence, GenerationFloor, Owner, Standing};
use crate::domain::time::Timestamp;
use crate::store::engine::{Row, query};
use crate::store::{Store, StoreError, sql};

/// What the store knows of an identifier.
#[derive(Debug)]
pub struct CredentialAnswer {
    pub now: Timestamp,
    pub fence: Fence,
    pub found: Option<Credential>,
    pub failures: Failures,
}

/// How often passwords have failed in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// For what was typed, whether or not anybody has that name.
    pub of_name: u32,
    /// For the account: of strangers, and of devices that it knows.
    pub of_strangers: u32,
    pub of_known: u32,
}

impl Failures {
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// A user and the hash of their password.
pub struct Credential {
    pub user: UserId,
    pub owner: Owner,
    pub password_hash: Option<SecretString>,
    /// The password has to be changed before it opens a session.
    pub password_due: bool,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("user", &self.user).field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// A name under which a trusted issuer knows a user.
#[derive(Clone, Copy)]
pub enum KnownAs<'a> {
    /// The id in an older system.
    ExternalId(&'a str),
    /// Canonical; only of an account that has proven the address.
    ProvenEmail(&'a str),
    /// Canonical.
    UserName(&'a str),
}

macro_rules! credential_by {
    ($column:literal) => {
        credential_by!($column, "")
    };
    ($column:literal, $and:literal) => {
        concat!(
            "SELECT ",
            now!(),
            " AS now, feed.fence, feed.fence_at, p.hash, p.due, p.failures, p.known_failures, \
             (SELECT n.failures FROM login_failures n WHERE n.name = $3) AS name_failures, ",
            owner_columns!(),
            " FROM feed LEFT JOIN users u ON u.",
            $column,
            " = $2 ",
            $and,
            " LEFT JOIN passwords p ON p.user_id = u.id ",
            join_bindings!()
        )
    };
}

impl Store {
    /// The user with this identifier, to be signed in. `name`: what failures of the identifier are counted under.
    pub async fn credential(&self, identifier: &Identifier, name: &[u8]) -> Result<CredentialAnswer, StoreError> {
        const BY_EMAIL: &str = credential_by!("email_canonical");
        const BY_USER_NAME: &str = credential_by!("user_name_canonical");
        let (statement, canonical) = match identifier {
            Identifier::Email(canonical) => (BY_EMAIL, canonical),
            Identifier::UserName(canonical) => (BY_USER_NAME, canonical),
        };
        let rows = query(statement)
            .bind(self.clock.offset_micros())
            .bind(canonical.as_str())
            .bind(name)
            .fetch_all(&self.reader)
            .await?;
        Ok(CredentialAnswer { failures: failures(one(&rows)?)?, ..credential(&rows)? })
    }

    /// The same of a user who is known already; of nothing that was typed, so no failures are counted of that.
    pub async fn credential_of(&self, user: UserId) -> Result<CredentialAnswer, StoreError> {
        const BY_ID: &str = credential_by!("id");
        let rows = query(BY_ID)
            .bind(self.clock.offset_micros())
            .bind(user.uuid())
            .bind(&[][..])
            .fetch_all(&self.reader)
            .await?;
        Ok(CredentialAnswer { failures: failures(one(&rows)?)?, ..credential(&rows)? })
    }

    /// The same of somebody whom a trusted issuer names.
    pub async fn credential_known_as(&self, name: KnownAs<'_>) -> Result<CredentialAnswer, StoreError> {
        const BY_EXTERNAL_ID: &str = credential_by!("external_id");
        const BY_PROVEN_EMAIL: &str = credential_by!("email_canonical", "AND u.email_verified");
        const BY_USER_NAME: &str = credential_by!("user_name_canonical");
        let (statement, name) = match name {
            KnownAs::ExternalId(name) => (BY_EXTERNAL_ID, name),
            KnownAs::ProvenEmail(name) => (BY_PROVEN_EMAIL, name),
            KnownAs::UserName(name) => (BY_USER_NAME, name),
        };
        let rows =
            query(statement).bind(self.clock.offset_micros()).bind(name).bind(&[][..]).fetch_all(&self.reader).await?;
        Ok(CredentialAnswer { failures: failures(one(&rows)?)?, ..credential(&rows)? })
    }

    /// Puts a hash with today's parameters in the place of `old`; not if the password was changed meanwhile.
    pub async fn replace_password_hash(&self, user: UserId, old: &str, new: &str) -> Result<bool, StoreError> {
        const REPLACE: &str = "UPDATE passwords SET hash = $3, scheme = '' WHERE user_id = $1 AND hash = $2";
        let done = query(REPLACE).bind(user.uuid()).bind(old).bind(new).execute(&self.writer).await?;
        Ok(done.rows_affected() == 1)
    }

    /// One session and its owner.
    pub async fn standing(&self, user: UserId, session: SessionId) -> Result<Standing, StoreError> {
        const STANDING: &str = concat!(
            "SELECT ",
            now!(),
            " AS now, feed.fence, feed.fence_at, r.cause AS end_cause, r.end_time, g.generation, g.at AS generation_at, ",
            owner_columns!(),
            " FROM feed LEFT JOIN users u ON u.id = $2 \
             LEFT JOIN revocations r ON r.user_id = $2 AND r.session_id = $3 \
             LEFT JOIN generation_floors g ON g.session_id = $3 AND g.user_id = $2 ",
            join_bindings!()
        );
        let rows = query(STANDING)
            .bind(self.clock.offset_micros())
            .bind(user.uuid())
            .bind(session.uuid())
            .fetch_all(&self.reader)
            .await?;
        let first = one(&rows)?;
        let revoked = match first.try_get::<Option<&str>>("end_cause")? {
            Some(cause) => Some(End { cause: sql::cause(cause)?, time: sql::time(first, "end_time")? }),
            None => None,
        };
        let generation_floor = match first.try_get::<Option<i64>>("generation")? {
            Some(generation) => Some(GenerationFloor {
                generation: u32::try_from(generation)
                    .map_err(|_too_large| StoreError::corrupt("a generation floor out of range"))?,
                at: sql::time(first, "generation_at")?,
            }),
            None => None,
        };
        Ok(Standing {
            now: sql::time(first, "now")?,
            fence: sql::fence(first)?,
            owner: sql::owner(&rows)?.map(|(_, owner)| owner),
            revoked,
            generation_floor,
        })
    }

    /// A user, the time and the fence; `None` if there is no such user.
    pub async fn owner(&self, user: UserId) -> Result<Option<(Owner, Timestamp, Fence)>, StoreError> {
        const OWNER: &str = concat!(
            "SELECT ",
            now!(),
            " AS now, feed.fence, feed.fence_at, ",
            owner_columns!(),
            " FROM feed LEFT JOIN users u ON u.id = $2 ",
            join_bindings!()
        );
        let rows = query(OWNER).bind(self.clock.offset_micros()).bind(user.uuid()).fetch_all(&self.reader).await?;
        let first = one(&rows)?;
        let (now, fence) = (sql::time(first, "now")?, sql::fence(first)?);
        Ok(sql::owner(&rows)?.map(|(_, owner)| (owner, now, fence)))
    }
}

pub(super) fn credential(rows: &[Row]) -> Result<CredentialAnswer, StoreError> {
    let first = one(rows)?;
    let password_hash = first.try_get::<Option<String>>("hash")?.map(SecretString::from);
    let password_due = first.try_get::<Option<bool>>("due")?.unwrap_or(false);
    let found = sql::owner(rows)?.map(|(user, owner)| Credential { user, owner, password_hash, password_due });
    let failures = Failures::default();
    Ok(CredentialAnswer { now: sql::time(first, "now")?, fence: sql::fence(first)?, found, failures })
}

fn failures(row: &Row) -> Result<Failures, StoreError> {
    let number = |column| {
        let failures = row.try_get::<Option<i64>>(column)?.unwrap_or(0);
        Ok::<_, StoreError>(u32::try_from(failures).unwrap_or(u32::MAX))
    };
    Ok(Failures {
        of_name: number("name_failures")?,
        of_strangers: number("failures")?,
        of_known: number("known_failures")?,
    })
}

pub(super) fn one(rows: &[Row]) -> Result<&Row, StoreError> {
    rows.first().ok_or(StoreError::corrupt("the feed's row is missing"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::id::PrincipalId;
    use crate::store::testing::{Engine, Scratch, bound};

    /// While one writer grants and withdraws, no reader sees the version of one state with the roles of another.
    async fn versions_and_roles_are_of_one_time(engine: Engine) {
        let scratch = Scratch::new(engine).await;
        let user = scratch.user("kim@example.com", Vec::new()).await;
        let typed = Identifier::from_typed("kim@example.com").unwrap();
        let mut readers = tokio::task::JoinSet::new();
        let (done, going) = tokio::sync::watch::channel(true);
        for _ in 0..4 {
            let (store, going, typed) = (scratch.store.clone(), going.clone(), typed.clone());
            readers.spawn(async move {
                let mut seen = Vec::new();
                while *going.borrow() {
                    let owner = store.standing(user, SessionId::generate()).await.unwrap().owner.unwrap();
                    seen.push((owner.roles_at, owner.bindings.len()));
                    let owner = store.credential(&typed, b"kim").await.unwrap().found.unwrap().owner;
                    seen.push((owner.roles_at, owner.bindings.len()));
                }
                seen
            });
        }
        let mut truth = BTreeMap::from([(scratch.owner(user).await.roles_at, 0)]);
        let role = bound("postern.front", "");
        for _ in 0..20 {
            scratch
                .store
                .grant(&PrincipalId::User(user), &role, &PrincipalId::User(user), &scratch.audit())
                .await
                .unwrap();
            truth.insert(scratch.owner(user).await.roles_at, 1);
            scratch.store.withdraw(&PrincipalId::User(user), &role.role, &role.scope, &scratch.audit()).await.unwrap();
            truth.insert(scratch.owner(user).await.roles_at, 0);
        }
        done.send_replace(false);
        for (roles_at, count) in readers.join_all().await.into_iter().flatten() {
            assert_eq!(truth.get(&roles_at), Some(&count));
        }
    }

    async fn somebody_unknown_has_no_owner(engine: Engine) {
        let scratch = Scratch::new(engine).await;
        let standing = scratch.store.standing(UserId::generate(), SessionId::generate()).await.unwrap();
        assert!(standing.owner.is_none() && standing.revoked.is_none() && standing.generation_floor.is_none());
        assert_eq!(scratch.store.owner(UserId::generate()).await.unwrap(), None);
        assert_eq!(standing.fence, Fence::default());
    }

    async fn what_cannot_be_is_corrupt_not_a_default(engine: Engine) {
        let scratch = Scratch::new(engine).await;
        let user = scratch.plant(1).await;
        scratch.execute("UPDATE users SET state = 'asleep'").await;
        assert!(matches!(scratch.store.owner(user).await, Err(StoreError::Corrupt { .. })));
        scratch.execute("UPDATE users SET state = 'active', floor_cause = 'WHIM'").await;
        assert!(matches!(scratch.store.owner(user).await, Err(StoreError::Corrupt { .. })));
        // PostgreSQL has a type for it.
        if let Engine::Sqlite = engine {
            scratch.execute("UPDATE users SET floor_cause = 'LOGOUT', floor_except = x'00'").await;
            assert!(matches!(scratch.store.owner(user).await, Err(StoreError::Corrupt { .. })));
        }
    }

    crate::store::testing::conformance![
        versions_and_roles_are_of_one_time,
        somebody_unknown_has_no_owner,
        what_cannot_be_is_corrupt_not_a_default,
    ];
}
