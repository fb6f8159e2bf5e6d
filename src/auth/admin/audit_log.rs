//! The audit log, for those who may read it: what happened, by whom, about whom.

use crate::auth::Auth;
use crate::auth::admin::caller::Caller;
use crate::auth::admin::{Act, page};
use crate::auth::error::AuthError;
use crate::store::{AuditFilter, AuditKey, RecordedEvent};

/// What to list.
#[derive(Clone, Debug)]
pub struct ListAuditEvents {
    pub filter: AuditFilter,
    /// Where the page before ended.
    pub before: Option<AuditKey>,
    pub page_size: u32,
}

impl Auth {
    /// One page, newest first, and whether there are more.
    pub async fn list_audit_events(
        &self,
        caller: &Caller,
        list: &ListAuditEvents,
    ) -> Result<(Vec<RecordedEvent>, bool), AuthError> {
        let act = Act::new(caller, "ListAuditEvents");
        self.permit(&act, "postern:audit:read", None)?;
        let events = self.store.list_audit(&list.filter, list.before, list.page_size + 1).await?;
        Ok(page(events, list.page_size))
    }
}
