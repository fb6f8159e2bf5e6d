//! Which files are refused, and in what words; that a change is followed and a bad one is not.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair};
use tokio_util::sync::CancellationToken;

use super::super::ServerTls;
use super::*;

/// A folder with a certificate and its key.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let (certificate, key) = pair("localhost");
        folder.put("server.crt", &certificate);
        folder.put("server.key", &key);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn settings(&self) -> Tls {
        let client_ca = Some(self.path("ca.crt")).filter(|path| path.exists());
        Tls {
            certificate: self.path("server.crt"),
            key: self.path("server.key"),
            client_ca,
            require_client_certificate: true,
        }
    }

    /// Without the name of the temporary folder.
    fn refusal(&self, clock: &Clock) -> String {
        let refusal = Files(self.settings()).load(clock).err().expect("a refusal").to_string();
        refusal.replace(self.0.path().to_str().unwrap(), "DIR")
    }
}

/// A certificate of the whole of 2026 to 2029, and its key.
fn pair(name: &str) -> (String, String) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// As if it were that many days after the certificate began.
fn day(day: i64) -> Clock {
    let clock = Clock::default();
    let begin = Timestamp::from_secs(1_767_225_600);
    let target = begin + Duration::from_hours(24 * u64::try_from(day).unwrap());
    clock.advance(target.since(clock.now()));
    clock
}

