//! The gateway: what is taken, how each refusal is told, and what another process reads of it.

use super::*;

const SHOP: &str = "[gateway]
url = 'https://auth.example.com'
in_process = false
server = 'https://postern.internal:7301'
trusted_proxies = ['10.0.0.0/8', '2001:db8::1']

[[gateway.clients]]
id = 'shop'
secret = { file = '/run/secrets/shop' }
origins = ['https://shop.example.com', 'http://localhost:3000']

[[gateway.clients]]
id = 'app'
secret.value = 'pcs_canary'
answer = 'handoff'
";

#[test]
fn a_gateway_is_read_whole() {
    let config = case(SHOP).config();
    assert!(!config.serves_gateway());
    let gateway = config.gateway;
    assert_eq!(gateway.url.as_deref(), Some("https://auth.example.com"));
    assert_eq!(gateway.server.as_deref(), Some("https://postern.internal:7301"));
    let proxies: Vec<String> = gateway.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "2001:db8::1/128"]);
    let [shop, app] = gateway.clients.as_slice() else { panic!("{gateway:?}") };
    assert_eq!((shop.id.as_str(), shop.answer, shop.origins.len()), ("shop", GatewayAnswer::Cookies, 2));
    assert_eq!((app.id.as_str(), app.answer, app.origins.len()), ("app", GatewayAnswer::Handoff, 0));
    assert!(!format!("{gateway:?}").contains("canary"));
}

