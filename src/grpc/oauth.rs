//! What AuthService takes and answers about providers: messages into values, values into messages.

use secrecy::{ExposeSecret as _, SecretString};

use crate::auth::error::AuthError;
use crate::auth::exchange::ExchangeToken;
use crate::auth::oauth::{
    CodeAnswer, Exchange, ExchangeOutcome, Exchanged, Proof, ProviderCode, Start, Started, Unlink,
};
use crate::domain::account::Email;
use crate::domain::identity::{EmailTrust, Profile};
use crate::grpc::auth_service::{challenge_kinds, secret};
use crate::grpc::fields::{Fields, Length};
use crate::grpc::render;
use crate::oauth::Provider;
use crate::proto::auth::v1 as wire;
use crate::proto::auth::v1::exchange_token_request::SubjectToken;
use crate::proto::auth::v1::o_auth_exchange_request::Proof as WireProof;
use crate::proto::auth::v1::o_auth_exchange_response::Outcome as WireOutcome;

const PARAMETERS_MAX: usize = 8;
const PARAMETER_BYTES: usize = 256;
/// Those of a webhook.
const NOTICE_PARAMETERS_MAX: usize = 16;
const NOTICE_PARAMETER_BYTES: usize = 4 * 1024;
/// Providers' codes are opaque; the longest that are known have some hundreds.
const CODE_BYTES: usize = 4 * 1024;
const URL_BYTES: usize = 2 * 1024;
const ID_TOKEN_BYTES: usize = 16 * 1024;
/// Base64url of a SHA-256.
const CHALLENGE_BYTES: usize = 43;

pub(super) fn provider(provider: &Provider) -> wire::Provider {
    let settings = provider.settings();
    wire::Provider {
        id: settings.id.to_string(),
        display_name: settings.display_name.clone(),
        kind: settings.kind.name().to_owned(),
        available: provider.is_available(),
    }
}

pub(super) fn read_start(request: wire::OAuthStartRequest) -> Result<Start, AuthError> {
    let wire::OAuthStartRequest { provider, return_url, handoff_challenge, token_options, parameters, device } =
        request;
    let mut fields = Fields::default();
    let is_challenge = |text: &str| {
        text.len() == CHALLENGE_BYTES
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if !handoff_challenge.is_empty() && !is_challenge(&handoff_challenge) {
        fields.refuse("handoff_challenge", "must be base64url of a SHA-256, 43 letters without padding");
    }
    if !handoff_challenge.is_empty() && return_url.is_empty() {
        fields.refuse("return_url", "must be set where a hand-off code is wanted: it is sent there");
    }
    if parameters.len() > PARAMETERS_MAX {
        fields.refuse("parameters", format_args!("must have at most {PARAMETERS_MAX} entries"));
    }
    for (name, value) in parameters.iter().take(PARAMETERS_MAX) {
        // The name is the caller's, so it is not told.
        if name.len() > PARAMETER_BYTES || value.len() > PARAMETER_BYTES || value.chars().any(char::is_control) {
            let problem = format_args!("must have at most {PARAMETER_BYTES} bytes each, without control characters");
            fields.refuse("parameters", problem);
        }
    }
    let device = fields.device("device", device.unwrap_or_default());
    let return_url = fields.text("return_url", return_url, Length::Bytes(URL_BYTES));
    let scope = fields.token_options("token_options", token_options.unwrap_or_default());
    fields.finish(|| {
        let parameters = parameters.into_iter().collect();
        let ip_address = device?.ip_address;
        Some(Start { provider, return_url: return_url?, handoff_challenge, scope: scope?, parameters, ip_address })
    })
}

pub(super) fn started(started: Started) -> wire::OAuthStartResponse {
    wire::OAuthStartResponse {
        authorization_url: started.authorization_url.expose_secret().to_owned(),
        flow_id: started.flow_id.expose_secret().to_owned(),
        flow_secret: started.flow_secret.expose_secret().to_owned(),
        nonce: started.nonce,
        expire_time: Some(render::timestamp(started.expire_time)),
    }
}

pub(super) fn read_exchange(request: wire::OAuthExchangeRequest) -> Result<Exchange, AuthError> {
    let wire::OAuthExchangeRequest { proof, device, replace_refresh_token, supported_challenges } = request;
    let mut fields = Fields::default();
    let proof = fields.required("proof", proof).and_then(|proof| match proof {
        WireProof::ProviderCode(code) => provider_code(&mut fields, "provider_code", code).map(Proof::Code),
        WireProof::HandoffCode(wire::HandoffCode { code, verifier }) => {
            Some(Proof::Handoff { code: SecretString::from(code), verifier: SecretString::from(verifier) })
        }
        WireProof::ProviderIdToken(wire::ProviderIdToken { flow_id, flow_secret, id_token }) => {
            let id_token = bounded(&mut fields, "provider_id_token.id_token", id_token, ID_TOKEN_BYTES)?;
            let (flow_id, flow_secret) = (SecretString::from(flow_id), SecretString::from(flow_secret));
            Some(Proof::IdToken { flow_id, flow_secret, id_token })
        }
    });
    let device = fields.device("device", device.unwrap_or_default());
    fields.finish(|| {
        let supported = challenge_kinds(supported_challenges);
        Some(Exchange { proof: proof?, device: device?, replace: secret(replace_refresh_token), supported })
    })
}

/// What a provider sent back. A state or secret that cannot be one is no field at fault: it is what the browser brought,
/// and the answer to that is to begin again.
pub(super) fn provider_code(fields: &mut Fields, field: &str, code: wire::ProviderCode) -> Option<ProviderCode> {
    let wire::ProviderCode { provider, code, state, issuer, flow_secret, error } = code;
    let answer = match (code.is_empty(), error.is_empty()) {
        // Refused unasked: a provider may choke on what no provider sends, and that would count against it.
        (false, true) if !code.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
            fields.refuse(format!("{field}.code"), "must be of printable ASCII (RFC 6749, appendix A.11)");
            None
        }
        (false, true) => bounded(fields, &format!("{field}.code"), code, CODE_BYTES).map(CodeAnswer::Code),
        (true, false) => Some(CodeAnswer::Error(error)),
        _ => {
            fields.refuse(field, "must have either a code or an error");
            None
        }
    };
    Some(ProviderCode {
        provider,
        answer: answer?,
        state: SecretString::from(state),
        issuer,
        flow_secret: SecretString::from(flow_secret),
    })
}

