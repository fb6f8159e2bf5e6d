//! Why somebody may or may not, step by step, from the store: what it says, and not what this replica remembers, is what
//! an operator wants to know. Never shows a token.

mod roles;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::auth::Auth;
use crate::auth::admin::Act;
use crate::auth::admin::caller::Caller;
use crate::auth::error::AuthError;
use crate::domain::audit::AuditKind;
use crate::domain::change::Revision;
use crate::domain::client::Origin;
use crate::domain::id::{ClientId, PrincipalId, SessionId, UserId};
use crate::domain::permission::Tenant;
use crate::domain::role::BoundRole;
use crate::domain::standing::{EndCause, Fence, Floor, Owner, Standing};
use crate::verifier::{Bearer, Check, Claims, Identity, TokenFault};

/// Of whom the question is.
pub enum Subject {
    Principal(PrincipalId),
    /// As it was presented.
    Token(SecretString),
}

/// What is to be explained.
pub enum Ask {
    Now(Subject, Check),
    /// A refused decision of `Verify`.
    Decision(Uuid),
}

/// A judgement, told.
#[derive(Debug)]
pub struct Explanation {
    /// None: allowed.
    pub refusal: Option<Refusal>,
    /// In order, down to the one that decided.
    pub steps: Vec<Step>,
    pub revision: Revision,
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Unknown,
    ClientDisabled,
    Token(TokenFault),
    PermissionMissing,
    /// A decision that was refused then, whatever would be now: a name of the contract's `Reason`.
    Decided(String),
}

/// One step of a judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was looked at: `decision`, `token`, `session`, `user`, `client`, `binding`, `role`.
    pub subject: &'static str,
    /// It let the judgement go on, or granted.
    pub held: bool,
    /// For people.
    pub text: String,
}

impl Step {
    fn held(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, held: true, text: text.into() }
    }

    fn failed(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, held: false, text: text.into() }
    }
}

/// What is to be judged by its roles, or why it came to no more.
type Looked = Result<Vec<BoundRole>, Refusal>;

/// What a token says of itself, once its signature was found good.
struct Told {
    user: UserId,
    session: SessionId,
    version: i64,
}

impl Auth {
    pub async fn explain_access(&self, caller: &Caller, ask: &Ask) -> Result<Explanation, AuthError> {
        let act = Act::new(caller, "ExplainAccess");
        self.permit(&act, "postern:access:explain", None)?;
        let mut steps = Vec::new();
        let refusal = match ask {
            Ask::Now(subject, check) => self.judge_now(caller, subject, check, &mut steps).await?,
            Ask::Decision(id) => Some(self.look_at_decision(caller, *id, &mut steps).await?),
        };
        Ok(Explanation { refusal, steps, revision: self.store.head().await? })
    }

    /// What was decided, and what would be.
    async fn look_at_decision(&self, caller: &Caller, id: Uuid, steps: &mut Vec<Step>) -> Result<Refusal, AuthError> {
        let event = self.store.audit_event(id).await?.filter(|event| event.kind == AuditKind::AccessDenied.name());
        let event = event.ok_or(AuthError::NotFound { what: "decision" })?;
        let reason = event.reason.unwrap_or_default();
        let told = |name: &str| event.detail.get(name).map(String::as_str).unwrap_or_default();
        let (permission, tenant, why) = (told("permission"), told("tenant"), told("why"));
        let what = match (permission, tenant) {
            ("", _) => String::new(),
            (permission, "") => format!(" for {permission}"),
            (permission, tenant) => format!(" for {permission} in {tenant}"),
        };
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        let client = event.client.as_deref().unwrap_or("nobody");
        let text = format!("{} asked at {}{what}, and was told {reason}{why}", client, event.time);
        steps.push(Step::failed("decision", text));
        let subject = event.actor.as_deref().and_then(|actor| actor.parse().ok()).map(Subject::Principal);
        let tenant = if tenant.is_empty() { None } else { tenant.parse().ok() };
        let check = permission.parse().ok().map(|permission| Check { permission, tenant });
        if let Some((subject, check)) = subject.zip(check) {
            let held = self.judge_now(caller, &subject, &check, steps).await?.is_none();
            let text = if held { "it would be allowed" } else { "it would be refused" };
            steps.push(Step { subject: "now", held, text: text.to_owned() });
        }
        Ok(Refusal::Decided(reason))
    }

