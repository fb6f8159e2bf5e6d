//! The contract as the port serves it, call by call from its own descriptors: nothing is missing, nothing is open, and
//! every permission that a comment names is the one that is demanded.

use std::collections::{BTreeMap, BTreeSet};

use postern::proto::FILE_DESCRIPTOR_SET;
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use prost::Message;
use prost::bytes::{Buf as _, BufMut as _};
use prost_reflect::DescriptorPool;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};

use crate::backstage::{self, Forge, Members, claims, grant, put_role, withdraw};
use crate::support::{Server, everywhere, metadata, reason};

pub(crate) const ADMIN: &str = "postern.admin.v1.AdminService";

/// The client that messages are about, where there is one.
pub(crate) const TARGET: &str = "target-client";

/// An RPC, and the first permission that its comment names.
pub(crate) struct Rpc {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) needs: Option<String>,
}

pub(crate) fn rpcs() -> Vec<Rpc> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut rpcs = Vec::new();
    for service in pool.services().filter(|service| service.full_name().starts_with("postern.")) {
        let file = service.parent_file();
        let comments = file.file_descriptor_proto().source_code_info.clone().unwrap().location;
        for method in service.methods() {
            // On the wire, one message and one answer look alike, streamed or not.
            assert_eq!(method.is_client_streaming() || method.is_server_streaming(), method.name() == "ImportUsers");
            let comment = comments.iter().find(|location| location.path == method.path()).unwrap();
            let mut words = comment.leading_comments().split('`');
            let needs = words.find(|word| word.starts_with("postern:")).map(ToOwned::to_owned);
            rpcs.push(Rpc { service: service.full_name().to_owned(), name: method.name().to_owned(), needs });
        }
    }
    assert!(rpcs.len() >= 32, "{}", rpcs.len());
    rpcs
}

/// Messages as the bytes that they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

