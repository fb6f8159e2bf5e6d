//! AdminService: messages into values, a use case of `auth::admin`, values into messages. Not one decision is made here.
//! The caller is a person, and what is wrong with their token is `UNAUTHENTICATED`; or a client, by its own proof.

mod audit;
mod bindings;
mod clients;
mod import;
mod keys;
mod roles;
mod server;
mod users;

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};

use crate::auth::Auth;
use crate::auth::admin::caller::Caller;
use crate::auth::error::AuthError;
use crate::grpc::callers;
use crate::grpc::status::{Repeat, refuse};
use crate::proto::admin::v1::admin_service_server::AdminService;
use crate::proto::admin::v1::{
    ApplyPolicyRequest, ApplyPolicyResponse, CreateClientRequest, CreateClientResponse, CreateUserRequest,
    CreateUserResponse, DeleteClientRequest, DeleteClientResponse, DeleteRoleRequest, DeleteRoleResponse,
    DeleteUserRequest, DeleteUserResponse, DisableUserRequest, DisableUserResponse, EnableUserRequest,
    EnableUserResponse, EndAllSessionsRequest, EndAllSessionsResponse, ExplainAccessRequest, ExplainAccessResponse,
    GetRoleRequest, GetRoleResponse, GetServerInfoRequest, GetServerInfoResponse, GetUserRequest, GetUserResponse,
    GrantRoleRequest, GrantRoleResponse, ImportUsersRequest, ListAuditEventsRequest, ListAuditEventsResponse,
    ListBindingsRequest, ListBindingsResponse, ListClientsRequest, ListClientsResponse, ListKeysRequest,
    ListKeysResponse, ListRolesRequest, ListRolesResponse, ListUsersRequest, ListUsersResponse, PutRoleRequest,
    PutRoleResponse, RetireKeyRequest, RetireKeyResponse, RotateClientSecretRequest, RotateClientSecretResponse,
    RotateKeyRequest, RotateKeyResponse, SetPasswordRequest, SetPasswordResponse, UpdateClientRequest,
    UpdateClientResponse, UpdateUserRequest, UpdateUserResponse, WithdrawRoleRequest, WithdrawRoleResponse,
};

const PAGE_SIZE_MAX: u32 = 500;

/// The service over the use cases.
pub(super) struct AdminDoor {
    auth: Arc<Auth>,
}