    async fn judge_now(
        &self,
        caller: &Caller,
        subject: &Subject,
        check: &Check,
        steps: &mut Vec<Step>,
    ) -> Result<Option<Refusal>, AuthError> {
        let bound = match subject {
            Subject::Principal(PrincipalId::User(user)) => self.look_at_user(*user, steps).await?,
            Subject::Principal(PrincipalId::Client(id)) => self.look_at_client(id, steps).await?,
            Subject::Token(token) => self.look_at_token(token, steps).await?,
        };
        Ok(match bound {
            Err(refusal) => Some(refusal),
            Ok(bound) => {
                let policy = self.current_roles(caller).await?.policy;
                let (allowed, looked_at) = roles::judge(&policy, &bound, check, self.clock.now());
                steps.extend(looked_at);
                (!allowed).then_some(Refusal::PermissionMissing)
            }
        })
    }

    async fn look_at_user(&self, user: UserId, steps: &mut Vec<Step>) -> Result<Looked, AuthError> {
        let Some((owner, _now, fence)) = self.store.owner(user).await? else {
            steps.push(Step::failed("user", "there is no such user"));
            return Ok(Err(Refusal::Unknown));
        };
        if !owner.active {
            steps.push(disabled(&owner.floor));
            return Ok(Err(Refusal::Token(TokenFault::Revoked)));
        }
        steps.push(Step::held("user", "exists and is active"));
        if fence.version > 0 {
            steps.push(Step::held("session", format!("everybody was signed out at {}", fence.at)));
        }
        if owner.floor.version > 0 {
            steps.push(Step::held("session", ended_below(&owner.floor)));
        }
        Ok(Ok(owner.bindings))
    }

    async fn look_at_client(&self, id: &ClientId, steps: &mut Vec<Step>) -> Result<Looked, AuthError> {
        let found = match self.clients.fixed(id) {
            Some(client) => Some(client.registration.clone()),
            None => self.store.client(id).await?,
        };
        let Some(client) = found else {
            steps.push(Step::failed("client", "there is no such client"));
            return Ok(Err(Refusal::Unknown));
        };
        if client.disabled {
            steps.push(Step::failed("client", "is disabled"));
            return Ok(Err(Refusal::ClientDisabled));
        }
        let text = match client.origin {
            Origin::Store => "exists",
            Origin::Configuration => "is declared in the configuration of this server",
            Origin::BuiltIn => "the client of the development profile",
        };
        steps.push(Step::held("client", text));
        Ok(Ok(client.roles))
    }

    async fn look_at_token(&self, token: &SecretString, steps: &mut Vec<Step>) -> Result<Looked, AuthError> {
        let token = token.expose_secret();
        let (told, identity) = match self.verifier.identify(token, self.clock.moment())? {
            Ok(Bearer { identity, .. }) => (Told::by(&identity), Ok(identity)),
            Err(fault @ TokenFault::Invalid(why)) => {
                steps.push(Step::failed("token", format!("not one of ours: {why}")));
                return Ok(Err(Refusal::Token(fault)));
            }
            // Only tokens with a good signature are found expired or revoked, so what they say can be read.
            Err(fault @ (TokenFault::Expired | TokenFault::Revoked)) => match Told::read(token) {
                Some(told) => (told, Err(fault)),
                None => return Err(AuthError::internal("a token that was proven cannot be read")),
            },
        };
        let standing = self.store.standing(told.user, told.session).await?;
        steps.push(Step::held("token", "genuine"));
        let owner = match look_at_standing(&told, standing, steps) {
            Ok(owner) => owner,
            Err(refusal) => return Ok(Err(refusal)),
        };
        match identity {
            Ok(identity) => Ok(Ok(bindings_of(&identity, owner, steps))),
            Err(TokenFault::Expired) => {
                steps.push(Step::failed("token", "has expired"));
                Ok(Err(Refusal::Token(TokenFault::Expired)))
            }
            // A store that was thrown back may not know what its verifiers do.
            Err(fault) => {
                steps.push(Step::failed("session", "ended, as this replica remembers; the store does not"));
                Ok(Err(Refusal::Token(fault)))
            }
        }
    }
}