pub(crate) async fn call(
    server: &Server,
    service: &str,
    method: &str,
    authorization: Option<&str>,
    message: Vec<u8>,
) -> Result<Vec<u8>, Status> {
    let mut client = tonic::client::Grpc::new(server.channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(message);
    if let Some(authorization) = authorization {
        request.metadata_mut().insert("authorization", authorization.parse().unwrap());
    }
    let path = format!("/{service}/{method}").parse().unwrap();
    Ok(client.unary(request, path, Raw).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_is_there() {
    let server = backstage::server().await;
    for Rpc { service, name, .. } in rpcs() {
        if let Err(status) = call(&server, &service, &name, None, Vec::new()).await {
            assert_ne!(status.code(), Code::Unimplemented, "{name}");
            assert!(!matches!(status.code(), Code::Unknown | Code::Internal), "{name}: {status:?}");
            assert!(!reason(&status).is_empty(), "{name} refuses without a reason: {status:?}");
        }
    }
    // So that the above means something.
    let unknown = call(&server, ADMIN, "BecomeRoot", None, Vec::new()).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
}

/// Every declared reason has its own number and name, and no refusal uses one that is not declared.
#[tokio::test(flavor = "multi_thread")]
async fn every_reason_on_the_wire_is_declared() {
    let server = backstage::server().await;
    for Rpc { service, name, .. } in rpcs() {
        for authorization in [None, Some("Bearer x"), Some("x")] {
            for message in [Vec::new(), vec![0x0a, 0x01, b'x'], vec![0x12, 0x01, b'x']] {
                let Err(status) = call(&server, &service, &name, authorization, message).await else { continue };
                let reason = reason(&status);
                // What is no message at all is refused by the transport, before there is anybody to give a reason.
                if status.code() != Code::Internal {
                    let declared = pb::Reason::from_str_name(&format!("REASON_{reason}"));
                    assert!(declared.is_some_and(|reason| reason != pb::Reason::Unspecified), "{name}: {status:?}");
                }
            }
        }
    }
}

/// Rows 85 and 147: administration is for people who prove themselves; in development too.
#[tokio::test(flavor = "multi_thread")]
async fn administration_is_closed_to_strangers() {
    let server = backstage::server().await;
    let tokens = server.login_admin().await;
    let forge = Forge::of(&server).await;
    let own = Members::of(&claims(&tokens.access_token));
    let now = server.clock.now().secs();
    let other_audience = forge.token(own.clone().with("aud", "[\"orders\"]"));
    let ended = forge.token(own.clone().with("iat", now - 100).with("auth_time", now - 100).with("exp", now - 1));
    let impostor = forge.impostor().token(own);
    let credentials = [
        (None, "TOKEN_INVALID"),
        (Some("Bearer ".to_owned()), "TOKEN_INVALID"),
        (Some("Bearer x".to_owned()), "TOKEN_INVALID"),
        (Some(tokens.access_token.clone()), "TOKEN_INVALID"),
        (Some(format!("Basic {}", tokens.access_token)), "TOKEN_INVALID"),
        (Some(format!("Bearer {}", tokens.refresh_token)), "TOKEN_INVALID"),
        (Some(format!("Bearer {other_audience}")), "TOKEN_INVALID"),
        (Some(format!("Bearer {impostor}")), "TOKEN_INVALID"),
        (Some(format!("Bearer {ended}")), "TOKEN_EXPIRED"),
    ];
    let messages = good_messages("019a8c1e-0000-7000-8000-00000000b7f3", &server.issuer, &forge.kid);
    for rpc in rpcs().iter().filter(|rpc| rpc.service == ADMIN) {
        for (authorization, expected) in &credentials {
            // Neither a good message nor an empty one tells a stranger anything else.
            for message in [messages[rpc.name.as_str()].clone(), Vec::new()] {
                let refused = call(&server, ADMIN, &rpc.name, authorization.as_deref(), message).await.unwrap_err();
                assert_eq!(
                    (refused.code(), reason(&refused).as_str()),
                    (Code::Unauthenticated, *expected),
                    "{}",
                    rpc.name
                );
            }
        }
    }
    server.logout(&tokens.refresh_token).await;
    let bearer = format!("Bearer {}", tokens.access_token);
    let refused = call(&server, ADMIN, "GetServerInfo", Some(&bearer), Vec::new()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "TOKEN_REVOKED"));
}

/// For each RPC of AdminService a message that passes all rules for fields; `user` is whom it is about, `key` which one.
pub(crate) fn good_messages(user: &str, issuer: &str, key: &str) -> BTreeMap<&'static str, Vec<u8>> {
    fn of(message: &impl Message) -> Vec<u8> {
        message.encode_to_vec()
    }
    let id = user.to_owned();
    let role = || admin::Role { id: "harmless".to_owned(), ..Default::default() };
    let check = pb::Check { permission: "orders:read".to_owned(), ..Default::default() };
    let named = |name: &str| Some(admin::User { user_name: name.to_owned(), ..Default::default() });
    let mask = prost_types::FieldMask { paths: vec!["display_name".to_owned()] };
    let client = |id: &str| Some(admin::Client { id: id.to_owned(), ..Default::default() });
    let binding = admin::Binding {
        principal_id: id.clone(),
        role: "harmless".to_owned(),
        scope: everywhere(),
        ..Default::default()
    };
    let whom = Some(admin::get_user_request::Key::Id(id.clone()));
    let whose = Some(admin::explain_access_request::Subject::PrincipalId(id.clone()));
    let with_id = Some(admin::User { id: id.clone(), ..Default::default() });
    BTreeMap::from([
        ("CreateUser", of(&admin::CreateUserRequest { user: named("new"), ..Default::default() })),
        ("GetUser", of(&admin::GetUserRequest { key: whom })),
        ("ListUsers", of(&admin::ListUsersRequest::default())),
        ("UpdateUser", of(&admin::UpdateUserRequest { user: with_id, update_mask: Some(mask.clone()) })),
        ("DisableUser", of(&admin::DisableUserRequest { id: id.clone(), note: String::new() })),
        ("EnableUser", of(&admin::EnableUserRequest { id: id.clone(), note: String::new() })),
        ("DeleteUser", of(&admin::DeleteUserRequest { id: id.clone(), note: String::new() })),
        (
            "SetPassword",
            of(&admin::SetPasswordRequest {
                id: id.clone(),
                password: crate::support::PASSWORD.to_owned(),
                ..Default::default()
            }),
        ),
        ("PutRole", of(&admin::PutRoleRequest { role: Some(role()) })),
        ("GetRole", of(&admin::GetRoleRequest { id: "harmless".to_owned() })),
        ("ListRoles", of(&admin::ListRolesRequest::default())),
        ("DeleteRole", of(&admin::DeleteRoleRequest { id: "nobody-has-it".to_owned(), force: false })),
        ("ApplyPolicy", of(&admin::ApplyPolicyRequest { validate_only: true, ..Default::default() })),
        ("GrantRole", of(&admin::GrantRoleRequest { binding: Some(binding) })),
        (
            "WithdrawRole",
            of(&admin::WithdrawRoleRequest { principal_id: id, role: "harmless".to_owned(), scope: everywhere() }),
        ),
        ("ListBindings", of(&admin::ListBindingsRequest::default())),
        ("CreateClient", of(&admin::CreateClientRequest { client: client("new-client"), with_secret: true })),
        ("ListClients", of(&admin::ListClientsRequest::default())),
        ("UpdateClient", of(&admin::UpdateClientRequest { client: client(TARGET), update_mask: Some(mask.clone()) })),
        ("RotateClientSecret", of(&admin::RotateClientSecretRequest { id: TARGET.to_owned(), overlap: None })),
        ("DeleteClient", of(&admin::DeleteClientRequest { id: "nobody-has-it".to_owned() })),
        ("ListKeys", of(&admin::ListKeysRequest::default())),
        ("RotateKey", of(&admin::RotateKeyRequest::default())),
        ("RetireKey", of(&admin::RetireKeyRequest { id: key.to_owned(), immediately: false })),
        ("ExplainAccess", of(&admin::ExplainAccessRequest { subject: whose, check: Some(check) })),
        ("EndAllSessions", of(&admin::EndAllSessionsRequest { confirm: issuer.to_owned(), note: String::new() })),
        ("ListAuditEvents", of(&admin::ListAuditEventsRequest::default())),
        ("GetServerInfo", of(&admin::GetServerInfoRequest {})),
        ("ImportUsers", of(&admin::ImportUsersRequest { user: named("newcomer"), ..Default::default() })),
    ])
}

/// Row 94: the rules as they are written are the rules as they are kept. Who lacks the permission that the contract names
/// is told so; who holds it and nothing else gets through.
#[tokio::test(flavor = "multi_thread")]
async fn each_rpc_demands_the_permission_that_it_names() {
    let server = backstage::server().await;
    let target = backstage::user(&server, "target").await;
    let kim = backstage::user(&server, "kim").await;
    backstage::client(&server, TARGET).await;
    put_role(&server, "harmless", &[], &[]).await;
    put_role(&server, "one", &[], &[]).await;
    let bearer = format!("Bearer {}", backstage::token(&server, "kim").await);
    let key = Forge::of(&server).await.kid;
    let messages = good_messages(&target.to_string(), &server.issuer, &key);
    let mut rpcs: Vec<Rpc> = rpcs().into_iter().filter(|rpc| rpc.service == ADMIN).collect();
    let names: BTreeSet<&str> = rpcs.iter().map(|rpc| rpc.name.as_str()).collect();
    assert_eq!(names, messages.keys().copied().collect(), "a message for each");
    // Whoever deletes the target, or ends all sessions, leaves nothing to be asked.
    rpcs.sort_by_key(|rpc| (rpc.name == "EndAllSessions", rpc.name == "DeleteUser"));
    let ask =
        async |rpc: &Rpc| call(&server, ADMIN, &rpc.name, Some(&bearer), messages[rpc.name.as_str()].clone()).await;
    let denied = |rpc: &Rpc, answer: Result<Vec<u8>, Status>| {
        let refused = answer.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::PermissionDenied, "PERMISSION_MISSING"),
            "{}",
            rpc.name
        );
        assert_eq!(Some(metadata(&refused, "permission")), rpc.needs, "{}", rpc.name);
    };
    for rpc in &rpcs {
        denied(rpc, ask(rpc).await);
    }
    for rpc in &rpcs {
        let needs = rpc.needs.as_deref().unwrap();
        // All other permissions that there are do not make up for the one.
        let others: Vec<&str> =
            rpcs.iter().filter_map(|other| other.needs.as_deref()).filter(|other| *other != needs).collect();
        let others: Vec<&str> = others.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        put_role(&server, "one", &others, &[]).await;
        grant(&server, kim, "one", "").await;
        denied(rpc, ask(rpc).await);
        // Held in a tenant, it is not held everywhere.
        put_role(&server, "one", &[needs], &[]).await;
        withdraw(&server, kim, "one", "").await;
        grant(&server, kim, "one", "acme").await;
        denied(rpc, ask(rpc).await);
        withdraw(&server, kim, "one", "acme").await;
        grant(&server, kim, "one", "").await;
        let answer = ask(rpc).await;
        assert!(answer.is_ok(), "{}: {answer:?}", rpc.name);
        withdraw(&server, kim, "one", "").await;
    }
}

