//! Calls to a server, with the stored tokens, which are refreshed when they near their end.

mod encryption;
mod server;

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tonic::body::Body;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tower::ServiceExt as _;
use tower::util::BoxCloneService;

use super::args::{ClientArgs, DEFAULT_SERVER};
use super::failure::{Circumstances, Failure, reason_in, refusal};
use super::output::Output;
use super::shell_word;
use super::state::{Locked, SignedIn, States};
use super::table::plain;
use crate::app::InProcess;
use crate::clock::Clock;
use crate::config::SecretSource;
use crate::domain::client::ClientSecret;
use crate::domain::time::Timestamp;
use crate::proto::account::v1::account_service_client::AccountServiceClient;
use crate::proto::admin::v1::admin_service_client::AdminServiceClient;
use crate::proto::auth::v1::auth_service_client::AuthServiceClient;
use crate::proto::auth::v1::{Device, Reason, RefreshRequest, RefreshResponse};
use encryption::Encryption;
use server::Server;

pub(super) const USER_AGENT: &str = concat!("postern/", env!("CARGO_PKG_VERSION"));

const AUTHORIZATION: &str = "authorization";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Above the server's own longest deadline, that of Login.
const CALL_TIMEOUT: Duration = Duration::from_secs(12);

/// An access token this near its end might not survive the call.
const NEAR_ITS_END: Duration = Duration::from_secs(30);

/// As many code points as the contract takes.
const DEVICE_NAME_CHARS: usize = 64;

/// AdminService behind a connection, or in this process.
pub(super) type Admin = BoxCloneService<http::Request<Body>, http::Response<Body>, Box<dyn Error + Send + Sync>>;

/// A server, and what is known on this machine of being signed in there.
pub(super) struct Caller {
    server: Server,
    channel: Channel,
    /// What proves this program, where a server asks for it.
    secret: Option<AsciiMetadataValue>,
    /// In place of a server; set: nobody needs to be signed in.
    offline: Option<InProcess>,
    /// Where administration has a port of its own; else as above.
    admin_server: Server,
    admin_channel: Channel,
    /// What a next `admin` command needs on its line to get to the same place.
    to_admin: String,
    /// Not everybody has a home: a container that only asks for health needs none.
    states: Result<States, Failure>,
    pub(super) clock: Clock,
    pub(super) output: Output,
}

impl Caller {
    pub(super) fn new(args: &ClientArgs) -> Result<Self, Failure> {
        let server: Server = args.server.parse()?;
        let encryption = Encryption::new(args)?;
        let channel = channel(&server, &encryption)?;
        let (admin_server, admin_channel) = match &args.admin_server {
            None => (server.clone(), channel.clone()),
            Some(address) => {
                let admin_server: Server = address.parse()?;
                let channel = self::channel(&admin_server, &encryption)?;
                (admin_server, channel)
            }
        };
        let to_admin = match &args.admin_server {
            None => refusal::at(server.url()),
            Some(_) => format!("{} --admin-server {}", refusal::at(server.url()), shell_word(admin_server.url())),
        };
        let secret = args.client_secret_file.as_deref().map(client_secret).transpose()?;
        let (states, clock) = (States::of_this_person(), Clock::default());
        Ok(Self {
            server,
            channel,
            secret,
            offline: None,
            admin_server,
            admin_channel,
            to_admin,
            states,
            clock,
            output: args.output(),
        })
    }

    /// Administration of this folder in this process; no server is asked, so nothing that is said of one is read.
    pub(super) fn offline(
        args: &ClientArgs,
        data_dir: &Path,
        config: Option<&Path>,
        admin: InProcess,
    ) -> Result<Self, Failure> {
        let nobody = ClientArgs {
            server: DEFAULT_SERVER.to_owned(),
            client_secret_file: None,
            admin_server: None,
            ca: None,
            cert: None,
            key: None,
            json: args.json,
        };
        let word = |path: &Path| shell_word(&plain(&path.display().to_string()));
        let mut to_admin = format!(" --offline {}", word(data_dir));
        to_admin.extend(config.map(|file| format!(" --config {}", word(file))));
        Ok(Self { offline: Some(admin), to_admin, ..Self::new(&nobody)? })
    }