impl Told {
    fn by(identity: &Identity) -> Self {
        Self { user: identity.user(), session: identity.session(), version: identity.version() }
    }

    fn read(token: &str) -> Option<Self> {
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let claims: Claims = serde_json::from_slice(&payload).ok()?;
        Some(Self { user: claims.sub.parse().ok()?, session: claims.sid.parse().ok()?, version: claims.ver })
    }
}

/// Whether session and user are alive, in the verifier's order.
fn look_at_standing(told: &Told, standing: Standing, steps: &mut Vec<Step>) -> Result<Owner, Refusal> {
    let revoked = Refusal::Token(TokenFault::Revoked);
    let Standing { fence, owner, revoked: end, .. } = standing;
    if told.version < fence.version {
        steps.push(Step::failed("session", behind(&fence)));
        return Err(revoked);
    }
    if let Some(end) = end {
        steps.push(Step::failed("session", format!("{} at {}", cause(end.cause), end.time)));
        return Err(revoked);
    }
    let Some(owner) = owner else {
        steps.push(Step::failed("user", "was deleted"));
        return Err(revoked);
    };
    if told.version < owner.floor.version && owner.floor.except != Some(told.session) {
        let step =
            if owner.active { Step::failed("session", ended_below(&owner.floor)) } else { disabled(&owner.floor) };
        steps.push(step);
        return Err(revoked);
    }
    steps.push(Step::held("session", "has not ended"));
    steps.push(Step::held("user", if owner.active { "exists and is active" } else { "exists and is disabled" }));
    Ok(owner)
}

/// The roles that count for a living token.
fn bindings_of(identity: &Identity, owner: Owner, steps: &mut Vec<Step>) -> Vec<BoundRole> {
    let narrowed = identity.tenant();
    if let Some(tenant) = narrowed {
        steps.push(Step::held("token", format!("narrowed to tenant {tenant} at sign-in")));
    }
    if identity.version() < owner.roles_at {
        steps.push(Step::held(
            "token",
            "older than the last change of the user's roles, so these count as they are now",
        ));
        owner.bindings.into_iter().filter(|bound| reaches(bound, narrowed)).collect()
    } else {
        steps.push(Step::held("token", "carries the user's roles as they are"));
        identity.bindings().cloned().collect()
    }
}

/// As the verifier has it: a sign-in that was narrowed to one tenant stays so.
fn reaches(bound: &BoundRole, narrowed: Option<&Tenant>) -> bool {
    narrowed.is_none() || bound.scope.reaches(narrowed)
}

fn disabled(floor: &Floor) -> Step {
    let since = if floor.cause == EndCause::UserDisabled { format!(", since {}", floor.at) } else { String::new() };
    Step::failed("user", format!("is disabled{since}"))
}

fn behind(fence: &Fence) -> String {
    format!("everybody was signed out at {}", fence.at)
}

fn ended_below(floor: &Floor) -> String {
    let but_one = if floor.except.is_some() { ", save one" } else { "" };
    format!("all of the user's sessions until {}{but_one}: {}", floor.at, cause(floor.cause))
}

const fn cause(cause: EndCause) -> &'static str {
    match cause {
        EndCause::Logout => "signed out",
        EndCause::EndedByUser => "ended by the user",
        EndCause::EndedByAdmin => "ended by an administrator",
        EndCause::RefreshReused => "ended because a spent refresh token came back",
        EndCause::Idle => "ended because nobody used it",
        EndCause::Expired => "ended at the end of its life",
        EndCause::CredentialChanged => "ended because the password was changed",
        EndCause::UserDisabled => "ended because the user was disabled",
        EndCause::Replaced => "ended because the device signed in again",
        EndCause::SessionLimit => "ended because the user had too many",
        EndCause::Lost => "lost",
        EndCause::EndedForAll => "ended for everybody",
    }
}
