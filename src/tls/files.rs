//! From three files to what a handshake needs.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::aws_lc_rs::digest::{Context, SHA256};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use webpki::{EndEntityCert, KeyUsage};

use super::{Protocol, TlsError};
use crate::clock::Clock;
use crate::config::{SecretSource, Tls};
use crate::domain::time::Timestamp;

/// Whoever renews has a week to notice that it did not work.
const SOON: Duration = Duration::from_hours(7 * 24);
/// Thousands of certificates. A device that never ends must not fill the memory.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

const CERTIFICATE: &str = "tls.certificate";
const KEY: &str = "tls.key";
const CLIENT_CA: &str = "tls.client_ca";

/// Where the files are.
pub(super) struct Files(pub(super) Tls);

/// What the files said.
pub(super) struct Loaded {
    /// Of everything that was read, so that a change is seen whatever the times of the files say.
    pub(super) fingerprint: [u8; 32],
    /// The server's own.
    pub(super) certificate: CertificateDer<'static>,
    grpc: Arc<ServerConfig>,
    operations: Arc<ServerConfig>,
}

impl Loaded {
    pub(super) fn config(&self, protocol: Protocol) -> Arc<ServerConfig> {
        match protocol {
            Protocol::Grpc => Arc::clone(&self.grpc),
            Protocol::Operations => Arc::clone(&self.operations),
        }
    }
}

impl Files {
    pub(super) fn load(&self, clock: &Clock) -> Result<Loaded, TlsError> {
        let Tls { certificate, key, client_ca, require_client_certificate } = &self.0;
        let chain_pem = read(CERTIFICATE, certificate)?;
        let key_pem = SecretSource::File(key.clone()).open()?;
        let ca_pem = client_ca.as_deref().map(|path| read(CLIENT_CA, path)).transpose()?;

        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates(CERTIFICATE, certificate, &chain_pem)?;
        let own = chain.first().cloned().ok_or_else(|| no_certificate(CERTIFICATE, certificate))?;
        judge_validity(certificate, &own, clock.now())?;
        let shown = Arc::new(SingleCertAndKey::from(self.certified(chain, &key_pem, &provider)?));

        let anybody = WebPkiClientVerifier::no_client_auth();
        let vouching = match client_ca.as_deref().zip(ca_pem.as_ref()) {
            Some((path, pem)) => voucher(path, pem, *require_client_certificate, &provider)?,
            None => Arc::clone(&anybody),
        };
        let config = |verifier: Arc<dyn ClientCertVerifier>, alpn: &[u8]| -> Result<Arc<ServerConfig>, TlsError> {
            let proves = verifier.offer_client_auth();
            let time = Arc::new(Time(clock.clone()));
            let mut config = ServerConfig::builder_with_details(Arc::clone(&provider), time)
                .with_protocol_versions(&[&TLS13, &TLS12])
                .map_err(|why| unusable(CERTIFICATE, certificate, why.to_string()))?
                .with_client_cert_verifier(verifier)
                .with_cert_resolver(Arc::clone(&shown) as _);
            config.alpn_protocols = vec![alpn.to_vec()];
            if proves {
                // A resumed session would not be asked again for a certificate that has ended or lost its issuer.
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
            Ok(Arc::new(config))
        };
        Ok(Loaded {
            fingerprint: fingerprint(&chain_pem, &key_pem, ca_pem.as_deref().unwrap_or_default()),
            certificate: own,
            grpc: config(vouching, b"h2")?,
            operations: config(anybody, b"http/1.1")?,
        })
    }

    fn certified(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key_pem: &SecretString,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, TlsError> {
        let (certificate, path) = (&self.0.certificate, &self.0.key);
        // Why a key is not one would tell about it.
        let key = PrivateKeyDer::from_pem_slice(key_pem.expose_secret().as_bytes()).map_err(|_secret| {
            unusable(KEY, path, "no private key in PEM form is in it (an encrypted one cannot be used)")
        })?;
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|_secret| unusable(KEY, path, "not a private key that TLS can use (RSA, ECDSA or Ed25519)"))?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|why| match why {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Mismatch { key: path.clone(), certificate: certificate.clone() }
            }
            why => unusable(CERTIFICATE, certificate, why.to_string()),
        })?;
        Ok(certified)
    }
}

