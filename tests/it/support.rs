//! A real server on free ports over real engines, and the few calls that every test makes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postern::app::{App, FirstPassword, InitialPassword, StartError};
use postern::auth::Auth;
use postern::clock::Clock;
use postern::config::{Config, SecretSource};
use postern::listener::Patience;
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use postern::tls::ServerTls;
use secrecy::ExposeSecret as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use pb::auth_service_client::AuthServiceClient;

use crate::database::Database;
use crate::engines::Home;

pub(crate) type Answer<T> = Result<T, Status>;

/// A password that every rule accepts.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A running server. It stops with this value.
pub(crate) struct Server {
    pub(crate) auth: Arc<Auth>,
    pub(crate) clock: Clock,
    pub(crate) grpc: SocketAddr,
    /// Where administration has a port of its own.
    pub(crate) admin_port: Option<SocketAddr>,
    pub(crate) operations: SocketAddr,
    /// Where browsers find it.
    pub(crate) gateway: Option<String>,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) issuer: String,
    pub(crate) admin_password: Option<String>,
    /// In clear text; without use on a server with TLS.
    pub(crate) channel: Channel,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
    home: Arc<Home>,
}

impl Server {
    /// A server on a new data directory.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_config| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(Arc::new(Home::new()), Clock::default(), change).await
    }

    /// A server that hashes in no time and polls often, for tests that are not about either.
    pub(crate) async fn quick() -> Self {
        Self::start_with(quick).await
    }

    pub(crate) async fn start_on(home: Arc<Home>, clock: Clock, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_all(home, clock, Patience::default(), change).await
    }

    /// A quick server that waits for peers no longer than this.
    pub(crate) async fn impatient(patience: Patience, change: impl FnOnce(&mut Config)) -> Self {
        let change = |config: &mut Config| {
            quick(config);
            change(config);
        };
        Self::start_all(Arc::new(Home::new()), Clock::default(), patience, change).await
    }

    async fn start_all(home: Arc<Home>, clock: Clock, patience: Patience, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = home.config();
        change(&mut config);
        let mut app = start_once_free(config, &clock).await.unwrap();
        app.patience = patience;
        let (auth, tls, report) = (Arc::clone(&app.auth), app.tls(), &app.report);
        let admin_port = report.admin;
        let (grpc, operations, issuer) = (report.grpc, report.operations, report.issuer.clone());
        let gateway = report.gateway.clone();
        let admin_password = report.administrator.as_ref().map(|made| match &made.password {
            InitialPassword::Shown(password) => password.expose_secret().to_owned(),
            InitialPassword::InFile(path) => panic!("written to {}", path.display()),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        #[expect(clippy::disallowed_methods, reason = "it is the server that is spawned; `stop` waits for it")]
        let task = tokio::task::spawn(async move {
            Box::pin(app.run(async move { drop(stopped.await) })).await.unwrap();
        });
        let channel = match &tls {
            Some(_) => Channel::from_shared(format!("http://{grpc}")).unwrap().connect_lazy(),
            None => connect(grpc).await,
        };
        let (stop, task) = (Some(stop), Some(task));
        Self {
            auth,
            clock,
            grpc,
            admin_port,
            operations,
            gateway,
            tls,
            issuer,
            admin_password,
            channel,
            stop,
            task,
            home,
        }
    }

    /// Stops it and starts another on the same data.
    pub(crate) async fn restart(self) -> Self {
        self.restart_with(|_config| {}).await
    }

    pub(crate) async fn restart_with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        let (home, clock) = (Arc::clone(&self.home), self.clock.clone());
        let admin_password = self.admin_password.take();
        self.stop().await;
        Self { admin_password, ..Self::start_on(home, clock, change).await }
    }

    /// A second server over the same engines and master key, with a data directory of its own, as a replica is.
    pub(crate) async fn replica(&self) -> Self {
        self.replica_with(quick).await
    }

    pub(crate) async fn replica_with(&self, change: impl FnOnce(&mut Config)) -> Self {
        let key = self.data_dir().join("master.key");
        let change = |config: &mut Config| {
            change(config);
            config.keys.master = SecretSource::File(key);
        };
        let home = Arc::new(Home::sharing(Arc::clone(&self.home.engines)));
        let replica = Self::start_on(home, self.clock.clone(), change).await;
        Self { admin_password: self.admin_password.clone(), ..replica }
    }

    pub(crate) async fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
    }

    pub(crate) fn data_dir(&self) -> std::path::PathBuf {
        self.home.data()
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// A look behind its back.
    pub(crate) async fn database(&self) -> Database {
        self.home.database().await
    }

    pub(crate) fn client(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.channel.clone())
    }

    /// AdminService on behalf of the person whose access token this is.
    pub(crate) fn admin(&self, access_token: &str) -> Admin {
        Admin { channel: self.channel.clone(), authorization: format!("Bearer {access_token}") }
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Moves the clock ahead, and waits until the feed has noticed: a verifier that slept refuses until then.
    pub(crate) async fn later(&self, by: Duration) {
        self.advance(by);
        while self.client().verify(pb::VerifyRequest::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn login(&self, identifier: &str, password: &str) -> Answer<pb::SignIn> {
        let answer = self.client().login(login_request(identifier, password)).await?.into_inner();
        match answer.outcome {
            Some(pb::login_response::Outcome::SignIn(sign_in)) => Ok(sign_in),
            _ => panic!("no sign-in"),
        }
    }

    /// Signs the first administrator in.
    pub(crate) async fn login_admin(&self) -> pb::TokenPair {
        let password = self.admin_password.clone().expect("this test saw the first start");
        self.login("admin", &password).await.unwrap().tokens.unwrap()
    }

    /// Creates a user with [`PASSWORD`]; answers the id.
    pub(crate) async fn create_user(&self, admin_token: &str, user_name: &str) -> String {
        let request = admin::CreateUserRequest {
            user: Some(admin::User { user_name: user_name.to_owned(), ..Default::default() }),
            password: PASSWORD.to_owned(),
            ..Default::default()
        };
        self.admin(admin_token).create_user(request).await.unwrap().user.unwrap().id
    }

    /// A new user, signed in: the administrator's access token, the user's id and tokens.
    pub(crate) async fn someone(&self) -> Someone {
        let admin = self.login_admin().await.access_token;
        let id = self.create_user(&admin, "kim").await;
        let tokens = self.login("kim", PASSWORD).await.unwrap().tokens.unwrap();
        Someone { admin, id, tokens }
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Answer<pb::RefreshResponse> {
        let request = pb::RefreshRequest { refresh_token: refresh_token.to_owned(), ..Default::default() };
        Ok(self.client().refresh(request).await?.into_inner())
    }

    pub(crate) async fn verify(&self, access_token: &str) -> pb::VerifyResponse {
        self.verify_with(pb::VerifyRequest { access_token: access_token.to_owned(), ..Default::default() })
            .await
            .unwrap()
    }

    /// Whether the holder of the token may do `permission`, in `tenant` or everywhere.
    pub(crate) async fn may(&self, access_token: &str, permission: &str, tenant: &str) -> pb::VerifyResponse {
        let check = pb::Check { permission: permission.to_owned(), tenant: tenant.to_owned() };
        let request =
            pb::VerifyRequest { access_token: access_token.to_owned(), require: vec![check], ..Default::default() };
        self.verify_with(request).await.unwrap()
    }

    pub(crate) async fn verify_with(&self, request: pb::VerifyRequest) -> Answer<pb::VerifyResponse> {
        Ok(self.client().verify(request).await?.into_inner())
    }

    pub(crate) async fn revoke(&self, request: pb::RevokeRequest) -> Answer<pb::RevokeResponse> {
        Ok(self.client().revoke(request).await?.into_inner())
    }

    /// Ends the session that a refresh token belongs to.
    pub(crate) async fn logout(&self, refresh_token: &str) -> pb::RevokeResponse {
        let target = Some(pb::revoke_request::Target::RefreshToken(refresh_token.to_owned()));
        self.revoke(pb::RevokeRequest { target, ..Default::default() }).await.unwrap()
    }

    pub(crate) async fn sessions(&self, access_token: &str, show_ended: bool) -> Vec<pb::Session> {
        let request =
            pb::ListSessionsRequest { access_token: access_token.to_owned(), show_ended, ..Default::default() };
        self.client().list_sessions(request).await.unwrap().into_inner().sessions
    }
}

/// A start, once nobody holds the data directory. A child of another test has all our locks between its fork and its exec.
pub(crate) async fn start_once_free(config: Config, clock: &Clock) -> Result<App, StartError> {
    for _ in 0..500 {
        match App::start(config.clone(), clock.clone(), FirstPassword::Show).await {
            Err(StartError::Locked { holder, .. }) if holder == Some(std::process::id()) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            outcome => return outcome,
        }
    }
    App::start(config, clock.clone(), FirstPassword::Show).await
}

/// See [`Server::quick`].
pub(crate) fn quick(config: &mut Config) {
    (config.passwords.memory_kib, config.passwords.iterations) = (64, 1);
    config.feed.poll_interval = Duration::from_millis(20);
}

/// See [`Server::someone`].
pub(crate) struct Someone {
    pub(crate) admin: String,
    pub(crate) id: String,
    pub(crate) tokens: pb::TokenPair,
}

pub(crate) fn login_request(identifier: &str, password: &str) -> pb::LoginRequest {
    let credential = pb::PasswordCredential { identifier: identifier.to_owned(), password: password.to_owned() };
    pb::LoginRequest { credential: Some(pb::login_request::Credential::Password(credential)), ..Default::default() }
}

pub(crate) async fn connect(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// The reason that a status carries.
pub(crate) fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// What a status says beside its reason.
pub(crate) fn metadata(status: &Status, key: &str) -> String {
    let details = status.get_error_details();
    details.error_info().and_then(|info| info.metadata.get(key).cloned()).unwrap_or_default()
}

/// The decision and, if it is not ALLOW, the reason.
pub(crate) fn verdict(answer: &pb::VerifyResponse) -> (pb::Decision, pb::Reason) {
    (answer.decision(), answer.refusal.as_ref().map(pb::Refusal::reason).unwrap_or_default())
}

#[expect(clippy::unnecessary_wraps, reason = "as the messages take it")]
pub(crate) fn everywhere() -> Option<admin::Scope> {
    Some(admin::Scope { r#where: Some(admin::scope::Where::Everywhere(true)) })
}

#[expect(clippy::unnecessary_wraps, reason = "as the messages take it")]
pub(crate) fn in_tenant(tenant: &str) -> Option<admin::Scope> {
    Some(admin::Scope { r#where: Some(admin::scope::Where::Tenant(tenant.to_owned())) })
}

/// All regular files below a directory, for tests that look for what must not be there.
pub(crate) fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

/// AdminService with a person's credential.
pub(crate) struct Admin {
    channel: Channel,
    authorization: String,
}

impl Admin {
    /// Sends these rows in one call, and answers what came back, with what ended it if it was cut short.
    pub(crate) async fn import(
        &self,
        rows: impl Stream<Item = admin::ImportUsersRequest> + Send + 'static,
    ) -> (Vec<admin::ImportUsersResponse>, Option<Status>) {
        let mut request = Request::new(rows);
        request.metadata_mut().insert("authorization", self.authorization.parse().unwrap());
        let mut client = admin::admin_service_client::AdminServiceClient::new(self.channel.clone());
        let mut answers = match client.import_users(request).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return (Vec::new(), Some(status)),
        };
        let mut told = Vec::new();
        loop {
            match answers.message().await {
                Ok(Some(answer)) => told.push(answer),
                Ok(None) => return (told, None),
                Err(status) => return (told, Some(status)),
            }
        }
    }
}

macro_rules! admin_calls {
    ($($call:ident($request:ident) -> $response:ident;)*) => {
        impl Admin {
            $(
                pub(crate) async fn $call(&self, request: admin::$request) -> Answer<admin::$response> {
                    let mut request = Request::new(request);
                    request.metadata_mut().insert("authorization", self.authorization.parse().unwrap());
                    let mut client = admin::admin_service_client::AdminServiceClient::new(self.channel.clone());
                    Ok(client.$call(request).await?.into_inner())
                }
            )*
        }
    };
}

admin_calls! {
    create_user(CreateUserRequest) -> CreateUserResponse;
    get_user(GetUserRequest) -> GetUserResponse;
    list_users(ListUsersRequest) -> ListUsersResponse;
    update_user(UpdateUserRequest) -> UpdateUserResponse;
    disable_user(DisableUserRequest) -> DisableUserResponse;
    enable_user(EnableUserRequest) -> EnableUserResponse;
    delete_user(DeleteUserRequest) -> DeleteUserResponse;
    set_password(SetPasswordRequest) -> SetPasswordResponse;
    put_role(PutRoleRequest) -> PutRoleResponse;
    get_role(GetRoleRequest) -> GetRoleResponse;
    list_roles(ListRolesRequest) -> ListRolesResponse;
    delete_role(DeleteRoleRequest) -> DeleteRoleResponse;
    apply_policy(ApplyPolicyRequest) -> ApplyPolicyResponse;
    grant_role(GrantRoleRequest) -> GrantRoleResponse;
    withdraw_role(WithdrawRoleRequest) -> WithdrawRoleResponse;
    list_bindings(ListBindingsRequest) -> ListBindingsResponse;
    create_client(CreateClientRequest) -> CreateClientResponse;
    list_clients(ListClientsRequest) -> ListClientsResponse;
    update_client(UpdateClientRequest) -> UpdateClientResponse;
    rotate_client_secret(RotateClientSecretRequest) -> RotateClientSecretResponse;
    delete_client(DeleteClientRequest) -> DeleteClientResponse;
    list_keys(ListKeysRequest) -> ListKeysResponse;
    rotate_key(RotateKeyRequest) -> RotateKeyResponse;
    retire_key(RetireKeyRequest) -> RetireKeyResponse;
    explain_access(ExplainAccessRequest) -> ExplainAccessResponse;
    end_all_sessions(EndAllSessionsRequest) -> EndAllSessionsResponse;
    list_audit_events(ListAuditEventsRequest) -> ListAuditEventsResponse;
    get_server_info(GetServerInfoRequest) -> GetServerInfoResponse;
}