#[test]
fn every_refusal_of_a_gateway() {
    let url = |url: &str| case(&format!("gateway.url = '{url}'")).fault();
    insta::assert_snapshot!(url("https://auth.example.com/in"), @r#"postern.toml:1  gateway.url  "https://auth.example.com/in" has a path  "https://auth.example.com""#);
    insta::assert_snapshot!(url("https://auth.example.com/"), @r#"postern.toml:1  gateway.url  "https://auth.example.com/" ends with a slash  "https://auth.example.com""#);
    insta::assert_snapshot!(url("https://auth.example.com:443"), @r#"postern.toml:1  gateway.url  "https://auth.example.com:443" names the port :443 that goes without saying  "https://auth.example.com""#);
    insta::assert_snapshot!(url("http://auth.example.com"), @r#"postern.toml:1  gateway.url  "http://auth.example.com" is in clear text: browsers would give no cookie  "https://auth.example.com""#);
    insta::assert_snapshot!(url("http://127.0.0.1.example.com"), @r#"postern.toml:1  gateway.url  "http://127.0.0.1.example.com" is in clear text: browsers would give no cookie  "https://auth.example.com""#);
    insta::assert_snapshot!(url("https://user:canary@auth.example.com"), @r#"postern.toml:1  gateway.url  holds a user name or a password  "https://auth.example.com""#);
    assert!(Config::load(case("gateway.url = 'http://localhost:7302'").sources).is_ok());
    insta::assert_snapshot!(case("gateway.trusted_proxies = ['10.0.0.1/8']").fault(), @r#"postern.toml:1  gateway.trusted_proxies  "10.0.0.1/8" is no block of addresses by its first  "10.0.0.0/8""#);
    let client = |text: &str| case(&format!("[[gateway.clients]]\n{text}")).fault();
    insta::assert_snapshot!(client("secret.file = '/a'"), @r#"postern.toml:1  gateway.clients[0].id  missing  id = "shop""#);
    insta::assert_snapshot!(client("id = 'Shop'\nsecret.file = '/a'"), @r#"postern.toml:2  gateway.clients[0].id  "Shop" is no client's id  1 to 64 of a-z, 0-9 and -"#);
    insta::assert_snapshot!(client("id = 'offline'\nsecret.file = '/a'"), @r#"postern.toml:2  gateway.clients[0].id  "offline" belongs to Postern itself  another client"#);
    insta::assert_snapshot!(client("id = 'shop'"), @r#"postern.toml:1  gateway.clients[0].secret  missing: nothing proves that the gateway acts for it  secret = { file = "…" }"#);
    insta::assert_snapshot!(client("id = 'shop'\nsecret = {}"), @"postern.toml:3  gateway.clients[0].secret  chooses nothing  file or value");
    insta::assert_snapshot!(client("id = 'shop'\nsecret.file = '/a'\nanswer = 'tokens'"), @r#"postern.toml:4  gateway.clients[0].answer  "tokens" is not known here  cookies or handoff"#);
    insta::assert_snapshot!(client("id = 'shop'\nsecret.file = '/a'\norigins = ['*']"), @r#"postern.toml:4  gateway.clients[0].origins  "*" does not start with https:// or http://  "https://shop.example.com""#);
    insta::assert_snapshot!(client("id = 'shop'\nsecret.file = '/a'\norigins = ['null']"), @r#"postern.toml:4  gateway.clients[0].origins  "null" does not start with https:// or http://  "https://shop.example.com""#);
    insta::assert_snapshot!(client("id = 'shop'\nsecret.file = '/a'\norigins = ['http://shop.example.com']"), @r#"postern.toml:4  gateway.clients[0].origins  "http://shop.example.com" is in clear text  "https://shop.example.com""#);
    insta::assert_snapshot!(client("id = 'shop'\nsecret.file = '/a'\nanswer = 'handoff'\norigins = ['https://a.example']"), @r#"postern.toml:5  gateway.clients[0].origins  of use with cookies only  remove it, or answer = "cookies""#);
    insta::assert_snapshot!(client("id = 'shop'\nsecret.file = '/a'\n[[gateway.clients]]\nid = 'shop'\nsecret.file = '/b'"), @r#"postern.toml:5  gateway.clients[1].id  "shop" is served already, in postern.toml:2  once"#);
    insta::assert_snapshot!(case("listen.gateway = '127.0.0.1:7301'").fault(), @"postern.toml:1  listen.gateway  127.0.0.1:7301 is also listen.grpc  a port of its own");
    assert!(Config::load(case("[[gateway.clients]]\nid = 'dev'").sources).is_ok());
}

#[test]
fn a_process_of_its_own_judges_what_it_reads() {
    let production = format!("profile = 'production'\n{SHOP}");
    let load = |toml: &str| {
        let told = Config::load_gateway(case(toml).sources).map(|loaded| loaded.config).map_err(|error| {
            let line = |fault: &Fault| format!("{}: {}", fault.key, fault.wrong);
            error.faults.iter().map(line).collect::<Vec<_>>().join("\n")
        });
        told.map(|config| config.gateway.clients.len())
    };
    insta::assert_snapshot!(load(&production).unwrap_err(), @"gateway.clients[1].secret.value: the secret itself stands in the settings, which are copied and shown");
    let right = production.replace("secret.value = 'pcs_canary'", "secret.file = '/run/secrets/app'");
    assert_eq!(load(&right), Ok(2));
    insta::assert_snapshot!(load(&right.replace("https://postern", "http://postern")).unwrap_err(), @"gateway.server: http://postern.internal:7301 is in clear text, and the clients' secrets go there");
    insta::assert_snapshot!(load(&right.replace("server = ", "# ")).unwrap_err(), @"gateway.server: missing: whom this gateway asks");
    insta::assert_snapshot!(load(&right.replace("url = ", "# ")).unwrap_err(), @"gateway.url: missing: where browsers find it");
    insta::assert_snapshot!(load(&right.replace("/run/secrets/app", "app")).unwrap_err(), @"gateway.clients[1].secret.file: app depends on the working directory");
    insta::assert_snapshot!(load(&format!("{right}\n[sesions]\nidle_ttl = '1h'")).unwrap_err(), @"sesions.idle_ttl: unknown key");
    insta::assert_snapshot!(load(&format!("{right}\n[listen]\ngateway = '0.0.0.0:7302'")).unwrap_err(), @"tls: clear text on 0.0.0.0:7302");
    insta::assert_snapshot!(load("").unwrap_err(), @"gateway.server: missing: whom this gateway asks");
}
