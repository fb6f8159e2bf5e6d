//! The change feed: what the verifiers learn, and how they find out that the log is not the one they read.
//!
//! A change row says what changed, not how: the state is read in the same snapshot, so a reader that is late or reads
//! twice learns what holds now.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use uuid::Uuid;

use crate::domain::change::{Change, Cursor, EndedSession, PrincipalState, RETENTION, Revision};
use crate::domain::id::{PrincipalId, UserId};
use crate::domain::standing::{EndCause, Fence, Floor};
use crate::domain::time::Timestamp;
use crate::store::engine::{Connection, Row, query, query_scalar};
use crate::store::sessions::ended_session;
use crate::store::write::{BULK, Learn, head};
use crate::store::{Store, StoreError, clients, keys, roles, sql};

/// How long everything may take.
const LOAD_MAX: Duration = Duration::from_secs(15);

/// How long what changed may take: always, and beyond it for each change. Whoever was cut off for a while over a slow network
/// would otherwise never catch up.
const READ_MAX: Duration = Duration::from_millis(1_500);
const CHANGE_MAX: Duration = Duration::from_millis(10);

/// All that a verifier must know, and how far that is.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub cursor: Cursor,
    pub now: Timestamp,
    pub changes: Vec<Change>,
    /// When those that are new were written: each one's transaction had its turn then.
    pub written: Vec<Timestamp>,
}

/// What happened since a cursor.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedRead {
    Changes(Loaded),
    /// Too much to tell one by one, or another connection than before: load everything.
    Reload,
    /// This is not the log that was read: the database was thrown back by a fail-over or a restore. Load everything,
    /// forget no revocation and no floor before its time, and write back what the store lost.
    Rewound,
}

impl Store {
    /// Everything that matters to a verifier, in one snapshot.
    pub async fn load(&self) -> Result<Loaded, StoreError> {
        const NEWEST: &str = concat!("SELECT ", now!(), " AS now, id, mark FROM changes ORDER BY id DESC LIMIT 1");
        let mut snapshot = self.follower.begin().await?;
        let newest = query(NEWEST)
            .bind(self.clock.offset_micros())
            .fetch_optional(&mut snapshot)
            .await?
            .ok_or(StoreError::corrupt("the change log is empty"))?;
        let now = sql::time(&newest, "now")?;
        let since = now - RETENTION;
        // Somebody answers, and all of a policy of thousands of roles may be on its way.
        snapshot.allow(LOAD_MAX);
        let (policy_version, roles) = roles::all(&mut snapshot).await?;
        let mut changes = vec![
            Change::Fence(fence(&mut snapshot).await?),
            Change::Policy { version: policy_version, roles },
            Change::Keys(keys::not_retired(&mut snapshot, now).await?),
            Change::Clients(clients::all(&mut snapshot, self.clock.offset_micros()).await?),
        ];
        let principals = recent_principals(&mut snapshot, self.clock.offset_micros(), since).await?;
        changes.extend(principals.into_iter().map(Change::Principal));
        changes.extend(recently_ended(&mut snapshot, since).await?.into_iter().map(Change::SessionEnded));
        self.followed.store(snapshot.birth(), Ordering::Release);
        snapshot.commit().await?;
        Ok(Loaded { cursor: cursor(&newest)?, now, changes, written: Vec::new() })
    }

