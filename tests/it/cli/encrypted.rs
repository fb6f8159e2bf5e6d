//! The command line against a server with TLS: which flag helps is said each time.

use super::*;
use crate::certificates::{Authority, Files, Leaf, dns};
use crate::support::Server;

#[tokio::test(flavor = "multi_thread")]
async fn the_flag_that_helps_is_named() {
    let files = Files::new();
    let server = Server::start_with(|config| files.set(config)).await;
    let port = server.grpc.port();
    let ca = files.path("ca.crt").display().to_string();
    let other = files.write("other.crt", &Authority::new("other").pem).display().to_string();

    let person = Person::at(format!("https://localhost:{port}"));
    person.does(&format!("health --ca {ca}")).ends_with(DONE).says("SERVING");
    person
        .does(&format!("health --ca {other}"))
        .ends_with(UNAVAILABLE)
        .complains("is not trusted here")
        .complains("--ca FILE");
    person.does("health --ca nothing.crt").ends_with(REFUSED).complains("--ca nothing.crt");
    person
        .does(&format!("health --ca {}", files.path("server.key").display()))
        .ends_with(REFUSED)
        .complains("no certificate");

    let clear = Person::at(format!("http://localhost:{port}"));
    clear.does("health").ends_with(UNAVAILABLE).complains("https://");
    let plain = Server::quick().await;
    let person = Person::at(format!("https://localhost:{}", plain.grpc.port()));
    person.does(&format!("health --ca {ca}")).ends_with(UNAVAILABLE).complains("http://");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_dates_are_checked() {
    let files = Files::new();
    files.put("server", &files.authority.sign(&Leaf { sans: vec![dns("auth.internal")], ..Leaf::server() }));
    let server = Server::start_with(|config| files.set(config)).await;
    let ca = files.path("ca.crt").display().to_string();
    let person = Person::at(format!("https://localhost:{}", server.grpc.port()));
    person.does(&format!("health --ca {ca}")).ends_with(UNAVAILABLE).complains("certificate of another name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_shown_to_a_server_that_asks() {
    let (files, clients) = (Files::new(), Authority::new("clients"));
    let trusted = files.write("clients.crt", &clients.pem);
    let server = Server::start_with(|config| config.tls = Some(files.tls(Some((&trusted, true))))).await;
    let leaf = Leaf::client(vec![dns("ops.internal")]);
    files.put("good", &clients.sign(&leaf));
    files.put("stranger", &Authority::new("others").sign(&leaf));
    let ca = files.path("ca.crt").display().to_string();
    let person = Person::at(format!("https://localhost:{}", server.grpc.port()));
    let show = |name: &str| {
        let (cert, key) = (files.path(&format!("{name}.crt")), files.path(&format!("{name}.key")));
        person.does(&format!("health --ca {ca} --cert {} --key {}", cert.display(), key.display()))
    };
    show("good").ends_with(DONE).says("SERVING");
    person.does(&format!("health --ca {ca}")).ends_with(UNAVAILABLE).complains("--cert FILE --key FILE");
    show("stranger").ends_with(UNAVAILABLE).complains("client_ca");
    person.does("health --cert a.crt").ends_with(REFUSED).complains("--key");
}

#[tokio::test(flavor = "multi_thread")]
async fn administration_elsewhere_is_found_by_its_flag() {
    let server = Server::start_with(|config| {
        crate::support::quick(config);
        config.listen.admin = Some("127.0.0.1:0".parse().unwrap());
    })
    .await;
    let person = Person::at(format!("http://{}", server.grpc));
    person.types(&server.admin_password.clone().unwrap(), "login admin").ends_with(DONE);
    person.does("admin users list").ends_with(REFUSED).complains("--admin-server");
    let there = format!("--admin-server http://{}", server.admin_port.unwrap());
    person.does(&format!("admin users list {there}")).ends_with(DONE).says("admin");
    // What is advised asks the same servers again; a sign-in is no matter of administration.
    let flags = format!("--server http://{} {there}", server.grpc);
    let created = person
        .does(&format!("admin clients create orders --audience orders --no-secret --san orders.internal {there}"));
    created.ends_with(DONE).says(&format!("grant client:orders postern.backend --everywhere {flags}\n"));
    person
        .does(&format!("verify --require orders:read {there}"))
        .ends_with(DENIED)
        .says(&format!("--everywhere {flags}\n"));
    person.does(&format!("revoke --all {there}")).ends_with(DONE);
    let refused = person.does(&format!("admin users list {there}")).ends_with(NOT_AUTHENTICATED);
    refused.complains(&format!("postern login admin --server http://{}\n", server.grpc));
}
