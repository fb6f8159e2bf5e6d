//! What a test does behind the port: users, roles and bindings straight into the store, and tokens signed with the
//! server's own key.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern::domain::account::Profile;
use postern::domain::audit::{AuditEvent, AuditKind};
use postern::domain::change::Revision;
use postern::domain::client::{ClientSecret, HeldSecret, Origin, Registration};
use postern::domain::id::{PrincipalId, UserId};
use postern::domain::password::Password;
use postern::domain::permission::Scope;
use postern::domain::role::{BoundRole, Role};
use postern::domain::time::Timestamp;
use postern::proto::auth::v1 as pb;
use postern::store::NewUser;
use postern::vault::seal::Place;
use secrecy::ExposeSecret as _;
use tonic::Code;

use crate::support::{PASSWORD, Server, reason};

/// A server that hashes in no time and polls often, for tests that are about neither.
pub(crate) async fn server() -> Server {
    Server::start_with(|config| {
        (config.passwords.memory_kib, config.passwords.iterations) = (64, 1);
        config.feed.poll_interval = Duration::from_millis(20);
    })
    .await
}

/// A user with [`PASSWORD`].
pub(crate) async fn user(server: &Server, name: &str) -> UserId {
    let hash = server.auth.passwords.hash(Password::from_typed(PASSWORD).unwrap()).await.unwrap();
    let new = NewUser {
        id: UserId::generate(),
        profile: Profile { user_name: Some(name.parse().unwrap()), ..Profile::default() },
        password_hash: Some(hash),
        request_id: None,
        bindings: Vec::new(),
    };
    server.auth.store.create_user(&new, &event()).await.unwrap();
    new.id
}

/// A client with a secret, which is answered.
pub(crate) async fn client(server: &Server, id: &str) -> String {
    client_with(server, Registration::new(id.parse().unwrap(), Origin::Store)).await
}

pub(crate) async fn client_with(server: &Server, registration: Registration) -> String {
    let secret = ClientSecret::generate().unwrap();
    let secrets = vec![HeldSecret { digest: secret.digest(), ends_at: None }];
    let new = Registration { secrets, ..registration };
    let (_, revision) = server.auth.store.create_client(&new, &event()).await.unwrap();
    seen(server, revision).await;
    secret.text().expose_secret().to_owned()
}

/// Gives a client a role everywhere.
pub(crate) async fn allow(server: &Server, client: &str, role: &str) {
    let bound = BoundRole { role: role.parse().unwrap(), scope: Scope::Everywhere, expires_at: None };
    let client = PrincipalId::Client(client.parse().unwrap());
    let (_, revision) = server.auth.store.grant(&client, &bound, &client, &event()).await.unwrap();
    seen(server, revision).await;
}

/// Signs in; answers the access token.
pub(crate) async fn token(server: &Server, name: &str) -> String {
    server.login(name, PASSWORD).await.unwrap().tokens.unwrap().access_token
}

pub(crate) async fn put_role(server: &Server, id: &str, patterns: &[&str], inherits: &[&str]) -> Revision {
    let role = Role {
        id: id.parse().unwrap(),
        description: String::new(),
        patterns: patterns.iter().map(|text| text.parse().unwrap()).collect(),
        inherits: inherits.iter().map(|text| text.parse().unwrap()).collect(),
        etag: String::new(),
    };
    let (_, revision) = server.auth.store.put_role(&role, None, &event()).await.unwrap();
    seen(server, revision).await
}

pub(crate) async fn delete_role(server: &Server, id: &str) -> Revision {
    let changed = server.auth.store.delete_role(&id.parse().unwrap(), true, &event()).await.unwrap();
    seen(server, changed.revision).await
}

pub(crate) async fn grant(server: &Server, user: UserId, role: &str, tenant: &str) -> Revision {
    grant_until(server, user, role, tenant, None).await
}

pub(crate) async fn grant_until(
    server: &Server,
    user: UserId,
    role: &str,
    tenant: &str,
    expires_at: Option<Timestamp>,
) -> Revision {
    let bound = BoundRole { role: role.parse().unwrap(), scope: scope(tenant), expires_at };
    let (_, revision) =
        server.auth.store.grant(&PrincipalId::User(user), &bound, &PrincipalId::User(user), &event()).await.unwrap();
    seen(server, revision).await
}

pub(crate) async fn withdraw(server: &Server, user: UserId, role: &str, tenant: &str) -> Revision {
    let changed = server
        .auth
        .store
        .withdraw(&PrincipalId::User(user), &role.parse().unwrap(), &scope(tenant), &event())
        .await
        .unwrap();
    seen(server, changed.revision).await
}

pub(crate) async fn delete_user(server: &Server, user: UserId) -> Revision {
    let changed = server.auth.store.delete_user(user, &event()).await.unwrap();
    seen(server, changed.revision).await
}

/// Waits as every flow of the service does.
async fn seen(server: &Server, revision: Revision) -> Revision {
    server.auth.feed.catch_up(revision).await;
    revision
}

