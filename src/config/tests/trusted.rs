//! Issuers whose tokens are traded in: what is taken, and how each refusal is told.

use super::*;
use crate::domain::time::Timestamp;

const OLD: &str = "[[trusted_issuers]]
name = 'old-shop'
secret = { file = '/run/secrets/old-shop' }
clients = ['shop']
";

const KEYCLOAK: &str = "[[providers]]
id = 'sso'
kind = 'oidc'
client_id = 'postern'
issuer = 'https://sso.example.com'

[[trusted_issuers]]
name = 'keycloak'
issuer = 'https://sso.example.com'
jwks_uri = 'https://sso.example.com/keys'
algorithms = ['ES256']
audience = 'shop'
claim = 'person'
person = 'identity'
provider = 'sso'
clients = ['shop', 'web']
max_age = '5m'
until = '2027-03-31T00:00:00Z'
once = false
";

#[test]
fn an_issuer_is_read_whole() {
    let config = case(KEYCLOAK).config();
    let [one] = config.trusted_issuers.as_slice() else { panic!("one issuer") };
    assert_eq!((one.name.as_str(), one.issuer.as_deref()), ("keycloak", Some("https://sso.example.com")));
    let IssuerKeys::Published { uri, algorithms, private_network: false, ca: None } = &one.keys else { panic!("keys") };
    assert_eq!((uri.as_str(), algorithms.as_slice()), ("https://sso.example.com/keys", &["ES256".to_owned()][..]));
    assert_eq!((one.audience.as_deref(), one.claim.as_str()), (Some("shop"), "person"));
    assert_eq!(one.person, PersonBy::Identity("sso".parse().unwrap()));
    assert_eq!((one.clients.len(), one.max_age, one.once), (2, Duration::from_mins(5), false));
    assert_eq!(one.until, Some(Timestamp::from_secs(1_806_451_200)));

    let config = case(OLD).config();
    let [old] = config.trusted_issuers.as_slice() else { panic!("one issuer") };
    assert!(matches!(&old.keys, IssuerKeys::Shared(SecretSource::File(_))));
    assert_eq!((old.issuer.as_ref(), old.audience.as_ref(), old.until), (None, None, None));
    assert_eq!((old.claim.as_str(), &old.person, old.once), ("sub", &PersonBy::ExternalId, true));
}

#[test]
fn each_refusal_says_what_would_be_right() {
    let told = |toml: &str, from: &str, to: &str| {
        assert!(toml.contains(from), "{from}");
        case(&toml.replace(from, to)).fault()
    };
    for (toml, from, to, fault) in [
        (OLD, "'old-shop'\n", "'Old'\n", "trusted_issuers[0].name  \"Old\" is no issuer's name"),
        (OLD, "name = 'old-shop'", "", "trusted_issuers[0].name  missing"),
        (OLD, "clients = ['shop']", "", "trusted_issuers[0].clients  missing"),
        (OLD, "clients = ['shop']", "clients = ['Shop!']", "trusted_issuers[0].clients  \"Shop!\" is no client's id"),
        (OLD, "secret = { file = '/run/secrets/old-shop' }", "", "trusted_issuers[0].jwks_uri  nothing proves"),
        (OLD, "clients", "algorithms = ['RS256']\nclients", "trusted_issuers[0].algorithms  with a secret it is HS256"),
        (OLD, "clients", "until = 'soon'\nclients", "trusted_issuers[0].until  \"soon\" is no time"),
        (OLD, "clients", "max_age = '1y'\nclients", "trusted_issuers[0].max_age"),
        (OLD, "clients", "person = 'identity'\nclients", "trusted_issuers[0].provider  no provider"),
        (KEYCLOAK, "provider = 'sso'", "provider = 'other'", "trusted_issuers[0].provider  no provider"),
        (KEYCLOAK, "issuer = 'https://sso.example.com'\njwks", "jwks", "trusted_issuers[0].issuer  missing"),
        (KEYCLOAK, "audience = 'shop'", "", "trusted_issuers[0].audience  missing"),
        (KEYCLOAK, "'ES256'", "'HS256'", "trusted_issuers[0].algorithms  \"HS256\" is not known here"),
        (KEYCLOAK, "'ES256'", "'none'", "trusted_issuers[0].algorithms  \"none\" is not known here"),
        (KEYCLOAK, "https://sso.example.com/keys", "http://sso.example.com/keys", "trusted_issuers[0].jwks_uri"),
        (KEYCLOAK, "name = 'keycloak'", "name = 'sso'", "trusted_issuers[0].name  \"sso\" is a provider's id"),
        (KEYCLOAK, "audience", "secret = { value = 'canary' }\naudience", "trusted_issuers[0].secret  a secret beside"),
    ] {
        let found = told(toml, from, to);
        assert!(found.contains(fault) && !found.contains("canary"), "{to}: {found}");
    }
    let twice = case(&format!("{OLD}{}", OLD.replace("'old-shop'\n", "'other'\n"))).fault();
    assert!(twice.contains("trusted_issuers[1].issuer  the tokens of another look the same"), "{twice}");
}
