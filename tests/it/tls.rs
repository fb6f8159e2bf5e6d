//! TLS on all ports: what is spoken, who is trusted, which names are proven, and how certificates are replaced.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern::clock::Clock;
use postern::domain::client::{Origin, Registration, San};
use postern::metrics::Format;
use postern::proto::auth::v1::GetKeysRequest;
use postern::proto::auth::v1::auth_service_client::AuthServiceClient;
use postern::tls::{Protocol, ServerTls};
use rcgen::ExtendedKeyUsagePurpose;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ProtocolVersion};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::backstage;
use crate::certificates::{Authority, Files, Leaf, Pair, certificate, dns, uri};
use crate::support::Server;

pub(crate) async fn shake(address: SocketAddr, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Shakes hands, and waits for the server's first word, since with TLS 1.3 a client thinks that all is well before its
/// certificate was judged.
async fn is_let_in(address: SocketAddr, config: ClientConfig) -> bool {
    let Ok(mut stream) = shake(address, config).await else { return false };
    // The server's SETTINGS come when it has the client's preface.
    let begun = stream.write_all(&[crate::frames::PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat()).await;
    begun.is_ok() && stream.read_exact(&mut [0; 9]).await.is_ok()
}

/// A client as people write it.
pub(crate) fn channel(files: &Files, address: SocketAddr, pair: Option<&Pair>) -> Channel {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&files.authority.pem));
    if let Some(pair) = pair {
        tls = tls.identity(Identity::from_pem(&pair.certificate, &pair.key));
    }
    let endpoint = Channel::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
    endpoint.connect_lazy()
}

