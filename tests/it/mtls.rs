//! Who a certificate is (row 153): the client that registered its name, on every call, and nobody else.

use std::net::SocketAddr;

use postern::config::{Config, Profile};
use postern::domain::client::{Origin, Registration};
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Code, Request, Status};

use crate::backstage;
use crate::certificates::{Authority, Files, Leaf, Pair, dns, uri};
use crate::support::{PASSWORD, Server, login_request, quick, reason};
use admin::admin_service_client::AdminServiceClient;
use pb::auth_service_client::AuthServiceClient;

const DNS: &str = "orders.internal";
const SPIFFE: &str = "spiffe://prod/ns/shop/sa/billing";

/// A production server that knows two clients by their names, `orders` and `billing`, and the user `kim`.
struct Shop {
    server: Server,
    files: Files,
    clients: Authority,
    billing_secret: String,
}

impl Shop {
    async fn open() -> Self {
        let (files, clients) = (Files::new(), Authority::new("clients"));
        let ca = files.write("clients.crt", &clients.pem);
        let tls = files.tls(Some((&ca, false)));
        // What production does not make, development has made.
        let server = Server::quick().await;
        let server = server
            .restart_with(|config: &mut Config| {
                quick(config);
                config.profile = Profile::Production;
                config.issuer.url = Some("https://id.example".to_owned());
                config.listen.admin = Some("127.0.0.1:0".parse().unwrap());
                config.tls = Some(tls);
            })
            .await;
        backstage::user(&server, "kim").await;
        registered(&server, "orders", DNS).await;
        let billing_secret = registered(&server, "billing", SPIFFE).await;
        Self { server, files, clients, billing_secret }
    }

    fn signed(&self, leaf: &Leaf) -> Pair {
        self.clients.sign(leaf)
    }

    fn channel(&self, pair: Option<&Pair>) -> Channel {
        self.channel_to(self.server.grpc, pair)
    }

    fn channel_to(&self, address: SocketAddr, pair: Option<&Pair>) -> Channel {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.files.authority.pem));
        if let Some(pair) = pair {
            tls = tls.identity(Identity::from_pem(&pair.certificate, &pair.key));
        }
        Channel::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap().connect_lazy()
    }
}

async fn registered(server: &Server, id: &str, name: &str) -> String {
    let registration = Registration {
        mtls_sans: vec![name.parse().unwrap()],
        token_audiences: vec!["https://id.example".to_owned()],
        ..Registration::new(id.parse().unwrap(), Origin::Store)
    };
    let secret = backstage::client_with(server, registration).await;
    backstage::allow(server, id, "postern.front").await;
    secret
}

