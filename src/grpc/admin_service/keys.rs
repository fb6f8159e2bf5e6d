//! Signing keys as messages.

use tonic::Request;

use crate::auth::Auth;
use crate::auth::admin::keys::KeyView;
use crate::auth::error::AuthError;
use crate::domain::key::{Algorithm, KeyState};
use crate::grpc::admin_service::{PAGE_SIZE_MAX, admit};
use crate::grpc::fields::Fields;
use crate::grpc::pages::Pages;
use crate::grpc::render;
use crate::proto::admin::v1 as wire;

/// Longer than any key's id.
const ID_BYTES_MAX: usize = 128;

pub(super) async fn list(
    auth: &Auth,
    request: Request<wire::ListKeysRequest>,
) -> Result<wire::ListKeysResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let wire::ListKeysRequest { page_size, page_token } = request.into_inner();
    let pages = Pages(&["ListKeys"]);
    let mut fields = Fields::default();
    let page_size = fields.page_size(page_size, PAGE_SIZE_MAX);
    let after = pages.read(&mut fields, &page_token, |last| Some(last.to_owned()));
    let page_size = fields.finish(|| page_size)?;
    let (keys, more) = auth.list_keys(&caller, after.as_deref(), page_size).await?;
    let next = keys.last().filter(|_| more).map(|(last, _)| pages.token(&last.kid));
    Ok(wire::ListKeysResponse {
        keys: keys.into_iter().map(render_key).collect(),
        next_page_token: next.unwrap_or_default(),
    })
}

pub(super) async fn rotate(
    auth: &Auth,
    request: Request<wire::RotateKeyRequest>,
) -> Result<wire::RotateKeyResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let algorithm = read_algorithm(&request.into_inner().algorithm)?;
    let (key, revision) = auth.rotate_key(&caller, algorithm).await?;
    Ok(wire::RotateKeyResponse { key: Some(render_key(key)), revision: revision.to_string() })
}

pub(super) async fn retire(
    auth: &Auth,
    request: Request<wire::RetireKeyRequest>,
) -> Result<wire::RetireKeyResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let wire::RetireKeyRequest { id, immediately } = request.into_inner();
    if !(1..=ID_BYTES_MAX).contains(&id.len()) {
        return Err(AuthError::field("id", "must be the id of a key, as ListKeys has it"));
    }
    let (key, revision) = auth.retire_key(&caller, &id, immediately).await?;
    Ok(wire::RetireKeyResponse { key: Some(render_key(key)), revision: revision.to_string() })
}

/// Empty is as configured.
fn read_algorithm(name: &str) -> Result<Option<Algorithm>, AuthError> {
    if name.is_empty() {
        return Ok(None);
    }
    let known = Algorithm::from_name(name);
    known
        .map(Some)
        .ok_or_else(|| AuthError::field("algorithm", "must be EdDSA, ES256 or HS256, or empty: as configured"))
}

fn render_key((key, state): KeyView) -> wire::Key {
    let state = match state {
        KeyState::Published => wire::KeyState::Published,
        KeyState::Signing => wire::KeyState::Signing,
        KeyState::Verifying => wire::KeyState::Verifying,
        KeyState::Retired => wire::KeyState::Retired,
    };
    wire::Key {
        id: key.kid,
        algorithm: key.algorithm.name().to_owned(),
        state: state.into(),
        publish_time: Some(render::timestamp(key.publish_time)),
        sign_time: Some(render::timestamp(key.sign_time)),
        retire_time: key.retire_time.map(render::timestamp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::StoredKey;
    use crate::domain::time::Timestamp;

    #[test]
    fn an_algorithm_is_one_of_three_or_left_to_the_settings() {
        assert_eq!(read_algorithm("").unwrap(), None);
        for algorithm in Algorithm::ALL {
            assert_eq!(read_algorithm(algorithm.name()).unwrap(), Some(algorithm));
        }
        for wrong in ["none", "eddsa", "RS256", "ES256 ", "\0"] {
            assert!(matches!(read_algorithm(wrong), Err(AuthError::InvalidField(_))), "{wrong}");
        }
    }

    #[test]
    fn a_key_shows_nothing_of_its_private_half() {
        let key = StoredKey {
            kid: "kid".into(),
            algorithm: Algorithm::EdDsa,
            master_key: 1,
            sealed: vec![7; 40],
            publish_time: Timestamp::from_secs(1),
            sign_time: Timestamp::from_secs(2),
            retire_time: None,
        };
        let shown = render_key((key, KeyState::Signing));
        assert_eq!((shown.id.as_str(), shown.algorithm.as_str()), ("kid", "EdDSA"));
        assert_eq!(shown.state(), wire::KeyState::Signing);
        assert_eq!((shown.sign_time.unwrap().seconds, shown.retire_time), (2, None));
    }
}
