//! One call of every RPC that there is, from the contract itself, so that a new one cannot be forgotten: a request that
//! changes nothing of importance, may be repeated, and reaches as far as it can.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use postern::proto::account::v1 as account;
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use postern_rig::providers::{ADMIN_KEY, kakao_notice};
use prost::Message;
use prost_reflect::DescriptorPool;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::cast::{CLIENT, GUEST, PROVIDER, People, ROLE, SUBJECT};
use crate::raw;
use crate::support::{PASSWORD, Server, everywhere, login_request, reason};

/// An RPC as the contract has it.
#[derive(Clone, Debug)]
pub(crate) struct Rpc {
    pub(crate) service: String,
    pub(crate) name: String,
}

pub(crate) fn every_rpc() -> Vec<Rpc> {
    let pool = DescriptorPool::decode(postern::proto::FILE_DESCRIPTOR_SET).unwrap();
    let services = pool.services().filter(|service| service.full_name().starts_with("postern."));
    let rpcs: Vec<Rpc> = services
        .flat_map(|service| {
            let rpcs: Vec<Rpc> = service
                .methods()
                .map(|method| Rpc { service: service.full_name().to_owned(), name: method.name().to_owned() })
                .collect();
            rpcs
        })
        .collect();
    assert!(rpcs.len() >= 35, "{}", rpcs.len());
    rpcs
}

/// An answer, and how long it took.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) code: Code,
    pub(super) reason: String,
    pub(super) status: Status,
    pub(super) took: Duration,
}

