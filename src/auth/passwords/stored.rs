//! Stored hashes, ours and others', and how a password is held against one.

use argon2::{Block, Params};
use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::HashError;
use super::argon::Argon;
use super::foreign::{self, Foreign};
use crate::auth::pepper::Peppers;
use crate::domain::password::Password;

/// A stored hash taken apart.
#[derive(Debug)]
pub(super) enum Stored {
    Argon2(Argon),
    Foreign(Foreign),
}

impl Stored {
    pub(super) fn parse(text: &str) -> Result<Self, HashError> {
        foreign::stored(text).map_err(|why| HashError::Unusable(why.to_string()))
    }

    pub(super) fn output(&self) -> &[u8] {
        match self {
            Self::Argon2(argon) => &argon.output,
            Self::Foreign(foreign) => &foreign.output,
        }
    }

    pub(super) fn sample(scheme: &str) -> Option<Self> {
        Argon::sample(scheme).map(Self::Argon2).or_else(|| Foreign::sample(scheme).map(Self::Foreign))
    }

    /// What it costs to check it.
    pub(super) fn scheme(&self) -> String {
        match self {
            Self::Argon2(argon) => argon.scheme(),
            Self::Foreign(foreign) => foreign.scheme(),
        }
    }
}

/// What is not as ours are may be of another program, which hashed what came and not its normal form.
pub(super) fn check(
    password: &Password,
    stored: &Stored,
    params: &Params,
    peppers: &Peppers,
    memory: &mut Vec<Block>,
) -> Result<bool, HashError> {
    let is_right = |output: &[u8]| verify_slices_are_equal(output, stored.output()).is_ok();
    match stored {
        Stored::Argon2(argon) => {
            let pepper = peppers.named(argon.params.keyid());
            if pepper.is_none() {
                // Like a wrong password to whoever tries it, at the same cost. Only the operator can help.
                let number = argon.params.keyid();
                tracing::error!(
                    ?number,
                    "a password cannot be checked: its pepper is not in passwords.pepper_file any more"
                );
            }
            let mut tried = |bytes: &[u8]| argon.compute(bytes, pepper.unwrap_or_default(), memory);
            let mut right = is_right(&tried(password.as_bytes())?);
            if !right
                && !argon.is_like(params)
                && let Some(typed) = password.as_typed()
            {
                right = is_right(&tried(typed)?);
            }
            Ok(right && pepper.is_some())
        }
        Stored::Foreign(foreign) => {
            let right = is_right(&foreign.compute(password.as_bytes())?);
            match password.as_typed() {
                Some(typed) if !right => Ok(is_right(&foreign.compute(typed)?)),
                _ => Ok(right),
            }
        }
    }
}
