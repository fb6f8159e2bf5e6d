//! Clients as messages.

mod read;

use std::time::Duration;

use secrecy::ExposeSecret as _;
use tonic::Request;

use crate::auth::Auth;
use crate::auth::admin::clients::Registered;
use crate::auth::error::AuthError;
use crate::domain::client::{Origin, Registration, SessionLimits};
use crate::domain::id::ClientId;
use crate::grpc::admin_service::{PAGE_SIZE_MAX, admit};
use crate::grpc::fields::Fields;
use crate::grpc::pages::Pages;
use crate::grpc::render;
use crate::proto::admin::v1 as wire;

const OVERLAP_DEFAULT: Duration = Duration::from_hours(24);

pub(super) async fn create(
    auth: &Auth,
    request: Request<wire::CreateClientRequest>,
) -> Result<wire::CreateClientResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let wire::CreateClientRequest { client, with_secret } = request.into_inner();
    let mut fields = Fields::default();
    let new = fields.required("client", client).and_then(|client| read::new(&mut fields, client));
    let new = fields.finish(|| new)?;
    let Registered { client, secret, revision } = auth.create_client(&caller, new, with_secret).await?;
    Ok(wire::CreateClientResponse {
        client: Some(render_client(client)),
        secret: secret.map(|secret| secret.expose_secret().to_owned()).unwrap_or_default(),
        revision: revision.to_string(),
    })
}

pub(super) async fn list(
    auth: &Auth,
    request: Request<wire::ListClientsRequest>,
) -> Result<wire::ListClientsResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let wire::ListClientsRequest { page_size, page_token } = request.into_inner();
    let pages = Pages(&["ListClients"]);
    let mut fields = Fields::default();
    let page_size = fields.page_size(page_size, PAGE_SIZE_MAX);
    let after: Option<ClientId> = pages.read(&mut fields, &page_token, |last| last.parse().ok());
    let page_size = fields.finish(|| page_size)?;
    let (clients, more) = auth.list_clients(&caller, after.as_ref(), page_size).await?;
    let next = clients.last().filter(|_| more).map(|last| pages.token(last.id.as_str()));
    Ok(wire::ListClientsResponse {
        clients: clients.into_iter().map(render_client).collect(),
        next_page_token: next.unwrap_or_default(),
    })
}

pub(super) async fn update(
    auth: &Auth,
    request: Request<wire::UpdateClientRequest>,
) -> Result<wire::UpdateClientResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let (id, etag, change) = read::update(request.into_inner())?;
    let (client, revision) = auth.update_client(&caller, &id, etag.as_deref(), change).await?;
    Ok(wire::UpdateClientResponse { client: Some(render_client(client)), revision: revision.to_string() })
}

pub(super) async fn rotate_secret(
    auth: &Auth,
    request: Request<wire::RotateClientSecretRequest>,
) -> Result<wire::RotateClientSecretResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let wire::RotateClientSecretRequest { id, overlap } = request.into_inner();
    let mut fields = Fields::default();
    let id: Option<ClientId> = fields.parse("id", &id);
    let overlap = fields.duration("overlap", overlap.as_ref());
    let (id, overlap) = fields.finish(|| id.zip(overlap))?;
    let overlap = overlap.unwrap_or(OVERLAP_DEFAULT);
    let (secret, revision) = auth.rotate_client_secret(&caller, &id, overlap).await?;
    let (secret, revision) = (secret.expose_secret().to_owned(), revision.to_string());
    Ok(wire::RotateClientSecretResponse { secret, revision })
}

pub(super) async fn delete(
    auth: &Auth,
    request: Request<wire::DeleteClientRequest>,
) -> Result<wire::DeleteClientResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let mut fields = Fields::default();
    let id: Option<ClientId> = fields.parse("id", &request.into_inner().id);
    let id = fields.finish(|| id)?;
    let revision = auth.delete_client(&caller, &id).await?.to_string();
    Ok(wire::DeleteClientResponse { revision })
}

fn render_client(client: Registration) -> wire::Client {
    let SessionLimits { access_ttl, idle_ttl, absolute_ttl, refresh_grace, max_per_user } = client.limits;
    let session_policy = (client.limits != SessionLimits::default()).then(|| wire::SessionPolicy {
        access_ttl: access_ttl.map(render::duration),
        idle_ttl: idle_ttl.map(render::duration),
        absolute_ttl: absolute_ttl.map(render::duration),
        refresh_grace: refresh_grace.map(render::duration),
        max_per_user: render::count(max_per_user.unwrap_or_default()),
    });
    wire::Client {
        id: client.id.to_string(),
        display_name: client.display_name,
        mtls_sans: client.mtls_sans.iter().map(ToString::to_string).collect(),
        has_secret: !client.secrets.is_empty(),
        audience: client.audience,
        token_audiences: client.token_audiences,
        return_urls: client.return_urls,
        session_policy,
        from_config: client.origin != Origin::Store,
        etag: client.etag,
        disabled: client.disabled,
    }
}