/// When the certificate ends.
pub(super) fn ends(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    // No certificate is valid for so long (RFC 5280, section 4.1.2.5), so that the answer says until when this one is.
    const NEVER_SECS: i64 = 253_402_300_799;
    match validity(certificate, Timestamp::from_secs(NEVER_SECS)) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Some(timestamp(not_after)),
        _ => None,
    }
}

/// The same, if that is within a week.
pub(super) fn ends_soon(certificate: &CertificateDer<'_>, now: Timestamp) -> Option<Timestamp> {
    ends(certificate).filter(|end| *end < now + SOON)
}

fn judge_validity(path: &Path, certificate: &CertificateDer<'_>, now: Timestamp) -> Result<(), TlsError> {
    match validity(certificate, now) {
        Ok(()) => Ok(()),
        Err(webpki::Error::CertExpired { not_after, .. }) => {
            Err(TlsError::Ended { path: path.to_owned(), ended: timestamp(not_after) })
        }
        Err(webpki::Error::CertNotValidYet { not_before, .. }) => {
            Err(TlsError::NotYet { path: path.to_owned(), begins: timestamp(not_before) })
        }
        Err(why) => Err(unusable(CERTIFICATE, path, format!("not a certificate: {why}"))),
    }
}

/// webpki looks at the dates before anything else, and has no more to say here: whether callers trust who made it, and for
/// what, is theirs to judge.
fn validity(certificate: &CertificateDer<'_>, now: Timestamp) -> Result<(), webpki::Error> {
    let certificate = EndEntityCert::try_from(certificate)?;
    match certificate.verify_for_usage(&[], &[], &[], unix_time(now), KeyUsage::server_auth(), None, None) {
        Err(why @ (webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. })) => Err(why),
        _ => Ok(()),
    }
}

fn voucher(
    path: &Path,
    pem: &[u8],
    required: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(certificates(CLIENT_CA, path, pem)?) {
        roots
            .add(certificate)
            .map_err(|why| unusable(CLIENT_CA, path, format!("certificate {number} cannot vouch for others: {why}")))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|why| unusable(CLIENT_CA, path, why.to_string()))
}

/// At least one.
fn certificates(setting: &'static str, path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|why| match why {
        pem::Error::MissingSectionEnd { .. } => unusable(setting, path, "cut off: its last section has no end"),
        why => unusable(setting, path, format!("not PEM: {why}")),
    })?;
    if all.is_empty() { Err(no_certificate(setting, path)) } else { Ok(all) }
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { setting, path: path.to_owned(), source };
    // Asked before opening, because opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(unusable(setting, path, "not a regular file"));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    // The rest would be missed by nobody but those whom a certificate in it vouches for.
    if bytes.len() as u64 > BYTES_MAX {
        return Err(unusable(setting, path, format!("larger than {} MiB", BYTES_MAX / 1024 / 1024)));
    }
    Ok(bytes)
}

fn no_certificate(setting: &'static str, path: &Path) -> TlsError {
    unusable(setting, path, "no certificate in PEM form is in it")
}

fn unusable(setting: &'static str, path: &Path, wrong: impl Into<String>) -> TlsError {
    TlsError::Unusable { setting, path: path.to_owned(), wrong: wrong.into() }
}

fn fingerprint(chain: &[u8], key: &SecretString, ca: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in [chain, key.expose_secret().as_bytes(), ca] {
        // With lengths, so that no text can move from one file into the next unseen.
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}

/// Ours, so that a test that moves the clock moves the end of certificates with it.
#[derive(Debug)]
struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now()))
    }
}

fn unix_time(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(at.since(Timestamp::default()))
}

fn timestamp(at: UnixTime) -> Timestamp {
    Timestamp::from_secs(i64::try_from(at.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
