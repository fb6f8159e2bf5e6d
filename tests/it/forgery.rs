//! Tokens that are not what they say, presented at the port. Each is signed with the server's own key and differs from a
//! good one in exactly the one defect: a suite of badly signed tokens would prove nothing but the signature check.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use postern::proto::auth::v1 as pb;
use tonic::Code;

use crate::backstage::{self, Forge, Members, claims, event, judge_all};
use crate::support::{Server, verdict};

const VALID: (pb::Decision, pb::Reason) = (pb::Decision::Allow, pb::Reason::Unspecified);
const INVALID: (pb::Decision, pb::Reason) = (pb::Decision::Unauthenticated, pb::Reason::TokenInvalid);
const EXPIRED: (pb::Decision, pb::Reason) = (pb::Decision::Unauthenticated, pb::Reason::TokenExpired);
const REVOKED: (pb::Decision, pb::Reason) = (pb::Decision::Unauthenticated, pb::Reason::TokenRevoked);

/// A server, its signing key, and the claims of a token that it issued.
struct Scene {
    server: Server,
    forge: Forge,
    token: String,
    claims: Members,
}

impl Scene {
    async fn new() -> Self {
        let server = backstage::server().await;
        let forge = Forge::of(&server).await;
        let token = server.login_admin().await.access_token;
        let claims = Members::of(&claims(&token));
        let scene = Self { server, forge, token, claims };
        // The control: what the forge makes is good unless something is done to it.
        scene.are(VALID, &[scene.forge.token(&scene.claims)]).await;
        scene
    }

    /// A token with the good claims under this header.
    fn headed(&self, header: impl std::fmt::Display) -> String {
        self.forge.sign(header.to_string(), self.claims.to_string())
    }

    /// A token with the good header over claims of which one is so.
    fn claiming(&self, name: &str, raw: impl std::fmt::Display) -> String {
        self.forge.token(self.claims.clone().with(name, raw))
    }

    fn now(&self) -> i64 {
        self.server.clock.now().secs()
    }

    /// All get this verdict, and a refusal tells nothing else.
    async fn are(&self, expected: (pb::Decision, pb::Reason), tokens: &[String]) {
        for (answer, token) in judge_all(&self.server, tokens).await.iter().zip(tokens) {
            assert_eq!(verdict(answer), expected, "{}", readable(token));
            if expected.0 == pb::Decision::Unauthenticated {
                tells_nothing(answer);
            }
        }
    }

    async fn are_invalid(&self, tokens: &[String]) {
        assert!(!tokens.is_empty());
        self.are(INVALID, tokens).await;
        // Nothing that was refused spoiled what is good.
        assert_eq!(verdict(&self.server.verify(&self.token).await), VALID);
    }
}

/// A refusal is its reason and an id for the log, whatever was wrong.
fn tells_nothing(answer: &pb::VerifyResponse) {
    let refusal = answer.refusal.clone().unwrap();
    assert_eq!(refusal.decision_id.len(), 36);
    let bare = pb::Refusal {
        reason: refusal.reason,
        code: Code::Unauthenticated.into(),
        decision_id: refusal.decision_id,
        missing: None,
        needed: None,
    };
    let expected = pb::VerifyResponse {
        decision: pb::Decision::Unauthenticated.into(),
        principal: None,
        refusal: Some(bare),
        verdicts: Vec::new(),
        freshness: answer.freshness.clone(),
    };
    assert_eq!(*answer, expected);
}

