use super::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use std::{collections::BTreeSet, fmt::Debug};

const SECRET: &str = "canary-in-the-mine";
const OPEN: &str = "anybody-may-read-this";
/// More than any oneof has arms.
const ARMS: usize = 8;

/// Every message of the contract as a name and its way through `Debug`. The compiler offers no list of types, so this
/// one is written out; a message that it lacks fails `the_table_is_complete`.
macro_rules! printers {
    ($($package:ident { $($message:ident)* })*) => {
        &[$($((concat!("postern.", stringify!($package), ".v1.", stringify!($message)),
            print::<super::$package::v1::$message>)),*),*]
    };
}

type Printer = fn(&[u8]) -> [String; 2];

const PRINTERS: &[(&str, Printer)] = printers! {
    auth {
        LoginRequest LoginResponse CompleteChallengeRequest CompleteChallengeResponse Challenge PasswordCredential Device TokenOptions SignIn TokenPair RefreshRequest RefreshResponse
        VerifyRequest VerifyResponse Refusal Check Verdict Grant Assurance Principal RoleInTenant Freshness
        BatchVerifyRequest BatchVerifyResponse ListSessionsRequest ListSessionsResponse Session RevokeRequest
        UserSessions RevokeResponse GetKeysRequest GetKeysResponse
        ListProvidersRequest ListProvidersResponse Provider OAuthStartRequest OAuthStartResponse
        OAuthExchangeRequest OAuthExchangeResponse ProviderCode HandoffCode ProviderIdToken Handoff ProviderProfile
        OAuthUnlinkRequest OAuthUnlinkResponse ExchangeTokenRequest ExchangeTokenResponse
    }
    account {
        ChangePasswordRequest ChangePasswordResponse Identity ListIdentitiesRequest ListIdentitiesResponse LinkIdentityRequest LinkIdentityResponse
        UnlinkIdentityRequest UnlinkIdentityResponse
    }
    admin {
        User CreateUserRequest CreateUserResponse GetUserRequest GetUserResponse ListUsersRequest ListUsersResponse
        UpdateUserRequest UpdateUserResponse DisableUserRequest DisableUserResponse EnableUserRequest
        EnableUserResponse DeleteUserRequest DeleteUserResponse SetPasswordRequest SetPasswordResponse Role
        PutRoleRequest PutRoleResponse GetRoleRequest GetRoleResponse ListRolesRequest ListRolesResponse
        DeleteRoleRequest DeleteRoleResponse ApplyPolicyRequest ApplyPolicyResponse Scope Binding GrantRoleRequest
        GrantRoleResponse WithdrawRoleRequest WithdrawRoleResponse ListBindingsRequest ListBindingsResponse Client SessionPolicy
        CreateClientRequest CreateClientResponse ListClientsRequest ListClientsResponse UpdateClientRequest
        UpdateClientResponse RotateClientSecretRequest RotateClientSecretResponse DeleteClientRequest
        DeleteClientResponse Key
        ListKeysRequest ListKeysResponse RotateKeyRequest RotateKeyResponse RetireKeyRequest RetireKeyResponse
        ExplainAccessRequest ExplainAccessResponse ExplainStep EndAllSessionsRequest
        EndAllSessionsResponse ListAuditEventsRequest ListAuditEventsResponse AuditEvent GetServerInfoRequest
        GetServerInfoResponse ImportUsersRequest ImportedIdentity RoleScope ImportUsersResponse
    }
};

fn print<M: Message + Default + Debug>(wire: &[u8]) -> [String; 2] {
    let message = M::decode(wire).expect("a message of this very type");
    [format!("{message:?}"), format!("{message:#?}")]
}

fn contract() -> DescriptorPool {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("our own descriptors")
}

fn is_secret(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").is_some_and(|option| option.as_bool() == Some(true))
}

/// What was put into a message.
#[derive(Default)]
struct Planted {
    secret: usize,
    open: usize,
}

/// A message with a canary in every string. `arm` chooses among the arms of each oneof.
fn filled(descriptor: &MessageDescriptor, arm: usize, planted: &mut Planted) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let chosen = field.containing_oneof().is_none_or(|oneof| {
            let arms: Vec<FieldDescriptor> = oneof.fields().collect();
            assert!(arms.len() <= ARMS, "{} needs more rounds", oneof.full_name());
            arms[arm % arms.len()] == field
        });
        // What a map holds is no field of the contract.
        if chosen && !field.is_map() {
            let value = canary(&field, arm, planted);
            message.set_field(&field, if field.is_list() { Value::List(vec![value]) } else { value });
        }
    }
    message
}

fn canary(field: &FieldDescriptor, arm: usize, planted: &mut Planted) -> Value {
    match field.kind() {
        Kind::String if is_secret(field) => {
            planted.secret += 1;
            Value::String(SECRET.to_owned())
        }
        Kind::String => {
            planted.open += 1;
            Value::String(OPEN.to_owned())
        }
        Kind::Message(inner) => Value::Message(filled(&inner, arm, planted)),
        // A secret of another kind would need its own canary here, for example one that survives as a list of bytes.
        other => {
            assert!(!is_secret(field), "{} is a secret of a kind this test cannot plant: {other:?}", field.full_name());
            Value::default_value(&other)
        }
    }
}

#[test]
fn the_table_is_complete() {
    let declared: BTreeSet<String> = contract()
        .all_messages()
        // No type of its own in Rust.
        .filter(|message| !message.is_map_entry())
        .map(|message| message.full_name().to_owned())
        .filter(|name| name.starts_with("postern."))
        .collect();
    let listed: BTreeSet<String> = PRINTERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(declared, listed);
}

#[test]
fn no_message_prints_a_secret() {
    let contract = contract();
    let mut secrets = 0;
    for (name, printer) in PRINTERS {
        let descriptor = contract.get_message_by_name(name).expect("a message of the contract");
        for arm in 0..ARMS {
            let mut planted = Planted::default();
            let wire = filled(&descriptor, arm, &mut planted).encode_to_vec();
            for text in printer(&wire) {
                assert!(!text.contains(SECRET), "{name} prints a secret: {text}");
                assert_eq!(text.matches("[redacted]").count(), planted.secret, "{text}");
                assert_eq!(text.matches(OPEN).count(), planted.open, "{text}");
            }
            secrets += planted.secret;
        }
    }
    // A descriptor set that lost its options would make everything above true of nothing.
    assert!(secrets > 0, "the contract marks no secret at all");
}

#[test]
fn an_absent_secret_is_visibly_absent() {
    for (name, printer) in PRINTERS {
        for text in printer(&[]) {
            assert!(!text.contains("[redacted]"), "{name}: {text}");
        }
    }
    let empty = super::auth::v1::PasswordCredential::default();
    assert_eq!(format!("{empty:?}"), r#"PasswordCredential { identifier: "", password: "" }"#);
}

#[test]
fn every_name_that_speaks_of_a_secret_is_marked() {
    let unmarked: Vec<String> = contract()
        .all_messages()
        .filter(|message| message.full_name().starts_with("postern."))
        .flat_map(|message| message.fields().collect::<Vec<_>>())
        .filter(|field| matches!(field.kind(), Kind::String | Kind::Bytes) && !is_secret(field))
        .map(|field| field.full_name().to_owned())
        .filter(|name| ["password", "secret", "access_token", "refresh_token"].iter().any(|word| name.contains(word)))
        .collect();
    assert!(unmarked.is_empty(), "add [debug_redact = true] to {unmarked:?}");
}
