//! One more way into the account that is signed in here. It begins with a request that was meant (`origin`), never with a link:
//! a stranger's page could otherwise put the stranger's own account at a provider among the ways in.

use super::answer::{Answer, see_other};
use super::cookies::{Jar, Purpose};
use super::page;
use super::refusal::Refusal;
use super::start::URL_BYTES_MAX;
use super::{Asked, Gateway, Outcome, ServedClient};
use crate::proto::account::v1::LinkIdentityRequest;
use crate::proto::account::v1::link_identity_request::Proof;
use crate::proto::auth::v1::{OAuthStartRequest, ProviderCode};

/// Of a provider's id.
const PROVIDER_BYTES_MAX: usize = 32;

impl Gateway {
    /// Sends the person to the provider, in a flow that will link.
    pub(super) async fn link(&self, asked: &Asked, client: &ServedClient) -> Result<Answer, Refusal> {
        // Only where this gateway keeps the person signed in.
        if client.outcome != Outcome::Cookies {
            return Err(Refusal::not_found());
        }
        self.must_be_meant(asked, client)?;
        Jar::of(&asked.headers).access_token(&client.id).ok_or_else(Refusal::signed_out)?;
        let parameters = asked.parameters()?;
        let provider = parameters.bounded("provider", PROVIDER_BYTES_MAX)?.ok_or_else(Refusal::malformed)?;
        let return_url = parameters.bounded("return_to", URL_BYTES_MAX)?.ok_or_else(Refusal::malformed)?;
        let request = OAuthStartRequest {
            provider: provider.to_owned(),
            return_url: return_url.to_owned(),
            device: Some(asked.device()),
            ..Default::default()
        };
        self.begin(asked, client, request, Purpose::Link).await
    }

    /// What such a flow ends with: no new session, and one way in more.
    pub(super) async fn linked(
        &self,
        asked: &Asked,
        client: &ServedClient,
        jar: &Jar,
        code: ProviderCode,
    ) -> Result<Answer, Refusal> {
        let access_token = jar.access_token(&client.id).ok_or_else(Refusal::signed_out)?.to_owned();
        let request =
            LinkIdentityRequest { access_token, proof: Some(Proof::ProviderCode(code)), device: Some(asked.device()) };
        let linked = self.call_account(asked, client, request).await?;
        let location = Some(linked.return_url).filter(|url| page::is_web(url));
        location.and_then(|url| see_other(&url)).ok_or_else(|| Refusal::unexpected("return_url"))
    }
}
