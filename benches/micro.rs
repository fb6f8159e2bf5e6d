//! What a verdict, a rotation and a seal cost by themselves, without the wire: `cargo bench --bench micro`.
//!
//! Compare within one run: other runs have other neighbours.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a measurement: it fails loudly")]
#![expect(clippy::wildcard_imports, reason = "modules are only headings in what is printed")]

use std::hint::black_box;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use divan::Bencher;
use divan::counter::ItemsCount;
use postern::domain::change::{Change, Cursor};
use postern::domain::id::{SessionId, UserId};
use postern::domain::key::Algorithm;
use postern::domain::permission::Scope;
use postern::domain::refresh_token::{ChainKey, TagKey};
use postern::domain::role::{BoundRole, Role};
use postern::domain::session::{Device, Rotation, RotationLimits, Seed, Session, TokenScope};
use postern::domain::standing::{Fence, Floor, Owner, Standing};
use postern::domain::time::{Moment, Timestamp};
use postern::vault::seal::{Place, Sealer};
use postern::verifier::{
    Assurance, CACHE_BYTES_DEFAULT, Check, Outcome, Policy, Question, Settings, VerificationKey, Verifier,
};
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

const ISSUER: &str = "https://auth.example.com";
const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
const MOMENT: Moment = Moment { wall: NOW, uptime: Duration::from_hours(5) };
/// More than fit into the second cache of a core.
const MANY: usize = 10_000;

fn main() {
    divan::main();
}

/// A verifier that knows one key and a policy, and who makes tokens that it believes.
struct Scene {
    verifier: Verifier,
    pair: Ed25519KeyPair,
    require: Vec<Check>,
}

impl Scene {
    fn new() -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let verifier = Verifier::new(Settings {
            issuer: ISSUER.to_owned(),
            max_staleness: Duration::from_mins(1),
            serve_stale: false,
            cache_bytes: CACHE_BYTES_DEFAULT,
        });
        let key = VerificationKey::new("k1", Algorithm::EdDsa, pair.public_key().as_ref(), None).unwrap();
        let changes = [Change::Policy { version: 1, roles: roles(100) }];
        verifier.load(Cursor { id: 1, mark: [7; 8] }, NOW, &changes, vec![key], MOMENT).unwrap();
        Self { verifier, pair, require: vec![check("orders:refund")] }
    }

    /// As long as ours are.
    fn token(&self, number: usize) -> String {
        let header = r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}"#;
        let now = NOW.secs();
        let claims = format!(
            r#"{{"iss":"{ISSUER}","sub":"019a8c1e-0000-7000-8000-{number:012x}","aud":["orders"],"exp":{},"iat":{now},"jti":"q83vEjRWeJCrze8SNFZ4kA","client_id":"web","auth_time":{now},"amr":["pwd"],"sid":"019a8c1f-0000-7000-8000-{number:012x}","ver":100,"roles":{{"":["role-50"],"acme":["role-10"]}}}}"#,
            now + 1_800
        );
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn judge(&self, token: &str) {
        let question = Question {
            token,
            audience: "orders",
            require: &self.require,
            ask: &[],
            assurance: Assurance::default(),
            min_revision: None,
        };
        let judgement = self.verifier.judge(&question, MOMENT).unwrap();
        assert!(matches!(judgement.outcome, Outcome::Allow { .. }), "{judgement:?}");
        black_box(judgement);
    }
}

/// Some with wildcards, some that inherit; the fiftieth may refund.
fn roles(count: usize) -> Vec<Role> {
    let role = |number: usize| {
        let mut patterns = vec![format!("area-{number}:read"), format!("area-{number}:*:write")];
        if number == 50 {
            patterns.push("orders:**".to_owned());
        }
        Role {
            id: format!("role-{number}").parse().unwrap(),
            description: String::new(),
            patterns: patterns.iter().map(|text| text.parse().unwrap()).collect(),
            inherits: if number % 3 == 1 { vec![format!("role-{}", number - 1).parse().unwrap()] } else { Vec::new() },
            etag: String::new(),
        }
    };
    (0..count).map(role).collect()
}

fn check(permission: &str) -> Check {
    Check { permission: permission.parse().unwrap(), tenant: None }
}

mod verifier {
    use super::*;

    #[divan::bench]
    fn known_token(bencher: Bencher<'_, '_>) {
        let scene = Scene::new();
        let token = scene.token(1);
        scene.judge(&token);
        bencher.counter(ItemsCount::new(1_usize)).bench_local(|| scene.judge(&token));
    }

    /// In an order that no cache foresees.
    #[divan::bench]
    fn one_of_ten_thousand_known_tokens(bencher: Bencher<'_, '_>) {
        let scene = Scene::new();
        let tokens: Vec<String> = (0..MANY).map(|number| scene.token(number)).collect();
        for token in &tokens {
            scene.judge(token);
        }
        let mut place = 0;
        bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
            place = (place * 7_901 + 1_013) % MANY;
            scene.judge(tokens.get(place).unwrap());
        });
    }

    #[divan::bench]
    fn new_token(bencher: Bencher<'_, '_>) {
        let scene = Scene::new();
        let mut number = 0;
        let next = || {
            number += 1;
            scene.token(number)
        };
        bencher.counter(ItemsCount::new(1_usize)).with_inputs(next).bench_local_refs(|token| scene.judge(token));
    }

    /// What a new token costs before its signature: it is taken apart, and nobody has its key.
    #[divan::bench]
    fn parse_alone(bencher: Bencher<'_, '_>) {
        let scene = Scene::new();
        let (header, rest) = (URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k2"}"#), scene.token(1));
        let token = format!("{header}.{}", rest.split_once('.').unwrap().1);
        let question = Question {
            token: &token,
            audience: "orders",
            require: &[],
            ask: &[],
            assurance: Assurance::default(),
            min_revision: None,
        };
        bencher.bench_local(|| {
            let judgement = scene.verifier.judge(black_box(&question), MOMENT).unwrap();
            assert!(matches!(judgement.outcome, Outcome::Unauthenticated(_)));
        });
    }

    /// The floor under a new token.
    #[divan::bench]
    fn signature_alone(bencher: Bencher<'_, '_>) {
        let scene = Scene::new();
        let token = scene.token(1);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let key = aws_lc_rs::signature::UnparsedPublicKey::new(
            &aws_lc_rs::signature::ED25519,
            scene.pair.public_key().as_ref().to_vec(),
        );
        bencher.bench_local(|| key.verify(black_box(signed.as_bytes()), black_box(&signature)).unwrap());
    }
}

