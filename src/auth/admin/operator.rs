//! The operator: whoever may read the data directory may administer what is in it, while no server runs there. Not a
//! person with a password, not a client with a secret; named in the audit log as what it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::auth::error::AuthError;
use crate::auth::{Auth, Call, tokens};
use crate::domain::client::Client;
use crate::domain::id::{ClientId, SessionId, UserId};
use crate::verifier::{Bearer, Claims};

/// By which name the audit log knows the operator. Reserved: no client may have it.
pub const OPERATOR: &str = "offline";

const LIFE_SECS: i64 = 60;

impl Auth {
    /// The operator, with `postern.admin` everywhere. Only the one way in that has no door may ask for this.
    pub fn operator(&self, request_id: &str) -> Result<(Call, Bearer), AuthError> {
        let id: ClientId = OPERATOR.parse().map_err(AuthError::internal)?;
        let now = self.clock.now();
        // A subject like all others, so that every guard judges it as it judges them. The token never leaves this function.
        let claims = Claims {
            iss: self.rules.issuer.clone(),
            sub: UserId::from_uuid(Uuid::nil()).to_string(),
            aud: vec![self.rules.issuer.clone()],
            exp: now.secs() + LIFE_SECS,
            iat: now.secs(),
            nbf: None,
            jti: OPERATOR.to_owned(),
            client_id: id.to_string(),
            auth_time: now.secs(),
            amr: Vec::new(),
            sid: SessionId::from_uuid(Uuid::nil()).to_string(),
            // Above every fence: it is made now.
            ver: i64::MAX,
            roles: BTreeMap::from([(String::new(), vec!["postern.admin".to_owned()])]),
            tenant: None,
            external_id: None,
        };
        let token = tokens::sign(&self.keyring, claims, now)?;
        let bearer = self.administrator(secrecy::ExposeSecret::expose_secret(&token))?;
        let client = Client {
            id,
            audience: self.rules.issuer.clone(),
            token_audiences: Vec::new(),
            session_policy: self.clients.anonymous().session_policy,
            roles: Vec::new(),
        };
        Ok((Call { client: Arc::new(client), request_id: request_id.to_owned() }, bearer))
    }
}