fn scope(tenant: &str) -> Scope {
    if tenant.is_empty() { Scope::Everywhere } else { Scope::Tenant(tenant.parse().unwrap()) }
}

/// For what a test does to the store.
pub(crate) fn event() -> AuditEvent {
    AuditEvent::new(AuditKind::Bootstrapped, Timestamp::default())
}

/// Moves the clock, also by more than the feed may be silent, and waits until the feed has followed.
pub(crate) async fn advance(server: &Server, by: Duration) {
    server.advance(by);
    let question = || server.verify_with(pb::VerifyRequest::default());
    for _attempt in 0..100 {
        match question().await {
            Ok(_) => return,
            Err(status) => assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "NOT_FRESH")),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the feed did not follow");
}

/// A decoded part of a token.
pub(crate) fn decoded(part: &str) -> serde_json::Map<String, serde_json::Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

pub(crate) fn claims(token: &str) -> serde_json::Map<String, serde_json::Value> {
    decoded(token.split('.').nth(1).unwrap())
}

/// Judges many tokens with as few calls as the limits allow.
pub(crate) async fn judge_all(server: &Server, tokens: &[String]) -> Vec<pb::VerifyResponse> {
    const TOKENS_MAX: usize = 256;
    const BYTES_MAX: usize = 900 * 1024;
    let mut responses = Vec::with_capacity(tokens.len());
    let mut rest = tokens;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest.iter().take(TOKENS_MAX).take_while(|token| {
            bytes += token.len() + 16;
            bytes <= BYTES_MAX
        });
        let (now, later) = rest.split_at(fitting.count());
        let request = |token: &String| pb::VerifyRequest { access_token: token.clone(), ..Default::default() };
        let requests: Vec<_> = now.iter().map(request).collect();
        let answer = server.client().batch_verify(pb::BatchVerifyRequest { requests }).await.unwrap().into_inner();
        assert_eq!(answer.responses.len(), now.len());
        responses.extend(answer.responses);
        rest = later;
    }
    responses
}

/// The key that a server signs with, in the wrong hands.
pub(crate) struct Forge {
    pub(crate) kid: String,
    pair: Ed25519KeyPair,
}

impl Forge {
    /// Opens the server's newest signing key.
    pub(crate) async fn of(server: &Server) -> Self {
        let key = server.auth.store.keys().await.unwrap().pop().unwrap();
        let place = Place { kind: "signing-key", partition: key.algorithm.name(), key: &key.kid };
        let opened = server.auth.masters.keyring_sealer().open(&place, &key.sealed).unwrap();
        Self { kid: key.kid, pair: Ed25519KeyPair::from_pkcs8(&opened.plain).unwrap() }
    }

    /// Another key, by the name of this.
    pub(crate) fn impostor(&self) -> Self {
        Self { kid: self.kid.clone(), pair: Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap() }
    }

    pub(crate) fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// The public key as RFC 8410 and RFC 7468 have it.
    pub(crate) fn public_pem(&self) -> String {
        let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        der.extend_from_slice(self.public());
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }

    /// The public key as RFC 8037 has it.
    pub(crate) fn public_jwk(&self) -> String {
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(self.public()))
    }

    pub(crate) fn header(&self) -> Members {
        Members::default().with("alg", "\"EdDSA\"").with("typ", "\"at+jwt\"").with("kid", format!("\"{}\"", self.kid))
    }

    /// The header that belongs there, over any claims.
    pub(crate) fn token(&self, claims: impl fmt::Display) -> String {
        self.sign(self.header().to_string(), claims.to_string())
    }

    /// A genuine signature over whatever it is.
    pub(crate) fn sign(&self, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        format!("{signed}.{}", self.signature(&signed))
    }

    pub(crate) fn signature(&self, signed: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()))
    }
}

/// The members of an object, in order and in any spelling, so that a test can write what no serializer would.
#[derive(Clone, Default)]
pub(crate) struct Members(Vec<(String, String)>);

impl Members {
    pub(crate) fn of(object: &serde_json::Map<String, serde_json::Value>) -> Self {
        Self(object.iter().map(|(name, value)| (name.clone(), value.to_string())).collect())
    }

    /// In place of the member of this name, or at the end.
    pub(crate) fn with(mut self, name: &str, raw: impl fmt::Display) -> Self {
        match self.0.iter_mut().find(|(own, _)| own == name) {
            Some((_, value)) => *value = raw.to_string(),
            None => self.0.push((name.to_owned(), raw.to_string())),
        }
        self
    }

    pub(crate) fn and_again(mut self, name: &str, raw: impl fmt::Display) -> Self {
        self.0.push((name.to_owned(), raw.to_string()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(own, _)| own != name);
        self
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn get(&self, name: &str) -> String {
        self.0.iter().find(|(own, _)| own == name).map(|(_, raw)| raw.clone()).unwrap()
    }
}

impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (place, (name, raw)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}\"{name}\":{raw}")?;
        }
        f.write_str("}")
    }
}