/// Row 89: what the contract does not have is passed over, whatever it is called elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_in_the_contract_means_nothing() {
    let server = backstage::server().await;
    let token = server.login_admin().await.access_token;
    let target = backstage::user(&server, "target").await;
    put_role(&server, "harmless", &[], &[]).await;
    // A text and a number in every place that a later version may give a meaning.
    let more: Vec<u8> = (20..40_u32)
        .flat_map(|tag| {
            let mut bytes = Vec::new();
            prost::encoding::string::encode(tag, &"postern.admin".to_owned(), &mut bytes);
            prost::encoding::uint64::encode(tag + 100, &1, &mut bytes);
            bytes
        })
        .collect();
    let bearer = format!("Bearer {token}");
    let messages = good_messages(&target.to_string(), &server.issuer, "no-such-key");
    for (name, message) in messages.into_iter().filter(|(name, _)| *name != "EndAllSessions") {
        // Idempotent or not, in this order each of them succeeds but those that come after the deletion.
        let answer = call(&server, ADMIN, name, Some(&bearer), [message, more.clone()].concat()).await;
        assert!(answer.is_ok() || reason(&answer.unwrap_err()) == "NOT_FOUND", "{name}");
    }
    backstage::user(&server, "kim").await;
    let login = crate::support::login_request("kim", crate::support::PASSWORD).encode_to_vec();
    let message = [login, more].concat();
    let answer = call(&server, "postern.auth.v1.AuthService", "Login", None, message).await.unwrap();
    let Some(pb::login_response::Outcome::SignIn(sign_in)) = pb::LoginResponse::decode(&*answer).unwrap().outcome
    else {
        panic!("no outcome")
    };
    let claims = claims(&sign_in.tokens.unwrap().access_token);
    assert_eq!((&claims["roles"], &claims["amr"]), (&serde_json::json!({}), &serde_json::json!(["pwd"])));
}
