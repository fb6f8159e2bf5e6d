//! Who calls. On AuthService a program, which proves itself beside the message: by a secret in `authorization`, by the
//! names in its certificate, or by both, which must then be of one client. On AdminService a person, with their access
//! token, or a program. Must not know what the caller may do.
//!
//! A credential that proves nobody is refused, never passed over, and what is wrong with a program's is never said in words
//! that a backend could take for its user's. Metadata of the same name twice is refused throughout: which one counts would
//! be for an attacker to guess, and for every proxy on the way to answer differently.

use std::net::IpAddr;
use std::sync::Arc;

use tonic::Request;
use tonic::metadata::MetadataMap;
use tracing::Span;

use crate::auth::admin::caller::Caller;
use crate::auth::error::AuthError;
use crate::auth::{Auth, Call};
use crate::domain::client::{Client, ClientSecret};
use crate::grpc::layers::Trace;
use crate::grpc::peer::Peer;
use crate::verifier::{InvalidWhy, TokenFault};

const AUTHORIZATION: &str = "authorization";
const SCHEME: &str = "bearer ";

/// The client that calls.
pub fn client<T>(auth: &Auth, request: &Request<T>) -> Result<Call, AuthError> {
    identified(auth, request).map_err(|why| match why {
        AuthError::ClientUnauthenticated => {
            let from = address(request).map(|address| address.to_string()).unwrap_or_default();
            auth.refused_token(&from, why)
        }
        other => other,
    })
}

fn identified<T>(auth: &Auth, request: &Request<T>) -> Result<Call, AuthError> {
    let secret = match authorization(request.metadata()) {
        Authorization::Absent => None,
        // A person's access token is none of a client's secrets: alone it calls nothing.
        Authorization::One(value) => Some(bearer(value).ok_or(AuthError::ClientUnauthenticated)?),
        Authorization::Unreadable => return Err(AuthError::ClientUnauthenticated),
    };
    let client = match proven(auth, request, secret)? {
        Some(client) => client,
        None => anonymous(auth, request)?,
    };
    let trace = trace(request)?;
    trace.identified(&client.id);
    Ok(Call { client, request_id: Arc::clone(trace.request_id()) })
}

/// Who administers. An access token says so for a person, over whatever certificate it comes; whether it is good is for
/// the verifier to say. What is not meant as a client's secret is judged as a token.
pub fn administrator<T>(auth: &Auth, request: &Request<T>) -> Result<Caller, AuthError> {
    let trace = trace(request)?;
    if request.extensions().get::<Operator>().is_some() {
        return auth.operator(trace.request_id());
    }
    let unreadable = || AuthError::TokenRefused(TokenFault::Invalid(InvalidWhy::Malformed));
    let secret = match authorization(request.metadata()) {
        Authorization::Absent => None,
        Authorization::One(value) => match bearer(value).ok_or_else(unreadable)? {
            secret if ClientSecret::is_meant(secret) => Some(secret),
            token => {
                let caller = auth.administrator(token, trace.request_id())?;
                trace.identified(caller.client_id());
                return Ok(caller);
            }
        },
        Authorization::Unreadable => return Err(unreadable()),
    };
    let client = proven(auth, request, secret)?.ok_or_else(unreadable)?;
    trace.identified(&client.id);
    auth.administrating_client(client, trace.request_id())
}

/// Whom the credentials of a call prove; none: it brings none.
fn proven<T>(auth: &Auth, request: &Request<T>, secret: Option<&str>) -> Result<Option<Arc<Client>>, AuthError> {
    let peer: Option<&Peer> = request.extensions().get();
    let by_names = match peer {
        Some(peer) if !peer.names.is_empty() => {
            let client = auth.clients.by_names(&peer.names).map_err(|_ambiguous| AuthError::ClientUnauthenticated)?;
            Some(client.ok_or(AuthError::ClientUnauthenticated)?)
        }
        _ => None,
    };
    let by_secret = match secret {
        Some(text) => {
            let secret: ClientSecret = text.parse().map_err(|_invalid| AuthError::ClientUnauthenticated)?;
            let client = auth.clients.by_secret(&secret.digest(), auth.clock.now());
            Some(client.ok_or(AuthError::ClientUnauthenticated)?)
        }
        None => None,
    };
    match (by_names, by_secret) {
        (Some(named), Some(secret)) if named.id != secret.id => Err(AuthError::ClientUnauthenticated),
        (named, secret) => Ok(named.or(secret)),
    }
}

/// The development profile's client, for who is on the same machine: were the port opened to others by mistake, they would
/// be strangers.
fn anonymous<T>(auth: &Auth, request: &Request<T>) -> Result<Arc<Client>, AuthError> {
    if !address(request).is_some_and(is_loopback) {
        return Err(AuthError::ClientUnauthenticated);
    }
    auth.clients.anonymous().ok_or(AuthError::ClientUnauthenticated)
}

fn address<T>(request: &Request<T>) -> Option<IpAddr> {
    let peer: Option<&Peer> = request.extensions().get();
    peer.map(|peer| peer.address).or_else(|| request.remote_addr()).map(|address| address.ip())
}

/// In the extensions of calls that came through no door. Nothing that comes over a wire can put it there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator;

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// What lines of a call stand in.
pub fn span<T>(request: &Request<T>) -> Span {
    request.extensions().get().map_or_else(Span::none, Trace::span)
}

fn trace<T>(request: &Request<T>) -> Result<&Trace, AuthError> {
    request.extensions().get().ok_or_else(|| AuthError::internal("a call came past the layer that traces it"))
}

enum Authorization<'a> {
    Absent,
    One(&'a str),
    /// Two of them, or bytes that are no text.
    Unreadable,
}

fn authorization(metadata: &MetadataMap) -> Authorization<'_> {
    let mut values = metadata.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Authorization::Absent,
        (Some(value), None) => value.to_str().map_or(Authorization::Unreadable, Authorization::One),
        (Some(_), Some(_)) => Authorization::Unreadable,
    }
}

/// The scheme in any case, one space, and a token without any.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty() && !token.contains([' ', ',']);
    is_bearer.then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_one_word_and_one_space() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("BEARER abc", Some("abc")),
            ("Bearer  abc", None),
            ("Bearer abc ", None),
            ("Bearer\tabc", None),
            ("Bearer ", None),
            ("Bearer", None),
            ("Bearer a b", None),
            ("Bearer a,Bearer b", None),
            ("Basic abc", None),
            ("abc", None),
            ("", None),
        ] {
            assert_eq!(bearer(value), token, "{value:?}");
        }
    }

    #[test]
    fn two_values_are_none() {
        let mut metadata = MetadataMap::new();
        assert!(matches!(authorization(&metadata), Authorization::Absent));
        metadata.append(AUTHORIZATION, "Bearer abc".parse().unwrap());
        assert!(matches!(authorization(&metadata), Authorization::One("Bearer abc")));
        metadata.append(AUTHORIZATION, "Bearer abc".parse().unwrap());
        assert!(matches!(authorization(&metadata), Authorization::Unreadable));
    }
}
