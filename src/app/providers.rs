//! Providers of identities, from settings to what the room that speaks with them takes.

use secrecy::SecretString;

use super::StartError;
use crate::config::{self, ClientAuth, SecretSource, Surface};
use crate::domain::identity::{ProviderId, ProviderKind};
use crate::oauth;

/// Opens the secrets. `gateway_url` is where browsers find the gateway, without a slash at its end.
///
/// # Errors
/// If a secret cannot be opened, or it is not known where people would come back.
pub(super) fn settings(
    providers: &[config::Provider],
    gateway_url: Option<&str>,
) -> Result<Vec<oauth::Settings>, StartError> {
    providers.iter().map(|provider| one(provider, gateway_url)).collect()
}

fn one(provider: &config::Provider, gateway_url: Option<&str>) -> Result<oauth::Settings, StartError> {
    let config::Provider { id, kind, endpoints, .. } = provider;
    let open = |setting: &'static str, source: &Option<SecretSource>| -> Result<Option<SecretString>, StartError> {
        let opened = source.as_ref().map(SecretSource::open).transpose();
        opened.map_err(|source| StartError::ProviderSecret { id: id.clone(), setting, source })
    };
    let own = gateway_url.map(|gateway| format!("{gateway}/callback/{id}"));
    let redirect_uri = provider.redirect_uri.clone().or(own);
    let redirect_uri = redirect_uri.ok_or_else(|| StartError::NowhereToReturn { id: id.clone() })?;
    let display_name =
        if provider.display_name.is_empty() { name_of(*kind, id) } else { provider.display_name.clone() };
    Ok(oauth::Settings {
        id: id.clone(),
        kind: *kind,
        display_name,
        client_id: provider.client_id.clone(),
        client_secret: open("client_secret", &provider.client_secret)?,
        native_client_ids: provider.native_client_ids.clone(),
        issuer: provider.issuer.clone(),
        discovery: endpoints.discovery.clone(),
        authorization: endpoints.authorization.clone(),
        token: endpoints.token.clone(),
        userinfo: endpoints.userinfo.clone(),
        jwks: endpoints.jwks.clone(),
        redirect_uri,
        scopes: provider.scopes.clone(),
        is_oidc: provider.surface == Surface::Oidc,
        pkce: provider.pkce,
        auth_in_body: provider.client_auth.map(|auth| auth == ClientAuth::Body),
        form_post: provider.form_post,
        parameters: provider.parameters.clone(),
        hosted_domain: provider.hosted_domain.clone(),
        link_domains: provider.link_domains.clone(),
        admin_key: open("admin_key", &provider.admin_key)?,
        private_network: provider.private_network,
        ca: provider.ca.clone(),
        sign_up: provider.sign_up,
        link_by_email: provider.link_by_email,
    })
}

fn name_of(kind: ProviderKind, id: &ProviderId) -> String {
    match kind {
        ProviderKind::Google => "Google".to_owned(),
        ProviderKind::Kakao => "Kakao".to_owned(),
        ProviderKind::Naver => "Naver".to_owned(),
        ProviderKind::GitHub => "GitHub".to_owned(),
        ProviderKind::Oidc => id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::config::{Config, Sources};

    fn providers(toml: &str) -> Vec<config::Provider> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("postern.toml");
        std::fs::write(&file, toml).unwrap();
        Config::load(Sources { file: Some(file), ..Sources::default() }).unwrap().providers
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let google = "[[providers]]\nid = 'google'\nclient_id = 'c'\nclient_secret = { value = 's3cret' }";
        let found = settings(&providers(google), Some("https://auth.example.com")).unwrap();
        let [google] = found.as_slice() else { panic!("one provider") };
        assert_eq!(google.redirect_uri, "https://auth.example.com/callback/google");
        assert_eq!((google.display_name.as_str(), google.is_oidc, google.auth_in_body), ("Google", true, None));
        assert_eq!(google.client_secret.as_ref().unwrap().expose_secret(), "s3cret");
        let legacy = "[[providers]]\nid = 'n'\nkind = 'naver'\nclient_id = 'c'\nsurface = 'oauth2'\nclient_auth = 'basic'\n\
                      redirect_uri = 'https://a.example/back'";
        let found = settings(&providers(legacy), None).unwrap();
        let [legacy] = found.as_slice() else { panic!("one provider") };
        assert_eq!((legacy.redirect_uri.as_str(), legacy.is_oidc), ("https://a.example/back", false));
        assert_eq!((legacy.auth_in_body, legacy.display_name.as_str()), (Some(false), "Naver"));
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        let nowhere = providers("[[providers]]\nid = 'github'\nclient_id = 'c'");
        let told = settings(&nowhere, None).err().unwrap();
        insta::assert_snapshot!(told, @"providers `github`: nobody could come back from there without a gateway");
        let lost = providers("[[providers]]\nid = 'kakao'\nclient_id = 'c'\nadmin_key = { file = '/nowhere/key' }");
        let told = settings(&lost, Some("https://auth.example.com")).err().unwrap();
        insta::assert_snapshot!(told, @"providers `kakao`: admin_key cannot be used: /nowhere/key: there is no such file");
    }
}
