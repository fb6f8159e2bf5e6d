//! Who calls. On AuthService a program, which proves itself beside the message; on AdminService a person, with their
//! access token. Must not know what the caller may do.
//!
//! Metadata of the same name twice is refused throughout: which one counts would be for an attacker to guess, and for
//! every proxy on the way to answer differently.

use secrecy::SecretString;
use tonic::Request;
use tonic::metadata::MetadataMap;

use crate::auth::error::AuthError;
use crate::auth::{Auth, Call};
use crate::grpc::layers::Trace;
use crate::verifier::{InvalidWhy, TokenFault};

const AUTHORIZATION: &str = "authorization";
const SCHEME: &str = "bearer ";

/// The client that calls. Without a credential that is the built-in one; no other client exists, so every credential is a
/// wrong one, and a wrong one is refused, not ignored.
pub fn client<T>(auth: &Auth, request: &Request<T>) -> Result<Call, AuthError> {
    match authorization(request.metadata()) {
        Authorization::Absent => anonymous(auth, request),
        Authorization::One(_) | Authorization::Unreadable => Err(AuthError::ClientUnauthenticated),
    }
}

/// The call of a person, and the access token that says who. Whether it is good is for the verifier to say.
pub fn person<T>(auth: &Auth, request: &Request<T>) -> Result<(Call, SecretString), AuthError> {
    let token = match authorization(request.metadata()) {
        Authorization::One(value) => bearer(value),
        Authorization::Absent | Authorization::Unreadable => None,
    };
    let token = token.ok_or(AuthError::TokenRefused(TokenFault::Invalid(InvalidWhy::Malformed)))?;
    Ok((anonymous(auth, request)?, token))
}

/// In the extensions of calls that came through no door. Nothing that comes over a wire can put it there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator;

/// The id of a call by the operator of this machine; none: it came through a door.
pub(super) fn operator<T>(request: &Request<T>) -> Result<Option<&str>, AuthError> {
    if request.extensions().get::<Operator>().is_none() {
        return Ok(None);
    }
    let trace: Option<&Trace> = request.extensions().get();
    trace.map(|trace| Some(trace.request_id())).ok_or_else(|| AuthError::internal("a call without a trace"))
}

fn anonymous<T>(auth: &Auth, request: &Request<T>) -> Result<Call, AuthError> {
    let trace: &Trace =
        request.extensions().get().ok_or_else(|| AuthError::internal("a call came past the layer that traces it"))?;
    let client = auth.clients.anonymous();
    trace.identified(&client.id);
    Ok(Call { client, request_id: trace.request_id().to_owned() })
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
fn bearer(value: &str) -> Option<SecretString> {
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty() && !token.contains([' ', ',']);
    is_bearer.then(|| SecretString::from(token))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

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
            let read = bearer(value);
            assert_eq!(read.as_ref().map(ExposeSecret::expose_secret), token, "{value:?}");
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