mod policy {
    use super::*;

    #[divan::bench(args = [10, 100, 1_000])]
    fn allowed(bencher: Bencher<'_, '_>, count: usize) {
        let policy = Policy::compile(&roles(count.max(51)), 1).unwrap();
        let bound = bound("role-50");
        let check = super::check("orders:refund");
        bencher.bench_local(|| policy.check(black_box(&bound), &check.permission, None, NOW).is_some());
    }

    #[divan::bench(args = [10, 100, 1_000])]
    fn denied(bencher: Bencher<'_, '_>, count: usize) {
        let policy = Policy::compile(&roles(count.max(51)), 1).unwrap();
        let bound = bound("role-10");
        let check = super::check("invoices:void");
        bencher.bench_local(|| policy.check(black_box(&bound), &check.permission, None, NOW).is_some());
    }

    #[divan::bench(args = [100, 1_000])]
    fn compile(bencher: Bencher<'_, '_>, count: usize) {
        let roles = roles(count);
        bencher.bench_local(|| Policy::compile(black_box(&roles), 1).unwrap());
    }

    fn bound(role: &str) -> Vec<BoundRole> {
        vec![BoundRole { role: role.parse().unwrap(), scope: Scope::Everywhere, expires_at: None }]
    }
}

mod refresh {
    use super::*;

    #[divan::bench]
    fn open_token(bencher: Bencher<'_, '_>) {
        let (tags, chain) = keys();
        let token = tags.issue(&session(), &chain);
        bencher.bench_local(|| tags.open(black_box(token.expose_secret())).is_ok());
    }

    #[divan::bench]
    fn rotate(bencher: Bencher<'_, '_>) {
        let (tags, chain) = keys();
        let session = session();
        let presented = tags.open(tags.issue(&session, &chain).expose_secret()).unwrap();
        let standing = Standing {
            now: NOW + Duration::from_mins(10),
            fence: Fence::default(),
            owner: Some(Owner {
                active: true,
                version: 100,
                roles_at: 100,
                floor: Floor::NONE,
                bindings: Vec::new(),
                external_id: String::new(),
            }),
            revoked: None,
            generation_floor: None,
        };
        let limits =
            RotationLimits { idle: Duration::from_hours(336), grace: Duration::from_secs(30), late_repeats: true };
        bencher.bench_local(|| match session.rotate(black_box(&presented), &standing, &limits, &chain) {
            Rotation::Answer(answer) => black_box(answer),
            other => panic!("{other:?}"),
        });
    }

    #[divan::bench]
    fn issue_token(bencher: Bencher<'_, '_>) {
        let (tags, chain) = keys();
        let session = session();
        bencher.bench_local(|| tags.issue(black_box(&session), &chain));
    }

    fn keys() -> (TagKey, ChainKey) {
        (TagKey::new(1, &[3; 32]), ChainKey::new(&[4; 32]))
    }

    fn session() -> Session {
        Session {
            id: SessionId::from_uuid(uuid::Uuid::from_u128(7)),
            user: UserId::from_uuid(uuid::Uuid::from_u128(8)),
            seed: Seed::from_bytes([5; 32]),
            key: 1,
            generation: 3,
            advanced_at: NOW,
            predecessors: Vec::new(),
            last_late: None,
            epoch: 100,
            scope: TokenScope::default(),
            client: "web".parse().unwrap(),
            device: Device::default(),
            method: "password".to_owned(),
            create_time: NOW,
            auth_time: NOW,
            amr: vec!["pwd".to_owned()],
            absolute_end: NOW + Duration::from_hours(2_160),
        }
    }
}

mod seal {
    use super::*;

    const PLACE: Place<'_> = Place { kind: "session", partition: "019a8c1e", key: "019a8c1f" };

    #[divan::bench(args = [200, 600, 4_000])]
    fn close(bencher: Bencher<'_, '_>, bytes: usize) {
        let (sealer, plain) = (sealer(), vec![1; bytes]);
        bencher.bench_local(|| sealer.seal(&PLACE, NOW, black_box(&plain)).unwrap());
    }

    #[divan::bench(args = [200, 600, 4_000])]
    fn open(bencher: Bencher<'_, '_>, bytes: usize) {
        let sealer = sealer();
        let value = sealer.seal(&PLACE, NOW, &vec![1; bytes]).unwrap();
        bencher.bench_local(|| sealer.open(&PLACE, black_box(&value)).is_ok());
    }

    fn sealer() -> Sealer {
        Sealer::new([(1, Zeroizing::new([9; 32]))])
    }
}
