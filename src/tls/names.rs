//! Which names a certificate proves. Only its subject alternative names count: a common name is a free text that issuers do
//! not check.

use std::sync::Arc;

use tokio_rustls::rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::domain::client::San;

/// Of a certificate that was verified. A name that no client could be declared with, such as one with a wildcard, proves
/// nothing.
pub(super) fn in_certificate(certificate: &CertificateDer<'_>) -> Arc<[San]> {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else {
        return Arc::from([]);
    };
    // Each kind for itself: a URI that looks like a host must not prove the host.
    let hosts = certificate.valid_dns_names().filter_map(|name| match name.parse() {
        Ok(San::Dns(name)) => Some(San::Dns(name)),
        _ => None,
    });
    let uris = certificate.valid_uri_names().filter_map(|name| match name.parse() {
        Ok(San::Uri(name)) => Some(San::Uri(name)),
        _ => None,
    });
    hosts.chain(uris).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn names(sans: Vec<SanType>) -> Vec<String> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = sans;
        params.distinguished_name.push(rcgen::DnType::CommonName, "orders.internal");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        in_certificate(certificate.der()).iter().map(ToString::to_string).collect()
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    fn uri(name: &str) -> SanType {
        SanType::URI(name.try_into().unwrap())
    }

    #[test]
    fn hosts_and_uris_are_names_and_nothing_else_is() {
        let all = vec![dns("Orders.internal"), uri("spiffe://prod/orders"), SanType::IpAddress([10, 0, 0, 1].into())];
        assert_eq!(names(all), ["orders.internal", "spiffe://prod/orders"]);
    }

    #[test]
    fn what_proves_nobody() {
        let none = Vec::<String>::new();
        assert_eq!(names(vec![]), none, "a common name");
        assert_eq!(names(vec![dns("*.internal"), dns("*")]), none);
        assert_eq!(names(vec![uri("orders.internal"), uri("urn:orders")]), none, "a URI without a host");
        assert_eq!(names(vec![SanType::Rfc822Name("orders@internal".try_into().unwrap())]), none);
    }
}
