//! argon2 (RFC 9106): how all passwords are hashed here, and some elsewhere.

use argon2::password_hash::phc::{Ident, Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use secrecy::SecretString;

use super::foreign::ForeignHashError;
use super::{HashError, failed, fill};

const SALT_LEN: usize = 16;
pub(super) const OUTPUT_LEN: usize = 32;
/// A stored hash that asks for more is not computed: it would be a way to exhaust the machine.
pub(super) const MEMORY_KIB_MAX: u32 = 256 * 1024;
pub(super) const ITERATIONS_MAX: u32 = 10;
pub(super) const PARALLELISM_MAX: u32 = 8;

/// A hash taken apart.
#[derive(Debug)]
pub(super) struct Argon {
    algorithm: Algorithm,
    version: Version,
    pub(super) params: Params,
    salt: Vec<u8>,
    pub(super) output: Vec<u8>,
}

impl Argon {
    /// One to be made, with a new salt.
    pub(super) fn fresh(params: &Params) -> Result<Self, HashError> {
        let mut salt = vec![0; SALT_LEN];
        fill(&mut salt)?;
        let output = vec![0; OUTPUT_LEN];
        Ok(Self { algorithm: Algorithm::Argon2id, version: Version::V0x13, params: params.clone(), salt, output })
    }

    pub(super) fn parse(text: &str) -> Result<Self, ForeignHashError> {
        const FORM: ForeignHashError = ForeignHashError::Malformed("argon2");
        let phc = PasswordHash::new(text).map_err(|_noise| FORM)?;
        let params = Params::try_from(&phc).map_err(|_noise| FORM)?;
        if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > ITERATIONS_MAX || params.p_cost() > PARALLELISM_MAX {
            return Err(ForeignHashError::TooDear("more than 256 MiB, 10 passes or 8 lanes"));
        }
        let algorithm = Algorithm::try_from(phc.algorithm.as_str()).map_err(|_noise| FORM)?;
        let version = match phc.version {
            Some(version) => Version::try_from(version).map_err(|_noise| FORM)?,
            None => Version::V0x10,
        };
        let (salt, output) = (phc.salt.ok_or(FORM)?, phc.hash.ok_or(FORM)?);
        Ok(Self { algorithm, version, params, salt: salt.as_ref().to_vec(), output: output.as_ref().to_vec() })
    }

    /// What `password` comes to with the salt and at the cost of this one.
    pub(super) fn compute(
        &self,
        password: &[u8],
        pepper: &[u8],
        memory: &mut Vec<Block>,
    ) -> Result<Vec<u8>, HashError> {
        // Kept between jobs: page faults on fresh memory are a third of the cost.
        memory.resize(self.params.block_count().max(memory.len()), Block::default());
        let blocks = memory.get_mut(..self.params.block_count()).ok_or_else(|| failed("memory"))?;
        let mut output = vec![0; self.output.len()];
        Argon2::new_with_secret(pepper, self.algorithm, self.version, self.params.clone())
            .map_err(failed)?
            .hash_password_into_with_memory(password, &self.salt, &mut output, blocks)
            .map_err(failed)?;
        Ok(output)
    }

    /// As it is written down, with this output.
    pub(super) fn text(&self, output: &[u8]) -> Result<SecretString, HashError> {
        let phc = PasswordHash {
            algorithm: Ident::new(self.algorithm.as_str()).map_err(failed)?,
            version: Some(self.version.into()),
            params: ParamsString::try_from(&self.params).map_err(failed)?,
            salt: Some(Salt::new(&self.salt).map_err(failed)?),
            hash: Some(Output::new(output).map_err(failed)?),
        };
        Ok(SecretString::from(phc.to_string()))
    }

    /// Whether it is made as this one.
    pub(super) fn is_like(&self, params: &Params) -> bool {
        self.algorithm == Algorithm::Argon2id
            && self.version == Version::V0x13
            && self.params.m_cost() == params.m_cost()
            && self.params.t_cost() == params.t_cost()
            && self.params.p_cost() == params.p_cost()
            && self.params.keyid() == params.keyid()
    }

    pub(super) fn scheme(&self) -> String {
        let params = &self.params;
        format!("argon2:{}:{}:{}", params.m_cost(), params.t_cost(), params.p_cost())
    }

    /// As [`super::foreign::Foreign::sample`].
    pub(super) fn sample(scheme: &str) -> Option<Self> {
        let mut numbers = scheme.strip_prefix("argon2:")?.split(':').map(str::parse);
        let mut number = || numbers.next()?.ok();
        let params = Params::new(number()?, number()?, number()?, Some(OUTPUT_LEN)).ok()?;
        Self::fresh(&params).ok()
    }
}
