//! Providers of identities: what is taken, and how each refusal is told.

use super::*;
use crate::domain::identity::ProviderKind;

const KAKAO: &str = "[accounts]
roles = ['member']

[[providers]]
id = 'kakao'
client_id = 'rest-key'
client_secret = { file = '/run/secrets/kakao' }
admin_key = { value = 'canary' }
native_client_ids = ['native-key']
surface = 'oauth2'
scopes = []
link_domains = ['Example.com']
link_by_email = true
sign_up = false

[[providers]]
id = 'sso'
kind = 'oidc'
client_id = 'postern'
issuer = 'https://sso.example.com/realms/a/'
jwks_uri = 'https://keys.example.com/'
client_auth = 'basic'
pkce = false
";

#[test]
fn a_provider_is_read_whole() {
    let config = case(KAKAO).config();
    assert_eq!(config.accounts.roles.iter().map(RoleId::as_str).collect::<Vec<_>>(), ["member"]);
    let [kakao, sso] = config.providers.as_slice() else { panic!("two providers") };
    assert_eq!((kakao.id.as_str(), kakao.kind, kakao.surface), ("kakao", ProviderKind::Kakao, Surface::OAuth2));
    assert!(matches!(&kakao.client_secret, Some(SecretSource::File(path)) if path == Path::new("/run/secrets/kakao")));
    assert!(matches!(kakao.admin_key, Some(SecretSource::Value(_))));
    assert_eq!(kakao.native_client_ids, ["native-key"]);
    assert_eq!(
        (kakao.scopes.as_deref(), kakao.link_domains.as_slice()),
        (Some(&[][..]), &["example.com".to_owned()][..])
    );
    assert_eq!(kakao.parameters, ["login_hint", "prompt"]);
    assert!(kakao.link_by_email && !kakao.sign_up && kakao.pkce && !kakao.private_network);
    assert_eq!((sso.kind, sso.surface, sso.pkce), (ProviderKind::Oidc, Surface::Oidc, false));
    assert_eq!(sso.issuer.as_deref(), Some("https://sso.example.com/realms/a/"), "with its slash");
    assert_eq!(sso.endpoints.jwks.as_deref(), Some("https://keys.example.com/"));
    assert_eq!((sso.client_auth, sso.scopes.as_ref()), (Some(ClientAuth::Basic), None));
    assert_eq!(sso.parameters, ["login_hint", "prompt", "ui_locales"]);
    assert!(sso.sign_up && !sso.link_by_email && sso.redirect_uri.is_none());
    assert!(!format!("{config:?}").contains("canary"));
}

#[test]
fn every_refusal_of_a_provider() {
    let refused = |lines: &str, told: &str| {
        let fault = case(&format!("[[providers]]\n{lines}")).fault();
        assert!(fault.contains(told) && !fault.contains("canary"), "{lines}: {fault}");
    };
    let google = |line: &str| format!("id = 'google'\nclient_id = 'c'\n{line}");
    refused("client_id = 'c'\nkind = 'google'", "providers[0].id  missing");
    refused("id = 'password'\nkind = 'google'\nclient_id = 'c'", "is no provider's id");
    refused("id = 'my'\nclient_id = 'c'", "providers[0].kind  missing");
    refused("id = 'google'", "providers[0].client_id  missing");
    refused("id = 'oidc'\nclient_id = 'c'", "providers[0].issuer  missing");
    for (line, told) in [
        ("kind = 'facebook'", "providers[0].kind  \"facebook\" is not known here"),
        ("client_sceret = 'canary'", "providers[0].client_sceret  unknown key"),
        ("client_secret = { file = '/a', value = 'canary' }", "file and value at once"),
        ("surface = 'oauth2'", "this kind has only the other"),
        ("scopes = ['email']", "without `openid`"),
        ("scopes = ['openid email']", "is no scope"),
        ("parameters = ['redirect_uri']", "is not a front's to say"),
        ("parameters = ['a&b']", "is no parameter's name"),
        ("hosted_domain = 'localhost'", "is no domain"),
        ("link_domains = ['@example.com']", "is no domain"),
        ("admin_key = { file = '/a' }", "only Kakao has one"),
        ("client_auth = 'none'", "is not known here"),
        ("token_endpoint = 'http://example.com/'", "is in clear text"),
        ("token_endpoint = 'ftp://example.com/'", "does not start with https://"),
        ("token_endpoint = 'https://a:canary@example.com/'", "holds a user name"),
        ("jwks_uri = 'https://example.com/#x'", "has a fragment"),
        ("redirect_uri = 'nowhere'", "is no URL"),
        ("pkce = 'no'", "true or false"),
    ] {
        refused(&google(line), told);
    }
    let naver = "id = 'naver'\nclient_id = 'c'\n";
    refused(&format!("{naver}native_client_ids = ['a']"), "an id_token of its SDK");
    refused(&format!("{naver}hosted_domain = 'example.com'"), "does not say of which domain");
    let twice = case(&format!("[[providers]]\n{0}\n[[providers]]\n{0}", google("")));
    assert!(twice.fault().contains("\"google\" is another provider's, in postern.toml:2"));
    let rules = case("[accounts]\nroles = ['postern.admin']").fault();
    assert!(rules.contains("accounts.roles  \"postern.admin\" would be everybody's who comes"), "{rules}");
    let all = case("[[providers]]\nid = 'X'\nclient_id = ''\nscopes = ['']\nlink_domains = ['x']").told();
    assert!(all.starts_with("4 faults"), "{all}");
}