/// One that nobody and nothing has.
fn fresh(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn verify(people: &People) -> pb::VerifyRequest {
    pb::VerifyRequest { access_token: people.tokens.access_token.clone(), ..Default::default() }
}

fn is_of_providers(rpc: &str) -> bool {
    rpc.starts_with("OAuth") || rpc.contains("Identit") || rpc == "ListProviders"
}

fn provider_request(rpc: &str, people: &People) -> Vec<u8> {
    match rpc {
        "ListProviders" => bytes(&pb::ListProvidersRequest {}),
        "OAuthStart" => bytes(&pb::OAuthStartRequest { provider: PROVIDER.into(), ..Default::default() }),
        "OAuthExchange" => {
            // Not who began, so that the flow stays.
            let code = provider_code(people);
            let proof = Some(pb::o_auth_exchange_request::Proof::ProviderCode(code));
            bytes(&pb::OAuthExchangeRequest { proof, ..Default::default() })
        }
        "OAuthUnlink" => {
            let (authorization, parameters) = kakao_notice(ADMIN_KEY, SUBJECT);
            let parameters = parameters.into_iter().collect();
            bytes(&pb::OAuthUnlinkRequest { provider: PROVIDER.into(), authorization, parameters })
        }
        "ListIdentities" => bytes(&account::ListIdentitiesRequest { access_token: people.tokens.access_token.clone() }),
        "LinkIdentity" => bytes(&account::LinkIdentityRequest {
            access_token: people.tokens.access_token.clone(),
            proof: Some(account::link_identity_request::Proof::ProviderCode(provider_code(people))),
            device: None,
        }),
        "UnlinkIdentity" => bytes(&account::UnlinkIdentityRequest {
            access_token: people.tokens.access_token.clone(),
            provider: PROVIDER.into(),
            subject: "nobody".into(),
            device: None,
        }),
        other => panic!("no request for {other}"),
    }
}

fn provider_code(people: &People) -> pb::ProviderCode {
    pb::ProviderCode {
        provider: PROVIDER.into(),
        code: "code".into(),
        state: people.state.clone(),
        flow_secret: "not it".into(),
        ..Default::default()
    }
}

fn bytes(message: &impl Message) -> Vec<u8> {
    message.encode_to_vec()
}

pub(crate) fn request(rpc: &Rpc, people: &People) -> Vec<u8> {
    let ward = people.ward.clone();
    let nobody = "01890000-0000-7000-8000-000000000000".to_owned();
    let role = || admin::Role { id: ROLE.into(), patterns: vec!["outage:probe".into()], ..Default::default() };
    let client = |id: String| admin::Client { id, display_name: fresh("probe"), ..Default::default() };
    let mask = |path: &str| Some(prost_types::FieldMask { paths: vec![path.to_owned()] });
    match rpc.name.as_str() {
        name if is_of_providers(name) => provider_request(name, people),
        "Login" => bytes(&login_request(GUEST, PASSWORD)),
        "CompleteChallenge" => {
            // The old password again: looked at like any other, and the challenge stays.
            let answer = Some(pb::complete_challenge_request::Answer::NewPassword(PASSWORD.to_owned()));
            let challenge_token = people.challenge.clone();
            bytes(&pb::CompleteChallengeRequest { challenge_token, answer, ..Default::default() })
        }
        "ExchangeToken" => bytes(&crate::exchange::request(&crate::exchange::token(SUBJECT))),
        "Refresh" => {
            bytes(&pb::RefreshRequest { refresh_token: people.tokens.refresh_token.clone(), ..Default::default() })
        }
        "Verify" => bytes(&verify(people)),
        "BatchVerify" => bytes(&pb::BatchVerifyRequest { requests: vec![verify(people), verify(people)] }),
        "ListSessions" => bytes(&pb::ListSessionsRequest {
            access_token: people.tokens.access_token.clone(),
            show_ended: true,
            ..Default::default()
        }),
        "Revoke" => {
            let target = pb::revoke_request::Target::RefreshToken(people.spare.refresh_token.clone());
            bytes(&pb::RevokeRequest { target: Some(target), ..Default::default() })
        }
        "GetKeys" => bytes(&pb::GetKeysRequest {}),
        "CreateUser" => bytes(&admin::CreateUserRequest {
            user: Some(admin::User { user_name: fresh("made"), ..Default::default() }),
            password: PASSWORD.to_owned(),
            ..Default::default()
        }),
        "GetUser" => bytes(&admin::GetUserRequest { key: Some(admin::get_user_request::Key::Id(ward)) }),
        "ListUsers" => bytes(&admin::ListUsersRequest::default()),
        "UpdateUser" => bytes(&admin::UpdateUserRequest {
            user: Some(admin::User { id: ward, display_name: fresh("ward"), ..Default::default() }),
            update_mask: mask("display_name"),
        }),
        "DisableUser" => bytes(&admin::DisableUserRequest { id: ward, ..Default::default() }),
        "EnableUser" => bytes(&admin::EnableUserRequest { id: ward, ..Default::default() }),
        "DeleteUser" => bytes(&admin::DeleteUserRequest { id: nobody, ..Default::default() }),
        "ChangePassword" => bytes(&account::ChangePasswordRequest {
            access_token: people.tokens.access_token.clone(),
            current_password: PASSWORD.to_owned(),
            // The old one, so that it may be repeated.
            new_password: PASSWORD.to_owned(),
        }),
        "SetPassword" => {
            bytes(&admin::SetPasswordRequest { id: ward, password: PASSWORD.to_owned(), ..Default::default() })
        }
        "PutRole" => bytes(&admin::PutRoleRequest { role: Some(role()) }),
        "GetRole" => bytes(&admin::GetRoleRequest { id: ROLE.into() }),
        "ListRoles" => bytes(&admin::ListRolesRequest::default()),
        "DeleteRole" => bytes(&admin::DeleteRoleRequest { id: "outage-nothing".into(), force: false }),
        "ApplyPolicy" => {
            bytes(&admin::ApplyPolicyRequest { roles: vec![role()], validate_only: true, ..Default::default() })
        }
        "GrantRole" => bytes(&admin::GrantRoleRequest {
            binding: Some(admin::Binding {
                principal_id: ward,
                role: "postern.backend".into(),
                scope: everywhere(),
                ..Default::default()
            }),
        }),
        "WithdrawRole" => bytes(&admin::WithdrawRoleRequest {
            principal_id: ward,
            role: "postern.backend".into(),
            scope: everywhere(),
        }),
        "ListBindings" => bytes(&admin::ListBindingsRequest::default()),
        "CreateClient" => bytes(&admin::CreateClientRequest { client: Some(client(fresh("made"))), with_secret: true }),
        "ListClients" => bytes(&admin::ListClientsRequest::default()),
        "UpdateClient" => bytes(&admin::UpdateClientRequest {
            client: Some(client(CLIENT.to_owned())),
            update_mask: mask("display_name"),
        }),
        "RotateClientSecret" => bytes(&admin::RotateClientSecretRequest { id: CLIENT.to_owned(), overlap: None }),
        "DeleteClient" => bytes(&admin::DeleteClientRequest { id: "outage-nothing".into() }),
        "ListKeys" => bytes(&admin::ListKeysRequest::default()),
        "RotateKey" => bytes(&admin::RotateKeyRequest::default()),
        "RetireKey" => bytes(&admin::RetireKeyRequest { id: "outage-nothing".into(), immediately: false }),
        "ExplainAccess" => bytes(&admin::ExplainAccessRequest {
            subject: Some(admin::explain_access_request::Subject::PrincipalId(ward)),
            check: Some(pb::Check { permission: "outage:probe".into(), tenant: String::new() }),
        }),
        "EndAllSessions" => {
            bytes(&admin::EndAllSessionsRequest { confirm: people.issuer.clone(), ..Default::default() })
        }
        "ListAuditEvents" => bytes(&admin::ListAuditEventsRequest::default()),
        "GetServerInfo" => bytes(&admin::GetServerInfoRequest {}),
        "ImportUsers" => {
            let user = admin::User { external_id: "outage-newcomer".into(), ..Default::default() };
            bytes(&admin::ImportUsersRequest { user: Some(user), validate_only: true, ..Default::default() })
        }
        other => panic!("say here how {other} is called, and in contract.rs what it does in an outage"),
    }
}

/// What an RPC answers while all is well: done, or that there was nothing to do.
pub(super) fn is_well(rpc: &Rpc, code: Code) -> bool {
    let other = match rpc.name.as_str() {
        // The password is the old one.
        "CompleteChallenge" | "ChangePassword" => Code::InvalidArgument,
        "DeleteRole" | "DeleteClient" | "RetireKey" | "UnlinkIdentity" => Code::NotFound,
        // The flow is somebody else's.
        "OAuthExchange" | "LinkIdentity" => Code::Unauthenticated,
        // One rotation at a time.
        "RotateKey" => Code::FailedPrecondition,
        _ => Code::Ok,
    };
    code == Code::Ok || code == other
}

#[expect(clippy::disallowed_methods, reason = "measures the server")]
pub(super) async fn call(server: &Server, rpc: &Rpc, people: &People) -> Answered {
    let path = format!("/{}/{}", rpc.service, rpc.name);
    let authorization = format!("Bearer {}", people.admin);
    let by_trader = format!("Bearer {}", crate::exchange::TRADER_SECRET);
    let headers = match rpc.name.as_str() {
        "ExchangeToken" => vec![("authorization", by_trader.as_str())],
        _ if rpc.service.contains("Admin") => vec![("authorization", authorization.as_str())],
        _ => Vec::new(),
    };
    let body = raw::frame(&request(rpc, people));
    let began = Instant::now();
    let answer = raw::call(&server.channel, &path, &headers, body).await.unwrap();
    let took = began.elapsed();
    let status = answer.status();
    Answered { code: answer.code, reason: reason(&status), status, took }
}

/// An outage as a caller must see it: when to come back, in both ways that callers read.
pub(super) fn says_when(rpc: &Rpc, answered: &Answered) {
    let status = &answered.status;
    let told = status.get_error_details().retry_info().and_then(|info| info.retry_delay);
    let told = told.unwrap_or_else(|| panic!("{}: no RetryInfo in {status:?}", rpc.name));
    let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap();
    let millis: i64 = pushback.parse().unwrap();
    assert!(!told.is_zero() && told < Duration::from_secs(5), "{}: {told:?}", rpc.name);
    // -1 where it may have been done, and must not be repeated by a machine.
    assert!(millis == -1 || u128::try_from(millis) == Ok(told.as_millis()), "{}: {pushback} and {told:?}", rpc.name);
    assert!(
        millis > 0 || !matches!(rpc.name.as_str(), "Refresh" | "Revoke" | "ListSessions" | "Verify"),
        "{}",
        rpc.name
    );
}
