//! What the first start makes: the master key, the first signing key, the administrator. Each step may be cut short by
//! a crash and is taken up again by the next start.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use crate::app::StartError;
use crate::app::data_dir::{DataDir, write_private};
use crate::auth::audit;
use crate::auth::keyring::Keyring;
use crate::auth::master_key::MasterKeys;
use crate::auth::passwords::Passwords;
use crate::auth::pepper::Peppers;
use crate::config::{self, Config, SecretError, SecretSource};
use crate::domain::account::Profile;
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::id::UserId;
use crate::domain::key::Algorithm;
use crate::domain::password::Password;
use crate::domain::permission::Scope;
use crate::domain::role::{BoundRole, RoleId};
use crate::store::{CreateUserError, NewUser, Store, UserKey};

const ADMINISTRATOR: &str = "admin";
const PASSWORD_FILE: &str = "initial-admin-password";
const BOOTSTRAPPED: &str = "bootstrapped";
const ISSUER: &str = "issuer";
/// Where the gateway will serve the discovery document; fixed at the first start of a development server.
const DEVELOPMENT_ISSUER: &str = "http://127.0.0.1:7302";

/// The administrator that the first start made.
#[derive(Debug)]
pub struct NewAdministrator {
    pub user: String,
    pub password: InitialPassword,
}

/// How the first administrator learns the password.
#[derive(Debug)]
pub enum InitialPassword {
    /// Shown once, on a terminal.
    Shown(SecretString),
    /// In a file that only its owner can read.
    InFile(PathBuf),
}

/// Where the first password may go: a log that is kept for years is no place for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstPassword {
    /// To the person in front of the terminal.
    Show,
    /// To a file.
    WriteToFile,
}

/// Opens the master keys, or makes the first if the store has never seen one and this is development. Answers whether it
/// made one.
pub(super) async fn master_keys(config: &Config, store: &Store) -> Result<(MasterKeys, bool), StartError> {
    let source = &config.keys.master;
    let is_new = !store.has_master_keys().await?;
    let (text, made) = match (source.open(), source) {
        (Ok(text), _) => (text, false),
        (Err(SecretError::Missing { path }), _) if is_new && config.profile == config::Profile::Production => {
            return Err(StartError::MasterKeyNotMade { path });
        }
        (Err(SecretError::Missing { .. }), SecretSource::File(path)) if is_new => {
            let text = MasterKeys::generate().map_err(|why| StartError::MasterKey { wrong: why.to_string() })?;
            write_private(path, text.expose_secret())
                .map_err(|source| StartError::DataDir { path: path.clone(), source })?;
            (text, true)
        }
        (Err(SecretError::Missing { path }), _) => return Err(StartError::MasterKeyLost { path }),
        (Err(why), _) => return Err(StartError::MasterKey { wrong: why.to_string() }),
    };
    let keys = parse(source, &text)?;
    let checks: Vec<_> = keys.check_values().collect();
    if let Some(number) = store.check_master_keys(&checks).await? {
        return Err(StartError::MasterKeyForeign { number, place: source_name(source) });
    }
    fit(&keys, source, store).await?;
    Ok((keys, made))
}

/// Whether the store was made with these, and they open all that it needs. Changes nothing.
pub(super) async fn fit(keys: &MasterKeys, source: &SecretSource, store: &Store) -> Result<(), StartError> {
    let known = store.master_keys().await?;
    let is_foreign = |(number, check): &(u8, [u8; 4])| {
        known.iter().any(|(other, value)| other == number && value.as_slice() != check.as_slice())
    };
    if let Some((number, _)) = keys.check_values().find(is_foreign) {
        return Err(StartError::MasterKeyForeign { number, place: source_name(source) });
    }
    let now = store.now().await?;
    let needed = store.keys().await?.into_iter().filter(|key| !key.plan().is_retired(now));
    if let Some(key) = needed.into_iter().find(|key| keys.get(key.master_key).is_none()) {
        return Err(StartError::MasterKeyInUse { number: key.master_key, place: source_name(source) });
    }
    Ok(())
}

/// The issuer that servers have had, if the settings name another in production.
pub(super) async fn other_issuer(config: &Config, store: &Store) -> Result<Option<String>, StartError> {
    let before = store.setting(ISSUER).await?;
    let is_other =
        |before: &String| config.profile == config::Profile::Production && config.issuer.url.as_ref() != Some(before);
    Ok(before.filter(is_other))
}

pub(super) fn parse(source: &SecretSource, text: &SecretString) -> Result<MasterKeys, StartError> {
    MasterKeys::parse(text).map_err(|why| StartError::MasterKey { wrong: format!("{}: {why}", source_name(source)) })
}

/// What goes into the hashes of passwords beside the password.
pub(super) fn peppers(passwords: &config::Passwords) -> Result<Peppers, StartError> {
    let Some(path) = &passwords.pepper_file else { return Ok(Peppers::default()) };
    let text = SecretSource::File(path.clone()).open();
    let text = text.map_err(|why| StartError::Pepper { wrong: why.to_string() })?;
    Peppers::parse(&text).map_err(|why| StartError::Pepper { wrong: format!("{}: {why}", path.display()) })
}

