//! Where sessions are kept: in the store, or on Redis.

use secrecy::SecretString;

use super::super::reader::{Key, Section, Wrong, quoted};
use super::super::{Redis, SecretSource, Source, Vault};
use super::store::secret;

const DEFAULT_PREFIX: &str = "postern:";
/// Each name pays for it.
const PREFIX_MAX: usize = 32;
const USERNAME_MAX: usize = 128;

pub(super) fn read(section: &mut Section<'_>, out: &mut Vault) {
    let chosen = section.choice(&["store", "redis"]);
    section.section("store", |_| {});
    let server = section.section("redis", redis);
    if chosen == Some("redis") {
        // With the stand-in below, if there is no URL: that is told.
        *out = Vault::Redis(server);
    }
}

fn redis(section: &mut Section<'_>) -> Redis {
    let url = section.section("url", |url| {
        url.choice(&["file", "value"]);
        let file = "holds `rediss://host:6379`, `rediss-sentinel://host,host/service` or `rediss-cluster://host,host`";
        secret(url, file, "the URL itself; without TLS `redis…`")
    });
    if url.is_none() && section.source() != Source::Default && !section.is_at_fault("url") {
        let wrong = Wrong::new("missing", "url = { file = \"/run/secrets/redis-url\" }");
        section.fault("url", section.source(), wrong);
    }
    let mut out = Redis {
        url: url.unwrap_or_else(|| SecretSource::Value(SecretString::from(""))),
        username: None,
        password: None,
        ca: None,
        prefix: DEFAULT_PREFIX.to_owned(),
    };
    let key = Key { name: "username", meaning: "of the ACL; unset: `default`", bounds: "a text".to_owned() };
    section.text(
        key,
        &mut out.username,
        |name| name.clone().unwrap_or_default(),
        |text| match text {
            "" => Err(Wrong::new("empty", "a user's name, or nothing at all")),
            _ if text.len() > USERNAME_MAX => Err(Wrong::new("too long", format!("at most {USERNAME_MAX} bytes"))),
            _ => Ok(Some(text.to_owned())),
        },
    );
    out.password = section.section("password", |password| {
        password.choice(&["file", "value"]);
        secret(
            password,
            "holds the password, unless the URL does (0600)",
            "the password itself; best from the environment",
        )
    });
    section.optional_path("ca", "PEM: who vouches for the server; unset: whom the machine trusts", &mut out.ca);
    let meaning = "what all names there begin with";
    let key = Key { name: "prefix", meaning, bounds: format!("1 to {PREFIX_MAX} of `a-z A-Z 0-9 : . _ -`") };
    section.text(key, &mut out.prefix, String::clone, prefix);
    out
}

/// What means something else in a pattern of the ACL, or in a slot's name, is left out.
fn prefix(text: &str) -> Result<String, Wrong> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, ':' | '.' | '_' | '-');
    if !text.is_empty() && text.len() <= PREFIX_MAX && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(format!("{} is no prefix", quoted(text)), format!("\"{DEFAULT_PREFIX}\"")))
}
