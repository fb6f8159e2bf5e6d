//! `AccountService`: messages into values, a flow of `auth`, values into messages. Not one decision is made here.

use std::sync::Arc;

use secrecy::SecretString;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use crate::auth::Auth;
use crate::auth::change_password::ChangePassword;
use crate::auth::error::AuthError;
use crate::auth::identities::{LinkProof, Linked};
use crate::domain::identity::IdentityKey;
use crate::domain::password::{BYTES_MAX, Password};
use crate::grpc::fields::Fields;
use crate::grpc::status::{Repeat, refuse};
use crate::grpc::{callers, oauth, render};
use crate::proto::account::v1 as wire;
use crate::proto::account::v1::account_service_server::AccountService;
use crate::proto::account::v1::link_identity_request::Proof;
use crate::store::Identity;

/// The service over the use cases.
pub(super) struct AccountDoor {
    auth: Arc<Auth>,
}

impl AccountDoor {
    pub(super) fn new(auth: Arc<Auth>) -> Self {
        Self { auth }
    }
}

#[tonic::async_trait]
impl AccountService for AccountDoor {
    async fn change_password(
        &self,
        request: Request<wire::ChangePasswordRequest>,
    ) -> Result<Response<wire::ChangePasswordResponse>, Status> {
        // The current password is another one afterwards.
        answer(Box::pin(self.change(request)).await, Repeat::Unsafe)
    }

    async fn list_identities(
        &self,
        request: Request<wire::ListIdentitiesRequest>,
    ) -> Result<Response<wire::ListIdentitiesResponse>, Status> {
        answer(self.list(request).await, Repeat::Safe)
    }

    async fn link_identity(
        &self,
        request: Request<wire::LinkIdentityRequest>,
    ) -> Result<Response<wire::LinkIdentityResponse>, Status> {
        // A provider's code is spent, whatever came of it.
        answer(self.link(request).await, Repeat::Unsafe)
    }

    async fn unlink_identity(
        &self,
        request: Request<wire::UnlinkIdentityRequest>,
    ) -> Result<Response<wire::UnlinkIdentityResponse>, Status> {
        answer(self.unlink(request).await, Repeat::Safe)
    }
}

impl AccountDoor {
    async fn change(
        &self,
        request: Request<wire::ChangePasswordRequest>,
    ) -> Result<wire::ChangePasswordResponse, AuthError> {
        let call = callers::client(&self.auth, &request)?;
        let wire::ChangePasswordRequest { access_token, current_password, new_password } = request.into_inner();
        let (current, new) = (Zeroizing::new(current_password), Zeroizing::new(new_password));
        let mut fields = Fields::default();
        let current = match Password::from_typed(&current) {
            _ if current.is_empty() => Some(None),
            Ok(current) => Some(Some(current)),
            Err(_too_long) => {
                fields.refuse("current_password", format_args!("must have at most {BYTES_MAX} bytes"));
                None
            }
        };
        let current = fields.finish(|| current)?;
        let new = Password::from_typed(&new)?;
        let change = ChangePassword { token: SecretString::from(access_token), current, new };
        let tokens = self.auth.change_password(&call, &change).await?;
        Ok(wire::ChangePasswordResponse { tokens: Some(render::token_pair(&tokens)) })
    }

    async fn list(
        &self,
        request: Request<wire::ListIdentitiesRequest>,
    ) -> Result<wire::ListIdentitiesResponse, AuthError> {
        let call = callers::client(&self.auth, &request)?;
        let token = SecretString::from(request.into_inner().access_token);
        let identities = self.auth.list_identities(&call, &token).await?;
        Ok(wire::ListIdentitiesResponse { identities: identities.into_iter().map(identity).collect() })
    }

    async fn link(&self, request: Request<wire::LinkIdentityRequest>) -> Result<wire::LinkIdentityResponse, AuthError> {
        let call = callers::client(&self.auth, &request)?;
        let wire::LinkIdentityRequest { access_token, proof, device } = request.into_inner();
        let mut fields = Fields::default();
        let proof = fields.required("proof", proof).and_then(|proof| match proof {
            Proof::ChallengeToken(token) => Some(LinkProof::Challenge(SecretString::from(token))),
            Proof::ProviderCode(code) => oauth::provider_code(&mut fields, "provider_code", code).map(LinkProof::Code),
        });
        let device = fields.device("device", device.unwrap_or_default());
        let (proof, device) = fields.finish(|| Some((proof?, device?)))?;
        let token = SecretString::from(access_token);
        let linked = self.auth.link_identity(&call, &token, proof, &device.ip_address).await?;
        let Linked { identity, return_url } = linked;
        Ok(wire::LinkIdentityResponse { identity: Some(self::identity(identity)), return_url })
    }

    async fn unlink(
        &self,
        request: Request<wire::UnlinkIdentityRequest>,
    ) -> Result<wire::UnlinkIdentityResponse, AuthError> {
        let call = callers::client(&self.auth, &request)?;
        let wire::UnlinkIdentityRequest { access_token, provider, subject, device } = request.into_inner();
        let mut fields = Fields::default();
        let provider = fields.parse("provider", &provider);
        let subject = fields.parse("subject", &subject);
        let device = fields.device("device", device.unwrap_or_default());
        let key = || Some((IdentityKey { provider: provider?, subject: subject? }, device?));
        let (key, device) = fields.finish(key)?;
        self.auth.unlink_identity(&call, &SecretString::from(access_token), &key, &device.ip_address).await?;
        Ok(wire::UnlinkIdentityResponse {})
    }
}

fn answer<T>(result: Result<T, AuthError>, repeat: Repeat) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| refuse(&error, repeat))
}

fn identity(identity: Identity) -> wire::Identity {
    wire::Identity {
        provider: identity.key.provider.to_string(),
        subject: identity.key.subject.as_str().to_owned(),
        display_name: identity.display_name,
        link_time: Some(render::timestamp(identity.link_time)),
        email: identity.email,
        last_sign_in_time: identity.sign_in_time.map(render::timestamp),
    }
}
