//! A provider's notice that a person ended the connection there. What proves it is the provider's own secret or signature, which
//! the service judges; so a GET may change something here, and no cookie counts.

use http::StatusCode;
use http::header::AUTHORIZATION;

use super::answer::{self, Answer};
use super::refusal::Refusal;
use super::{Asked, Gateway};
use crate::domain::identity::ProviderId;
use crate::proto::auth::v1::OAuthUnlinkRequest;

/// As many as the contract takes.
const PARAMETERS_MAX: usize = 16;

impl Gateway {
    pub(super) async fn notice(&self, asked: &Asked, provider: &ProviderId) -> Result<Answer, Refusal> {
        let client = self.first()?;
        let parameters = asked.parameters()?.into_each_once(PARAMETERS_MAX)?;
        let mut values = asked.headers.get_all(AUTHORIZATION).iter();
        let authorization = match (values.next(), values.next()) {
            (None, _) => String::new(),
            (Some(value), None) => value.to_str().map_err(|_no_text| Refusal::malformed())?.to_owned(),
            (Some(_), Some(_)) => return Err(Refusal::malformed()),
        };
        let parameters = parameters.into_iter().collect();
        let request = OAuthUnlinkRequest { provider: provider.to_string(), authorization, parameters };
        let unlinked = self
            .call(asked, client, request, |mut service, request| async move { service.o_auth_unlink(request).await })
            .await?;
        let wanted = u16::try_from(unlinked.http_status).ok().and_then(|status| StatusCode::from_u16(status).ok());
        // The notice was genuine: nothing but a success can be meant.
        Ok(answer::empty(wanted.filter(StatusCode::is_success).unwrap_or(StatusCode::OK)))
    }
}
