//! The other side: how this service calls others. Always verifies the certificate and the name in it; there is no way not to.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Why nobody can be called. Names no setting: whoever asks knows which one it was.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    #[error("ca {path}: cannot be read: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("ca {path}: holds no certificate (PEM)")]
    NoCertificate { path: String },
    #[error("this machine trusts nobody ({0}); name a file with `ca`")]
    NoRoots(String),
    #[error("TLS cannot be set up: {0}")]
    Unusable(#[from] tokio_rustls::rustls::Error),
}

/// Trusts whom `ca` vouches for and nobody else; without it, whom this machine trusts.
///
/// # Errors
/// If the file holds no certificate, or the machine has none.
pub fn client_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, ClientTlsError> {
    let roots = if let Some(path) = ca { named(path)? } else { native()? };
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn named(path: &Path) -> Result<RootCertStore, ClientTlsError> {
    let shown = || path.display().to_string();
    let pem = std::fs::read(path).map_err(|source| ClientTlsError::Unreadable { path: shown(), source })?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().unwrap_or_default();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() { Err(ClientTlsError::NoCertificate { path: shown() }) } else { Ok(roots) }
}

fn native() -> Result<RootCertStore, ClientTlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "it has no certificates".to_owned(), ToString::to_string);
        return Err(ClientTlsError::NoRoots(why));
    }
    Ok(roots)
}