impl AdminDoor {
    pub(super) fn new(auth: Arc<Auth>) -> Self {
        Self { auth }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AdminService for AdminDoor {
    async fn create_user(&self, request: Request<CreateUserRequest>) -> Answer<CreateUserResponse> {
        let repeat = if request.get_ref().request_id.is_empty() { Repeat::Unsafe } else { Repeat::Safe };
        answer(users::create(&self.auth, request).await, repeat)
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Answer<GetUserResponse> {
        answer(users::get(&self.auth, request).await, Repeat::Safe)
    }

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Answer<ListUsersResponse> {
        answer(users::list(&self.auth, request).await, Repeat::Safe)
    }

    async fn update_user(&self, request: Request<UpdateUserRequest>) -> Answer<UpdateUserResponse> {
        answer(users::update(&self.auth, request).await, Repeat::Unsafe)
    }

    async fn disable_user(&self, request: Request<DisableUserRequest>) -> Answer<DisableUserResponse> {
        answer(users::disable(&self.auth, request).await, Repeat::Safe)
    }

    async fn enable_user(&self, request: Request<EnableUserRequest>) -> Answer<EnableUserResponse> {
        answer(users::enable(&self.auth, request).await, Repeat::Safe)
    }

    async fn delete_user(&self, request: Request<DeleteUserRequest>) -> Answer<DeleteUserResponse> {
        answer(users::delete(&self.auth, request).await, Repeat::Safe)
    }

    async fn set_password(&self, request: Request<SetPasswordRequest>) -> Answer<SetPasswordResponse> {
        // A second time, it would end the sessions that were opened with the new password since.
        answer(users::set_password(&self.auth, request).await, Repeat::Unsafe)
    }

    async fn put_role(&self, request: Request<PutRoleRequest>) -> Answer<PutRoleResponse> {
        answer(roles::put(&self.auth, request).await, Repeat::Safe)
    }

    async fn get_role(&self, request: Request<GetRoleRequest>) -> Answer<GetRoleResponse> {
        answer(roles::get(&self.auth, request).await, Repeat::Safe)
    }

    async fn list_roles(&self, request: Request<ListRolesRequest>) -> Answer<ListRolesResponse> {
        answer(roles::list(&self.auth, request).await, Repeat::Safe)
    }

    async fn delete_role(&self, request: Request<DeleteRoleRequest>) -> Answer<DeleteRoleResponse> {
        answer(roles::delete(&self.auth, request).await, Repeat::Safe)
    }

    async fn apply_policy(&self, request: Request<ApplyPolicyRequest>) -> Answer<ApplyPolicyResponse> {
        answer(roles::apply(&self.auth, request).await, Repeat::Safe)
    }

    async fn grant_role(&self, request: Request<GrantRoleRequest>) -> Answer<GrantRoleResponse> {
        answer(bindings::grant(&self.auth, request).await, Repeat::Safe)
    }

    async fn withdraw_role(&self, request: Request<WithdrawRoleRequest>) -> Answer<WithdrawRoleResponse> {
        answer(bindings::withdraw(&self.auth, request).await, Repeat::Safe)
    }

    async fn list_bindings(&self, request: Request<ListBindingsRequest>) -> Answer<ListBindingsResponse> {
        answer(bindings::list(&self.auth, request).await, Repeat::Safe)
    }

    async fn create_client(&self, request: Request<CreateClientRequest>) -> Answer<CreateClientResponse> {
        answer(clients::create(&self.auth, request).await, Repeat::Unsafe)
    }

    async fn list_clients(&self, request: Request<ListClientsRequest>) -> Answer<ListClientsResponse> {
        answer(clients::list(&self.auth, request).await, Repeat::Safe)
    }

    async fn update_client(&self, request: Request<UpdateClientRequest>) -> Answer<UpdateClientResponse> {
        answer(clients::update(&self.auth, request).await, Repeat::Unsafe)
    }

    async fn rotate_client_secret(
        &self,
        request: Request<RotateClientSecretRequest>,
    ) -> Answer<RotateClientSecretResponse> {
        // A second time, it would end the secret that the client may be using by now.
        answer(clients::rotate_secret(&self.auth, request).await, Repeat::Unsafe)
    }

    async fn delete_client(&self, request: Request<DeleteClientRequest>) -> Answer<DeleteClientResponse> {
        answer(clients::delete(&self.auth, request).await, Repeat::Safe)
    }

    async fn list_keys(&self, request: Request<ListKeysRequest>) -> Answer<ListKeysResponse> {
        answer(keys::list(&self.auth, request).await, Repeat::Safe)
    }

    async fn rotate_key(&self, request: Request<RotateKeyRequest>) -> Answer<RotateKeyResponse> {
        // A second one is refused while the first key waits, but not for ever.
        answer(keys::rotate(&self.auth, request).await, Repeat::Unsafe)
    }

    async fn retire_key(&self, request: Request<RetireKeyRequest>) -> Answer<RetireKeyResponse> {
        answer(keys::retire(&self.auth, request).await, Repeat::Safe)
    }

    async fn explain_access(&self, request: Request<ExplainAccessRequest>) -> Answer<ExplainAccessResponse> {
        answer(server::explain(&self.auth, request).await, Repeat::Safe)
    }

    async fn end_all_sessions(&self, request: Request<EndAllSessionsRequest>) -> Answer<EndAllSessionsResponse> {
        answer(server::end_all_sessions(&self.auth, request).await, Repeat::Safe)
    }

    async fn list_audit_events(&self, request: Request<ListAuditEventsRequest>) -> Answer<ListAuditEventsResponse> {
        answer(audit::list(&self.auth, request).await, Repeat::Safe)
    }

    async fn get_server_info(&self, request: Request<GetServerInfoRequest>) -> Answer<GetServerInfoResponse> {
        answer(server::info(&self.auth, &request), Repeat::Safe)
    }

    type ImportUsersStream = import::Answers;

    async fn import_users(
        &self,
        request: Request<Streaming<ImportUsersRequest>>,
    ) -> Result<Response<import::Answers>, Status> {
        import::run(&self.auth, request).map(Response::new)
    }
}

/// Who calls. Before the message is looked at: a stranger learns nothing of what would be right.
fn admit<T>(auth: &Auth, request: &Request<T>) -> Result<Caller, AuthError> {
    callers::administrator(auth, request)
}

fn answer<T>(result: Result<T, AuthError>, repeat: Repeat) -> Answer<T> {
    result.map(Response::new).map_err(|error| refuse(&error, repeat))
}
