//! What the first sign-in needs on its line, as far as the settings and the line of `bootstrap` tell.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::cli::args::{ClientArgs, DEFAULT_SERVER};
use crate::cli::failure::refusal;
use crate::cli::shell_word;
use crate::cli::table::plain;
use crate::config::{Config, Profile, SecretSource};

/// `has_made`: there is a client of this bootstrap, whose secret lies where the line says.
pub(super) fn options(config: &Config, caller: &ClientArgs, has_made: bool) -> String {
    // Whoever named a server knows better than its settings how to get there.
    let server = if caller.server == DEFAULT_SERVER { address(config) } else { caller.server.clone() };
    let mut options = refusal::at(&server);
    let files = [("--ca", &caller.ca), ("--cert", &caller.cert), ("--key", &caller.key)];
    let named = files.into_iter().filter_map(|(name, file)| Some((name, file.as_deref()?)));
    let secret = secret_file(config, caller, has_made).map(|file| ("--client-secret-file", file));
    let option = |(name, file): (&str, &Path)| format!(" {name} {}", shell_word(&plain(&file.display().to_string())));
    options.extend(named.chain(secret).map(option));
    options
}

/// Development asks no program who it is.
fn secret_file<'a>(config: &'a Config, caller: &'a ClientArgs, has_made: bool) -> Option<&'a Path> {
    let to_be_named = Path::new("FILE");
    if has_made || caller.client_secret_file.is_some() {
        return Some(caller.client_secret_file.as_deref().unwrap_or(to_be_named));
    }
    let issuer = config.issuer.url.as_deref().filter(|_| config.profile == Profile::Production)?;
    let declared = config.first_client_of(issuer).and_then(|client| client.secrets.first());
    Some(match declared {
        Some(SecretSource::File(path)) => path,
        Some(SecretSource::Value(_)) | None => to_be_named,
    })
}

/// The certificate names a host and no address, and that of the issuer is the one that is known.
fn address(config: &Config) -> String {
    let grpc = config.listen.grpc;
    let here = if grpc.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { grpc.ip() };
    let here = SocketAddr::new(here, grpc.port());
    if config.tls.is_none() {
        return format!("http://{here}");
    }
    let issuer = config.issuer.url.as_deref().and_then(|url| url.parse::<http::Uri>().ok());
    match issuer.as_ref().and_then(http::Uri::host) {
        Some(host) => format!("https://{host}:{}", grpc.port()),
        None => format!("https://{here}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tls;

    fn settings() -> Config {
        Config::defaults(Profile::Production, Path::new("/var/lib/postern"))
    }

    fn caller(secret: Option<&str>) -> ClientArgs {
        ClientArgs {
            server: DEFAULT_SERVER.to_owned(),
            client_secret_file: secret.map(Into::into),
            admin_server: None,
            ca: None,
            cert: None,
            key: None,
            json: false,
        }
    }

    #[test]
    fn a_server_with_a_certificate_is_called_by_the_name_of_its_issuer() {
        let mut config = settings();
        config.issuer.url = Some("https://auth.example.com/tenant".to_owned());
        config.listen.grpc = "0.0.0.0:7301".parse().unwrap();
        config.tls = Some(Tls {
            certificate: "tls.crt".into(),
            key: "tls.key".into(),
            client_ca: None,
            require_client_certificate: false,
        });
        let found = options(&config, &caller(Some("my secret")), true);
        assert_eq!(found, " --server https://auth.example.com:7301 --client-secret-file 'my secret'");
        let named = ClientArgs { server: "https://other:1".to_owned(), ca: Some("ca.crt".into()), ..caller(None) };
        let found = options(&config, &named, true);
        assert_eq!(found, " --server https://other:1 --ca ca.crt --client-secret-file FILE");
    }

    #[test]
    fn a_server_without_one_is_called_where_it_listens() {
        let mut config = settings();
        for (grpc, server) in [("0.0.0.0:7301", ""), ("127.0.0.1:7401", " --server http://127.0.0.1:7401")] {
            config.listen.grpc = grpc.parse().unwrap();
            assert_eq!(
                options(&config, &caller(Some("cli.secret")), true),
                format!("{server} --client-secret-file cli.secret")
            );
        }
        config.profile = Profile::Development;
        config.listen.grpc = "127.0.0.1:7301".parse().unwrap();
        assert_eq!(options(&config, &caller(None), false), "");
    }
}
