//! The audit log: rows are added, never changed.

use serde_json::{Map, Value};

use crate::domain::audit::AuditEvent;
use crate::domain::id::{ClientId, SessionId};
use crate::store::engine::{Connection, Query, Row, built_rows};
use crate::store::{Store, StoreError, sql};

/// A statement has room for some thousand parameters.
const ROWS_IN_ONE_STATEMENT: usize = 256;

impl Store {
    /// Writes down what happened without a change of its own; changes write theirs in their own transaction.
    pub async fn append_audit(&self, events: &[AuditEvent]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        // Out of the line in which changes stand: a storm of sign-ins must not hold up revocations.
        let mut transaction = self.writer.begin_write().await?;
        insert(&mut transaction, events).await?;
        Ok(transaction.commit().await?)
    }
}

/// In one statement for each few hundred, since all of them together have no more time than one call.
pub(super) async fn insert(connection: &mut Connection, events: &[AuditEvent]) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO audit \
        (id, time, kind, actor, target, session_id, client, ip_address, request_id, reason, detail) VALUES ";
    for events in events.chunks(ROWS_IN_ONE_STATEMENT) {
        let statement = format!("{INSERT}{}", sql::places(events.len(), 11));
        events.iter().fold(built_rows(statement), bind).execute(&mut *connection).await?;
    }
    Ok(())
}

fn bind<'q>(query: Query<'q, Row>, event: &'q AuditEvent) -> Query<'q, Row> {
    let detail: Map<String, Value> =
        event.detail.iter().map(|(name, value)| ((*name).to_owned(), Value::String(value.clone()))).collect();
    query
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::IDENTIFIER_BYTES_MAX;
    use crate::domain::id::UserId;
    use crate::store::engine::query_as;
    use crate::store::testing::{Engine, Scratch};

    async fn an_event_is_written_as_it_is(engine: Engine) {
        let scratch = Scratch::new(engine).await;
        let user = UserId::generate();
        let event = AuditEvent {
            actor: Some(crate::domain::id::PrincipalId::User(user)),
            target: Some("x".repeat(IDENTIFIER_BYTES_MAX)),
            client: Some("gateway".parse().unwrap()),
            reason: Some("INVALID_CREDENTIALS"),
            ..scratch.audit()
        };
        scratch.store.append_audit(&[event.clone(), scratch.audit()]).await.unwrap();
        scratch.store.append_audit(&[]).await.unwrap();
        let row: (i64, String, String, String, String) =
            query_as("SELECT time, kind, actor, client, detail FROM audit WHERE reason IS NOT NULL")
                .fetch_one(&scratch.store.reader)
                .await
                .unwrap();
        let detail = r#"{"note":"\"quoted\""}"#;
        let expected = (event.time.micros(), "session_revoked", user.to_string(), "gateway", detail);
        assert_eq!((row.0, row.1.as_str(), row.2, row.3.as_str(), row.4.as_str()), expected);
        assert_eq!(scratch.number("SELECT count(*) FROM audit").await, 2);
    }

    async fn a_change_that_is_refused_leaves_no_event(engine: Engine) {
        let scratch = Scratch::new(engine).await;
        let nobody = scratch.store.disable_user(UserId::generate(), &scratch.audit()).await;
        assert!(nobody.is_err());
        assert_eq!(scratch.number("SELECT count(*) FROM audit").await, 0);
    }

    crate::store::testing::conformance![an_event_is_written_as_it_is, a_change_that_is_refused_leaves_no_event,];
}