fn bounded(fields: &mut Fields, field: &str, text: String, max: usize) -> Option<SecretString> {
    if (1..=max).contains(&text.len()) {
        return Some(SecretString::from(text));
    }
    fields.refuse(field, format_args!("must be 1 to {max} bytes"));
    None
}

pub(super) fn exchanged(exchanged: Exchanged) -> wire::OAuthExchangeResponse {
    let Exchanged { outcome, profile, return_url } = exchanged;
    let outcome = match outcome {
        ExchangeOutcome::SignedIn { issued, user_created } => {
            WireOutcome::SignIn(wire::SignIn { user_created, ..render::sign_in(*issued) })
        }
        ExchangeOutcome::Challenged(issued) => WireOutcome::Challenge(render::challenge(&issued)),
        ExchangeOutcome::HandedOff { code, expire_time } => WireOutcome::Handoff(wire::Handoff {
            code: code.expose_secret().to_owned(),
            expire_time: Some(render::timestamp(expire_time)),
        }),
    };
    wire::OAuthExchangeResponse { outcome: Some(outcome), profile: profile.as_ref().map(self::profile), return_url }
}

fn profile(profile: &Profile) -> wire::ProviderProfile {
    wire::ProviderProfile {
        provider: profile.key.provider.to_string(),
        subject: profile.key.subject.as_str().to_owned(),
        email: profile.email.as_ref().map(Email::as_given).unwrap_or_default().to_owned(),
        email_verified: profile.email_trust >= EmailTrust::Verified,
        display_name: profile.display_name.clone(),
        avatar_url: profile.avatar_url.clone(),
    }
}

pub(super) fn read_exchange_token(request: wire::ExchangeTokenRequest) -> Result<ExchangeToken, AuthError> {
    let wire::ExchangeTokenRequest { subject_token, token_options } = request;
    let mut fields = Fields::default();
    let token = fields.required("subject_token", subject_token).and_then(|token| match token {
        SubjectToken::ExternalToken(token) => bounded(&mut fields, "external_token", token, ID_TOKEN_BYTES),
    });
    let scope = fields.token_options("token_options", token_options.unwrap_or_default());
    fields.finish(|| Some(ExchangeToken { token: token?, scope: scope? }))
}

pub(super) fn read_unlink(request: wire::OAuthUnlinkRequest) -> Result<Unlink, AuthError> {
    let wire::OAuthUnlinkRequest { provider, authorization, parameters } = request;
    let mut fields = Fields::default();
    if parameters.len() > NOTICE_PARAMETERS_MAX {
        fields.refuse("parameters", format_args!("must have at most {NOTICE_PARAMETERS_MAX} entries"));
    }
    let size = |(name, value): (&String, &String)| name.len().max(value.len());
    if authorization.len().max(parameters.iter().map(size).max().unwrap_or(0)) > NOTICE_PARAMETER_BYTES {
        fields.refuse("parameters", format_args!("must have at most {NOTICE_PARAMETER_BYTES} bytes each"));
    }
    fields.finish(|| {
        let parameters = parameters.into_iter().collect();
        Some(Unlink { provider, authorization: SecretString::from(authorization), parameters })
    })
}
