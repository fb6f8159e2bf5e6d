//! Row 167: `verify-full` connects to the right server and to no other, and never in clear text.

use std::path::Path;

use postern_rig::postgres::Postgres;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use tempfile::TempDir;

use crate::clock::Clock;
use crate::store::connect;
use crate::store::testing::settings;
use crate::store::{ConnectError, ServerFacts, Store};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server for one name, written to a folder; where certificate and key are.
    fn server(&self, folder: &Path, name: &str) -> [std::path::PathBuf; 2] {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        [write(folder, "server.crt", &certificate), write(folder, "server.key", &key.serialize_pem())]
    }
}

fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

async fn look(url: &str) -> Result<ServerFacts, ConnectError> {
    Store::look_at(&settings(url)).await
}

fn refused(outcome: Result<ServerFacts, ConnectError>) {
    let refusal = outcome.unwrap_err();
    assert!(matches!(refusal, ConnectError::Refused { .. }), "{refusal:?}");
    assert!(refusal.to_string().contains("TLS"), "{refusal}");
    assert!(!format!("{refusal:?}{refusal}").contains("a-password"), "{refusal:?}");
}

#[tokio::test]
async fn only_the_server_that_was_meant_is_spoken_to() {
    let folder = TempDir::new().unwrap();
    let (right, wrong) = (Authority::new("right"), Authority::new("wrong"));
    let [certificate, key] = right.server(folder.path(), "localhost");
    let [right_file, wrong_file] =
        [("right.crt", &right), ("wrong.crt", &wrong)].map(|(name, of)| write(folder.path(), name, &of.pem));
    let server = Postgres::start_tls(&certificate, &key, &right_file);
    let url = |host: &str, authority: &Path| {
        let (port, authority) = (server.port(), authority.display());
        format!("postgres://postgres:a-password@{host}:{port}/postgres?sslmode=verify-full&sslrootcert={authority}")
    };
    assert!(look(&url("localhost", &right_file)).await.unwrap().encrypted);
    refused(look(&url("localhost", &wrong_file)).await);
    // Its certificate is for the name alone.
    refused(look(&url("127.0.0.1", &right_file)).await);
    // Nor does the pool go another way than the look beforehand.
    Store::migrate(&settings(&url("localhost", &right_file))).await.unwrap();
    let store = Store::connect(&settings(&url("localhost", &right_file)), Clock::default()).await.unwrap();
    store.ping().await.unwrap();
    let clear = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) \
        WHERE a.application_name = 'postern' AND NOT s.ssl";
    assert_eq!(server.psql("postgres", clear), "0");
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to_in_clear_text() {
    let plain = Postgres::shared();
    let url = format!("postgres://postgres:a-password@localhost:{}/postgres?sslmode=verify-full", plain.port());
    refused(look(&url).await);
    assert!(!look(&plain.url("postgres")).await.unwrap().encrypted, "on this machine, where nothing was asked for");
}

/// Row 167. Only what stands behind the `?` says how it is spoken: a password may hold any words.
#[test]
fn without_a_word_of_tls_others_are_spoken_to_in_secret() {
    for (url, mode) in [
        ("postgres://ann@db.example/orders", "VerifyFull"),
        ("postgres://ann:sslmode=disable@db.example/orders", "VerifyFull"),
        ("postgres://ann@db.example/sslmode=disable", "VerifyFull"),
        ("postgres://ann@db.example/orders?application=x&sslmode=disable", "refused"),
        ("postgres://ann@db.example/orders?sslmode=require", "Require"),
        ("postgres://ann@127.0.0.1/orders", "Prefer"),
    ] {
        let told = connect::options(&settings(url)).map(|options| format!("{:?}", options.get_ssl_mode()));
        assert_eq!(told.as_deref().unwrap_or("refused"), mode, "{url}");
    }
}