/// For messages of failed assertions.
fn readable(token: &str) -> String {
    let parts = token.split('.').map(|part| match URL_SAFE_NO_PAD.decode(part) {
        Ok(bytes) if bytes.starts_with(b"{") => String::from_utf8_lossy(&bytes).chars().take(600).collect(),
        _ => part.chars().take(100).collect::<String>(),
    });
    parts.collect::<Vec<_>>().join(" . ")
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_algorithm_is_that_of_the_key() {
    let scene = Scene::new().await;
    let header = scene.forge.header();
    let mut tokens: Vec<String> = [
        "none", "None", "NONE", "noNE", "", "HS256", "HS512", "RS256", "PS256", "ES256", "ES384", "Ed25519", "Ed448",
        "eddsa", "EDDSA", "EdDSA ",
    ]
    .iter()
    .map(|alg| scene.headed(header.clone().with("alg", quoted(alg))))
    .collect();
    tokens.extend(
        ["[\"EdDSA\"]", "null", "1", "true", "{}"].iter().map(|raw| scene.headed(header.clone().with("alg", raw))),
    );
    tokens.push(scene.headed(header.clone().without("alg")));
    // Without a signature, in all spellings of having none.
    for alg in ["none", "None", "NONE", "noNE", "EdDSA"] {
        let token = scene.headed(header.clone().with("alg", quoted(alg)));
        let signed = token.rsplit_once('.').unwrap().0.to_owned();
        tokens.push(format!("{signed}."));
        tokens.push(format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 64])));
        tokens.push(signed);
    }
    // An HMAC whose key everybody has.
    let secrets = [
        scene.forge.public().to_vec(),
        URL_SAFE_NO_PAD.encode(scene.forge.public()).into_bytes(),
        scene.forge.public_pem().into_bytes(),
        scene.forge.public_pem().trim_end().as_bytes().to_vec(),
        scene.forge.public_jwk().into_bytes(),
        scene.forge.kid.clone().into_bytes(),
        Vec::new(),
        b"secret".to_vec(),
    ];
    for (secret, alg) in secrets.iter().flat_map(|secret| [(secret, "HS256"), (secret, "EdDSA")]) {
        let header = header.clone().with("alg", quoted(alg)).to_string();
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(scene.claims.to_string()));
        let key = EncodingKey::from_secret(secret);
        let tag = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).unwrap();
        tokens.push(format!("{signed}.{tag}"));
    }
    scene.are_invalid(&tokens).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_brings_no_key_along() {
    let scene = Scene::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = quoted(&format!("http://{}/keys", listener.local_addr().unwrap()));
    let impostor = scene.forge.impostor();
    let mut tokens = Vec::new();
    for forge in [&scene.forge, &impostor] {
        let (jwk, good) = (forge.public_jwk(), forge.header());
        for (name, raw) in [("jwk", &jwk), ("jku", &url), ("x5u", &url), ("x5c", &"[\"MIIB\"]".to_owned())] {
            tokens.push(forge.sign(good.clone().with(name, raw).to_string(), scene.claims.to_string()));
            let unnamed = good.clone().without("kid").with(name, raw).to_string();
            tokens.push(forge.sign(unnamed, scene.claims.to_string()));
        }
        // The address as the name of the key.
        tokens.push(forge.sign(good.with("kid", &url).to_string(), scene.claims.to_string()));
    }
    tokens.push(impostor.token(&scene.claims));
    scene.are_invalid(&tokens).await;
    let asked = listener.accept();
    assert!(matches!(&asked, Err(why) if why.kind() == std::io::ErrorKind::WouldBlock), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_id_is_an_opaque_name() {
    let scene = Scene::new().await;
    let good = scene.forge.header();
    let kid = scene.forge.kid.clone();
    let mut tokens: Vec<String> = [
        "../../etc/passwd",
        "/dev/null",
        "master.key",
        "' OR '1'='1",
        "x' UNION SELECT sealed FROM signing_keys --",
        "\0",
        "",
        "%00",
        &format!("{kid}\0"),
        &format!("{kid} "),
        &kid.to_lowercase().to_uppercase(),
        &kid[..kid.len() - 1],
        &kid.repeat(2),
        &"k".repeat(128),
        &"k".repeat(64 * 1024),
    ]
    .iter()
    .map(|kid| scene.headed(good.clone().with("kid", quoted(kid))))
    .collect();
    tokens.extend(
        ["7", "null", "true", "{}", &format!("[{}]", quoted(&kid))]
            .iter()
            .map(|raw| scene.headed(good.clone().with("kid", raw))),
    );
    tokens.push(scene.headed(good.clone().without("kid")));
    tokens.push(scene.headed(good.clone().and_again("kid", quoted(&kid))));
    tokens.push(scene.headed(good.clone().and_again("kid", "\"other\"")));
    tokens.push(scene.headed(good.clone().with("kid", "\"other\"").and_again("kid", quoted(&kid))));
    tokens.push(scene.headed(good.and_again("\\u006bid", quoted(&kid))));
    scene.are_invalid(&tokens).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_key_opens_nothing() {
    let scene = Scene::new().await;
    let server = &scene.server;
    let auth = &server.auth;
    let unpublished = auth.keyring.make(postern::domain::key::Algorithm::EdDsa, auth.masters.current().number).unwrap();
    let unknown = scene.forge.header().with("kid", quoted(&unpublished.kid));
    scene.are_invalid(&[scene.headed(unknown)]).await;

    let next = auth.keyring.make(postern::domain::key::Algorithm::EdDsa, auth.masters.current().number).unwrap();
    let rotated = auth.store.rotate_key(&next, Duration::ZERO, |_, _| true, event()).await.unwrap().unwrap();
    auth.feed.catch_up(rotated.revision).await;
    let keys = server.client().get_keys(pb::GetKeysRequest {}).await.unwrap().into_inner().jwks_json;
    assert!(keys.contains(&scene.forge.kid) && keys.contains(&next.kid), "{keys}");
    // The old key's tokens live on until it retires; the new one signs.
    scene.are(VALID, &[scene.token.clone(), scene.forge.token(&scene.claims)]).await;
    let renewed = server.login_admin().await.access_token;
    assert_eq!(backstage::decoded(renewed.split('.').next().unwrap())["kid"], next.kid.as_str());

    backstage::advance(server, Duration::from_mins(70)).await;
    let now = scene.now();
    let today = scene.claims.clone().with("iat", now).with("auth_time", now).with("exp", now + 600);
    let new_forge = Forge::of(server).await;
    assert_eq!(new_forge.kid, next.kid);
    scene.are(VALID, &[new_forge.token(&today)]).await;
    scene.are(INVALID, &[scene.forge.token(&today)]).await;
    let keys = server.client().get_keys(pb::GetKeysRequest {}).await.unwrap().into_inner().jwks_json;
    assert!(!keys.contains(&scene.forge.kid) && keys.contains(&next.kid), "{keys}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_says_what_it_must_and_no_more() {
    let scene = Scene::new().await;
    let good = scene.forge.header();
    let mut tokens: Vec<String> = [
        ("crit", "[]"),
        ("crit", "[\"x\"]"),
        ("crit", "[\"b64\"]"),
        ("crit", "null"),
        ("b64", "false"),
        ("b64", "true"),
        ("zip", "\"DEF\""),
        ("enc", "\"A256GCM\""),
        ("p2c", "1000000000"),
        ("cty", "\"JWT\""),
        ("typ", "null"),
        ("typ", "1"),
        ("typ", "[\"at+jwt\"]"),
    ]
    .iter()
    .map(|(name, raw)| scene.headed(good.clone().with(name, raw)))
    .collect();
    tokens.push(scene.headed(good.clone().with("crit", "[\"b64\"]").with("b64", "false")));
    tokens.push(scene.headed(good.clone().with("crit", "[\"x\"]").with("x", "1")));
    tokens.push(scene.headed(good.clone().without("typ")));
    tokens.extend(good.names().iter().map(|name| scene.headed(good.clone().and_again(name, good.get(name)))));
    tokens.extend(["", "{}", "null", "[]", "7", "\"at+jwt\""].map(|header| scene.headed(header)));
    tokens.push(scene.headed(format!("{good}{good}")));
    for typ in
        ["JWT", "", "at", "at+jwt ", "refresh+jwt", "logout+jwt", "secevent+jwt", "dpop+jwt", "x/at+jwt", "id+jwt"]
    {
        tokens.push(scene.headed(good.clone().with("typ", quoted(typ))));
    }
    scene.are_invalid(&tokens).await;
    let spellings = ["at+jwt", "AT+JWT", "At+Jwt", "application/at+jwt", "APPLICATION/AT+JWT"];
    let tokens: Vec<_> = spellings.iter().map(|typ| scene.headed(good.clone().with("typ", quoted(typ)))).collect();
    scene.are(VALID, &tokens).await;
    scene.are(VALID, &[scene.headed(good.to_string().replace(',', " ,\n\t"))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_and_audience_are_compared_whole() {
    let scene = Scene::new().await;
    let issuer = &scene.server.issuer;
    let mut tokens: Vec<String> = [
        quoted(&format!("{issuer}/")),
        quoted(&issuer.to_uppercase()),
        quoted(&issuer.replace("http:", "https:")),
        quoted(&issuer[..issuer.len() - 1]),
        quoted(&format!(" {issuer}")),
        quoted("https://accounts.example.com"),
        format!("[{}]", quoted(issuer)),
        "null".to_owned(),
        "\"\"".to_owned(),
        "7".to_owned(),
    ]
    .iter()
    .map(|raw| scene.claiming("iss", raw))
    .collect();
    // The development client's own audience is the issuer.
    tokens.extend(
        [
            "[]".to_owned(),
            "\"\"".to_owned(),
            "null".to_owned(),
            "7".to_owned(),
            "{}".to_owned(),
            "[7]".to_owned(),
            quoted(&issuer[..issuer.len() - 1]),
            quoted(&format!("{issuer}/")),
            quoted(&issuer.to_uppercase()),
            "\"orders\"".to_owned(),
            "[\"orders\",\"billing\"]".to_owned(),
            format!("[[{}]]", quoted(issuer)),
            format!("[{},7]", quoted(issuer)),
            format!("[{},\"\"]", quoted(issuer)),
            quoted(&format!("{issuer},orders")),
        ]
        .iter()
        .map(|raw| scene.claiming("aud", raw)),
    );
    tokens.push(scene.forge.token(scene.claims.clone().without("iss")));
    tokens.push(scene.forge.token(scene.claims.clone().without("aud")));
    scene.are_invalid(&tokens).await;
    let good = [quoted(issuer), format!("[\"orders\",{}]", quoted(issuer))];
    scene.are(VALID, &good.map(|raw| scene.claiming("aud", raw))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_integers_in_their_range() {
    let scene = Scene::new().await;
    let now = scene.now();
    let mut tokens = Vec::new();
    for name in ["exp", "iat", "nbf", "auth_time", "ver"] {
        for raw in [
            "null",
            "true",
            "\"\"",
            "[]",
            "{}",
            "-1",
            "1e30",
            "9223372036854775808",
            "18446744073709551617",
            "1.8e9",
            &format!("\"{now}\""),
            &format!("{now}.0"),
            &format!("{now}.5"),
        ] {
            tokens.push(scene.claiming(name, raw));
        }
        if name != "nbf" {
            tokens.push(scene.forge.token(scene.claims.clone().without(name)));
        }
        if name != "ver" {
            tokens.push(scene.claiming(name, i64::MAX));
        }
    }
    let life = |issued: i64, ends: i64| {
        scene.forge.token(scene.claims.clone().with("auth_time", issued).with("iat", issued).with("exp", ends))
    };
    let ten_years = 10 * 365 * 24 * 3_600;
    // From the future, longer than any of ours, over before it began.
    tokens.extend([
        life(now + 120, now + 1_000),
        life(now, now + ten_years),
        life(now - ten_years, now + 60),
        life(now, now + 3_601),
        life(now, now),
        life(now - 10, now - 20),
        scene.claiming("nbf", now + 120),
        scene.claiming("auth_time", now + 600),
    ]);
    scene.are_invalid(&tokens).await;
    scene.are(EXPIRED, &[life(now - 100, now - 1), life(now - 3_600, now - 1), life(now - 1_800, now)]).await;
    let good = [life(now, now + 3_600), life(now + 30, now + 1_000), life(now - 1_000, now + 100)];
    scene.are(VALID, &good).await;
    scene.are(VALID, &[scene.claiming("nbf", now), scene.claiming("nbf", now + 30)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subject_is_a_living_user() {
    let scene = Scene::new().await;
    let sub = scene.claims.get("sub");
    let mut tokens = Vec::new();
    for name in ["sub", "sid", "client_id", "jti", "amr", "roles"] {
        for raw in ["\"\"", "null", "7", "true", "[7]", &quoted(&"a".repeat(5 * 1024))] {
            tokens.push(scene.claiming(name, raw));
        }
        tokens.push(scene.forge.token(scene.claims.clone().without(name)));
    }
    tokens.extend([
        scene.claiming("sub", sub.to_uppercase()),
        scene.claiming("sub", sub.replace('-', "")),
        scene.claiming("sub", "\"admin\""),
        scene.claiming("sub", "\"dev\""),
        scene.claiming("client_id", &sub),
        scene.claiming("sid", "\"dev\""),
        scene.claiming("roles", "[\"postern.admin\"]"),
        scene.claiming("roles", r#"{"":"postern.admin"}"#),
        scene.claiming("roles", r#"{"":["no role!"]}"#),
        scene.claiming("roles", r#"{"no tenant!":["postern.admin"]}"#),
        scene.claiming("tenant", "\"no tenant!\""),
        scene.claiming("tenant", "null"),
        scene.claiming("external_id", "7"),
    ]);
    scene.are_invalid(&tokens).await;

    let kim = backstage::user(&scene.server, "kim").await;
    let token = backstage::token(&scene.server, "kim").await;
    scene.are(VALID, std::slice::from_ref(&token)).await;
    let forged = Members::of(&claims(&token)).with("iat", scene.now()).to_string();
    backstage::delete_user(&scene.server, kim).await;
    // Whatever version is claimed: the floor of who was deleted is infinite.
    let later = Members::of(&claims(&token)).with("ver", "253402300799000").to_string();
    scene.are(REVOKED, &[token, scene.forge.token(forged), scene.forge.token(later)]).await;
}

/// Revocation is by session, so no other spelling of a token escapes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_session_has_no_second_spelling() {
    let scene = Scene::new().await;
    let tokens = scene.server.login_admin().await;
    let of_session = Members::of(&claims(&tokens.access_token));
    let spellings = [
        tokens.access_token.clone(),
        scene.forge.token(of_session.clone().with("jti", "\"another\"")),
        scene.forge.sign(scene.forge.header().to_string().replace(':', " : "), of_session.to_string()),
        scene.forge.token(of_session.clone().to_string().replace(',', " ,")),
        scene.forge.token(of_session.with("amr", "[\"pwd\",\"otp\"]")),
    ];
    scene.are(VALID, &spellings).await;
    assert_eq!(scene.server.logout(&tokens.refresh_token).await.ended_count, 1);
    scene.are(REVOKED, &spellings).await;
    assert_eq!(verdict(&scene.server.verify(&scene.token).await), VALID, "another session");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_canonical_compact_serialization() {
    let scene = Scene::new().await;
    let token = &scene.token;
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let json = format!(r#"{{"protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#);
    let general =
        format!(r#"{{"payload":"{payload}","signatures":[{{"protected":"{header}","signature":"{signature}"}}]}}"#);
    let mut tokens = vec![
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "....".to_owned(),
        header.to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{signature}"),
        format!("{header}.{payload}.{payload}.{payload}.{signature}"),
        json,
        general,
        format!("{token}="),
        format!("{token}=="),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}==.{signature}"),
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\n"),
        format!("{token}\r\n"),
        format!("{token}\t"),
        format!("{token}\0"),
        format!("{header}. {payload}.{signature}"),
        format!("{header}.{payload}\n.{signature}"),
        format!("Bearer {token}"),
        format!("\"{token}\""),
        format!("{token},{token}"),
        token.replace('.', "%2E"),
        format!("{header}.{payload}.{}", &signature[..signature.len() - 1]),
        format!("{header}.{payload}.{signature}A"),
        format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
    ];
    // Unused bits at the end of a part, and the other alphabet.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=";
    let (most, last) = signature.split_at(signature.len() - 1);
    let others = alphabet.chars().filter(|letter| !last.starts_with(*letter));
    tokens.extend(others.map(|letter| format!("{header}.{payload}.{most}{letter}")));
    tokens.extend(
        [signature.replacen('-', "+", 1), signature.replacen('_', "/", 1)]
            .iter()
            .filter(|spelled| *spelled != signature)
            .map(|spelled| format!("{header}.{payload}.{spelled}")),
    );
    // The same where the key signed the other spelling itself.
    for sloppy in [format!("{payload}="), format!("{payload}\n"), format!(" {payload}"), format!("{payload}+/")] {
        let signed = format!("{header}.{sloppy}");
        tokens.push(format!("{signed}.{}", scene.forge.signature(&signed)));
    }
    for length in [0, 1, 2] {
        // Some padding of the payload leaves unused bits to set.
        let text = scene.claims.to_string() + &" ".repeat(length);
        let encoded = URL_SAFE_NO_PAD.encode(&text);
        if text.len() % 3 != 0 {
            let (most, last) = encoded.split_at(encoded.len() - 1);
            let place = alphabet.find(last).unwrap();
            let signed = format!("{header}.{most}{}", &alphabet[place + 1..place + 2]);
            tokens.push(format!("{signed}.{}", scene.forge.signature(&signed)));
        }
    }
    scene.are_invalid(&tokens).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flipped_bit_voids_a_token() {
    let scene = Scene::new().await;
    // The top bits make bytes that no text has; see below.
    let flips = (0..scene.token.len()).flat_map(|place| (0..7).map(move |bit| (place, bit)));
    let tokens: Vec<String> = flips
        .map(|(place, bit)| {
            let mut bytes = scene.token.clone().into_bytes();
            bytes[place] ^= 1 << bit;
            String::from_utf8(bytes).unwrap()
        })
        .collect();
    assert!(tokens.len() > 3_000, "{}", tokens.len());
    scene.are_invalid(&tokens).await;
}

/// A `VerifyRequest` as a careless client has it.
#[derive(Clone, PartialEq, prost::Message)]
struct RawVerifyRequest {
    #[prost(bytes = "vec", tag = "1")]
    access_token: Vec<u8>,
}

/// A field of the contract that is no text fails the call: an error, and so no verdict.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_text_gets_no_verdict() {
    let scene = Scene::new().await;
    let mut client = tonic::client::Grpc::new(scene.server.channel.clone());
    for place in [0, 10, scene.token.len() / 2, scene.token.len() - 1] {
        let mut access_token = scene.token.clone().into_bytes();
        access_token[place] |= 0x80;
        client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/postern.auth.v1.AuthService/Verify");
        let codec = tonic_prost::ProstCodec::<RawVerifyRequest, pb::VerifyResponse>::default();
        let answer = client.unary(tonic::Request::new(RawVerifyRequest { access_token }), path, codec).await;
        let code = answer.unwrap_err().code();
        assert!(matches!(code, Code::Internal | Code::InvalidArgument), "{code:?}");
    }
    assert_eq!(verdict(&scene.server.verify(&scene.token).await), VALID);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_decrypted_inflated_or_iterated() {
    let scene = Scene::new().await;
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let kid = &scene.forge.kid;
    let bomb = part(&"\0".repeat(3_000));
    let tokens: Vec<String> = [
        r#"{"alg":"dir","enc":"A256GCM","zip":"DEF"}"#.to_owned(),
        r#"{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":1000000000,"p2s":"AAAA"}"#.to_owned(),
        r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#.to_owned(),
        r#"{"alg":"ECDH-ES","enc":"A256GCM","epk":{"kty":"OKP","crv":"X25519","x":"AAAA"}}"#.to_owned(),
        format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{kid}"}}"#),
    ]
    .iter()
    .map(|header| format!("{}.{bomb}.{}.{bomb}.{}", part(header), part("initial vect"), part("tag of 16 bytes.")))
    .collect();
    let began = scene.server.clock.moment();
    scene.are_invalid(&tokens).await;
    // Generous for a busy machine, and far below what 10^9 rounds take.
    assert!(scene.server.clock.moment().since(began) < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn size_and_depth_are_bounded_before_anything_is_parsed() {
    let scene = Scene::new().await;
    let padded = |length: usize| {
        let base = scene.forge.token(scene.claims.clone().with("pad", "\"\"")).len();
        // Three bytes of text are four of base64: the rest is found by trying.
        (0..8)
            .map(|more| {
                let pad = "a".repeat((length - base) * 3 / 4 + more);
                scene.forge.token(scene.claims.clone().with("pad", quoted(&pad)))
            })
            .find(|token| token.len() >= length)
            .unwrap()
    };
    let largest = padded(8_190);
    assert!(largest.len() <= 8_192, "{}", largest.len());
    scene.are(VALID, &[largest]).await;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let crowd = |count: usize| (0..count).fold(scene.claims.clone(), |claims, n| claims.and_again(&format!("c{n}"), 1));
    let began = scene.server.clock.moment();
    let tokens = [
        padded(8_193),
        scene.forge.token(crowd(40_000)),
        scene.claiming("deep", nested(100_000)),
        scene.claiming("deep", nested(2_000)),
        scene.claiming("deep", nested(100)),
        scene.headed(scene.forge.header().with("deep", nested(200))),
        scene.headed(scene.forge.header().with("pad", quoted(&"a".repeat(2_000)))),
        ".".repeat(8_192),
        "[".repeat(100_000),
        "a".repeat(700_000),
    ];
    scene.are_invalid(&tokens).await;
    assert!(scene.server.clock.moment().since(began) < Duration::from_secs(2));
    // Many are no fault by themselves.
    scene.are(VALID, &[scene.forge.token(crowd(300))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_member_stands_twice() {
    let scene = Scene::new().await;
    let good = &scene.claims;
    let mut tokens: Vec<String> =
        good.names().iter().map(|name| scene.forge.token(good.clone().and_again(name, good.get(name)))).collect();
    tokens.extend([
        scene.forge.token(good.clone().and_again("sub", "\"019a8c1e-0000-7000-8000-00000000b7f3\"")),
        scene.forge.token(good.clone().and_again("\\u0073ub", good.get("sub"))),
        scene.claiming("roles", r#"{"":["a"],"":["postern.admin"]}"#),
        scene.claiming("roles", r#"{"acme":["a"],"\u0061cme":["postern.admin"]}"#),
        scene.claiming("unread", r#"{"a":1,"a":2}"#),
        scene.claiming("unread", r#"[[{"a":1,"b":2,"a":3}]]"#),
    ]);
    scene.are_invalid(&tokens).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_one_object_in_utf8() {
    let scene = Scene::new().await;
    let (header, text) = (scene.forge.header().to_string(), scene.claims.to_string());
    let wide = |order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    let broken = scene.claims.clone().with("pad", "\"?\"").to_string().replace('?', "\u{1}").into_bytes();
    let invalid = |byte: u8| broken.iter().map(|own| if *own == 1 { byte } else { *own }).collect::<Vec<u8>>();
    let payloads: Vec<Vec<u8>> = vec![
        wide(u16::to_le_bytes),
        wide(u16::to_be_bytes),
        [b"\xff\xfe".to_vec(), wide(u16::to_le_bytes)].concat(),
        format!("\u{feff}{text}").into_bytes(),
        invalid(0xff),
        invalid(0xc0),
        invalid(0x80),
        broken.clone(),
        scene.claims.clone().with("pad", r#""\ud800""#).to_string().into_bytes(),
        format!("{text}{text}").into_bytes(),
        format!("{text} x").into_bytes(),
        format!("[{text}]").into_bytes(),
        text.replacen('{', "{,", 1).into_bytes(),
        text.trim_end_matches('}').as_bytes().to_vec(),
        text.replace('"', "'").into_bytes(),
        b"null".to_vec(),
        b"{}".to_vec(),
        b"\"\"".to_vec(),
    ];
    let tokens: Vec<_> = payloads.iter().map(|payload| scene.forge.sign(&header, payload)).collect();
    scene.are_invalid(&tokens).await;
    scene.are(VALID, &[scene.claiming("pad", "\"한국\""), scene.forge.token(format!(" {text}\n"))]).await;
}

/// Whatever is wrong with a token, its bearer hears one of three words; and not what else was wrong.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_look_alike() {
    let scene = Scene::new().await;
    let now = scene.now();
    let ended = scene.claims.clone().with("iat", now - 100).with("auth_time", now - 100).with("exp", now - 1);
    let tokens = [
        "x".to_owned(),
        scene.headed(scene.forge.header().with("kid", "\"unknown\"")),
        scene.forge.impostor().token(&scene.claims),
        scene.claiming("iss", "\"https://other.example.com\""),
        scene.claiming("aud", "\"orders\""),
        // Expired, and not for this audience or not ours: nobody learns that it was genuine.
        scene.forge.token(ended.clone().with("aud", "\"orders\"")),
        scene.forge.impostor().token(&ended),
    ];
    let answers = judge_all(&scene.server, &tokens).await;
    let faceless = |answer: &pb::VerifyResponse| {
        let mut answer = answer.clone();
        answer.refusal.as_mut().unwrap().decision_id.clear();
        answer.freshness = None;
        answer
    };
    assert!(answers.iter().all(|answer| faceless(answer) == faceless(&answers[0])), "{answers:?}");
    scene.are(INVALID, &tokens).await;
    scene.are(EXPIRED, &[scene.forge.token(&ended)]).await;
    // Each refusal has an id of its own, to be found in the log.
    let ids: std::collections::BTreeSet<_> =
        answers.iter().map(|answer| answer.refusal.as_ref().unwrap().decision_id.clone()).collect();
    assert_eq!(ids.len(), answers.len());
}