/// Who issues the tokens. Development may leave it to the first start; production writes it down, so that it can tell of a
/// change.
pub(super) async fn issuer(config: &Config, store: &Store) -> Result<String, StartError> {
    let Some(url) = &config.issuer.url else {
        return match config.profile {
            config::Profile::Development => Ok(store.fix_setting(ISSUER, DEVELOPMENT_ISSUER).await?),
            config::Profile::Production => Err(StartError::Internal("production without issuer.url".into())),
        };
    };
    if config.profile == config::Profile::Production
        && let Some(before) = store.replace_setting(ISSUER, url).await?
        && before != *url
    {
        // Not refused: it may be meant, and putting the old one back makes the old tokens good again.
        tracing::warn!(%before, now = %url, "the issuer has changed: every token that is out is refused from now on");
    }
    Ok(url.clone())
}

/// Makes the first signing key unless there is one.
pub(super) async fn signing_key(
    store: &Store,
    keyring: &Keyring,
    masters: &MasterKeys,
    algorithm: Algorithm,
) -> Result<(), StartError> {
    if !store.keys().await?.is_empty() {
        return Ok(());
    }
    let now = store.now().await?;
    let key = keyring.make(algorithm, masters.current().number).map_err(|why| StartError::Internal(why.into()))?;
    let mut event = AuditEvent::new(AuditKind::KeyCreated, now);
    event.target = Some(key.kid.clone());
    // Nobody can have cached the keys of a service that never ran, so the first one signs at once.
    if store.insert_first_key(&key, &event).await?.is_some() {
        audit::log(&event);
    }
    Ok(())
}

/// Makes the administrator on the very first start, with a random password.
pub(super) async fn administrator(
    store: &Store,
    passwords: &Passwords,
    data: &DataDir,
    first: FirstPassword,
) -> Result<Option<NewAdministrator>, StartError> {
    if store.setting(BOOTSTRAPPED).await?.is_some() {
        return Ok(None);
    }
    let password = random_password()?;
    let typed = Password::from_typed(password.expose_secret()).map_err(|why| StartError::Internal(why.into()))?;
    let hash = passwords.hash(typed).await.map_err(|why| StartError::Internal(why.into()))?;
    // The file first: an administrator whose password nobody can read is worse than a file without an administrator.
    let shown = if first == FirstPassword::Show {
        InitialPassword::Shown(password)
    } else {
        let written = data.write_private(PASSWORD_FILE, &format!("{}\n", password.expose_secret()));
        InitialPassword::InFile(written.map_err(|source| StartError::DataDir { path: PASSWORD_FILE.into(), source })?)
    };
    create_administrator(store, hash).await?;
    Ok(Some(NewAdministrator { user: ADMINISTRATOR.to_owned(), password: shown }))
}

/// In production: whoever started the server need not be the one who may administer it.
pub(super) async fn nobody_made_up(store: &Store) -> Result<Option<NewAdministrator>, StartError> {
    if store.administrators().await? == 0 {
        tracing::warn!(
            "nobody can administer this service yet; stop it and run `postern admin bootstrap` with the same settings"
        );
    }
    Ok(None)
}

/// The administrator was told of; a start that dies before this makes another password.
pub(super) async fn administrator_was_told(store: &Store) -> Result<(), StartError> {
    store.fix_setting(BOOTSTRAPPED, "1").await?;
    Ok(())
}

async fn create_administrator(store: &Store, hash: SecretString) -> Result<(), StartError> {
    let now = store.now().await?;
    let internal = |why: &'static str| StartError::Internal(why.into());
    let new = NewUser {
        id: UserId::generate(),
        profile: Profile {
            user_name: Some(ADMINISTRATOR.parse().map_err(|_invalid| internal("the administrator's name"))?),
            display_name: "Administrator".to_owned(),
            ..Profile::default()
        },
        password_hash: Some(hash.clone()),
        password_due: false,
        request_id: None,
        bindings: vec![BoundRole { role: administrator_role()?, scope: Scope::Everywhere, expires_at: None }],
    };
    let mut made = AuditEvent::new(AuditKind::Bootstrapped, now);
    made.target = Some(new.id.to_string());
    match store.create_user(&new, &made).await {
        Ok(_) => {
            audit::log(&made);
            Ok(())
        }
        // An earlier first start got as far as this and was cut short before it could show the password.
        Err(CreateUserError::Taken(_)) => {
            let identifier = UserKey::Identifier(
                crate::domain::account::Identifier::from_typed(ADMINISTRATOR)
                    .ok_or_else(|| internal("the administrator's name"))?,
            );
            let user = store.user(&identifier).await?.ok_or_else(|| internal("the administrator is gone"))?;
            store
                .set_password(user.id, hash.expose_secret(), false, &AuditEvent::new(AuditKind::PasswordSet, now))
                .await
                .map_err(|why| StartError::Internal(Box::new(why)))?;
            Ok(())
        }
        Err(CreateUserError::Store(why)) => Err(why.into()),
        Err(other) => Err(StartError::Internal(Box::new(other))),
    }
}

pub(super) fn administrator_role() -> Result<RoleId, StartError> {
    "postern.admin".parse().map_err(|_invalid| StartError::Internal("the administrator's role".into()))
}

/// Four groups of five letters and digits that are not mistaken for each other: 100 bits.
fn random_password() -> Result<SecretString, StartError> {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
    let mut bytes = [0; 20];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|why| StartError::Internal(Box::new(why)))?;
    let letters: Vec<u8> = bytes.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 32)).copied()).collect();
    let groups: Vec<_> = letters.chunks(5).map(String::from_utf8_lossy).collect();
    Ok(SecretString::from(groups.join("-")))
}

pub(super) fn source_name(source: &SecretSource) -> String {
    match source {
        SecretSource::File(path) => path.display().to_string(),
        SecretSource::Value(_) => "keys.master".to_owned(),
    }
}
