//! The audit log as administrators read it: newest first, by who or about whom, in which session, what, and when.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::domain::audit::AuditKind;
use crate::domain::id::{PrincipalId, SessionId};
use crate::domain::time::Timestamp;
use crate::store::engine::{Row, Value, built_rows, query};
use crate::store::{Store, StoreError, sql};

/// Which events to list; what is `None` or empty does not matter.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// By or about this one.
    pub principal: Option<PrincipalId>,
    pub session: Option<SessionId>,
    pub kinds: Vec<AuditKind>,
    /// From this time on.
    pub start: Option<Timestamp>,
    /// Before this time.
    pub end: Option<Timestamp>,
}

/// Where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditKey {
    pub time: Timestamp,
    pub id: Uuid,
}

/// An event as the store has it. Text, since another version of this program may have written it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    pub id: Uuid,
    pub time: Timestamp,
    pub kind: String,
    pub actor: Option<String>,
    pub target: Option<String>,
    pub session: Option<SessionId>,
    pub client: Option<String>,
    pub ip_address: String,
    pub request_id: String,
    pub reason: Option<String>,
    pub detail: BTreeMap<String, String>,
}

impl RecordedEvent {
    pub fn key(&self) -> AuditKey {
        AuditKey { time: self.time, id: self.id }
    }
}

impl Store {
    /// Newest first, those older than `before`.
    pub async fn list_audit(
        &self,
        filter: &AuditFilter,
        before: Option<AuditKey>,
        limit: u32,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let (statement, values) = statement(filter, before, limit);
        let mut query = built_rows(statement);
        for value in values {
            query = query.bind(value);
        }
        query.fetch_all(&self.reader).await?.iter().map(event).collect()
    }
}

impl Store {
    /// The one event of this id.
    pub async fn audit_event(&self, id: Uuid) -> Result<Option<RecordedEvent>, StoreError> {
        const ONE: &str = "SELECT id, time, kind, actor, target, session_id, client, ip_address, request_id, reason, detail \
            FROM audit WHERE id = $1";
        query(ONE).bind(id).fetch_optional(&self.reader).await?.as_ref().map(event).transpose()
    }
}

/// Conditions as far as there are any, so that the engine finds the index that fits them.
fn statement(filter: &AuditFilter, before: Option<AuditKey>, limit: u32) -> (String, Vec<Value<'static>>) {
    const COLUMNS: &str = "id, time, kind, actor, target, session_id, client, ip_address, request_id, reason, detail";
    const NEWEST_FIRST: &str = "ORDER BY time DESC, id DESC LIMIT $1";
    let mut values: Vec<Value<'static>> = vec![limit.into()];
    let mut conditions = Vec::new();
    let mut put = |value: Value<'static>| {
        values.push(value);
        format!("${}", values.len())
    };
    if let Some(session) = filter.session {
        conditions.push(format!("session_id = {}", put(session.uuid().into())));
    }
    if !filter.kinds.is_empty() {
        let names: Vec<String> = filter.kinds.iter().map(|kind| put(kind.name().into())).collect();
        conditions.push(format!("kind IN ({})", names.join(", ")));
    }
    if let Some(start) = filter.start {
        conditions.push(format!("time >= {}", put(start.micros().into())));
    }
    if let Some(end) = filter.end {
        conditions.push(format!("time < {}", put(end.micros().into())));
    }
    if let Some(AuditKey { time, id }) = before {
        conditions.push(format!("(time, id) < ({}, {})", put(time.micros().into()), put(id.into())));
    }
    let principal = filter.principal.as_ref().map(|principal| put(principal.to_string().into()));
    let listing = |own: Option<String>| {
        let all: Vec<&str> = conditions.iter().map(String::as_str).chain(own.as_deref()).collect();
        let condition = if all.is_empty() { String::new() } else { format!("WHERE {}", all.join(" AND ")) };
        format!("SELECT {COLUMNS} FROM audit {condition} {NEWEST_FIRST}")
    };
    let statement = match principal {
        None => listing(None),
        // One index each, and from each no more than a page: an OR would sort all that somebody ever did. UNION has
        // what they did to themselves once.
        Some(place) => {
            let (by, about) = (listing(Some(format!("actor = {place}"))), listing(Some(format!("target = {place}"))));
            format!(
                "SELECT {COLUMNS} FROM (SELECT {COLUMNS} FROM ({by}) AS by_them \
                 UNION SELECT {COLUMNS} FROM ({about}) AS about_them) AS events {NEWEST_FIRST}"
            )
        }
    };
    (statement, values)
}

fn event(row: &Row) -> Result<RecordedEvent, StoreError> {
    let detail: &str = row.try_get("detail")?;
    Ok(RecordedEvent {
        id: row.try_get("id")?,
        time: sql::time(row, "time")?,
        kind: row.try_get("kind")?,
        actor: row.try_get("actor")?,
        target: row.try_get("target")?,
        session: row.try_get::<Option<Uuid>>("session_id")?.map(SessionId::from_uuid),
        client: row.try_get("client")?,
        ip_address: row.try_get("ip_address")?,
        request_id: row.try_get("request_id")?,
        reason: row.try_get("reason")?,
        detail: serde_json::from_str(detail)
            .map_err(|_unreadable| StoreError::corrupt("the detail of an audit event"))?,
    })
}

#[cfg(test)]
mod tests;
