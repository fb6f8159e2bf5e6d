//! As whom, and with whom: the rights that are enough, and certificates that are not.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;
use crate::vault::redis::inspect::Engine;

const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// SHA-256 of `secret`.
const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

/// As the user of the test itself.
const AS_TEST: [&str; 4] = ["--user", "test", "--pass", "test"];

/// A server with the users of the example, and one for the test itself.
fn guarded(flavour: Flavour) -> Redis {
    let example = include_str!("../../../../examples/redis-users.acl");
    assert!(example.contains(ZEROS));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.acl");
    let users = format!("{}\nuser test on >test ~* &* +@all\n", example.trim().replace(ZEROS, SECRET));
    std::fs::write(&file, users).unwrap();
    // The server reads the file as it starts, and never again.
    Redis::start_with(flavour, &[&format!("aclfile {}", file.display())])
}

fn guarded_settings(server: &Redis) -> RedisSettings {
    RedisSettings {
        username: Some("postern".into()),
        password: Some("secret".into()),
        prefix: "postern:".into(),
        ..settings(&server.url())
    }
}

async fn steps(vault: &RedisVault) {
    for kind in Kind::ALL {
        let slot = at(kind, "p", "k");
        assert!(vault.insert(&slot, b"one", soon()).await.unwrap());
        assert_eq!(vault.get(&slot).await.unwrap().unwrap(), b"one");
        assert_eq!(vault.swap(&slot, b"one", b"two", soon()).await.unwrap(), Swap::Swapped);
        assert_eq!(vault.list(kind, "p").await.unwrap().len(), usize::from(kind.is_listed()));
        assert_eq!(vault.take(&slot).await.unwrap().unwrap(), b"two");
        assert!(vault.insert(&slot, b"one", soon()).await.unwrap());
        assert!(vault.remove(&slot).await.unwrap());
    }
    let quota = Quota { burst: 1, every: Duration::from_mins(1) };
    assert_eq!(vault.admit("b", &quota).await.unwrap(), Admission::Admitted);
    assert_ne!(vault.admit("b", &quota).await.unwrap(), Admission::Admitted);
    vault.give_back("b", &quota).await.unwrap();
    assert_eq!(vault.admit("b", &quota).await.unwrap(), Admission::Admitted);
    vault.give_back("b", &quota).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_the_example_are_enough_and_no_more() {
    for flavour in [Flavour::Redis, Flavour::Valkey] {
        let server = guarded(flavour);
        let settings = guarded_settings(&server);
        let bench = bench_with(server, settings).await;
        steps(&bench.vault).await;

        let facts = bench.vault.inspect().await.unwrap();
        assert!(!facts.may_configure && !facts.may_read_foreign, "{facts:?}");
        assert_eq!(facts.nodes.len(), 1);
        assert_eq!(facts.nodes[0].eviction, "noeviction");
        assert!(matches!(facts.nodes[0].engine, Engine::Redis | Engine::Valkey));
        assert!(facts.nodes[0].version.major >= 7);

        for command in [
            "FLUSHALL",
            "CONFIG GET *",
            "CONFIG SET maxmemory 1",
            "KEYS *",
            "SCAN 0",
            "GET other",
            "SET other 1",
            "SET postern 1",
            "EVAL return 0",
            "SCRIPT FLUSH",
            "DEBUG SLEEP 0",
            "SHUTDOWN",
            "REPLICAOF NO ONE",
            "ACL LIST",
            "CLIENT LIST",
            "CLIENT KILL TYPE normal",
            "CLUSTER RESET",
            "SUBSCRIBE x",
            "PUBLISH x y",
            "RANDOMKEY",
            "DUMP postern:s{p}k",
        ] {
            let asked = AS_TEST.into_iter().chain(["ACL", "DRYRUN", "postern"]).chain(command.split(' '));
            let told = bench.server.cli(&asked.collect::<Vec<_>>());
            assert!(told.contains("no permissions"), "{command}: {told}");
        }
        // A script of somebody else's has no more rights than its caller.
        let script = ["SCRIPT", "LOAD", "return redis.call('GET', 'other')"];
        let foreign = bench.server.cli(&[&AS_TEST[..], &script].concat());
        let (link, args) = (&bench.vault.link, vec![foreign.into(), 0.into()]);
        let refused = link.call(Call { name: "EVALSHA", args, to: To::Slot(0) }).await.unwrap_err();
        let words = ["can't access", "No permissions"];
        assert!(words.iter().any(|word| refused.to_string().contains(word)), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_unavailable() {
    let server = guarded(Flavour::Redis);
    for (username, password) in [(Some("postern"), Some("wrong")), (None, None), (Some("nobody"), Some("secret"))] {
        let settings = RedisSettings {
            username: username.map(str::to_owned),
            password: password.map(Into::into),
            ..guarded_settings(&server)
        };
        assert_stays_away(settings).await;
    }
}

/// It is tried several times in this time.
async fn assert_stays_away(settings: RedisSettings) -> String {
    let (vault, stop) = open(settings);
    let connected = tokio::time::timeout(Duration::from_millis(1_500), vault.connected()).await;
    assert!(connected.is_err());
    assert!(!vault.is_connected());
    let VaultError::Unavailable { source } = vault.get(&at(Kind::Session, "p", "k")).await.unwrap_err();
    stop.cancel();
    let told = source.to_string();
    assert!(!told.contains("secret") && !told.contains("wrong"), "{told}");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_too_wide_are_told() {
    let bench = bench(Redis::start_with(Flavour::Redis, &["maxmemory-policy allkeys-lru"])).await;
    let facts = bench.vault.inspect().await.unwrap();
    assert!(facts.may_configure && facts.may_read_foreign);
    let grave: Vec<_> = faults(&facts).into_iter().filter(|concern| concern.is_grave).collect();
    assert!(grave.len() == 1 && grave[0].wrong.contains("maxmemory-policy is allkeys-lru"), "{grave:?}");
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server that speaks TLS only, under this name. The certificate of its authority lies in the folder.
fn encrypted(ca: &CertifiedIssuer<'static, KeyPair>, name: &str, folder: &Path) -> Redis {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, ca).unwrap();
    let file = |file: &str, pem: String| {
        let path = folder.join(file);
        std::fs::write(&path, pem).unwrap();
        path
    };
    let certificate = file("server.crt", certificate.pem());
    Redis::start_tls(&certificate, &file("server.key", key.serialize_pem()), &file("ca.crt", ca.pem()))
}

fn encrypted_settings(server: &Redis, ca: &Path) -> RedisSettings {
    let url = format!("rediss://localhost:{}", server.port());
    RedisSettings { ca: Some(ca.to_owned()), ..settings(&url) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_believed_by_its_authority_and_name_only() {
    let ca = authority();
    let folder = tempfile::tempdir().unwrap();
    let server = encrypted(&ca, "localhost", folder.path());
    let right = folder.path().join("ca.crt");
    let settings_of = encrypted_settings(&server, &right);
    let bench = bench_with(server, settings_of).await;
    let server = &bench.server;
    steps(&bench.vault).await;

    let stranger = folder.path().join("stranger.crt");
    std::fs::write(&stranger, authority().pem()).unwrap();
    let told = assert_stays_away(encrypted_settings(server, &stranger)).await;
    assert!(told.contains("InvalidCertificate"), "{told}");
    let told = assert_stays_away(RedisSettings { ca: None, ..encrypted_settings(server, &right) }).await;
    assert!(told.contains("InvalidCertificate"), "whom the machine trusts: {told}");

    let misnamed = encrypted(&ca, "redis.postern.dev", folder.path());
    let told = assert_stays_away(encrypted_settings(&misnamed, &right)).await;
    assert!(told.contains("NotValidForName"), "{told}");

    // Neither end falls back to clear text.
    assert_stays_away(settings(&format!("redis://127.0.0.1:{}", server.port()))).await;
    let clear = Redis::start(Flavour::Redis);
    assert_stays_away(encrypted_settings(&clear, &right)).await;
    assert_eq!(clear.call(&["DBSIZE"]), Reply::Number(0));
}

#[test]
fn a_file_that_vouches_for_nobody_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.crt");
    let refused = |path: &Path| {
        let settings = RedisSettings { ca: Some(path.to_owned()), ..settings("rediss://localhost") };
        settings.recipe().err().unwrap().to_string().replace(folder.path().to_str().unwrap(), "DIR")
    };
    insta::assert_snapshot!(refused(&path), @"DIR/ca.crt: No such file or directory (os error 2)");
    std::fs::write(&path, "nothing").unwrap();
    insta::assert_snapshot!(refused(&path), @"DIR/ca.crt: holds no certificate");
}
