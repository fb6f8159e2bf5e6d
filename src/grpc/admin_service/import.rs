//! Imports as messages: rows come in while answers go out, some rows to a transaction.

use std::collections::{HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, stream};
use secrecy::SecretString;
use tokio_stream::Stream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Extensions, Request, Status, Streaming};
use tracing::Instrument as _;

use crate::auth::Auth;
use crate::auth::admin::caller::Caller;
use crate::auth::admin::import::{ImportUser, Importing, RowOutcome};
use crate::auth::error::AuthError;
use crate::budget;
use crate::domain::identity::{IDENTITIES_MAX, IdentityKey};
use crate::grpc::admin_service::{admit, users};
use crate::grpc::fields::Fields;
use crate::grpc::status::{self, Repeat, refuse};
use crate::proto::admin::v1 as wire;

/// In one transaction: enough that its beginning and end cost little for each, few enough that sign-ins get their turn.
const ROWS_AT_ONCE: usize = 50;
/// For what is on its way already. Then the rows that are there go first.
const LINGER: Duration = Duration::from_millis(5);
/// Whoever sends no row for so long has gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// In one call. A rehearsal remembers what its rows would have taken.
const ROWS_MAX: usize = 100_000;
const ROLES_MAX: usize = 64;

pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<wire::ImportUsersResponse, Status>> + Send>>;

/// An import under way.
struct Import {
    auth: Arc<Auth>,
    /// Who calls, to be asked again: a long import must not outlive the right to it.
    metadata: MetadataMap,
    extensions: Extensions,
    rows: Streaming<wire::ImportUsersRequest>,
    importing: Option<(Caller, Importing)>,
    received: usize,
    answers: VecDeque<wire::ImportUsersResponse>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The caller has sent all.
    Closed,
    Failed,
}

pub(super) fn run(auth: &Arc<Auth>, request: Request<Streaming<wire::ImportUsersRequest>>) -> Result<Answers, Status> {
    let caller = admit(auth, &request).and_then(|caller| auth.may_import(&caller).map(|()| caller));
    caller.map_err(|why| refuse(&why, Repeat::Safe))?;
    let (metadata, extensions, rows) = request.into_parts();
    let import = Import {
        auth: Arc::clone(auth),
        metadata,
        extensions,
        rows,
        importing: None,
        received: 0,
        answers: VecDeque::new(),
        state: State::Open,
    };
    // The layers see the beginning of a stream only: what they do for calls is done here for each step.
    let span = tracing::Span::current();
    Ok(Box::pin(stream::unfold(import, move |mut import| {
        async move {
            let next = AssertUnwindSafe(budget::around(import.next())).catch_unwind().await;
            let next = next.unwrap_or_else(|_told_by_the_hook| Some(Err(status::internal())));
            if let Some(Err(_)) = next {
                import.state = State::Failed;
            }
            next.map(|answer| (answer, import))
        }
        .instrument(span.clone())
    })))
}

impl Import {
    async fn next(&mut self) -> Option<Result<wire::ImportUsersResponse, Status>> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Some(Ok(answer));
            }
            if self.state != State::Open {
                self.end();
                return None;
            }
            let batch = match budget::apart(self.receive()).await {
                Ok(batch) => batch,
                Err(status) => return Some(Err(status)),
            };
            if let Err(why) = self.bring(batch).await {
                return Some(Err(refuse(&why, Repeat::Safe)));
            }
        }
    }

    /// The rows that are there, after waiting for the first.
    async fn receive(&mut self) -> Result<Vec<wire::ImportUsersRequest>, Status> {
        let mut batch = Vec::new();
        while batch.len() < ROWS_AT_ONCE {
            let patience = if batch.is_empty() { SILENCE_MAX } else { LINGER };
            match tokio::time::timeout(patience, self.rows.message()).await {
                Ok(Ok(Some(row))) => batch.push(row),
                Ok(Ok(None)) => {
                    self.state = State::Closed;
                    break;
                }
                // As the layers have it: ours have details.
                Ok(Err(status)) if status.code() == Code::Internal => return Err(status::malformed()),
                Ok(Err(status)) => return Err(status),
                Err(_elapsed) if batch.is_empty() => {
                    return Err(Status::deadline_exceeded("no row came for thirty seconds: what was answered is done"));
                }
                Err(_elapsed) => break,
            }
        }
        self.received += batch.len();
        if self.received > ROWS_MAX {
            let problem = format!("one call takes {ROWS_MAX}: send those without an answer in another");
            return Err(refuse(&AuthError::field("row", problem), Repeat::Safe));
        }
        Ok(batch)
    }

    async fn bring(&mut self, batch: Vec<wire::ImportUsersRequest>) -> Result<(), AuthError> {
        let Some(first) = batch.first() else { return Ok(()) };
        let caller = admit(&self.auth, &Request::from_parts(self.metadata.clone(), self.extensions.clone(), ()))?;
        let rehearse = first.validate_only;
        let (known, importing) = self.importing.get_or_insert_with(|| (caller.clone(), Importing::new(rehearse)));
        *known = caller;
        let rehearse = importing.is_rehearsal();
        let mut numbers = Vec::with_capacity(batch.len());
        let mut rows = Vec::with_capacity(batch.len());
        for row in batch {
            numbers.push(row.row);
            rows.push(read(row, rehearse));
        }
        let outcomes = self.auth.import_users(known, rows, importing).await?;
        self.answers.extend(numbers.into_iter().zip(outcomes).map(|(row, outcome)| render(row, outcome)));
        Ok(())
    }

    fn end(&mut self) {
        if let Some((caller, importing)) = self.importing.take() {
            self.auth.note_import(&caller, &importing);
        }
    }
}

