//! The production profile as its operator meets it: from an empty folder to people who are served, in the order of the
//! README, with the real program and over TLS throughout; and what strangers meet meanwhile.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::{DENIED, DONE, Outcome, Person, REFUSED, Served, command, finish, folder};
use crate::certificates::{Files, Leaf, certificate};
use crate::contract::{ADMIN, rpcs};
use crate::raw;
use crate::support::PASSWORD;
use crate::tls::{channel, shake};

const ROOT_PASSWORD: &str = "a password of some length";

/// A machine with a certificate, settings that name it, and nothing else yet.
struct Machine {
    folder: tempfile::TempDir,
    files: Files,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { folder: folder(), files: Files::new() };
        let at = |path: PathBuf| path.display().to_string();
        let settings = format!(
            "profile = 'production'\ndata_dir = '{}'\nissuer.url = 'https://auth.postern.dev'\n\
             keys.master.file = '{}'\nlisten.grpc = '127.0.0.1:0'\nlisten.admin = '127.0.0.1:0'\n\
             listen.operations = '127.0.0.1:0'\nlisten.gateway = '127.0.0.1:0'\n\n[tls]\ncertificate = '{}'\nkey = '{}'\n",
            at(machine.path("data")),
            at(machine.path("master.key")),
            at(machine.files.path("server.crt")),
            at(machine.files.path("server.key")),
        );
        std::fs::write(machine.path("auth.toml"), settings).unwrap();
        std::fs::write(machine.path("root.password"), ROOT_PASSWORD).unwrap();
        std::fs::set_permissions(machine.path("root.password"), std::fs::Permissions::from_mode(0o600)).unwrap();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command beside the server, in the folder of the settings.
    fn run(&self, words: &str) -> Outcome {
        finish(command(self.folder.path()).args(words.split(' ')), "")
    }

    fn serve(&self) -> Served {
        let mut serve = command(self.folder.path());
        serve.args(["--config", "auth.toml"]);
        Served::run(self.folder.path(), serve)
    }

    /// Which certificate a port shows to whoever connects now.
    async fn shown(&self, port: SocketAddr) -> CertificateDer<'static> {
        let stream = shake(port, self.files.client(None)).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

fn port(served: &Served, name: &str) -> SocketAddr {
    assert_eq!(served.fact(name)["tls"], true, "{name}");
    served.fact(name)["address"].as_str().unwrap().parse().unwrap()
}

async fn told(channel: &Channel, path: &str, headers: &[(&str, &str)]) -> (Code, String) {
    let answer = raw::call(channel, path, headers, raw::frame(&[])).await.unwrap();
    (answer.code, answer.reason())
}

/// Each port has its own service, no service answers a stranger, and nobody reads what there is.
async fn strangers_meet_closed_doors(public: &Channel, administration: &Channel, root_token: &str) {
    let unimplemented = (Code::Unimplemented, String::new());
    let authorization = format!("Bearer {root_token}");
    for rpc in rpcs() {
        let path = format!("/{}/{}", rpc.service, rpc.name);
        let (its_own, the_other, refused) = if rpc.service == ADMIN {
            (administration, public, (Code::Unauthenticated, "TOKEN_INVALID"))
        } else {
            (public, administration, (Code::PermissionDenied, "CLIENT_UNAUTHENTICATED"))
        };
        assert_eq!(told(its_own, &path, &[]).await, (refused.0, refused.1.to_owned()), "{path}");
        assert_eq!(told(the_other, &path, &[]).await.0, Code::Unimplemented, "{path}");
        // Not even for who administers everything.
        let root = [("authorization", authorization.as_str())];
        assert_eq!(told(the_other, &path, &root).await.0, Code::Unimplemented, "{path}");
    }
    for channel in [public, administration] {
        for version in ["v1", "v1alpha"] {
            let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
            assert_eq!(told(channel, &path, &[]).await, unimplemented, "{path}");
        }
        HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_an_empty_folder_to_people_who_are_served() {
    let machine = Machine::new();
    machine.run("config check --config auth.toml").ends_with(REFUSED).complains("postern master-key new");
    machine.run("master-key new --out master.key").ends_with(DONE);
    machine.run("config check --config auth.toml").ends_with(DONE).says("A server can start on these settings");
    let bootstrap = "admin bootstrap --config auth.toml --password-file root.password --user root";
    machine.run(&format!("{bootstrap} --client web --client-secret-file web.secret")).ends_with(DONE);
    let secret = std::fs::read_to_string(machine.path("web.secret")).unwrap();

    let served = machine.serve();
    assert_eq!(served.fact("postern")["profile"], "production");
    let (grpc, admin) = (port(&served, "grpc"), port(&served, "admin"));
    port(&served, "operations");
    let first = std::fs::read_to_string(machine.files.path("server.crt")).unwrap();
    assert_eq!(machine.shown(grpc).await, certificate(&first));
    let (public, administration) = (channel(&machine.files, grpc, None), channel(&machine.files, admin, None));
    HealthClient::new(public.clone()).check(HealthCheckRequest::default()).await.unwrap();

    // Renewed while it runs, as all that follows goes on.
    let second = machine.files.authority.sign(&Leaf::server());
    machine.files.put("server", &second);

    let ca = machine.files.path("ca.crt").display().to_string();
    let web = machine.path("web.secret").display().to_string();
    let url = |port: SocketAddr| format!("https://localhost:{}", port.port());
    let by_web = |words: &str| format!("{words} --ca {ca} --client-secret-file {web} --admin-server {}", url(admin));
    let (root, kim) = (Person::at(url(grpc)), Person::at(url(grpc)));
    root.types(ROOT_PASSWORD, &by_web("login root")).ends_with(DONE);
    root.types(PASSWORD, &by_web("admin users create kim")).ends_with(DONE).says("Created kim");
    root.does(&by_web("verify --require postern:users:write")).ends_with(DONE).says("ALLOW");

    kim.types(PASSWORD, &by_web("login kim")).ends_with(DONE);
    kim.does(&by_web("verify")).ends_with(DONE).says("ALLOW");
    kim.does(&by_web("verify --require orders:read")).ends_with(DENIED);
    kim.does(&by_web("admin users list")).ends_with(DENIED).complains("PERMISSION_MISSING");
    // Neither who calls nor whom to trust is taken for granted.
    kim.does(&format!("verify --ca {ca}")).ends_with(REFUSED).complains("client");
    kim.does(&format!("health --ca {web}")).ends_with(REFUSED).complains("no certificate");

    let state = root.state();
    let root_token = state["access_token"].as_str().unwrap();
    strangers_meet_closed_doors(&public, &administration, root_token).await;

    let renewed = certificate(&second.certificate);
    let both = async || machine.shown(grpc).await == renewed && machine.shown(admin).await == renewed;
    let until_both = async {
        while !both().await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), until_both).await.expect("the old certificate is still shown");
    // Who was connected stays so; who comes now is served.
    HealthClient::new(public).check(HealthCheckRequest::default()).await.unwrap();
    kim.does(&by_web("verify")).ends_with(DONE).says("ALLOW");

    let log = served.log();
    assert!(log.contains("the TLS certificate was read anew"), "{log}");
    for secret in [secret.trim_end(), root_token, ROOT_PASSWORD, PASSWORD] {
        assert!(!log.contains(secret), "{log}");
    }
    assert_eq!(served.end(Signal::TERM), Some(DONE));
}
