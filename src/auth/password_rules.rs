//! What may become a password, wherever one is set. Nobody is refused a sign-in by these rules, and no password grows old by
//! them: they are asked when a new one is chosen, and then only.

use std::io;

use crate::auth::Auth;
use crate::auth::error::AuthError;
use crate::breached::BreachedFile;
use crate::budget;
use crate::domain::account::{Profile, User};
use crate::domain::id::UserId;
use crate::domain::password::{Context, Password, PasswordRule};
use crate::store::UserKey;

/// The rules as they are configured.
#[derive(Clone)]
pub struct PasswordRules {
    /// In code points.
    pub min_length: usize,
    /// What anybody could try here: the service's and the operator's names.
    pub context: Context,
    pub breached: Option<BreachedFile>,
}

impl PasswordRules {
    /// Whether `password` may become that of the user of this profile.
    pub async fn check(&self, password: &Password, profile: &Profile) -> Result<(), PasswordRule> {
        password.check_new(self.min_length, &self.context.and_of(profile))?;
        match self.is_breached(password).await {
            Ok(false) => Ok(()),
            Ok(true) => Err(PasswordRule::Breached),
            // The file was good at the start. That it is gone must not keep people from changing a password that leaked.
            Err(why) => {
                tracing::warn!(%why, "the file of breached passwords cannot be read, and a new password was not looked up");
                Ok(())
            }
        }
    }

    async fn is_breached(&self, password: &Password) -> io::Result<bool> {
        let Some(file) = self.breached.clone() else { return Ok(false) };
        let spellings = password.spellings();
        // Off the runtime's threads: a disk may take its time.
        let search = tokio::task::spawn_blocking(move || {
            for spelling in spellings {
                if file.contains(spelling.as_bytes())? {
                    return Ok(true);
                }
            }
            Ok(false)
        });
        budget::apart(search).await.map_err(io::Error::other)?
    }
}

impl Auth {
    /// The same of a user whose profile is in the store.
    pub(super) async fn check_new_password(&self, user: UserId, password: &Password) -> Result<(), AuthError> {
        let found = self.store.user(&UserKey::Id(user)).await;
        let found = found.map_err(|why| AuthError::from(why).before_any_work())?;
        let User { email, user_name, display_name, .. } = found.ok_or(AuthError::NotFound { what: "user" })?;
        let profile = Profile { email, user_name, display_name, ..Profile::default() };
        Ok(self.rules.passwords.check(password, &profile).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(folder: &std::path::Path, lines: &str) -> PasswordRules {
        std::fs::write(folder.join("breached"), lines).unwrap();
        let breached = Some(BreachedFile::at(folder.join("breached")));
        PasswordRules { min_length: 15, context: Context::of(["postern"]), breached }
    }

    async fn check(rules: &PasswordRules, text: &str) -> Result<(), PasswordRule> {
        let profile = Profile { display_name: "Minsu Kim".to_owned(), ..Profile::default() };
        rules.check(&Password::from_typed(text).unwrap(), &profile).await
    }

    #[tokio::test]
    async fn every_rule_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        // SHA-1 of "sommerregen auf blech".
        let rules = rules(folder.path(), "4190375137E8E64CA4B9450248402630969FCD34:3\n");
        assert_eq!(check(&rules, "kelp").await, Err(PasswordRule::TooShort { min_length: 15 }));
        assert_eq!(check(&rules, "Qwerty123456789").await, Err(PasswordRule::Common));
        assert_eq!(check(&rules, "Minsu Kim Minsu Kim").await, Err(PasswordRule::Context));
        assert_eq!(check(&rules, "sommerregen auf blech").await, Err(PasswordRule::Breached));
        assert_eq!(check(&rules, "Sommerregen auf Blech").await, Err(PasswordRule::Breached));
        assert_eq!(check(&rules, "sommerregen auf asphalt").await, Ok(()));
    }

    #[tokio::test]
    async fn a_file_that_vanished_keeps_nobody_from_a_new_password() {
        let folder = tempfile::tempdir().unwrap();
        let rules = rules(folder.path(), "4190375137E8E64CA4B9450248402630969FCD34:3\n");
        std::fs::remove_file(folder.path().join("breached")).unwrap();
        assert_eq!(check(&rules, "sommerregen auf blech").await, Ok(()));
    }
}
