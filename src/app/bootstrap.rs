//! The first administrator and the first client of a service that makes up neither: written once, by whoever holds its
//! settings and its data, while no server runs on them.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use crate::app::data_dir::write_private;
use crate::app::{StartError, engines, first_start, hash_settings, internal, password_rules};
use crate::auth::passwords::Passwords;
use crate::clock::Clock;
use crate::config::{self, Config, SecretError, SecretSource};
use crate::domain::account::{Profile, UserName};
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::client::{ClientSecret, HeldSecret, Origin, Registration, is_reserved};
use crate::domain::id::{ClientId, UserId};
use crate::domain::password::{Password, PasswordRule};
use crate::domain::permission::Scope;
use crate::domain::role::{BoundRole, RoleId};
use crate::store::{BootstrapError as Refused, NewUser};

/// Who is to be made. Without `Debug`, because of the password.
pub struct Bootstrap {
    pub user: UserName,
    pub password: SecretString,
    pub client: Option<FirstClient>,
}

pub struct FirstClient {
    pub id: ClientId,
    pub roles: Vec<RoleId>,
    /// Where the secret is, or is put if it is not there. None: it is answered.
    pub secret_file: Option<PathBuf>,
}

/// What was made.
pub struct Bootstrapped {
    pub user: UserId,
    /// Only if it stands in no file.
    pub client_secret: Option<SecretString>,
    /// A secret was made and put there.
    pub wrote_secret: bool,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("there is an administrator already, who can make others")]
    Done,
    #[error("nobody could sign in: there would be no client that gets tokens for {issuer}")]
    NoClient { issuer: String },
    #[error("the password {0}")]
    Password(#[from] PasswordRule),
    #[error("the client id `{0}` belongs to Postern itself; choose another name")]
    Reserved(ClientId),
    #[error("client `{0}` stands in [[clients]] already")]
    Declared(ClientId),
    #[error("the secret of the client cannot be used: {0}")]
    Secret(String),
    #[error("{0}")]
    Refused(Refused),
}

/// Makes both or neither.
///
/// # Errors
/// With nothing written, but perhaps a secret in its file, which the next attempt takes.
pub async fn bootstrap(config: &Config, plan: Bootstrap) -> Result<Bootstrapped, BootstrapError> {
    let password = Password::from_typed(plan.password.expose_secret())?;
    let profile =
        Profile { user_name: Some(plan.user.clone()), display_name: "Administrator".to_owned(), ..Profile::default() };
    // Before there is a store, hence without the name that a development server makes up.
    password_rules(&config.passwords, config.issuer.url.as_deref()).check(&password, &profile).await?;
    if let Some(client) = plan.client.as_ref().filter(|client| is_reserved(&client.id)) {
        return Err(BootstrapError::Reserved(client.id.clone()));
    }
    if let Some(client) = &plan.client
        && config.clients.iter().any(|declared| declared.id == client.id)
    {
        return Err(BootstrapError::Declared(client.id.clone()));
    }
    let client_missing = client_missing(config, &plan);
    if let (Some(missing), config::Store::Sqlite { path }) = (&client_missing, &config.store)
        && !path.exists()
    {
        return Err(missing.refusal());
    }
    // Of a server there is no lock to take: the transaction below sees to it that one bootstrap wins.
    let mut data = crate::app::data_dir(config)?;
    if let Some(data) = &mut data {
        data.sign().map_err(|source| StartError::DataDir { path: config.data_dir.clone(), source })?;
    }
    let store = engines::store(config, Clock::default()).await?;
    // Before anything is hashed or put into a file.
    if store.administrators().await.map_err(StartError::from)? > 0 {
        return Err(BootstrapError::Done);
    }
    if let Some(missing) = client_missing
        && !store.clients().await.map_err(StartError::from)?.iter().any(|client| missing.is_found_in(client))
    {
        return Err(missing.refusal());
    }
    let issuer = first_start::issuer(config, &store).await?;
    let peppers = first_start::peppers(&config.passwords)?;
    let passwords = Passwords::start(&hash_settings(&config.passwords), peppers).map_err(internal)?;
    let hash = passwords.hash(password).await.map_err(internal)?;
    let (client, client_secret, wrote_secret) = match plan.client {
        Some(first) => first_client(first, &issuer)?,
        None => (None, None, false),
    };
    let now = store.now().await.map_err(StartError::from)?;
    let administrator = NewUser {
        id: UserId::generate(),
        profile,
        password_hash: Some(hash),
        password_due: false,
        request_id: None,
        bindings: vec![everywhere(first_start::administrator_role()?)],
    };
    let event = |kind, target: String| {
        let mut event = AuditEvent::new(kind, now);
        event.target = Some(target);
        event
    };
    let mut audit = vec![event(AuditKind::Bootstrapped, administrator.id.to_string())];
    audit.extend(client.as_ref().map(|client| event(AuditKind::ClientCreated, client.id.to_string())));
    store.bootstrap(&administrator, client.as_ref(), &audit).await.map_err(|why| match why {
        Refused::Done => BootstrapError::Done,
        Refused::Store(why) => StartError::from(why).into(),
        other => BootstrapError::Refused(other),
    })?;
    // A development server must not make an administrator of its own beside this one.
    first_start::administrator_was_told(&store).await?;
    store.close().await;
    Ok(Bootstrapped { user: administrator.id, client_secret, wrote_secret })
}

