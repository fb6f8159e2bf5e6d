//! People of another system, with the hashes of their passwords as it wrote them. Nobody who is there already is touched, so
//! whatever was interrupted can be sent again.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use secrecy::{ExposeSecret as _, SecretString};

use crate::auth::Auth;
use crate::auth::admin::caller::Caller;
use crate::auth::admin::{Act, bindings, log_if};
use crate::auth::error::AuthError;
use crate::auth::passwords::ForeignHash;
use crate::domain::account::{Email, Profile, UserName};
use crate::domain::audit::AuditKind;
use crate::domain::id::UserId;
use crate::domain::identity::{self, IdentityKey};
use crate::domain::permission::Scope;
use crate::domain::role::{BoundRole, RoleId};
use crate::store::{Imported, NewUser, Newcomer, Same, Taken};

const IMPORT: &str = "postern:users:import";

/// Somebody to be brought over.
pub struct ImportUser {
    pub profile: Profile,
    /// As the other system wrote it.
    pub password_hash: Option<SecretString>,
    pub disabled: bool,
    pub identities: Vec<IdentityKey>,
    pub roles: Vec<(RoleId, Scope)>,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowOutcome {
    /// With its id, unless this is a rehearsal.
    Created(Option<UserId>),
    /// Somebody has this field's value already.
    Exists(Option<UserId>, String),
    Refused(String),
}

/// One import, from its first row to its last.
pub struct Importing {
    rehearse: bool,
    /// Of a rehearsal, which leaves nothing to be found in the store: what its rows would have taken, hashed.
    taken: HashSet<u64>,
    hasher: RandomState,
    created: u64,
    existing: u64,
    refused: u64,
}

/// Whether a role may be granted somewhere, and if not, why not.
type Grants = HashMap<(RoleId, Scope), Result<(), String>>;

impl Importing {
    pub fn new(rehearse: bool) -> Self {
        Self { rehearse, taken: HashSet::new(), hasher: RandomState::new(), created: 0, existing: 0, refused: 0 }
    }

    pub fn is_rehearsal(&self) -> bool {
        self.rehearse
    }

    /// Whether an earlier row of this rehearsal would have taken something of this one, and what.
    fn clash(&self, user: &ImportUser) -> Option<String> {
        let mut claims = claims(user);
        claims.find(|(_, claim)| self.taken.contains(&self.hasher.hash_one(claim))).map(|(field, _)| field)
    }

    fn note(&mut self, user: &ImportUser) {
        if self.rehearse {
            let hashes: Vec<u64> = claims(user).map(|(_, claim)| self.hasher.hash_one(&claim)).collect();
            self.taken.extend(hashes);
        }
    }

    fn count(&mut self, outcome: &RowOutcome) {
        let counter = match outcome {
            RowOutcome::Created(_) => &mut self.created,
            RowOutcome::Exists(..) => &mut self.existing,
            RowOutcome::Refused(_) => &mut self.refused,
        };
        *counter += 1;
    }
}

impl Auth {
    /// Whoever may not import is told so before their first row.
    pub fn may_import(&self, caller: &Caller) -> Result<(), AuthError> {
        self.permit(&Act::new(caller, "ImportUsers"), IMPORT, None)
    }

    /// Brings some rows over, in one transaction; rows that could not be read say why. Answers for each in their order. If
    /// this fails, none of them came.
    pub async fn import_users(
        &self,
        caller: &Caller,
        rows: Vec<Result<ImportUser, String>>,
        importing: &mut Importing,
    ) -> Result<Vec<RowOutcome>, AuthError> {
        self.may_import(caller)?;
        let grants = self.grants(caller, rows.iter().flatten()).await?;
        let mut outcomes: Vec<Option<RowOutcome>> = Vec::with_capacity(rows.len());
        let mut newcomers = Vec::new();
        for row in rows {
            let sound = row.and_then(|user| {
                let newcomer = self.newcomer(caller, &user, &grants)?;
                Ok((user, newcomer))
            });
            let clash = sound.as_ref().ok().and_then(|(user, _)| importing.clash(user));
            outcomes.push(match (sound, clash) {
                (Err(problem), _) => Some(RowOutcome::Refused(problem)),
                (Ok(_), Some(field)) => Some(RowOutcome::Exists(None, format!("an earlier row has this {field}"))),
                (Ok((user, newcomer)), None) => {
                    importing.note(&user);
                    newcomers.push(newcomer);
                    None
                }
            });
        }
        let principal = caller.principal();
        let imported = if newcomers.is_empty() {
            Vec::new()
        } else {
            self.store.import_users(&newcomers, &principal, importing.rehearse).await?
        };
        let mut imported = imported.into_iter().zip(&newcomers).map(|(imported, newcomer)| {
            log_if(!importing.rehearse && imported == Imported::Created, &newcomer.audit);
            outcome(imported, newcomer, importing.rehearse)
        });
        let outcomes: Option<Vec<RowOutcome>> =
            outcomes.into_iter().map(|known| known.or_else(|| imported.next())).collect();
        drop(imported);
        let outcomes = outcomes.ok_or_else(|| AuthError::internal("a row of an import has no outcome"))?;
        for outcome in &outcomes {
            importing.count(outcome);
        }
        self.passwords.schemes_may_have_changed();
        Ok(outcomes)
    }

    /// Writes down how an import went. Its users have events of their own.
    pub fn note_import(&self, caller: &Caller, importing: &Importing) {
        let mut event = Act::new(caller, "ImportUsers").event(AuditKind::UsersImported, self.clock.now());
        event.detail = vec![
            ("created", importing.created.to_string()),
            ("existing", importing.existing.to_string()),
            ("refused", importing.refused.to_string()),
        ];
        if importing.rehearse {
            event.detail.push(("validate_only", "true".to_owned()));
        }
        self.audit.record(event);
    }

