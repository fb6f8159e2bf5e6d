//! Declared clients, doors and keys: what is taken and how each refusal is told.

use super::*;
use crate::domain::client::San;

const ORDERS: &str = "[[clients]]
id = 'orders'
display_name = 'Orders'
mtls_sans = ['Orders.internal', 'spiffe://prod/Orders']
secrets = [{ file = '/run/secrets/orders' }, { value = 'pcs_x' }]
audience = 'https://orders.example.com'
token_audiences = ['https://auth.example.com', 'https://orders.example.com']
return_urls = ['https://shop.example.com/in?from=postern', 'com.example.shop:/in', 'http://127.0.0.1:8080/in']
roles = ['postern.front', 'clerk']
session_policy = { access_ttl = '5m', idle_ttl = '1d', absolute_ttl = '30d', refresh_grace = '0s', max_per_user = 3 }

[[clients]]
id = 'web'
secrets = [{ file = '/run/secrets/web' }]
";

#[test]
fn a_client_is_read_whole() {
    let clients = case(ORDERS).config().clients;
    let [orders, web] = clients.as_slice() else { panic!("{clients:?}") };
    assert_eq!((orders.id.as_str(), orders.display_name.as_str()), ("orders", "Orders"));
    assert_eq!(orders.mtls_sans, [San::Dns("orders.internal".into()), San::Uri("spiffe://prod/Orders".into())]);
    assert!(matches!(orders.secrets.as_slice(), [SecretSource::File(_), SecretSource::Value(_)]));
    assert_eq!(orders.audience, "https://orders.example.com");
    assert_eq!(orders.token_audiences.len(), 2);
    assert_eq!(orders.return_urls.len(), 3);
    assert_eq!(orders.roles.iter().map(RoleId::as_str).collect::<Vec<_>>(), ["postern.front", "clerk"]);
    assert_eq!(orders.session_policy.access_ttl, Some(Duration::from_mins(5)));
    assert_eq!(orders.session_policy.max_per_user, Some(3));
    assert_eq!(web.session_policy, SessionLimits::default());
    assert!(!format!("{clients:?}").contains("pcs_x"));
}

