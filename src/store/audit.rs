//! The audit log: rows are added, never changed.

use serde_json::{Map, Value};
use sqlx::SqliteConnection;

use crate::domain::audit::AuditEvent;
use crate::domain::id::{ClientId, SessionId};
use crate::store::{Store, StoreError};

impl Store {
    /// Writes down what happened without a change of its own; changes write theirs in their own transaction.
    pub async fn append_audit(&self, events: &[AuditEvent]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let mut write = self.write().await?;
        for event in events {
            write.audit(event).await?;
        }
        write.commit().await?;
        Ok(())
    }
}

pub(super) async fn insert(connection: &mut SqliteConnection, event: &AuditEvent) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO audit \
        (id, time, kind, actor, target, session_id, client, ip_address, request_id, reason, detail) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let detail: Map<String, Value> =
        event.detail.iter().map(|(name, value)| ((*name).to_owned(), Value::String(value.clone()))).collect();
    sqlx::query(INSERT)
        .bind(event.id)
        .bind(event.time.micros())
        .bind(event.kind.name())
        .bind(event.actor.as_ref().map(ToString::to_string))
        .bind(event.target.as_deref())
        .bind(event.session.map(SessionId::uuid))
        .bind(event.client.as_ref().map(ClientId::as_str))
        .bind(event.ip_address.as_str())
        .bind(event.request_id.as_str())
        .bind(event.reason)
        .bind(Value::Object(detail).to_string())
        .execute(connection)
        .await?;
    Ok(())
}
