//! The URL and the password of Redis, opened and held against each other.

use secrecy::ExposeSecret as _;

use super::super::production::Judgement;
use super::super::{Profile, REDIS_URL_FORMS, Redis, RedisUrl, SecretError, SecretSource};

const URL: &str = "vault.redis.url";
const PASSWORD: &str = "vault.redis.password";

pub(super) fn judge(redis: &Redis, profile: Profile, found: &mut Judgement) {
    let private = "a file of your own, chmod 600";
    if let Some(Err(why)) = redis.password.as_ref().map(SecretSource::open) {
        found.refuse(PASSWORD, why.to_string(), private);
    }
    if let Some(ca) = &redis.ca
        && let Err(wrong) = super::holds(ca, "CERTIFICATE")
    {
        found.refuse("vault.redis.ca", wrong, "certificates in PEM");
    }
    let url: Result<RedisUrl, _> = match redis.url.open() {
        Ok(url) => url.expose_secret().parse(),
        Err(why) => return found.refuse(URL, why.to_string(), private),
    };
    match url {
        Ok(url) => together(redis, &url, profile, found),
        Err(why) => found.refuse(URL, why.0, REDIS_URL_FORMS),
    }
}

fn together(redis: &Redis, url: &RedisUrl, profile: Profile, found: &mut Judgement) {
    let has_password = redis.password.is_some() || url.password.is_some();
    if redis.password.is_some() && url.password.is_some() {
        found.refuse(PASSWORD, "there is one in the URL as well", "keep one of them");
    }
    if redis.username.is_some() && url.username.is_some() {
        found.refuse("vault.redis.username", "there is one in the URL as well", "keep one of them");
    }
    if !has_password && (redis.username.is_some() || url.username.is_some()) {
        found.refuse(
            PASSWORD,
            "missing: there is a user name",
            "password = { file = \"/run/secrets/redis-password\" }",
        );
    }
    if redis.ca.is_some() && !url.tls {
        found.refuse("vault.redis.ca", "vouches for nobody: the URL is without TLS", "rediss://, or no ca");
    }
    if profile == Profile::Development {
        return;
    }
    if let Some(host) = url.hosts().iter().find(|host| !host.is_loopback()) {
        if !url.tls {
            found.refuse(
                URL,
                format!("clear text to {host}: sessions and the password can be read along"),
                "rediss://…",
            );
        }
        if !has_password {
            let wrong = format!("anybody who reaches {host} may end every session");
            found.refuse(
                PASSWORD,
                wrong,
                "password = { file = \"/run/secrets/redis-password\" }, and the user of examples/redis-users.acl",
            );
        }
    }
}

/// Whether a password stands in it. What cannot be opened is told elsewhere.
pub(in super::super) fn holds_a_password(url: &SecretSource) -> bool {
    let opened: Result<_, SecretError> = url.open();
    opened.is_ok_and(|url| url.expose_secret().parse::<RedisUrl>().is_ok_and(|url| url.password.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(profile: Profile, url: &str, change: impl FnOnce(&mut Redis)) -> String {
        let value = |text: &str| SecretSource::Value(text.into());
        let (password, prefix) = (Some(value("canary")), "postern:".to_owned());
        let mut redis = Redis { url: value(url), username: None, password, ca: None, prefix };
        change(&mut redis);
        let mut found = Judgement::default();
        judge(&redis, profile, &mut found);
        let lines = found.refusals.iter().map(|finding| format!("{}: {}", finding.key, finding.wrong));
        let told = lines.collect::<Vec<_>>().join("\n");
        assert!(!told.contains("canary") && !found.refusals.iter().any(|finding| finding.right.contains("canary")));
        told
    }

    fn production(url: &str) -> String {
        told(Profile::Production, url, |_| {})
    }

    #[test]
    fn production_speaks_to_other_machines_in_secret_only() {
        for url in [
            "rediss://redis",
            "rediss-sentinel://a,b/auth",
            "rediss-cluster://a,b",
            "redis://127.0.0.1",
            "redis://[::1]",
        ] {
            assert_eq!(production(url), "", "{url}");
        }
        insta::assert_snapshot!(production("redis://redis"), @"vault.redis.url: clear text to redis:6379: sessions and the password can be read along");
        insta::assert_snapshot!(production("redis-sentinel://127.0.0.1,10.0.0.1/auth"), @"vault.redis.url: clear text to 10.0.0.1:26379: sessions and the password can be read along");
        insta::assert_snapshot!(told(Profile::Production, "rediss://redis", |redis| redis.password = None), @"vault.redis.password: anybody who reaches redis:6379 may end every session");
        assert_eq!(told(Profile::Production, "rediss://redis", |redis| redis.username = Some("me".into())), "");
        assert_eq!(told(Profile::Production, "rediss://me:canary@redis", |redis| redis.password = None), "");
        assert_eq!(told(Profile::Production, "redis://localhost", |redis| redis.password = None), "");
        assert_eq!(told(Profile::Development, "redis://redis", |redis| redis.password = None), "");
    }

    #[test]
    fn what_contradicts_itself_is_refused_everywhere() {
        let development = |url: &str, change: fn(&mut Redis)| told(Profile::Development, url, change);
        insta::assert_snapshot!(development("canary", |_| {}), @"vault.redis.url: it does not start with redis:// or rediss://");
        insta::assert_snapshot!(development("redis://:canary@a", |_| {}), @"vault.redis.password: there is one in the URL as well");
        insta::assert_snapshot!(development("redis://me@a", |redis| redis.username = Some("you".into())), @"vault.redis.username: there is one in the URL as well");
        insta::assert_snapshot!(development("redis://a", |redis| {
            redis.username = Some("me".into());
            redis.password = None;
        }), @"vault.redis.password: missing: there is a user name");
        insta::assert_snapshot!(development("redis://a", |redis| redis.ca = Some("/dev/null".into())), @r"
        vault.redis.ca: /dev/null: not a regular file
        vault.redis.ca: vouches for nobody: the URL is without TLS
        ");
        insta::assert_snapshot!(development("redis://a", |redis| redis.url = SecretSource::File("/nowhere/url".into())), @"vault.redis.url: /nowhere/url: there is no such file");
        insta::assert_snapshot!(development("redis://a", |redis| redis.password = Some(SecretSource::File("/nowhere/password".into()))), @"vault.redis.password: /nowhere/password: there is no such file");
    }
}
