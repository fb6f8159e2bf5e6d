//! Where a sign-in at a provider begins.

use std::collections::HashMap;

use url::Url;

use super::answer::{self, Answer, see_other};
use super::cookies::{self, Jar, Purpose};
use super::parameters;
use super::refusal::Refusal;
use super::{Asked, Gateway, Outcome, ServedClient, origin};
use crate::domain::id::ClientId;
use crate::domain::identity::ProviderId;
use crate::proto::auth::v1::OAuthStartRequest;

/// Handed on to the service, which hands on what the provider's list has.
const PASSED_ON: [&str; 3] = ["login_hint", "prompt", "ui_locales"];
pub(super) const URL_BYTES_MAX: usize = 2048;
const PARAMETER_BYTES_MAX: usize = 256;
/// Of S256 (RFC 7636, section 4.2).
const CHALLENGE_CHARS: usize = 43;

impl Gateway {
    /// Sends the person to the provider. Where they come back to is compared by the service with what the client registered.
    pub(super) async fn start(
        &self,
        asked: &Asked,
        client: &ServedClient,
        provider: &ProviderId,
    ) -> Result<Answer, Refusal> {
        if !origin::is_navigation(&asked.headers) {
            return Err(Refusal::foreign());
        }
        let parameters = asked.parameters()?;
        let return_url = parameters.bounded("return_to", URL_BYTES_MAX)?.ok_or_else(Refusal::malformed)?;
        let challenge = parameters.bounded("handoff_challenge", CHALLENGE_CHARS)?;
        // A program that gets a code must have asked for one, or whoever sees the code could trade it in; and one that gets
        // cookies cannot turn that into tokens in a URL's reach.
        if challenge.is_some() != (client.outcome == Outcome::Handoff) {
            return Err(Refusal::malformed());
        }
        let mut passed_on = HashMap::new();
        for name in PASSED_ON {
            if let Some(value) = parameters.bounded(name, PARAMETER_BYTES_MAX)? {
                passed_on.insert(name.to_owned(), value.to_owned());
            }
        }
        let request = OAuthStartRequest {
            provider: provider.to_string(),
            return_url: return_url.to_owned(),
            handoff_challenge: challenge.unwrap_or_default().to_owned(),
            token_options: None,
            parameters: passed_on,
            device: Some(asked.device()),
        };
        self.begin(asked, client, request, Purpose::SignIn).await
    }

    /// A flow of this browser, and the way to the provider.
    pub(super) async fn begin(
        &self,
        asked: &Asked,
        client: &ServedClient,
        request: OAuthStartRequest,
        purpose: Purpose,
    ) -> Result<Answer, Refusal> {
        let started = self
            .call(asked, client, request, |mut service, request| async move { service.o_auth_start(request).await })
            .await?;
        let state = state_of(&started.authorization_url).ok_or_else(|| Refusal::unexpected("authorization_url"))?;
        let mut answer =
            see_other(&started.authorization_url).ok_or_else(|| Refusal::unexpected("authorization_url"))?;
        answer::set_cookies(&mut answer, Jar::of(&asked.headers).crowded_out());
        answer::set_cookies(&mut answer, [cookies::flow(&state, &started.flow_secret, &client.id, purpose)]);
        Ok(answer)
    }

    /// Where the same sign-in begins anew.
    pub(super) fn start_url(&self, client: &ClientId, provider: &ProviderId, return_url: &str) -> String {
        let query = parameters::query([("return_to", return_url)]);
        format!("{}/start/{client}/{provider}?{query}", self.settings.url)
    }
}

/// By which the callback will find its flow.
fn state_of(authorization_url: &str) -> Option<String> {
    let url = Url::parse(authorization_url).ok().filter(|url| matches!(url.scheme(), "https" | "http"))?;
    let mut states = url.query_pairs().filter(|(name, _)| name == "state").map(|(_, value)| value.into_owned());
    match (states.next(), states.next()) {
        (Some(state), None) if !state.is_empty() => Some(state),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_stands_in_the_address_once() {
        for (url, state) in [
            ("https://a.example/authorize?client_id=x&state=abc", Some("abc")),
            ("http://127.0.0.1:9/authorize?state=a%2Fb", Some("a/b")),
            ("https://a.example/authorize", None),
            ("https://a.example/authorize?state=", None),
            ("https://a.example/authorize?state=a&state=a", None),
            ("javascript:alert(1)?state=a", None),
            ("/authorize?state=a", None),
        ] {
            assert_eq!(state_of(url).as_deref(), state, "{url}");
        }
    }
}
