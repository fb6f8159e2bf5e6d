//! A session as it is shown, while it lives and after its end; and what of it is remembered for that. Must not know who
//! may look.

use serde::{Deserialize, Serialize};

use crate::auth::{Auth, Call};
use crate::domain::change::EndedSession;
use crate::domain::id::{ClientId, SessionId, UserId};
use crate::domain::session::{Device, Session};
use crate::domain::standing::End;
use crate::domain::time::Timestamp;
use crate::vault::seal::Place;

/// What of a session is remembered after its end, sealed.
#[derive(Serialize, Deserialize)]
pub(in crate::auth) struct Summary {
    client: String,
    method: String,
    ip_address: String,
    user_agent: String,
    device_name: String,
    create_time: i64,
    auth_time: i64,
    last_refresh: i64,
    generation: u32,
    amr: Vec<String>,
}

/// One session, as it is shown.
pub struct SessionView {
    pub id: SessionId,
    pub user: UserId,
    /// Unset if nothing but its end is remembered.
    pub client: Option<ClientId>,
    pub current: bool,
    pub create_time: Option<Timestamp>,
    pub last_refresh_time: Option<Timestamp>,
    pub idle_end: Option<Timestamp>,
    pub absolute_end: Timestamp,
    pub auth_time: Option<Timestamp>,
    pub amr: Vec<String>,
    pub method: String,
    pub device: Device,
    pub end: Option<End>,
}

impl Auth {
    pub(super) fn view(
        &self,
        call: &Call,
        session: Session,
        end: Option<End>,
        current: Option<SessionId>,
    ) -> SessionView {
        let policy =
            self.clients.session_policy(&session.client, session.create_time).unwrap_or(call.client.session_policy);
        SessionView {
            id: session.id,
            user: session.user,
            current: current == Some(session.id),
            create_time: Some(session.create_time),
            last_refresh_time: (session.generation > 0).then_some(session.advanced_at),
            idle_end: Some(session.idle_end(policy.idle_ttl)),
            absolute_end: session.absolute_end,
            auth_time: Some(session.auth_time),
            amr: session.amr,
            method: session.method,
            device: session.device,
            client: Some(session.client),
            end,
        }
    }

    pub(super) fn view_ended(&self, ended: &EndedSession) -> SessionView {
        let summary = self.open_summary(ended);
        let time = |micros: i64| Some(Timestamp::from_micros(micros));
        SessionView {
            id: ended.session,
            user: ended.user,
            client: summary.as_ref().and_then(|summary| summary.client.parse().ok()),
            current: false,
            create_time: summary.as_ref().and_then(|summary| time(summary.create_time)),
            last_refresh_time: summary
                .as_ref()
                .filter(|summary| summary.generation > 0)
                .and_then(|summary| time(summary.last_refresh)),
            idle_end: None,
            absolute_end: ended.keep_until,
            auth_time: summary.as_ref().and_then(|summary| time(summary.auth_time)),
            amr: summary.as_ref().map(|summary| summary.amr.clone()).unwrap_or_default(),
            method: summary.as_ref().map(|summary| summary.method.clone()).unwrap_or_default(),
            device: summary
                .map(|summary| Device {
                    ip_address: summary.ip_address,
                    user_agent: summary.user_agent,
                    display_name: summary.device_name,
                })
                .unwrap_or_default(),
            end: Some(ended.end),
        }
    }

    fn open_summary(&self, ended: &EndedSession) -> Option<Summary> {
        let (partition, key) = (ended.user.to_string(), ended.session.to_string());
        let place = Place { kind: "summary", partition: &partition, key: &key };
        let opened = self.summaries.open(&place, ended.summary.as_ref()?).ok()?;
        serde_json::from_slice(&opened.plain).ok()
    }
}

impl From<&Session> for Summary {
    fn from(session: &Session) -> Self {
        Self {
            client: session.client.to_string(),
            method: session.method.clone(),
            ip_address: session.device.ip_address.clone(),
            user_agent: session.device.user_agent.clone(),
            device_name: session.device.display_name.clone(),
            create_time: session.create_time.micros(),
            auth_time: session.auth_time.micros(),
            last_refresh: session.advanced_at.micros(),
            generation: session.generation,
            amr: session.amr.clone(),
        }
    }
}