    /// What changed behind `cursor`. A standby, which says nothing new and would look fresh for ever, has no time to give,
    /// so that it fails here as everywhere.
    pub async fn changes_since(&self, cursor: Cursor) -> Result<FeedRead, StoreError> {
        // From the cursor's own row on, because it proves that the log is the same.
        const READ: &str = concat!(
            "SELECT ",
            now!(),
            " AS now, id, mark, at, kind, user_id, session_id FROM changes WHERE id >= $2 ORDER BY id LIMIT $3"
        );
        let limit = i64::try_from(BULK + 2).unwrap_or(i64::MAX);
        let mut snapshot = self.follower.begin().await?;
        // Another connection may lead to another server, whose log only looks like the one that was read.
        if snapshot.birth() != self.followed.load(Ordering::Acquire) {
            return Ok(FeedRead::Reload);
        }
        let rows =
            query(READ).bind(self.clock.offset_micros()).bind(cursor.id).bind(limit).fetch_all(&mut snapshot).await?;
        let Some((read, new)) = rows.split_first() else { return Ok(FeedRead::Rewound) };
        if self::cursor(read)? != cursor {
            return Ok(FeedRead::Rewound);
        }
        if new.len() > BULK {
            return Ok(FeedRead::Reload);
        }
        // The server has answered; what follows takes a round trip for each change.
        snapshot.allow(READ_MAX + CHANGE_MAX * u32::try_from(new.len()).unwrap_or(u32::MAX));
        let now = sql::time(read, "now")?;
        let mut changes = Vec::with_capacity(new.len());
        let written = new.iter().map(|row| sql::time(row, "at")).collect::<Result<_, _>>()?;
        let mut read_already = HashSet::new();
        for row in new {
            let (kind, user, session): (&str, Option<Uuid>, Option<Uuid>) =
                (row.try_get("kind")?, row.try_get("user_id")?, row.try_get("session_id")?);
            // All state is of one snapshot: a second row about the same thing would bring the same again, and a hundred
            // changes of the policy a hundred copies of all roles.
            if !read_already.insert((kind, user, session)) {
                continue;
            }
            match self.change(&mut snapshot, row, now).await? {
                Read::Change(change) => changes.push(change),
                Read::Over => {}
                Read::Reload => return Ok(FeedRead::Reload),
            }
        }
        snapshot.commit().await?;
        let cursor = self::cursor(new.last().unwrap_or(read))?;
        Ok(FeedRead::Changes(Loaded { cursor, now, changes, written }))
    }

    /// The newest place in the log.
    pub async fn head(&self) -> Result<Revision, StoreError> {
        let mut connection = self.reader.acquire().await?;
        let head = head(&mut connection).await?;
        connection.commit().await?;
        Ok(head)
    }

    async fn change(&self, snapshot: &mut Connection, row: &Row, now: Timestamp) -> Result<Read, StoreError> {
        let change = match row.try_get("kind")? {
            Learn::SESSION => match revocation(snapshot, row.try_get("user_id")?, row.try_get("session_id")?).await? {
                Some(ended) => Change::SessionEnded(ended),
                None => return Ok(Read::Over),
            },
            Learn::USER => {
                let user = UserId::from_uuid(row.try_get("user_id")?);
                Change::Principal(principal(snapshot, self.clock.offset_micros(), user).await?)
            }
            Learn::POLICY => {
                let (version, roles) = roles::all(snapshot).await?;
                Change::Policy { version, roles }
            }
            Learn::KEYS => Change::Keys(keys::not_retired(snapshot, now).await?),
            Learn::CLIENTS => Change::Clients(clients::all(snapshot, self.clock.offset_micros()).await?),
            Learn::FENCE => Change::Fence(fence(snapshot).await?),
            // Also for what a later version may write beside this one.
            _ => return Ok(Read::Reload),
        };
        Ok(Read::Change(change))
    }
}

enum Read {
    Change(Change),
    /// Its time is over: the revocation is gone since its session could not live any more.
    Over,
    Reload,
}

fn cursor(row: &Row) -> Result<Cursor, StoreError> {
    let mark: &[u8] = row.try_get("mark")?;
    let mark = mark.try_into().map_err(|_wrong_length| StoreError::corrupt("a mark of the change log"))?;
    Ok(Cursor { id: row.try_get("id")?, mark })
}

async fn fence(snapshot: &mut Connection) -> Result<Fence, StoreError> {
    const FENCE: &str = "SELECT fence, fence_at FROM feed";
    sql::fence(&query(FENCE).fetch_one(snapshot).await?)
}