#[test]
fn what_cannot_be_used_is_named() {
    let clock = Clock::default();
    let (folder, other) = (Folder::new(), pair("localhost"));
    assert!(Files(folder.settings()).load(&clock).is_ok());

    // What comes after so much would be overlooked.
    folder.put("ca.crt", &format!("{}{}{}", pair("one").0, "\n".repeat(4 * 1024 * 1024), pair("two").0));
    insta::assert_snapshot!(folder.refusal(&clock), @"tls.client_ca DIR/ca.crt: larger than 4 MiB");
    std::fs::remove_file(folder.path("ca.crt")).unwrap();

    let good = std::fs::read_to_string(folder.path("server.key")).unwrap();
    folder.put("server.key", &other.1);
    insta::assert_snapshot!(folder.refusal(&clock), @"tls.key DIR/server.key: not the key of the certificate in DIR/server.crt");
    folder.put("server.key", "s3cret");
    insta::assert_snapshot!(folder.refusal(&clock), @"tls.key DIR/server.key: no private key in PEM form is in it (an encrypted one cannot be used)");
    folder.put("server.key", "-----BEGIN PRIVATE KEY-----\nczNjcmV0\n-----END PRIVATE KEY-----\n");
    insta::assert_snapshot!(folder.refusal(&clock), @"tls.key DIR/server.key: not a private key that TLS can use (RSA, ECDSA or Ed25519)");
    folder.put("server.key", &good);
    std::fs::set_permissions(folder.path("server.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    insta::assert_snapshot!(folder.refusal(&clock), @"tls.key DIR/server.key: open to other users (mode 0644); close it: chmod 600 'DIR/server.key'");
    folder.put("server.key", &good);

    folder.put("ca.crt", "");
    insta::assert_snapshot!(folder.refusal(&clock), @"tls.client_ca DIR/ca.crt: no certificate in PEM form is in it");
    folder.put("ca.crt", "-----BEGIN CERTIFICATE-----\nczNjcmV0\n-----END CERTIFICATE-----\n");
    insta::assert_snapshot!(folder.refusal(&clock), @"tls.client_ca DIR/ca.crt: certificate 1 cannot vouch for others: invalid peer certificate: BadEncoding");
    std::fs::remove_file(folder.path("ca.crt")).unwrap();

    folder.put("server.crt", "-----BEGIN CERTIFICATE-----\nczNj");
    insta::assert_snapshot!(folder.refusal(&clock), @"tls.certificate DIR/server.crt: cut off: its last section has no end");
    std::fs::remove_file(folder.path("server.crt")).unwrap();
    insta::assert_snapshot!(folder.refusal(&clock), @"tls.certificate DIR/server.crt: cannot be read: No such file or directory (os error 2)");
    std::fs::create_dir(folder.path("server.crt")).unwrap();
    insta::assert_snapshot!(folder.refusal(&clock), @"tls.certificate DIR/server.crt: not a regular file");
}

#[test]
fn a_certificate_must_be_valid_now() {
    let folder = Folder::new();
    insta::assert_snapshot!(folder.refusal(&day(1_500)), @"tls.certificate DIR/server.crt: ended at 2030-01-01T00:00:00Z");
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2090, 1, 1);
    params.not_after = rcgen::date_time_ymd(2091, 1, 1);
    let key = KeyPair::generate().unwrap();
    folder.put("server.crt", &params.self_signed(&key).unwrap().pem());
    folder.put("server.key", &key.serialize_pem());
    insta::assert_snapshot!(folder.refusal(&Clock::default()), @"tls.certificate DIR/server.crt: begins at 2090-01-01T00:00:00Z");
}

#[test]
fn the_last_week_is_told() {
    let folder = Folder::new();
    let (months_before, days_before) = (day(1_400), day(1_455));
    let load = |clock: &Clock| ServerTls::load(folder.settings(), clock.clone()).unwrap().ends_soon();
    assert_eq!(load(&months_before), None);
    assert_eq!(load(&days_before).unwrap().to_string(), "2030-01-01T00:00:00Z");
}

#[test]
fn only_good_suites_are_offered() {
    for suite in aws_lc_rs::default_provider().cipher_suites {
        let name = format!("{:?}", suite.suite());
        let is_13 = name.starts_with("TLS13_");
        assert!(is_13 || name.starts_with("TLS_ECDHE_"), "{name}");
        assert!(name.contains("_GCM_") || name.contains("CHACHA20_POLY1305"), "{name}");
    }
}

#[test]
fn whoever_must_prove_a_name_does_so_each_time() {
    let folder = Folder::new();
    let open = Files(folder.settings()).load(&Clock::default()).unwrap();
    assert!(open.grpc.session_storage.can_cache());
    folder.put("ca.crt", &std::fs::read_to_string(folder.path("server.crt")).unwrap());
    let mutual = Files(folder.settings()).load(&Clock::default()).unwrap();
    assert!(!mutual.grpc.session_storage.can_cache());
    assert_eq!((mutual.grpc.send_tls13_tickets, mutual.grpc.ticketer.enabled()), (0, false));
    assert_eq!((mutual.grpc.max_early_data_size, open.grpc.max_early_data_size), (0, 0));
    assert_eq!(
        (mutual.grpc.alpn_protocols.concat(), mutual.operations.alpn_protocols.concat()),
        (b"h2".to_vec(), b"http/1.1".to_vec())
    );
}

/// As Kubernetes mounts secrets: the files are links through a folder that is itself a link, which is swapped.
#[tokio::test]
async fn swapped_links_are_followed_and_bad_files_are_not() {
    let folder = Folder::new();
    for version in ["first", "second", "bad"] {
        std::fs::create_dir(folder.path(version)).unwrap();
        let (certificate, key) = pair(version);
        folder.put(&format!("{version}/tls.crt"), &certificate);
        folder.put(&format!("{version}/tls.key"), &key);
    }
    folder.put("bad/tls.crt", "-----BEGIN CERT");
    let show = |version: &str| {
        std::os::unix::fs::symlink(version, folder.path("next")).unwrap();
        std::fs::rename(folder.path("next"), folder.path("current")).unwrap();
    };
    show("first");
    let settings = Tls {
        certificate: folder.path("current/tls.crt"),
        key: folder.path("current/tls.key"),
        client_ca: None,
        require_client_certificate: false,
    };
    let tls = Arc::new(ServerTls::load(settings, Clock::default()).unwrap());
    let fingerprint = || tls.loaded.load().fingerprint;
    let (first, stop) = (fingerprint(), CancellationToken::new());
    let follow = Arc::clone(&tls).watch(Duration::from_millis(5), stop.clone());
    let changes = async {
        show("bad");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(fingerprint(), first, "a bad file was taken");
        show("second");
        while fingerprint() == first {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    tokio::join!(follow, changes);
    assert!(!tls.reload().unwrap(), "the second is in use");
}