/// Also where the caller went away in the middle: what came is written down.
impl Drop for Import {
    fn drop(&mut self) {
        self.end();
    }
}

/// What is wrong with a row is its answer, and no reason to end the call.
fn read(row: wire::ImportUsersRequest, rehearse: bool) -> Result<ImportUser, String> {
    let wire::ImportUsersRequest { row: _, user, password_hash, identities, roles, validate_only } = row;
    let mut fields = Fields::default();
    if validate_only != rehearse {
        fields.refuse("validate_only", "must be the same in every row");
    }
    let mut disabled = false;
    let profile = fields.required("user", user).and_then(|mut user| {
        match user.state() {
            wire::UserState::Unspecified | wire::UserState::Active => {}
            wire::UserState::Disabled => disabled = true,
        }
        if wire::UserState::try_from(user.state).is_err() {
            fields.refuse("user.state", "must be a state that this server knows");
        }
        user.state = 0;
        users::read_new(&mut fields, user)
    });
    if identities.len() > IDENTITIES_MAX {
        fields.refuse("identities", format_args!("must be at most {IDENTITIES_MAX}"));
    }
    if roles.len() > ROLES_MAX {
        fields.refuse("roles", format_args!("must be at most {ROLES_MAX}"));
    }
    let mut keys = Vec::with_capacity(identities.len());
    for (place, identity) in identities.iter().enumerate() {
        let provider = fields.parse(format!("identities[{place}].provider"), &identity.provider);
        let subject = fields.parse(format!("identities[{place}].subject"), &identity.subject);
        keys.extend(provider.zip(subject).map(|(provider, subject)| IdentityKey { provider, subject }));
    }
    if keys.iter().collect::<HashSet<_>>().len() < keys.len() {
        fields.refuse("identities", "must name each only once");
    }
    let mut bound = Vec::with_capacity(roles.len());
    for (place, one) in roles.iter().enumerate() {
        let role = fields.parse(format!("roles[{place}].role"), &one.role);
        let scope = fields.scope(format!("roles[{place}].scope"), one.scope.as_ref());
        bound.extend(role.zip(scope));
    }
    let password_hash = Some(password_hash).filter(|hash| !hash.is_empty()).map(SecretString::from);
    fields
        .finish(|| Some(ImportUser { profile: profile?, password_hash, disabled, identities: keys, roles: bound }))
        .map_err(|why| problem(&why))
}

fn problem(why: &AuthError) -> String {
    match why {
        AuthError::InvalidField(violations) => {
            let each = violations.iter().map(|violation| format!("{}: {}", violation.field, violation.problem));
            each.collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}

fn render(row: i64, outcome: RowOutcome) -> wire::ImportUsersResponse {
    let (outcome, id, problem) = match outcome {
        RowOutcome::Created(id) => (wire::ImportOutcome::Created, id, String::new()),
        RowOutcome::Exists(id, problem) => (wire::ImportOutcome::Exists, id, problem),
        RowOutcome::Refused(problem) => (wire::ImportOutcome::Refused, None, problem),
    };
    let user_id = id.map(|id| id.to_string()).unwrap_or_default();
    wire::ImportUsersResponse { row, user_id, outcome: outcome.into(), problem }
}
