//! How a connection is encrypted: whom this side trusts, and what it shows of itself.

use std::path::Path;

use secrecy::ExposeSecret as _;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::Server;
use crate::cli::args::ClientArgs;
use crate::cli::failure::Failure;
use crate::config::SecretSource;

/// Any authority's file. A device that never ends must not fill the memory.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The files, read.
pub(super) struct Encryption {
    config: ClientTlsConfig,
}

impl Encryption {
    /// Reads the files that the flags name.
    pub(super) fn new(args: &ClientArgs) -> Result<Self, Failure> {
        let config = match &args.ca {
            Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(certificates("--ca", path)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        let config = match (&args.cert, &args.key) {
            (None, None) => config,
            (Some(cert), Some(key)) => config.identity(identity(cert, key)?),
            (Some(_), None) => return Err(Failure::local("--cert has no use without the certificate's --key")),
            (None, Some(_)) => return Err(Failure::local("--key has no use without its certificate: --cert")),
        };
        Ok(Self { config })
    }

    /// With TLS if the server's address asks for it.
    pub(super) fn of(&self, endpoint: Endpoint, server: &Server) -> Result<Endpoint, Failure> {
        if !server.is_encrypted() {
            return Ok(endpoint);
        }
        endpoint.tls_config(self.config.clone()).map_err(|error| {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Failure::local(format!("TLS cannot be set up: {cause}"))
                .advise("Whom to trust: --ca FILE. What to show: --cert FILE --key FILE. All are PEM")
        })
    }
}

fn certificates(flag: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let refused = |why: String| Failure::local(format!("{flag} {}: {why}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| refused(error.to_string()))?;
    if !size.is_file() || size.len() > BYTES_MAX {
        return Err(refused("not a file of certificates".to_owned()));
    }
    let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    let mark = b"-----BEGIN CERTIFICATE-----";
    // The library would trust nobody, and say only that the server is not trusted.
    if !pem.windows(mark.len()).any(|window| window == mark) {
        return Err(refused("no certificate in PEM form is in it".to_owned()));
    }
    Ok(pem)
}

fn identity(cert: &Path, key: &Path) -> Result<Identity, Failure> {
    let certificate = certificates("--cert", cert)?;
    let key = SecretSource::File(key.to_owned()).open().map_err(|error| Failure::local(format!("--key {error}")))?;
    Ok(Identity::from_pem(certificate, key.expose_secret()))
}