/// Production has no client of its own. An administrator whom no client can sign in would stand in the way of the next
/// bootstrap, and nobody could register a client any more.
struct ClientMissing<'a> {
    issuer: &'a str,
}

impl ClientMissing<'_> {
    fn is_found_in(&self, client: &Registration) -> bool {
        !client.disabled && client.token_audiences.iter().any(|audience| audience == self.issuer)
    }

    fn refusal(&self) -> BootstrapError {
        BootstrapError::NoClient { issuer: self.issuer.to_owned() }
    }
}

/// What neither the settings nor the plan have. The store may.
fn client_missing<'a>(config: &'a Config, plan: &Bootstrap) -> Option<ClientMissing<'a>> {
    let issuer = config.issuer.url.as_deref().filter(|_| config.profile == config::Profile::Production)?;
    (plan.client.is_none() && config.first_client_of(issuer).is_none()).then_some(ClientMissing { issuer })
}

type Made = (Option<Registration>, Option<SecretString>, bool);

/// A front of Postern's own audience, so that the first administrator can sign in through it and administer.
fn first_client(first: FirstClient, issuer: &str) -> Result<Made, BootstrapError> {
    let failed = |why: &dyn std::fmt::Display| BootstrapError::Secret(why.to_string());
    let make = || ClientSecret::generate().map_err(|why| failed(&why));
    let (secret, told, wrote) = match &first.secret_file {
        None => {
            let secret = make()?;
            let text = secret.text();
            (secret, Some(text), false)
        }
        Some(path) => match SecretSource::File(path.clone()).open() {
            Ok(text) => (text.expose_secret().parse().map_err(|why| failed(&why))?, None, false),
            Err(SecretError::Missing { .. }) => {
                let secret = make()?;
                // The file first: a client whose secret nobody has would be in the way of the next attempt.
                write_private(path, &format!("{}\n", secret.text().expose_secret())).map_err(|why| failed(&why))?;
                (secret, None, true)
            }
            Err(why) => return Err(failed(&why)),
        },
    };
    let registration = Registration {
        secrets: vec![HeldSecret { digest: secret.digest(), ends_at: None }],
        audience: issuer.to_owned(),
        token_audiences: vec![issuer.to_owned()],
        roles: first.roles.into_iter().map(everywhere).collect(),
        ..Registration::new(first.id, Origin::Store)
    };
    Ok((Some(registration), told, wrote))
}

fn everywhere(role: RoleId) -> BoundRole {
    BoundRole { role, scope: Scope::Everywhere, expires_at: None }
}
