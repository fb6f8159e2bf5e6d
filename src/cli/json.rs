//! Messages of the contract as proto3 JSON. Secrets are left out by the contract's own mark, not by a list kept here.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, ReflectMessage as _, Value};

use crate::proto::{FILE_DESCRIPTOR_SET, account::v1 as account, admin::v1 as admin, auth::v1 as auth};

/// A message that is printed, and its name in the contract.
pub(super) trait Printed: Message {
    const NAME: &'static str;
}

macro_rules! printed {
    ($($package:ident { $($message:ident)* })*) => {
        $($(impl Printed for $package::$message {
            const NAME: &'static str = concat!("postern.", stringify!($package), ".v1.", stringify!($message));
        })*)*
        #[cfg(test)]
        const NAMES: &[&str] = &[$($(<$package::$message as Printed>::NAME),*),*];
    };
}

printed! {
    auth {
        LoginResponse CompleteChallengeResponse RefreshResponse VerifyResponse ListSessionsResponse RevokeResponse
    }
    account { ChangePasswordResponse }
    admin {
        CreateUserResponse GetUserResponse ListUsersResponse UpdateUserResponse DisableUserResponse EnableUserResponse
        DeleteUserResponse SetPasswordResponse PutRoleResponse GetRoleResponse ListRolesResponse DeleteRoleResponse
        ApplyPolicyResponse GrantRoleResponse WithdrawRoleResponse ListBindingsResponse ListKeysResponse
        ListAuditEventsResponse
        RotateKeyResponse RetireKeyResponse ExplainAccessResponse EndAllSessionsResponse GetServerInfoResponse CreateClientResponse ListClientsResponse
        UpdateClientResponse RotateClientSecretResponse DeleteClientResponse
    }
}

/// Whether fields that the contract marks as secret are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrets {
    Hidden,
    Shown,
}

/// The message cannot be turned into JSON. Only a build whose descriptors and types disagree can fail so.
#[derive(Debug, thiserror::Error)]
pub(super) enum JsonError {
    #[error("the contract has no message {0}")]
    UnknownMessage(&'static str),
    #[error(transparent)]
    Descriptors(#[from] prost_reflect::DescriptorError),
    #[error(transparent)]
    Decode(#[from] prost::DecodeError),
    #[error(transparent)]
    Serialize(#[from] serde_json::Error),
}

/// The message as indented JSON.
pub(super) fn render<M: Printed>(message: &M, secrets: Secrets) -> Result<String, JsonError> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET)?;
    let descriptor = pool.get_message_by_name(M::NAME).ok_or(JsonError::UnknownMessage(M::NAME))?;
    let mut dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;
    if secrets == Secrets::Hidden {
        hide(&mut dynamic);
    }
    Ok(harmless(&serde_json::to_string_pretty(&dynamic)?))
}

fn hide(message: &mut DynamicMessage) {
    let secret: Vec<FieldDescriptor> = message.descriptor().fields().filter(is_secret).collect();
    for field in &secret {
        message.clear_field(field);
    }
    for (_, value) in message.fields_mut() {
        hide_within(value);
    }
}

fn hide_within(value: &mut Value) {
    match value {
        Value::Message(inner) => hide(inner),
        Value::List(items) => items.iter_mut().for_each(hide_within),
        Value::Map(entries) => entries.values_mut().for_each(hide_within),
        _ => {}
    }
}

fn is_secret(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").is_some_and(|option| option.as_bool() == Some(true))
}

/// JSON escapes only the control characters below U+0020; a terminal also obeys those above.
fn harmless(json: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter != '\n' && super::table::steers(letter) {
            // Steering characters all lie in the basic plane, so one escape is enough. Writing to a string cannot fail.
            write!(out, "\\u{:04x}", u32::from(letter)).unwrap_or_default();
        } else {
            out.push(letter);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use auth::{LoginResponse, SignIn, TokenPair, VerifyResponse, login_response::Outcome};

    fn signed_in() -> LoginResponse {
        let tokens = TokenPair {
            access_token: "canary-access".to_owned(),
            refresh_token: "ptr_canary".to_owned(),
            session_id: "s1".to_owned(),
            access_expire_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            ..TokenPair::default()
        };
        LoginResponse { outcome: Some(Outcome::SignIn(SignIn { tokens: Some(tokens), ..SignIn::default() })) }
    }

    #[test]
    fn every_printed_message_is_in_the_contract() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        for name in NAMES {
            assert!(pool.get_message_by_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn tokens_are_left_out_unless_asked_for() {
        let hidden = render(&signed_in(), Secrets::Hidden).unwrap();
        assert!(!hidden.contains("canary"), "{hidden}");
        let json: serde_json::Value = serde_json::from_str(&hidden).unwrap();
        let expected = serde_json::json!({
            "signIn": { "tokens": { "sessionId": "s1", "accessExpireTime": "2023-11-14T22:13:20Z" } }
        });
        assert_eq!(json, expected);
        assert!(render(&signed_in(), Secrets::Shown).unwrap().contains("ptr_canary"));
    }

    #[test]
    fn enums_are_names_and_a_terminal_is_not_steered() {
        let mut answer = VerifyResponse { decision: auth::Decision::StepUp.into(), ..VerifyResponse::default() };
        answer.principal = Some(auth::Principal { id: "a\u{9b}31mb\u{202e}c\u{1b}d".to_owned(), ..Default::default() });
        let json = render(&answer, Secrets::Hidden).unwrap();
        assert!(json.contains("\"DECISION_STEP_UP\""), "{json}");
        assert!(json.contains("a\\u009b31mb\\u202ec\\u001bd"), "{json}");
    }
}