#[test]
fn every_refusal_of_a_client() {
    let second = |toml: &str| case(&format!("{ORDERS}\n[[clients]]\n{toml}")).fault();
    let url = |url: &str| {
        case(&format!("[[clients]]\nid = 'a'\nsecrets = [{{ file = '/a' }}]\nreturn_urls = ['{url}']")).fault()
    };
    insta::assert_snapshot!(second("secrets = [{ file = '/b' }]"), @r#"postern.toml:16  clients[2].id  missing  id = "orders""#);
    insta::assert_snapshot!(second("id = 'orders'\nsecrets = [{ file = '/b' }]"), @r#"postern.toml:17  clients[2].id  "orders" is another client's, in postern.toml:2  an id of its own"#);
    insta::assert_snapshot!(second("id = 'dev'\nsecrets = [{ file = '/b' }]"), @r#"postern.toml:17  clients[2].id  "dev" belongs to Postern itself  another name"#);
    insta::assert_snapshot!(second("id = '01a204c2-f63e-728b-872b-c13427e59c27'\nsecrets = [{ file = '/b' }]"), @r#"postern.toml:17  clients[2].id  "01a204c2-f63e-728b-872b-c13427e59c27" would pass for a user's id  a name"#);
    insta::assert_snapshot!(second("id = 'Orders API'\nsecrets = [{ file = '/b' }]"), @r#"postern.toml:17  clients[2].id  "Orders API" is no client's id  1 to 64 of a-z, 0-9 and -"#);
    insta::assert_snapshot!(second("id = 'b'"), @r#"postern.toml:16  clients[2].secrets  nothing proves it: neither a certificate nor a secret  secrets = [{ file = "…" }]"#);
    insta::assert_snapshot!(second("id = 'b'\nsecrets = [{ file = '/run/secrets/orders' }]"), @"postern.toml:18  clients[2].secrets[0].file  /run/secrets/orders is used already, in postern.toml:5  a secret of its own");
    insta::assert_snapshot!(second("id = 'b'\nsecrets = ['pcs_canary']"), @"postern.toml:18  clients[2].secrets[0]  a value where a table belongs  secrets = [{ … }]");
    insta::assert_snapshot!(second("id = 'b'\nsecrets = 'pcs_canary'"), @"postern.toml:18  clients[2].secrets  one where a list belongs  secrets = [{ … }] in the file, once for each");
    insta::assert_snapshot!(second("id = 'b'\nsecrets = [{ file = '/b', value = 'pcs_canary' }]"), @"postern.toml:18  clients[2].secrets[0]  file and value at once, in postern.toml:18 and postern.toml:18  keep one of them");
    insta::assert_snapshot!(second("id = 'b'\nsecret = 'pcs_canary'\nmtls_sans = ['b']"), @"postern.toml:18  clients[2].secret  unknown key  remove it");
    insta::assert_snapshot!(second("id = 'b'\nmtls_sans = ['orders.internal']"), @r#"postern.toml:18  clients[2].mtls_sans  "orders.internal" proves another client, in postern.toml:4  a name of its own"#);
    insta::assert_snapshot!(second("id = 'b'\nmtls_sans = ['*.internal']"), @r#"postern.toml:18  clients[2].mtls_sans  "*.internal" is neither a DNS name nor a URI  "orders.internal" or "spiffe://prod/orders""#);
    insta::assert_snapshot!(second("id = 'b'\nmtls_sans = ['b', 'B']"), @r#"postern.toml:18  clients[2].mtls_sans  "b" stands there twice  once"#);
    insta::assert_snapshot!(second("id = 'b'\nmtls_sans = 'b'"), @r#"postern.toml:18  clients[2].mtls_sans  one value where a list belongs  ["…", "…"]"#);
    insta::assert_snapshot!(second("id = 'b'\nmtls_sans = ['b']\nroles = ['postern.frnot']"), @r#"postern.toml:19  clients[2].roles  "postern.frnot" is no role that comes with Postern  postern.admin, postern.front or postern.backend"#);
    insta::assert_snapshot!(second("id = 'b'\nmtls_sans = ['b']\nroles = ['Clerk']"), @r#"postern.toml:19  clients[2].roles  "Clerk": a role's id is 1 to 64 of `a-z`, `0-9`, `.`, `_`, `:` and `-`  "postern.backend""#);
    insta::assert_snapshot!(second("id = 'b'\nmtls_sans = ['b']\naudience = 'a b'"), @r#"postern.toml:19  clients[2].audience  "a b" is no audience  a name or a URL without spaces"#);
    insta::assert_snapshot!(second("id = 'b'\nmtls_sans = ['b']\n[clients.session_policy]\nidle_ttl = '91d'"), @r#"postern.toml:20  clients[2].session_policy.idle_ttl  91d is longer than absolute_ttl, 90d  "90d" or less"#);
    insta::assert_snapshot!(second("id = 'b'\nmtls_sans = ['b']\nsession_policy.access_ttl = '2h'"), @r#"postern.toml:19  clients[2].session_policy.access_ttl  "2h" is out of bounds  "1m" to "1h""#);
    insta::assert_snapshot!(url("http://shop.example.com/in"), @r#"postern.toml:4  clients[0].return_urls  "http://shop.example.com/in" is in clear text  "https://app.example.com/signed-in" or "com.example.app:/signed-in""#);
    insta::assert_snapshot!(url("javascript:alert(1)"), @r#"postern.toml:4  clients[0].return_urls  "javascript:alert(1)" has a scheme that no domain owns  "https://app.example.com/signed-in" or "com.example.app:/signed-in""#);
    insta::assert_snapshot!(url("https://shop.example.com/*"), @r#"postern.toml:4  clients[0].return_urls  "https://shop.example.com/*" has a fragment or a wildcard  "https://app.example.com/signed-in" or "com.example.app:/signed-in""#);
    insta::assert_snapshot!(url("https://kim@shop.example.com/in"), @r#"postern.toml:4  clients[0].return_urls  "https://kim@shop.example.com/in" is not a URL  "https://app.example.com/signed-in" or "com.example.app:/signed-in""#);
    insta::assert_snapshot!(url("shop.example.com/in"), @r#"postern.toml:4  clients[0].return_urls  "shop.example.com/in" is not a URL  "https://app.example.com/signed-in" or "com.example.app:/signed-in""#);
}

#[test]
fn clients_come_from_the_file_only() {
    insta::assert_snapshot!(case("").env("POSTERN__CLIENTS__0__ID", "orders").fault(), @"POSTERN__CLIENTS__0__ID  clients  one where a list belongs  [[clients]] in the file, once for each");
    insta::assert_snapshot!(case(ORDERS).env("POSTERN__CLIENTS__0__ID", "orders").fault(), @"POSTERN__CLIENTS__0__ID  clients.0.id  a list, which is set as a whole, in postern.toml:1  set it in the file");
    insta::assert_snapshot!(case("").flag("clients", "orders").fault(), @"command line  clients  one where a list belongs  [[clients]] in the file, once for each");
    insta::assert_snapshot!(case("clients = ['orders']").fault(), @"postern.toml:1  clients[0]  a value where a table belongs  [[clients]]");
    insta::assert_snapshot!(case("[clients]\nid = 'orders'").fault(), @"postern.toml:1  clients  one where a list belongs  [[clients]] in the file, once for each");
}

#[test]
fn doors_and_certificates() {
    let config = case("[listen]\nadmin = '127.0.0.1:7304'\ninsecure = 'mesh'\n[tls]\ncertificate = '/c'\nkey = '/k'\nclient_ca = '/ca'\nrequire_client_certificate = true").config();
    assert_eq!(config.listen.admin.unwrap().port(), 7304);
    assert_eq!(config.listen.insecure, Some(Insecure::Mesh));
    assert!(config.tls.unwrap().require_client_certificate);
    insta::assert_snapshot!(case("[tls]\ncertificate = '/c'").fault(), @r#"postern.toml:2  tls.key  missing  key = "…""#);
    insta::assert_snapshot!(case("").env("POSTERN__TLS__KEY", "/k").fault(), @r#"POSTERN__TLS__KEY  tls.certificate  missing  certificate = "…""#);
    insta::assert_snapshot!(case("[tls]\ncertificate = '/c'\nkey = '/k'\nrequire_client_certificate = true").fault(), @r#"postern.toml:2  tls.require_client_certificate  true, but nobody is named who vouches for one  client_ca = "…""#);
    insta::assert_snapshot!(case("[listen]\nadmin = '127.0.0.1:7301'").fault(), @"postern.toml:2  listen.admin  127.0.0.1:7301 is also listen.grpc  a port of its own");
    insta::assert_snapshot!(case("[listen]\nadmin = '127.0.0.1:7303'").fault(), @"postern.toml:2  listen.operations  127.0.0.1:7303 is also listen.admin  a port of its own");
    insta::assert_snapshot!(case("[listen]\nadmin = '0.0.0.0:7304'").fault(), @r#"postern.toml:2  listen.admin  0.0.0.0:7304 can be reached by others, and development is for this machine  "127.0.0.1:7304" or "[::1]:7304""#);
    insta::assert_snapshot!(case("[listen]\ninsecure = true").fault(), @"postern.toml:2  listen.insecure  found true or false  a text in quotes");
    insta::assert_snapshot!(case("[listen]\ninsecure = 'yes'").fault(), @r#"postern.toml:2  listen.insecure  "yes" is not known here  mesh"#);
}

#[test]
fn keys_and_limits() {
    let config = case("keys.rotate_every = '30d'\nkeys.algorithm = 'EdDSA'\nlimits.connection_age = '10m'").config();
    assert_eq!(config.keys.rotate_every, Some(Duration::from_hours(720)));
    assert_eq!(config.limits.connection_age, Duration::from_mins(10));
    assert_eq!(case("limits.connections = 100").config().limits.connections_per_address, 100);
    assert!(Config::load(case("keys.algorithm = 'RS256'").sources).is_err());
    insta::assert_snapshot!(case("keys.rotate_every = '1h'").fault(), @r#"postern.toml:1  keys.rotate_every  "1h" is out of bounds  "1d" to "365d""#);
    insta::assert_snapshot!(case("limits = { connections = 100, connections_per_address = 101 }").fault(), @"postern.toml:1  limits.connections_per_address  101 from one address are more than all, 100  100 or less");
}
