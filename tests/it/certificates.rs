//! Certificates of every kind, good and bad, made for one test; and clients that show them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern::config::{Config, Tls};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// Signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// What a certificate says. A good one for a client, unless changed.
pub(crate) struct Leaf {
    pub(crate) sans: Vec<SanType>,
    pub(crate) common_name: &'static str,
    pub(crate) usage: ExtendedKeyUsagePurpose,
    pub(crate) ends: i32,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

pub(crate) fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

impl Leaf {
    pub(crate) fn client(sans: Vec<SanType>) -> Self {
        Self { sans, common_name: "", usage: ExtendedKeyUsagePurpose::ClientAuth, ends: 2090 }
    }

    /// For a server on this machine.
    pub(crate) fn server() -> Self {
        let sans = vec![dns("localhost"), SanType::IpAddress([127, 0, 0, 1].into())];
        Self { usage: ExtendedKeyUsagePurpose::ServerAuth, ..Self::client(sans) }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.subject_alt_names.clone_from(&self.sans);
        params.distinguished_name.push(DnType::CommonName, self.common_name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(self.ends, 1, 1);
        params.extended_key_usages = vec![self.usage.clone()];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params
    }

    /// Vouched for by nobody but itself.
    pub(crate) fn self_signed(&self) -> Pair {
        let key = KeyPair::generate().unwrap();
        Pair { certificate: self.params().self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn sign(&self, leaf: &Leaf) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = leaf.params().signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}

/// The files of `[tls]` in a folder of their own.
pub(crate) struct Files {
    dir: TempDir,
    pub(crate) authority: Authority,
}

impl Files {
    /// A server's certificate, good for this machine.
    pub(crate) fn new() -> Self {
        let files = Self { dir: tempfile::tempdir().unwrap(), authority: Authority::new("servers") };
        files.put("server", &files.authority.sign(&Leaf::server()));
        files.write("ca.crt", &files.authority.pem);
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// As NAME.crt and NAME.key.
    pub(crate) fn put(&self, name: &str, pair: &Pair) {
        self.write(&format!("{name}.crt"), &pair.certificate);
        self.write(&format!("{name}.key"), &pair.key);
    }

    /// The settings; with `client_ca`, whether a client certificate must be shown.
    pub(crate) fn tls(&self, client_ca: Option<(&Path, bool)>) -> Tls {
        Tls {
            certificate: self.path("server.crt"),
            key: self.path("server.key"),
            client_ca: client_ca.map(|(path, _)| path.to_owned()),
            require_client_certificate: client_ca.is_some_and(|(_, required)| required),
        }
    }

    pub(crate) fn set(&self, config: &mut Config) {
        config.tls = Some(self.tls(None));
    }

    /// A client that trusts the authority, speaks HTTP/2, and shows `pair` when asked.
    pub(crate) fn client(&self, pair: Option<&Pair>) -> ClientConfig {
        self.client_of(pair, &[&TLS13, &TLS12])
    }

    pub(crate) fn client_of(
        &self,
        pair: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.authority.pem)).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![certificate(&pair.certificate)], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

pub(crate) fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}