    /// As the state file names it.
    pub(super) fn server(&self) -> &str {
        self.server.url()
    }

    /// What a next command needs on its line to ask the same server.
    pub(super) fn to_server(&self) -> String {
        refusal::at(self.server())
    }

    /// The same for a next `admin` command.
    pub(super) fn to_admin(&self) -> &str {
        &self.to_admin
    }

    /// Whether no server is asked.
    pub(super) const fn is_offline(&self) -> bool {
        self.offline.is_some()
    }

    /// Whether what is sent could be read on the way.
    pub(super) fn is_exposed(&self) -> bool {
        !self.server.is_encrypted() && !self.server.is_on_this_machine()
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// This machine, as the contract describes a device.
    pub(super) fn device(&self) -> Device {
        let name = format!("postern on {}", rustix::system::uname().nodename().to_string_lossy());
        Device {
            ip_address: self.server.own_address().map(|address| address.to_string()).unwrap_or_default(),
            user_agent: USER_AGENT.to_owned(),
            display_name: name.chars().take(DEVICE_NAME_CHARS).collect(),
            ..Device::default()
        }
    }

    pub(super) fn states(&self) -> Result<&States, Failure> {
        self.states.as_ref().map_err(Clone::clone)
    }

    /// What the state file knows, however old.
    pub(super) fn signed_in(&self) -> Result<SignedIn, Failure> {
        self.states()?.read(self.server())?.ok_or_else(|| Failure::not_signed_in(self.server()))
    }

    /// A call of `AuthService`; what it needs of the person stands in the message.
    pub(super) async fn auth<M, R>(
        &self,
        message: M,
        call: impl AsyncFnOnce(AuthServiceClient<Channel>, Request<M>) -> Result<Response<R>, Status>,
    ) -> Result<R, Status> {
        let mut request = Request::new(message);
        request.set_timeout(CALL_TIMEOUT);
        if let Some(secret) = &self.secret {
            request.metadata_mut().insert(AUTHORIZATION, secret.clone());
        }
        Ok(call(AuthServiceClient::new(self.channel()), request).await?.into_inner())
    }

    /// The same of `AccountService`.
    pub(super) async fn account<M, R>(
        &self,
        message: M,
        call: impl AsyncFnOnce(AccountServiceClient<Channel>, Request<M>) -> Result<Response<R>, Status>,
    ) -> Result<R, Status> {
        let mut request = Request::new(message);
        request.set_timeout(CALL_TIMEOUT);
        if let Some(secret) = &self.secret {
            request.metadata_mut().insert(AUTHORIZATION, secret.clone());
        }
        Ok(call(AccountServiceClient::new(self.channel()), request).await?.into_inner())
    }

    /// A call of `AdminService` by the person who is signed in.
    pub(super) async fn admin<M: Clone, R>(
        &self,
        message: M,
        call: impl AsyncFn(AdminServiceClient<Admin>, Request<M>) -> Result<Response<R>, Status>,
    ) -> Result<R, Failure> {
        if let Some(admin) = &self.offline {
            let admin = Admin::new(admin.clone().map_err(|never| match never {}));
            let answer = call(AdminServiceClient::new(admin), Request::new(message)).await;
            return answer.map(Response::into_inner).map_err(|status| self.failure(&status, None));
        }
        let channel = Admin::new(self.admin_channel.clone().map_err(Into::into));
        self.with_token_at(&self.admin_server, async |signed_in: &SignedIn| {
            let mut request = Request::new(message.clone());
            request.set_timeout(CALL_TIMEOUT);
            let bearer = bearer(&signed_in.access_token)
                .ok_or_else(|| Status::unauthenticated("the stored access token is damaged"))?;
            request.metadata_mut().insert(AUTHORIZATION, bearer);
            Ok(call(AdminServiceClient::new(channel.clone()), request).await?.into_inner())
        })
        .await
    }

    /// A call that needs the person's access token. It is refreshed before, when it nears its end, or once after, when
    /// the server says that it is past it.
    pub(super) async fn with_token<R>(&self, call: impl AsyncFn(&SignedIn) -> Result<R, Status>) -> Result<R, Failure> {
        self.with_token_at(&self.server, call).await
    }

    async fn with_token_at<R>(
        &self,
        server: &Server,
        call: impl AsyncFn(&SignedIn) -> Result<R, Status>,
    ) -> Result<R, Failure> {
        let signed_in = self.fresh().await?;
        let answer = match call(&signed_in).await {
            // Invalid is also a token whose key was retired; the session lives on.
            Err(status) if matches!(reason_in(&status), Some(Reason::TokenExpired | Reason::TokenInvalid)) => {
                let renewed = self.renewed(&signed_in.access_token).await?;
                call(&renewed).await
            }
            answer => answer,
        };
        answer.map_err(|status| {
            let identifier = Some(signed_in.identifier.as_str());
            let around = Circumstances { server: server.url(), sign_in_at: self.server(), identifier };
            Failure::of_call(&status, around)
        })
    }

    /// The tokens, good for a while.
    pub(super) async fn fresh(&self) -> Result<SignedIn, Failure> {
        let signed_in = self.signed_in()?;
        if is_near_its_end(&signed_in, self.clock.now()) {
            self.renewed(&signed_in.access_token).await
        } else {
            Ok(signed_in)
        }
    }

    /// The next tokens after `seen`: another process may have fetched them already.
    pub(super) async fn renewed(&self, seen: &str) -> Result<SignedIn, Failure> {
        let mut locked = self.states()?.lock()?;
        match locked.get(self.server()) {
            None => Err(Failure::not_signed_in(self.server())),
            Some(stored) if stored.access_token != seen && !is_near_its_end(stored, self.clock.now()) => {
                Ok(stored.clone())
            }
            Some(_) => Ok(self.refresh(&mut locked).await?.1),
        }
    }

    /// Trades the stored refresh token for the next pair, which is stored before anybody uses it.
    pub(super) async fn refresh(&self, locked: &mut Locked<'_>) -> Result<(RefreshResponse, SignedIn), Failure> {
        let stored = locked.get(self.server()).cloned().ok_or_else(|| Failure::not_signed_in(self.server()))?;
        let request = RefreshRequest {
            refresh_token: stored.refresh_token.clone(),
            device: Some(self.device()),
            token_options: None,
        };
        let answer = self
            .auth(request, async |mut client, request| client.refresh(request).await)
            .await
            .map_err(|status| self.failure(&status, Some(&stored.identifier)))?;
        let tokens = answer.tokens.as_ref();
        let next = tokens
            .and_then(|tokens| SignedIn::new(stored.identifier, stored.user_id, tokens))
            .ok_or_else(|| Failure::local("the server's answer has no tokens"))?;
        locked.put(self.server(), next.clone())?;
        Ok((answer, next))
    }

    /// Why a call failed, in words.
    pub(super) fn failure(&self, status: &Status, identifier: Option<&str>) -> Failure {
        Failure::of_call(status, Circumstances { server: self.server(), sign_in_at: self.server(), identifier })
    }
}

fn bearer(credential: &str) -> Option<AsciiMetadataValue> {
    let mut value: AsciiMetadataValue = format!("Bearer {credential}").parse().ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Judged here already: a file that was mixed up must not be sent to a stranger.
fn client_secret(path: &Path) -> Result<AsciiMetadataValue, Failure> {
    let refused = |why: String| Failure::local(format!("--client-secret-file: {why}"));
    let text = SecretSource::File(path.to_owned()).open().map_err(|why| refused(why.to_string()))?;
    let is_secret = text.expose_secret().parse::<ClientSecret>().is_ok();
    let value = is_secret.then(|| bearer(text.expose_secret())).flatten();
    value.ok_or_else(|| refused(format!("{}: holds no client's secret (pcs_...)", path.display())))
}

/// Nothing is sent yet.
fn channel(server: &Server, encryption: &Encryption) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_shared(server.url().to_owned())
        .and_then(|endpoint| endpoint.user_agent(USER_AGENT))
        .map_err(|error| Failure::local(format!("--server {}: {error}", server.url().escape_debug())))?;
    Ok(encryption.of(endpoint, server)?.connect_timeout(CONNECT_TIMEOUT).connect_lazy())
}

fn is_near_its_end(signed_in: &SignedIn, now: Timestamp) -> bool {
    now + NEAR_ITS_END >= signed_in.access_expires()
}
