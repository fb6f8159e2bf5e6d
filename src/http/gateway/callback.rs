//! Where a person comes back from a provider. Only the browser that began the flow has its cookie, so a link with somebody
//! else's code and state opens nothing (RFC 9700, section 4.7), and the service is not even asked.

use super::answer::{self, Answer, see_other};
use super::cookies::{self, Flow, Jar, Purpose};
use super::parameters;
use super::refusal::Refusal;
use super::words::Language;
use super::{Asked, Gateway, Outcome, ServedClient, is_program, origin, page, session};
use crate::domain::identity::ProviderId;
use crate::proto::auth::v1::o_auth_exchange_request::Proof;
use crate::proto::auth::v1::o_auth_exchange_response::Outcome as Exchanged;
use crate::proto::auth::v1::{ChallengeKind, OAuthExchangeRequest, ProviderCode};

/// What of a provider's redirect counts, and how long each may be. The rest is passed over: providers add what they like, and
/// `error_description` is words for nobody.
const PARAMETERS: [(&str, usize); 4] = [("code", 4096), ("state", 512), ("iss", 512), ("error", 128)];

/// The parameters of a provider's redirect.
struct Redirect {
    code: String,
    state: String,
    issuer: String,
    error: String,
}

impl Redirect {
    fn read(asked: &Asked) -> Result<Self, Refusal> {
        let parameters = asked.parameters()?;
        let mut values = PARAMETERS.into_iter().map(|(name, max)| parameters.bounded(name, max));
        let mut next = || values.next().unwrap_or(Ok(None)).map(|value| value.unwrap_or_default().to_owned());
        Ok(Self { code: next()?, state: next()?, issuer: next()?, error: next()? })
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let values = [&self.code, &self.state, &self.issuer, &self.error].map(String::as_str);
        PARAMETERS
            .into_iter()
            .zip(values)
            .map(|((name, _), value)| (name, value))
            .filter(|(_, value)| !value.is_empty())
    }
}

/// A form that the provider's page posted (OAuth 2.0 Form Post Response Mode). Coming from another site, the post lacks the
/// flow's cookie, which is Lax; a GET of the same will have it.
pub(super) fn by_get(asked: &Asked, provider: &ProviderId) -> Result<Answer, Refusal> {
    let redirect = Redirect::read(asked)?;
    let query = parameters::query(redirect.pairs());
    let location = format!("/callback/{provider}?{query}");
    see_other(&location).ok_or_else(Refusal::malformed)
}

impl Gateway {
    /// Whatever the service says, the flow is over for this browser; unless nobody could be asked, and the same may come again.
    pub(super) async fn callback(&self, asked: &Asked, provider: &ProviderId) -> Answer {
        let mut over = None;
        let outcome = self.finish(asked, provider, &mut over).await;
        if outcome.as_ref().is_err_and(Refusal::may_come_again) {
            over = None;
        }
        let mut answer = outcome.unwrap_or_else(|refusal| {
            if is_program(&asked.headers, None) {
                refusal.to_json()
            } else {
                refusal.to_page(Language::of(&asked.headers), &asked.request_id)
            }
        });
        answer::set_cookies(&mut answer, over);
        answer
    }

    async fn finish(&self, asked: &Asked, provider: &ProviderId, over: &mut Option<String>) -> Result<Answer, Refusal> {
        // Nobody is signed in behind their back, by an image or a frame of a neighbour; the flow stays what it is.
        if !origin::is_navigation(&asked.headers) {
            return Err(Refusal::foreign());
        }
        let redirect = Redirect::read(asked)?;
        let jar = Jar::of(&asked.headers);
        let Flow { secret, client, purpose } = jar.flow(&redirect.state).ok_or_else(Refusal::flow_invalid)?;
        *over = Some(cookies::flow_gone(&redirect.state));
        let client = self.served(&client).ok_or_else(Refusal::flow_invalid)?;

        let proof = ProviderCode {
            provider: provider.to_string(),
            code: redirect.code,
            state: redirect.state,
            issuer: redirect.issuer,
            flow_secret: secret,
            error: redirect.error,
        };
        if purpose == Purpose::Link {
            return self.linked(asked, client, &jar, proof).await;
        }
        let request = OAuthExchangeRequest {
            proof: Some(Proof::ProviderCode(proof)),
            device: Some(asked.device()),
            replace_refresh_token: jar.refresh_token(&client.id).unwrap_or_default().to_owned(),
            supported_challenges: vec![ChallengeKind::LinkIdentity.into()],
        };
        let exchanged = self
            .call(asked, client, request, |mut service, request| async move { service.o_auth_exchange(request).await })
            .await;
        let exchanged = exchanged.map_err(|refusal| self.with_a_way_on(refusal, client, provider))?;
        let return_url = exchanged.return_url;
        match (exchanged.outcome, client.outcome) {
            (Some(Exchanged::SignIn(sign_in)), Outcome::Cookies) => {
                let tokens = sign_in.tokens.ok_or_else(|| Refusal::unexpected("tokens"))?;
                let location = Some(return_url).filter(|url| page::is_web(url));
                let mut answer =
                    location.and_then(|url| see_other(&url)).ok_or_else(|| Refusal::unexpected("return_url"))?;
                answer::set_cookies(&mut answer, session::cookies(&self.clock, &client.id, &tokens)?);
                Ok(answer)
            }
            (Some(Exchanged::Handoff(handoff)), Outcome::Handoff) => {
                let location = with_code(&return_url, &handoff.code).and_then(|url| see_other(&url));
                location.ok_or_else(|| Refusal::unexpected("return_url"))
            }
            (Some(Exchanged::Challenge(challenge)), _)
                if challenge.kinds.contains(&ChallengeKind::LinkIdentity.into()) =>
            {
                let return_url = Some(return_url).filter(|url| !url.is_empty());
                Err(Refusal { return_url, ..Refusal::account_exists() })
            }
            // A client that gets cookies where it wants a code, or the other way around, is another one at the service.
            _ => Err(Refusal::unexpected("outcome")),
        }
    }

    /// Back, and again. Without a challenge of its own, a sign-in that ends in a code cannot begin again from here.
    fn with_a_way_on(&self, refusal: Refusal, client: &ServedClient, provider: &ProviderId) -> Refusal {
        let again = refusal
            .return_url
            .as_deref()
            .filter(|_| client.outcome == Outcome::Cookies)
            .map(|return_url| self.start_url(&client.id, provider, return_url));
        Refusal { again, ..refusal }
    }
}

/// The client's own URL and the code behind whatever query it has.
fn with_code(return_url: &str, code: &str) -> Option<String> {
    let joint = if return_url.contains('?') { '&' } else { '?' };
    let is_sound = !return_url.is_empty() && !return_url.contains('#') && !code.is_empty();
    is_sound.then(|| format!("{return_url}{joint}code={}", parameters::encode(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_goes_behind_the_query() {
        for (url, whole) in [
            ("https://a.example/x", Some("https://a.example/x?code=c%2F1")),
            ("https://a.example/x?y=1", Some("https://a.example/x?y=1&code=c%2F1")),
            ("com.example.app:/x", Some("com.example.app:/x?code=c%2F1")),
            ("https://a.example/#x", None),
            ("", None),
        ] {
            assert_eq!(with_code(url, "c/1").as_deref(), whole);
        }
        assert_eq!(with_code("https://a.example", ""), None);
    }
}
