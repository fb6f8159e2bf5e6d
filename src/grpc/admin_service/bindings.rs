//! Bindings as messages.

use tonic::Request;

use crate::auth::Auth;
use crate::auth::admin::bindings::ListBindings;
use crate::auth::error::AuthError;
use crate::domain::id::PrincipalId;
use crate::domain::permission::Scope;
use crate::domain::role::{BoundRole, RoleId};
use crate::domain::time::Timestamp;
use crate::grpc::admin_service::{PAGE_SIZE_MAX, admit};
use crate::grpc::fields::Fields;
use crate::grpc::pages::Pages;
use crate::grpc::render;
use crate::proto::admin::v1 as wire;
use crate::proto::admin::v1::scope::Where;
use crate::proto::auth::v1::PrincipalKind;
use crate::store::{Binding, BindingFilter, BindingKey};

pub(super) async fn grant(
    auth: &Auth,
    request: Request<wire::GrantRoleRequest>,
) -> Result<wire::GrantRoleResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let (principal, bound) = read_grant(request.into_inner())?;
    let (binding, revision) = auth.grant_role(&caller, &principal, bound).await?;
    Ok(wire::GrantRoleResponse { binding: Some(render_binding(&binding)), revision: revision.to_string() })
}

pub(super) async fn withdraw(
    auth: &Auth,
    request: Request<wire::WithdrawRoleRequest>,
) -> Result<wire::WithdrawRoleResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let wire::WithdrawRoleRequest { principal_id, role, scope } = request.into_inner();
    let mut fields = Fields::default();
    let principal: Option<PrincipalId> = fields.parse("principal_id", &principal_id);
    let role: Option<RoleId> = fields.parse("role", &role);
    let scope = fields.scope("scope", scope.as_ref());
    let (principal, role, scope) = fields.finish(|| Some((principal?, role?, scope?)))?;
    let revision = auth.withdraw_role(&caller, &principal, &role, &scope).await?.to_string();
    Ok(wire::WithdrawRoleResponse { revision })
}

pub(super) async fn list(
    auth: &Auth,
    request: Request<wire::ListBindingsRequest>,
) -> Result<wire::ListBindingsResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let request = request.into_inner();
    let (principal, role, scope) = (request.principal_id.clone(), request.role.clone(), scope_text(&request));
    let parts = ["ListBindings", principal.as_str(), role.as_str(), scope.as_str()];
    let pages = Pages(&parts);
    let (bindings, more) = auth.list_bindings(&caller, &read_list(&request, &pages)?).await?;
    let next = bindings.last().filter(|_| more).map(|last| pages.token(&key_text(last)));
    Ok(wire::ListBindingsResponse {
        bindings: bindings.iter().map(render_binding).collect(),
        next_page_token: next.unwrap_or_default(),
    })
}

/// What is output only in a binding means nothing here: a listed one may be sent as it came.
fn read_grant(request: wire::GrantRoleRequest) -> Result<(PrincipalId, BoundRole), AuthError> {
    let mut fields = Fields::default();
    let read = fields.required("binding", request.binding).and_then(|binding| {
        let principal: Option<PrincipalId> = fields.parse("binding.principal_id", &binding.principal_id);
        let role: Option<RoleId> = fields.parse("binding.role", &binding.role);
        let scope = fields.scope("binding.scope", binding.scope.as_ref());
        let expires_at = fields.timestamp("binding.expire_time", binding.expire_time.as_ref());
        Some((principal?, BoundRole { role: role?, scope: scope?, expires_at: expires_at? }))
    });
    fields.finish(|| read)
}

fn read_list(request: &wire::ListBindingsRequest, pages: &Pages<'_>) -> Result<ListBindings, AuthError> {
    let wire::ListBindingsRequest { page_size, page_token, principal_id, role, scope } = request;
    let mut fields = Fields::default();
    let page_size = fields.page_size(*page_size, PAGE_SIZE_MAX);
    let after = pages.read(&mut fields, page_token, read_key);
    let principal: Option<Option<PrincipalId>> = fields.parse_if_set("principal_id", principal_id);
    let role: Option<Option<RoleId>> = fields.parse_if_set("role", role);
    let scope = match scope {
        None => Some(None),
        set @ Some(_) => fields.scope("scope", set.as_ref()).map(Some),
    };
    fields.finish(|| {
        let filter = BindingFilter { principal: principal?, role: role?, scope: scope? };
        Some(ListBindings { filter, after, page_size: page_size? })
    })
}

/// A filter that names no tenant is not the one that names none on purpose.
fn scope_text(request: &wire::ListBindingsRequest) -> String {
    match request.scope.as_ref().and_then(|scope| scope.r#where.as_ref()) {
        None => String::new(),
        Some(Where::Everywhere(_)) => "everywhere".to_owned(),
        Some(Where::Tenant(tenant)) => format!("tenant {tenant}"),
    }
}

/// No part of a key has a line end.
fn key_text(binding: &Binding) -> String {
    let BoundRole { role, scope, .. } = &binding.bound;
    format!("{}\n{role}\n{}", binding.principal, render::tenant(scope.tenant()))
}

fn read_key(text: &str) -> Option<BindingKey> {
    let mut parts = text.split('\n');
    let (principal, role, tenant) = (parts.next()?, parts.next()?, parts.next()?);
    let scope = if tenant.is_empty() { Scope::Everywhere } else { Scope::Tenant(tenant.parse().ok()?) };
    Some(BindingKey { principal: principal.parse().ok()?, role: role.parse().ok()?, scope })
}

fn render_binding(binding: &Binding) -> wire::Binding {
    let BoundRole { role, scope, expires_at } = &binding.bound;
    let kind = match &binding.principal {
        PrincipalId::User(_) => PrincipalKind::User,
        PrincipalId::Client(_) => PrincipalKind::Client,
    };
    let place = match scope {
        Scope::Everywhere => Where::Everywhere(true),
        Scope::Tenant(tenant) => Where::Tenant(tenant.to_string()),
    };
    wire::Binding {
        principal_id: binding.principal.to_string(),
        principal_kind: kind.into(),
        role: role.to_string(),
        scope: Some(wire::Scope { r#where: Some(place) }),
        expire_time: expires_at.map(render::timestamp),
        // What the configuration says was given at no time.
        create_time: (binding.create_time > Timestamp::default()).then(|| render::timestamp(binding.create_time)),
        granted_by: binding.granted_by.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