async fn revocation(snapshot: &mut Connection, user: Uuid, session: Uuid) -> Result<Option<EndedSession>, StoreError> {
    const GET: &str = "SELECT user_id, session_id, cause, end_time, keep_until, summary FROM revocations \
        WHERE user_id = $1 AND session_id = $2";
    let row = query(GET).bind(user).bind(session).fetch_optional(snapshot).await?;
    row.as_ref().map(ended_session).transpose()
}

async fn recently_ended(snapshot: &mut Connection, since: Timestamp) -> Result<Vec<EndedSession>, StoreError> {
    // By the log too: a session may be written down as ended earlier than it was found out.
    const LIST: &str = "SELECT user_id, session_id, cause, end_time, keep_until, summary FROM revocations \
        WHERE end_time >= $1 UNION \
        SELECT r.user_id, r.session_id, r.cause, r.end_time, r.keep_until, r.summary FROM changes c \
        JOIN revocations r ON r.user_id = c.user_id AND r.session_id = c.session_id WHERE c.at >= $1";
    let rows = query(LIST).bind(since.micros()).fetch_all(snapshot).await?;
    rows.iter().map(ended_session).collect()
}

async fn principal(snapshot: &mut Connection, offset_micros: i64, user: UserId) -> Result<PrincipalState, StoreError> {
    const GET: &str = concat!("SELECT ", owner_columns!(), " FROM users u ", join_bindings!(), " WHERE u.id = $2");
    let rows = query(GET).bind(offset_micros).bind(user.uuid()).fetch_all(snapshot).await?;
    Ok(state(&rows)?.unwrap_or_else(|| deleted(user)))
}

/// Those whose version is of this time, and those that the log names: a clock that was set back makes low versions.
async fn recent_principals(
    snapshot: &mut Connection,
    offset_micros: i64,
    since: Timestamp,
) -> Result<Vec<PrincipalState>, StoreError> {
    const LIVING: &str = concat!(
        "SELECT ",
        owner_columns!(),
        " FROM users u ",
        join_bindings!(),
        " WHERE u.id IN (SELECT id FROM users WHERE version >= $2 \
          UNION SELECT user_id FROM changes WHERE kind = $4 AND at >= $3) ORDER BY u.id"
    );
    const DELETED: &str = "SELECT DISTINCT c.user_id FROM changes c WHERE c.kind = $2 AND c.at >= $1 \
        AND NOT EXISTS (SELECT 1 FROM users u WHERE u.id = c.user_id)";
    let rows = query(LIVING)
        .bind(offset_micros)
        .bind(since.millis())
        .bind(since.micros())
        .bind(Learn::USER)
        .fetch_all(&mut *snapshot)
        .await?;
    let mut principals = Vec::new();
    for rows in rows.chunk_by(same_user) {
        principals.extend(state(rows)?);
    }
    let gone: Vec<Uuid> = query_scalar(DELETED).bind(since.micros()).bind(Learn::USER).fetch_all(snapshot).await?;
    principals.extend(gone.into_iter().map(|user| deleted(UserId::from_uuid(user))));
    Ok(principals)
}

fn same_user(a: &Row, b: &Row) -> bool {
    let id = |row: &Row| row.try_get::<Uuid>("user_id").ok();
    id(a) == id(b)
}

fn state(rows: &[Row]) -> Result<Option<PrincipalState>, StoreError> {
    Ok(sql::owner(rows)?.map(|(user, owner)| PrincipalState {
        id: PrincipalId::User(user),
        version: owner.version,
        roles_at: owner.roles_at,
        floor: owner.floor,
        bindings: owner.bindings,
    }))
}

/// Every token of a deleted user is below this.
fn deleted(user: UserId) -> PrincipalState {
    PrincipalState {
        id: PrincipalId::User(user),
        version: i64::MAX,
        roles_at: i64::MAX,
        floor: Floor { version: i64::MAX, cause: EndCause::UserDisabled, ..Floor::NONE },
        bindings: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
