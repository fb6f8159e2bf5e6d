//! Row 124: over TLS, whoever answers must prove the name, to somebody whom the operator or the machine trusts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::generate_simple_self_signed;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;

/// A certificate that vouches for itself alone, and a server's side of it.
fn self_signed(dir: &tempfile::TempDir, name: &str) -> (PathBuf, TlsAcceptor) {
    let made = generate_simple_self_signed([name.to_owned()]).unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, made.cert.pem()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()))
        .unwrap();
    (path, TlsAcceptor::from(Arc::new(config)))
}

/// Stands before a fake, which speaks in clear text, one connection after the other.
async fn relay(listener: TcpListener, acceptor: TlsAcceptor, fake: SocketAddr) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut outside) = acceptor.accept(stream).await else { continue };
        let mut inside = TcpStream::connect(fake).await.unwrap();
        // Whoever has the answer may hang up.
        copy_bidirectional(&mut outside, &mut inside).await.unwrap_or_default();
    }
}

#[tokio::test]
async fn whom_nobody_vouches_for_is_not_spoken_with() {
    let dir = tempfile::tempdir().unwrap();
    let (stranger, _) = self_signed(&dir, "stranger.example");
    for (certified, trusts, is_good) in [
        ("localhost", Some("localhost"), true),
        ("localhost", None, false),
        ("localhost", Some("stranger.example"), false),
        ("another.example", Some("another.example"), false),
    ] {
        let (own, acceptor) = self_signed(&dir, certified);
        let ca = trusts.map(|name| if name == certified { own.clone() } else { stranger.clone() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scene = Scene::with(Kind::Kakao, false, |settings| {
            let encrypted = |url: &Option<String>| {
                let path = url.as_deref().and_then(|url| url.splitn(4, '/').nth(3)).unwrap();
                Some(format!("https://localhost:{port}/{path}"))
            };
            (settings.token, settings.userinfo) = (encrypted(&settings.token), encrypted(&settings.userinfo));
            settings.ca = ca;
        });
        let fake = scene.fake.base_url().strip_prefix("http://").unwrap().parse().unwrap();
        let outcome = tokio::select! {
            outcome = scene.sign_in(Script::default()) => outcome,
            () = relay(listener, acceptor, fake) => unreachable!("it goes on"),
        };
        let told = format!("{certified}, trusting {trusts:?}: {:?}", outcome.as_ref().err());
        assert_eq!((outcome.is_ok(), scene.exchanges()), (is_good, usize::from(is_good)), "{told}");
        assert_eq!(absence(outcome), (!is_good).then_some(Absence::Connection), "{told}");
    }
}
