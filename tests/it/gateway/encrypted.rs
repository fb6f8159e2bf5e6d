//! Behind TLS, as in production: browsers are told to come no other way (row 112).

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::certificates::Files;
use crate::tls::shake;

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_told_to_come_encrypted_only() {
    let files = Files::new();
    let server = Server::start_with(|config| {
        quick(config);
        files.set(config);
    })
    .await;
    let url = server.gateway.clone().unwrap();
    let address = url.strip_prefix("https://").unwrap_or_else(|| panic!("{url}")).parse().unwrap();
    for (request, status) in [
        ("GET /health", 200),
        ("GET /.well-known/jwks.json", 200),
        ("GET /nothing", 404),
        ("GET /callback/kakao?code=a&state=b", 400),
        ("POST /session/dev/logout", 403),
        ("PUT /", 405),
    ] {
        let mut client = files.client(None);
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut stream = shake(address, client).await.unwrap();
        let text = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let reply = Reply::read(&answer);
        assert_eq!(reply.status, status, "{request}: {reply:?}");
        is_armed(&reply);
        assert_eq!(reply.header("strict-transport-security"), "max-age=63072000", "{request}");
    }
}