async fn keys(channel: &Channel) -> Result<(), tonic::Status> {
    AuthServiceClient::new(channel.clone()).get_keys(GetKeysRequest::default()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_ports_speak_tls_1_2_and_1_3() {
    let files = Files::new();
    let server = Server::start_with(|config| {
        files.set(config);
        config.listen.admin = Some("127.0.0.1:0".parse().unwrap());
    })
    .await;
    for address in [server.grpc, server.admin_port.unwrap()] {
        for (version, is) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
            let stream = shake(address, files.client_of(None, &[version])).await.unwrap();
            let session = stream.get_ref().1;
            assert_eq!(session.protocol_version(), Some(is));
            assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
        }
        let mut other = files.client(None);
        other.alpn_protocols = vec![b"http/1.1".to_vec()];
        assert!(shake(address, other).await.is_err(), "gRPC is HTTP/2");
    }
    keys(&channel(&files, server.grpc, None)).await.unwrap();

    let mut probe = files.client(None);
    probe.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut stream = shake(server.operations, probe).await.unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ready\n"), "{answer}");
}

/// A `ClientHello` of that version with one cipher suite, as old clients send it.
fn client_hello(version: [u8; 2], suite: [u8; 2]) -> Vec<u8> {
    let extensions = [
        // Groups: P-256. Point formats: uncompressed. Signatures: ECDSA with SHA-256.
        &[0, 10, 0, 4, 0, 2, 0, 23][..],
        &[0, 11, 0, 2, 1, 0],
        &[0, 13, 0, 4, 0, 2, 4, 3],
    ]
    .concat();
    let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
    let body = [&version[..], &[7; 32], &[0], &[0, 2], &suite, &[1, 0], &length, &extensions].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let handshake = [&[1][..], &length[1..], &body].concat();
    let length = u16::try_from(handshake.len()).unwrap().to_be_bytes();
    [&[22, 3, 1][..], &length, &handshake].concat()
}

/// The kind of the first record that comes back, and its last byte.
async fn first_answer(address: SocketAddr, bytes: &[u8]) -> (u8, u8) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.unwrap();
    let mut body = vec![0; u16::from_be_bytes([head[3], head[4]]).into()];
    stream.read_exact(&mut body).await.unwrap();
    (head[0], *body.last().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_and_weak_suites_are_refused() {
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    const HANDSHAKE_FAILURE: u8 = 40;
    const PROTOCOL_VERSION: u8 = 70;
    const TLS_1_2: [u8; 2] = [3, 3];
    const GOOD: [u8; 2] = [0xc0, 0x2b];
    let files = Files::new();
    let server = Server::start_with(|config| files.set(config)).await;
    for address in [server.grpc, server.operations] {
        // The same words with a good suite are understood.
        assert_eq!(first_answer(address, &client_hello(TLS_1_2, GOOD)).await.0, HANDSHAKE);
        for old in [[3, 0], [3, 1], [3, 2]] {
            assert_eq!(first_answer(address, &client_hello(old, GOOD)).await, (ALERT, PROTOCOL_VERSION), "{old:?}");
        }
        for (suite, name) in [
            ([0x00, 0x05], "RSA_WITH_RC4_128_SHA"),
            ([0x00, 0x03], "RSA_EXPORT_WITH_RC4_40_MD5"),
            ([0x00, 0x2f], "RSA_WITH_AES_128_CBC_SHA"),
            ([0x00, 0x9c], "RSA_WITH_AES_128_GCM_SHA256"),
            ([0xc0, 0x09], "ECDHE_ECDSA_WITH_AES_128_CBC_SHA"),
            ([0x00, 0x9e], "DHE_RSA_WITH_AES_128_GCM_SHA256"),
            ([0xc0, 0x06], "ECDHE_ECDSA_WITH_NULL_SHA"),
        ] {
            let answer = first_answer(address, &client_hello(TLS_1_2, suite)).await;
            assert_eq!(answer, (ALERT, HANDSHAKE_FAILURE), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_text_ends_at_a_port_with_tls() {
    let files = Files::new();
    let server = Server::start_with(|config| files.set(config)).await;
    for address in [server.grpc, server.operations] {
        for words in [crate::frames::PREFACE, b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(words).await.unwrap();
            let mut heard = Vec::new();
            // At once, not only when patience ends, and without a word that is not TLS.
            let read = tokio::time::timeout(Duration::from_secs(8), stream.read_to_end(&mut heard)).await;
            drop(read.expect("it hangs"));
            assert!(heard.is_empty() || heard[0] == 21, "{heard:?}");
        }
    }
    let clear = Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect_lazy();
    assert!(keys(&clear).await.is_err());
    keys(&channel(&files, server.grpc, None)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_certificates_of_the_authority_are_let_in() {
    let (files, clients) = (Files::new(), Authority::new("clients"));
    let ca = files.write("clients.crt", &clients.pem);
    let required = Server::start_with(|config| config.tls = Some(files.tls(Some((&ca, true))))).await;
    let optional = Server::start_with(|config| config.tls = Some(files.tls(Some((&ca, false))))).await;

    for server in [&required, &optional] {
        let mtls_sans = vec!["orders.internal".parse().unwrap()];
        let client = Registration { mtls_sans, ..Registration::new("orders".parse().unwrap(), Origin::Store) };
        backstage::client_with(server, client).await;
    }
    let good = || Leaf::client(vec![dns("orders.internal")]);
    let server_usage = Leaf { usage: ExtendedKeyUsagePurpose::ServerAuth, ..good() };
    for (what, pair) in [
        ("self-signed", good().self_signed()),
        ("expired", clients.sign(&Leaf { ends: 2021, ..good() })),
        ("of another authority", Authority::new("clients").sign(&good())),
        ("of the servers' authority", files.authority.sign(&good())),
        ("for servers", clients.sign(&server_usage)),
    ] {
        for server in [&required, &optional] {
            assert!(!is_let_in(server.grpc, files.client(Some(&pair))).await, "{what}");
        }
    }
    let pair = clients.sign(&good());
    for server in [&required, &optional] {
        assert!(is_let_in(server.grpc, files.client(Some(&pair))).await);
        keys(&channel(&files, server.grpc, Some(&pair))).await.unwrap();
        // A probe has no certificate.
        let mut probe = files.client(None);
        probe.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut stream = shake(server.operations, probe).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
    }
    assert!(!is_let_in(required.grpc, files.client(None)).await, "none was shown");
    assert!(is_let_in(optional.grpc, files.client(None)).await, "none was asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_those_of_a_proven_certificate() {
    let (files, clients) = (Files::new(), Authority::new("clients"));
    let ca = files.write("clients.crt", &clients.pem);
    let tls = ServerTls::load(files.tls(Some((&ca, false))), Clock::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let names = async |protocol: Protocol, mut config: ClientConfig| {
        if protocol == Protocol::Operations {
            config.alpn_protocols.clear();
        }
        let accept = async { tls.accept(protocol, listener.accept().await.unwrap().0).await.unwrap() };
        let (stream, (_accepted, names)) = tokio::join!(shake(address, config), accept);
        stream.unwrap();
        names.to_vec()
    };
    let both = vec![dns("orders.internal"), uri("spiffe://prod/ns/shop/sa/orders")];
    let pair = clients.sign(&Leaf { common_name: "admin.internal", ..Leaf::client(both) });
    for versions in [[&TLS12], [&TLS13]] {
        let proven = names(Protocol::Grpc, files.client_of(Some(&pair), &versions)).await;
        let expected = [San::Dns("orders.internal".to_owned()), San::Uri("spiffe://prod/ns/shop/sa/orders".to_owned())];
        assert_eq!(proven, expected, "without the common name");
    }
    let common_name_only = clients.sign(&Leaf { common_name: "orders.internal", ..Leaf::client(vec![]) });
    assert_eq!(names(Protocol::Grpc, files.client(Some(&common_name_only))).await, []);
    let wildcard = clients.sign(&Leaf::client(vec![dns("*.internal")]));
    assert_eq!(names(Protocol::Grpc, files.client(Some(&wildcard))).await, []);
    assert_eq!(names(Protocol::Grpc, files.client(None)).await, []);
    assert_eq!(names(Protocol::Operations, files.client(Some(&pair))).await, [], "never asked for there");

    // One connection proves nothing for the next: no session is resumed.
    let config = files.client(Some(&pair));
    for _ in 0..3 {
        assert_eq!(names(Protocol::Grpc, config.clone()).await.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_certificate_is_shown_to_new_connections() {
    let files = Files::new();
    let server = Server::start_with(|config| files.set(config)).await;
    let tls = server.tls.clone().unwrap();
    let shown = async || {
        let stream = shake(server.grpc, files.client(None)).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let first = std::fs::read_to_string(files.path("server.crt")).unwrap();
    assert_eq!(shown().await, certificate(&first));
    let ends = || {
        let text = server.auth.metrics.text(Format::Plain);
        let told = text.lines().find_map(|line| line.strip_prefix("postern_tls_certificate_expiry_timestamp_seconds "));
        told.unwrap_or_else(|| panic!("{text}")).parse::<f64>().unwrap()
    };
    // The first second of the year.
    let in_2090 = 3_786_912_000.0;
    assert!((ends() - in_2090).abs() < 1.0, "{}", ends());
    let old = channel(&files, server.grpc, None);
    keys(&old).await.unwrap();
    let mut open = shake(server.grpc, files.client(None)).await.unwrap();

    // Half of the new pair: the old one stays, and nobody is turned away meanwhile.
    let second = files.authority.sign(&Leaf::server());
    files.write("server.crt", &second.certificate);
    let refusal = tls.reload().unwrap_err().to_string();
    assert!(refusal.contains("not the key of the certificate"), "{refusal}");
    assert_eq!(shown().await, certificate(&first));
    files.write("server.key", &second.key);
    assert!(tls.reload().unwrap());
    assert_eq!(shown().await, certificate(&second.certificate));

    // A certificate that has ended is worse than the one in use.
    files.put("server", &files.authority.sign(&Leaf { ends: 2021, ..Leaf::server() }));
    assert!(tls.reload().unwrap_err().to_string().contains("ended at 2021-01-01"));
    assert_eq!(shown().await, certificate(&second.certificate));

    keys(&old).await.unwrap();
    open.write_all(&[crate::frames::PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat()).await.unwrap();
    open.read_exact(&mut [0; 9]).await.unwrap();
}

/// Who vouches for clients is read anew with the rest.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_was_taken_out_vouches_for_nobody() {
    let (files, clients, next) = (Files::new(), Authority::new("clients"), Authority::new("next"));
    let ca = files.write("clients.crt", &[&*clients.pem, &*next.pem].concat());
    let server = Server::start_with(|config| config.tls = Some(files.tls(Some((&ca, true))))).await;
    let leaf = Leaf::client(vec![dns("orders.internal")]);
    let (old, new) = (clients.sign(&leaf), next.sign(&leaf));
    let config = files.client(Some(&old));
    assert!(is_let_in(server.grpc, config.clone()).await);
    assert!(is_let_in(server.grpc, files.client(Some(&new))).await);
    files.write("clients.crt", &next.pem);
    assert!(server.tls.clone().unwrap().reload().unwrap());
    assert!(!is_let_in(server.grpc, config).await, "also not by what it remembers of the last time");
    assert!(is_let_in(server.grpc, files.client(Some(&new))).await);
}