/// Signs kim in; answers the client that the token names.
async fn who(channel: &Channel, metadata: &[(&'static str, String)]) -> Result<String, Status> {
    let mut request = Request::new(login_request("kim", PASSWORD));
    add(request.metadata_mut(), metadata);
    let answer = AuthServiceClient::new(channel.clone()).login(request).await?.into_inner();
    let Some(pb::login_response::Outcome::SignIn(sign_in)) = answer.outcome else { panic!("no sign-in") };
    let claims = backstage::claims(&sign_in.tokens.unwrap().access_token);
    Ok(claims["client_id"].as_str().unwrap().to_owned())
}

fn add(to: &mut MetadataMap, metadata: &[(&'static str, String)]) {
    for (name, value) in metadata {
        to.insert(*name, value.parse().unwrap());
    }
}

fn assert_unknown(outcome: Result<String, Status>, what: &str) {
    let status = outcome.expect_err(what);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "CLIENT_UNAUTHENTICATED"), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_the_client_that_registered_its_name() {
    let shop = Shop::open().await;
    let orders = shop.signed(&Leaf::client(vec![dns("Orders.Internal")]));
    let billing = shop.signed(&Leaf::client(vec![uri(SPIFFE)]));
    assert_eq!(who(&shop.channel(Some(&orders)), &[]).await.unwrap(), "orders");
    assert_eq!(who(&shop.channel(Some(&billing)), &[]).await.unwrap(), "billing");

    let secret = [("authorization", format!("Bearer {}", shop.billing_secret))];
    assert_eq!(who(&shop.channel(None), &secret).await.unwrap(), "billing", "by the secret alone");
    assert_eq!(who(&shop.channel(Some(&billing)), &secret).await.unwrap(), "billing", "by both");
    assert_unknown(who(&shop.channel(Some(&orders)), &secret).await, "two clients at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_in_a_certificate_is_a_client() {
    let shop = Shop::open().await;
    for (what, leaf) in [
        ("a common name", Leaf { common_name: DNS, ..Leaf::client(Vec::new()) }),
        ("an unknown name", Leaf::client(vec![dns("stranger.internal")])),
        ("a wildcard", Leaf::client(vec![dns("*.internal")])),
        ("another case of a URI", Leaf::client(vec![uri("spiffe://prod/ns/shop/sa/Billing")])),
        ("a URI that looks like the name", Leaf::client(vec![uri("https://orders.internal")])),
        ("two clients' names", Leaf::client(vec![dns(DNS), uri(SPIFFE)])),
    ] {
        let pair = shop.signed(&leaf);
        assert_unknown(who(&shop.channel(Some(&pair)), &[]).await, what);
    }
}

/// What a proxy would write about the certificate that it saw is anybody's to write.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_header_says_of_a_certificate_counts_for_nothing() {
    let shop = Shop::open().await;
    let said = [
        ("x-forwarded-client-cert", format!("By=x;URI={SPIFFE};DNS={DNS}")),
        ("x-ssl-client-cert", shop.signed(&Leaf::client(vec![dns(DNS)])).certificate.replace('\n', " ")),
        ("x-client-san", DNS.to_owned()),
        ("forwarded", format!("for={DNS}")),
    ];
    assert_unknown(who(&shop.channel(None), &said).await, "a stranger");
    let billing = shop.signed(&Leaf::client(vec![uri(SPIFFE)]));
    assert_eq!(who(&shop.channel(Some(&billing)), &said).await.unwrap(), "billing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_away_ends_at_the_next_call() {
    let shop = Shop::open().await;
    backstage::allow(&shop.server, "billing", "postern.admin").await;
    let pair = shop.signed(&Leaf::client(vec![dns(DNS)]));
    // One connection throughout: it is the call that is judged, not the handshake.
    let orders = shop.channel(Some(&pair));
    assert_eq!(who(&orders, &[]).await.unwrap(), "orders");

    let billing = shop.signed(&Leaf::client(vec![uri(SPIFFE)]));
    let admin_port = shop.server.admin_port.unwrap();
    let mut administration = AdminServiceClient::new(shop.channel_to(admin_port, Some(&billing)));
    let client = admin::Client { id: "orders".to_owned(), ..Default::default() };
    let mask = prost_types::FieldMask { paths: vec!["mtls_sans".to_owned()] };
    let update = admin::UpdateClientRequest { client: Some(client), update_mask: Some(mask) };
    administration.update_client(update).await.unwrap();
    assert_unknown(who(&orders, &[]).await, "the name is nobody's now");
}

/// On the port of administration a person's token says who calls, over whatever certificate it comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_wins_over_the_certificate() {
    let shop = Shop::open().await;
    backstage::allow(&shop.server, "billing", "postern.admin").await;
    let billing = shop.signed(&Leaf::client(vec![uri(SPIFFE)]));
    let admin_port = shop.server.admin_port.unwrap();
    let mut administration = AdminServiceClient::new(shop.channel_to(admin_port, Some(&billing)));
    administration.get_server_info(admin::GetServerInfoRequest {}).await.unwrap();

    let mut login = Request::new(login_request("kim", PASSWORD));
    add(login.metadata_mut(), &[("authorization", format!("Bearer {}", shop.billing_secret))]);
    let answer = AuthServiceClient::new(shop.channel(None)).login(login).await.unwrap().into_inner();
    let Some(pb::login_response::Outcome::SignIn(sign_in)) = answer.outcome else { panic!("no sign-in") };
    let mut request = Request::new(admin::GetServerInfoRequest {});
    let token = sign_in.tokens.unwrap().access_token;
    add(request.metadata_mut(), &[("authorization", format!("Bearer {token}"))]);
    let refused = administration.get_server_info(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "PERMISSION_MISSING"));
}
