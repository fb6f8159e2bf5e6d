use super::*;
use crate::domain::client::{ClientSecret, SessionLimits};

const HOUR: Duration = Duration::from_hours(1);
const SERVER: SessionPolicy = SessionPolicy {
    access_ttl: Duration::from_mins(10),
    idle_ttl: HOUR,
    absolute_ttl: HOUR,
    refresh_grace: Duration::from_secs(30),
    max_per_user: 10,
};
const NOW: Timestamp = Timestamp::from_secs(1_000);

fn client(id: &str, origin: Origin, sans: &[&str]) -> Registration {
    Registration { mtls_sans: names(sans), ..Registration::new(id.parse().unwrap(), origin) }
}

fn names(sans: &[&str]) -> Vec<San> {
    sans.iter().map(|san| san.parse().unwrap()).collect()
}

fn with_secret(id: &str, origin: Origin, ends_at: Option<Timestamp>) -> (Registration, SecretDigest) {
    let digest = ClientSecret::generate().unwrap().digest();
    let secrets = vec![HeldSecret { digest, ends_at }];
    (Registration { secrets, ..client(id, origin, &[]) }, digest)
}

fn id(client: Option<Arc<Client>>) -> Option<String> {
    client.map(|client| client.id.to_string())
}

fn declared(clients: &[Registration]) -> Result<Clients, ClientConflict> {
    Clients::new(SERVER, clients.to_vec(), None)
}

#[test]
fn those_that_cannot_be_told_apart_do_not_start() {
    let of = |id, sans: &[&str]| client(id, Origin::Configuration, sans);
    let web = || "web".parse().unwrap();
    let reserved = declared(&[of("dev", &[])]);
    assert_eq!(reserved.err(), Some(ClientConflict::Reserved { id: "dev".parse().unwrap() }));
    assert_eq!(declared(&[of("web", &[]), of("web", &[])]).err(), Some(ClientConflict::DeclaredTwice { id: web() }));
    let shared = declared(&[of("web", &["a.b"]), of("api", &["A.b"])]).err();
    assert!(matches!(shared, Some(ClientConflict::SharedName { .. })), "{shared:?}");
    let (first, digest) = with_secret("web", Origin::Configuration, None);
    let second = Registration { secrets: vec![HeldSecret { digest, ends_at: None }], ..of("api", &[]) };
    let shared = declared(&[first, second]).err();
    assert_eq!(shared, Some(ClientConflict::SharedSecret { first: web(), second: "api".parse().unwrap() }));

    let clients = declared(&[of("web", &["web.internal"])]).unwrap();
    assert_eq!(clients.check(&[client("api", Origin::Store, &[])]), Ok(()));
    let stored = clients.check(&[client("web", Origin::Store, &[])]);
    assert_eq!(stored, Err(ClientConflict::AlsoStored { id: web() }));
    let stored = clients.check(&[client("api", Origin::Store, &["web.internal"])]);
    assert!(matches!(stored, Err(ClientConflict::SharedName { .. })));
}

#[test]
fn a_secret_finds_its_client_until_it_ends() {
    let clients = declared(&[]).unwrap();
    let (web, digest) = with_secret("web", Origin::Store, Some(NOW));
    let unknown = ClientSecret::generate().unwrap().digest();
    clients.learn(std::slice::from_ref(&web));
    assert_eq!(id(clients.by_secret(&digest, Timestamp::from_secs(999))).as_deref(), Some("web"));
    assert_eq!(id(clients.by_secret(&digest, NOW)), None);
    assert_eq!(id(clients.by_secret(&unknown, Timestamp::from_secs(999))), None);
    clients.learn(&[Registration { disabled: true, ..web }]);
    assert_eq!(id(clients.by_secret(&digest, Timestamp::from_secs(999))), None);
    clients.learn(&[]);
    assert!(clients.get(&"web".parse().unwrap()).is_none());
}

/// Row 153: a certificate is one client's or nobody's.
#[test]
fn names_find_one_client() {
    let clients = declared(&[client("front", Origin::Configuration, &["front.internal"])]).unwrap();
    let lost = Registration { disabled: true, ..client("lost", Origin::Store, &["lost.internal"]) };
    clients.learn(&[client("web", Origin::Store, &["web.internal", "spiffe://prod/web"]), lost]);
    let of = |sans: &[&str]| clients.by_names(&names(sans)).map(id);
    assert_eq!(of(&["web.internal"]), Ok(Some("web".to_owned())));
    assert_eq!(of(&["WEB.internal", "spiffe://prod/web", "other.internal"]), Ok(Some("web".to_owned())));
    assert_eq!(of(&["front.internal"]), Ok(Some("front".to_owned())));
    assert_eq!(of(&["other.internal"]), Ok(None));
    assert_eq!(of(&[]), Ok(None));
    assert_eq!(of(&["web.internal", "front.internal"]), Err(Ambiguous));
    assert_eq!(of(&["lost.internal"]), Ok(None));
    assert_eq!(of(&["lost.internal", "front.internal"]), Err(Ambiguous));
}

/// Another replica, without these clients in its file, may have let one be registered.
#[test]
fn what_the_configuration_declares_stays() {
    let (web, digest) = with_secret("web", Origin::Configuration, None);
    let clients = declared(&[Registration { audience: "declared".to_owned(), ..web }]).unwrap();
    let (stored, other) = with_secret("web", Origin::Store, None);
    clients.learn(&[stored, client("api", Origin::Store, &[])]);
    let found = clients.by_secret(&digest, NOW).unwrap();
    assert_eq!((found.audience.as_str(), found.origin), ("declared", Origin::Configuration));
    assert!(clients.by_secret(&other, NOW).is_none());
    assert!(clients.get(&"api".parse().unwrap()).is_some());
}

#[test]
fn the_longest_life_counts() {
    let clients = declared(&[]).unwrap();
    assert_eq!(clients.absolute_ttl_max(), HOUR);
    let limits = |hours| SessionLimits { absolute_ttl: Some(hours * HOUR), ..SessionLimits::default() };
    let long = Registration { limits: limits(9), ..client("app", Origin::Store, &[]) };
    let short = Registration {
        limits: SessionLimits { absolute_ttl: Some(HOUR / 2), ..limits(0) },
        ..client("web", Origin::Store, &[])
    };
    let late = Registration { create_time: Timestamp::from_secs(1_001), ..client("late", Origin::Store, &[]) };
    clients.learn(&[long.clone(), short, late.clone()]);
    assert_eq!(clients.absolute_ttl_max(), 9 * HOUR);
    assert_eq!(clients.session_policy(&long.id, NOW).unwrap().absolute_ttl, 9 * HOUR);
    assert!(clients.session_policy(&"gone".parse().unwrap(), NOW).is_none());
    assert!(clients.session_policy(&late.id, NOW).is_none(), "opened by another of the same id");
}

#[test]
fn only_the_profiles_own_acts_without_a_credential() {
    let built_in = client("dev", Origin::BuiltIn, &[]);
    let clients = Clients::new(SERVER, vec![client("web", Origin::Configuration, &[])], Some(built_in)).unwrap();
    assert_eq!(id(clients.anonymous()).as_deref(), Some("dev"));
    clients.learn(&[client("api", Origin::Store, &[])]);
    assert_eq!(id(clients.anonymous()).as_deref(), Some("dev"));
    assert!(declared(&[client("web", Origin::Configuration, &[])]).unwrap().anonymous().is_none());
}
