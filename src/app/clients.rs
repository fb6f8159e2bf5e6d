//! The clients of this process's own: what `[[clients]]` declares, and the development profile's.

use crate::app::{StartError, internal};
use crate::auth::clients::Clients;
use crate::config::{self, Config, Profile};
use crate::domain::client::{ClientSecret, DEVELOPMENT_ID, HeldSecret, Origin, Registration, SessionPolicy};
use crate::domain::permission::Scope;
use crate::domain::role::{BoundRole, RoleId};
use secrecy::ExposeSecret as _;

/// All of them, with the limits of sessions that hold where a client has none of its own.
pub(super) fn clients(config: &Config, issuer: &str) -> Result<Clients, StartError> {
    let declared = config.clients.iter().map(declared).collect::<Result<_, _>>()?;
    let built_in = match config.profile {
        Profile::Development => Some(built_in(issuer, config.gateway.url.as_deref())?),
        Profile::Production => None,
    };
    Ok(Clients::new(session_policy(config), declared, built_in)?)
}

fn session_policy(config: &Config) -> SessionPolicy {
    SessionPolicy {
        access_ttl: config.tokens.access_ttl,
        idle_ttl: config.sessions.idle_ttl,
        absolute_ttl: config.sessions.absolute_ttl,
        refresh_grace: config.sessions.refresh_grace,
        max_per_user: config.sessions.max_per_user as usize,
    }
}

fn declared(client: &config::Client) -> Result<Registration, StartError> {
    let secrets = client.secrets.iter().map(|source| {
        let unusable = |wrong: String| StartError::ClientSecret { id: client.id.clone(), wrong };
        let text = source.open().map_err(|why| unusable(why.to_string()))?;
        let secret: ClientSecret = text
            .expose_secret()
            .parse()
            .map_err(|_invalid| unusable("it is not `pcs_` and 43 letters of base64url, without padding".to_owned()))?;
        Ok(HeldSecret { digest: secret.digest(), ends_at: None })
    });
    Ok(Registration {
        display_name: client.display_name.clone(),
        mtls_sans: client.mtls_sans.clone(),
        secrets: secrets.collect::<Result<_, StartError>>()?,
        audience: client.audience.clone(),
        token_audiences: client.token_audiences.clone(),
        return_urls: client.return_urls.clone(),
        limits: client.session_policy,
        roles: client.roles.iter().cloned().map(everywhere).collect(),
        ..Registration::new(client.id.clone(), Origin::Configuration)
    })
}

/// Acts for calls without a credential, so it needs none.
fn built_in(issuer: &str, gateway: Option<&str>) -> Result<Registration, StartError> {
    let role = |role: &str| role.parse().map(everywhere).map_err(internal);
    Ok(Registration {
        display_name: "Development".to_owned(),
        audience: issuer.to_owned(),
        token_audiences: vec![issuer.to_owned()],
        // The page that lets a newcomer try a sign-in.
        return_urls: gateway.map(|url| format!("{url}/")).into_iter().collect(),
        roles: vec![role("postern.front")?, role("postern.backend")?],
        ..Registration::new(DEVELOPMENT_ID.parse().map_err(internal)?, Origin::BuiltIn)
    })
}

fn everywhere(role: RoleId) -> BoundRole {
    BoundRole { role, scope: Scope::Everywhere, expires_at: None }
}