    /// Asked once for each role and place, however many people hold it there.
    async fn grants(&self, caller: &Caller, users: impl Iterator<Item = &ImportUser>) -> Result<Grants, AuthError> {
        let mut grants = Grants::new();
        for wanted in users.flat_map(|user| &user.roles) {
            if grants.contains_key(wanted) {
                continue;
            }
            let (role, scope) = wanted;
            let bound = BoundRole { role: role.clone(), scope: scope.clone(), expires_at: None };
            let act = Act::new(caller, "ImportUsers");
            let judged = match self.permit(&act, bindings::WRITE, scope.tenant()) {
                Ok(()) => self.must_hold_role(&act, &bound).await,
                refused => refused,
            };
            let judged = match judged {
                Ok(()) => Ok(()),
                Err(
                    why @ (AuthError::NotFound { .. }
                    | AuthError::PermissionMissing { .. }
                    | AuthError::ClientNotAllowed { .. }
                    | AuthError::BeyondOwn { .. }),
                ) => Err(format!("`{role}`: {why}")),
                Err(why) => return Err(why),
            };
            grants.insert(wanted.clone(), judged);
        }
        Ok(grants)
    }

    /// The row as the store takes it, or why it cannot be taken.
    fn newcomer(&self, caller: &Caller, user: &ImportUser, grants: &Grants) -> Result<Newcomer, String> {
        let ImportUser { profile, password_hash, disabled, identities, roles } = user;
        if claims(user).next().is_none() {
            // Sent twice, it would be made twice.
            return Err("user: needs an external_id, an email, a user_name or an identity".to_owned());
        }
        let foreign = match password_hash {
            Some(hash) => {
                Some(ForeignHash::parse(hash.expose_secret()).map_err(|why| format!("password_hash: {why}"))?)
            }
            None => None,
        };
        let mut known = Vec::with_capacity(identities.len());
        for (place, key) in identities.iter().enumerate() {
            let provider = self.providers.iter().find(|provider| provider.settings().id == key.provider);
            let provider =
                provider.ok_or_else(|| format!("identities[{place}]: there is no provider `{}`", key.provider))?;
            known.push(identity::Profile::new(key.clone(), provider.issuer().to_owned()));
        }
        let mut bindings = Vec::with_capacity(roles.len());
        for (place, wanted) in roles.iter().enumerate() {
            grants.get(wanted).cloned().unwrap_or(Ok(())).map_err(|why| format!("roles[{place}]: {why}"))?;
            let (role, scope) = wanted.clone();
            bindings.push(BoundRole { role, scope, expires_at: None });
        }
        let id = UserId::generate();
        let mut audit = Act::new(caller, "ImportUsers").on(id).event(AuditKind::UserCreated, self.clock.now());
        audit.detail.push(("by", "import".to_owned()));
        audit.detail.extend(foreign.as_ref().map(|foreign| ("password_scheme", foreign.scheme().to_owned())));
        audit.detail.extend(told(&bindings));
        Ok(Newcomer {
            user: NewUser {
                id,
                profile: profile.clone(),
                password_hash: foreign.as_ref().map(ForeignHash::stored),
                password_due: false,
                request_id: None,
                bindings,
            },
            scheme: foreign.as_ref().map(|foreign| foreign.scheme().to_owned()).unwrap_or_default(),
            disabled: *disabled,
            identities: known,
            audit,
        })
    }
}

fn told(bindings: &[BoundRole]) -> Option<(&'static str, String)> {
    let each = |bound: &BoundRole| match bound.scope.tenant() {
        Some(tenant) => format!("{}@{tenant}", bound.role),
        None => bound.role.to_string(),
    };
    (!bindings.is_empty()).then(|| ("roles", bindings.iter().map(each).collect::<Vec<_>>().join(" ")))
}

/// What of a user is nobody else's, by the names of the fields.
fn claims(user: &ImportUser) -> impl Iterator<Item = (String, String)> + '_ {
    let Profile { external_id, email, user_name, .. } = &user.profile;
    let external_id = (!external_id.is_empty()).then(|| external_id.clone());
    let names = [
        ("external_id", external_id),
        ("email", email.as_ref().map(|email| Email::canonical(email).to_owned())),
        ("user_name", user_name.as_ref().map(|name| UserName::canonical(name).to_owned())),
    ];
    let names = names.into_iter().filter_map(|(field, value)| Some((field.to_owned(), format!("{field} {}", value?))));
    let identities = user.identities.iter().map(|key| {
        let IdentityKey { provider, subject } = key;
        (format!("identity at {provider}"), format!("identity {provider} {}", subject.as_str()))
    });
    names.chain(identities)
}

fn outcome(imported: Imported, newcomer: &Newcomer, rehearse: bool) -> RowOutcome {
    match imported {
        Imported::Created => RowOutcome::Created((!rehearse).then_some(newcomer.user.id)),
        Imported::Exists(holder, same) => {
            let field = match same {
                Same::Profile(Taken::Email) => "email".to_owned(),
                Same::Profile(Taken::UserName) => "user_name".to_owned(),
                Same::Profile(Taken::ExternalId) => "external_id".to_owned(),
                Same::Identity(place) => format!("identities[{place}]"),
            };
            RowOutcome::Exists(Some(holder), format!("{field}: this user has it"))
        }
        Imported::UnknownRole(role) => RowOutcome::Refused(format!("roles: there is no role `{role}`")),
    }
}
