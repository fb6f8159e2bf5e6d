//! Roles as messages.

use prost::Message as _;
use tonic::Request;

use crate::auth::Auth;
use crate::auth::admin::roles::{ApplyPolicy, RolePage};
use crate::auth::error::AuthError;
use crate::domain::permission::Pattern;
use crate::domain::role::{MAX_DESCRIPTION_CHARS, Role, RoleId};
use crate::grpc::admin_service::{PAGE_SIZE_MAX, admit};
use crate::grpc::fields::{Fields, Length};
use crate::grpc::pages::Pages;
use crate::proto::admin::v1 as wire;

/// A page of the longest roles would be more than clients take; then it has fewer.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

pub(super) async fn put(
    auth: &Auth,
    request: Request<wire::PutRoleRequest>,
) -> Result<wire::PutRoleResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let mut fields = Fields::default();
    let role = fields.required("role", request.into_inner().role);
    let role = role.and_then(|role| read_role(&mut fields, "role", role));
    let (role, revision) = auth.put_role(&caller, fields.finish(|| role)?).await?;
    Ok(wire::PutRoleResponse { role: Some(render_role(role)), revision: revision.to_string() })
}

pub(super) async fn get(
    auth: &Auth,
    request: Request<wire::GetRoleRequest>,
) -> Result<wire::GetRoleResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let id = read_id(&request.into_inner().id)?;
    let role = auth.get_role(&caller, &id).await?;
    Ok(wire::GetRoleResponse { role: Some(render_role(role)) })
}

pub(super) async fn list(
    auth: &Auth,
    request: Request<wire::ListRolesRequest>,
) -> Result<wire::ListRolesResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let wire::ListRolesRequest { page_size, page_token } = request.into_inner();
    let pages = Pages(&["ListRoles"]);
    let mut fields = Fields::default();
    let page_size = fields.page_size(page_size, PAGE_SIZE_MAX);
    let after: Option<RoleId> = pages.read(&mut fields, &page_token, |last| last.parse().ok());
    let page_size = fields.finish(|| page_size)?;
    let RolePage { roles, more, policy_version } = auth.list_roles(&caller, after.as_ref(), page_size).await?;
    let (roles, cut) = fit(roles.into_iter().map(render_role).collect(), PAGE_BYTES_MAX);
    let next = roles.last().filter(|_| more || cut).map(|last| pages.token(&last.id));
    Ok(wire::ListRolesResponse {
        roles,
        next_page_token: next.unwrap_or_default(),
        policy_revision: policy_version.to_string(),
    })
}

pub(super) async fn delete(
    auth: &Auth,
    request: Request<wire::DeleteRoleRequest>,
) -> Result<wire::DeleteRoleResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let wire::DeleteRoleRequest { id, force } = request.into_inner();
    let revision = auth.delete_role(&caller, &read_id(&id)?, force).await?.to_string();
    Ok(wire::DeleteRoleResponse { revision })
}

pub(super) async fn apply(
    auth: &Auth,
    request: Request<wire::ApplyPolicyRequest>,
) -> Result<wire::ApplyPolicyResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let diff = auth.apply_policy(&caller, &read_apply(request.into_inner())?).await?;
    let ids = |roles: Vec<RoleId>| roles.iter().map(ToString::to_string).collect();
    Ok(wire::ApplyPolicyResponse {
        created: ids(diff.created),
        changed: ids(diff.changed),
        deleted: ids(diff.deleted),
        affected_bindings: i32::try_from(diff.affected_bindings).unwrap_or(i32::MAX),
        policy_revision: diff.version.to_string(),
        revision: diff.revision.to_string(),
    })
}

fn read_apply(request: wire::ApplyPolicyRequest) -> Result<ApplyPolicy, AuthError> {
    let wire::ApplyPolicyRequest { roles, validate_only, expected_policy_revision } = request;
    let mut fields = Fields::default();
    let mut read = Vec::with_capacity(roles.len());
    for (index, role) in roles.into_iter().enumerate() {
        // A fault is noted, so that none of these are used.
        read.extend(read_role(&mut fields, &format!("roles[{index}]"), role));
    }
    let expected_version = match (expected_policy_revision.as_str(), expected_policy_revision.parse()) {
        ("", _) => None,
        (_, Ok(version)) => Some(version),
        (_, Err(_)) => {
            fields.refuse("expected_policy_revision", "must be one from ListRoles or from a dry run");
            None
        }
    };
    // What the roles bear of etags is left over from a listing; the revision of the whole is what counts.
    fields.finish(|| Some(ApplyPolicy { roles: read, validate_only, expected_version }))
}

fn read_role(fields: &mut Fields, field: &str, role: wire::Role) -> Option<Role> {
    let wire::Role { id, description, patterns, inherits, etag } = role;
    let id = fields.parse(format_args!("{field}.id"), &id);
    let description =
        fields.text(format_args!("{field}.description"), description, Length::Chars(MAX_DESCRIPTION_CHARS));
    let patterns: Option<Vec<Pattern>> = read_all(fields, &format!("{field}.patterns"), &patterns);
    let inherits: Option<Vec<RoleId>> = read_all(fields, &format!("{field}.inherits"), &inherits);
    Some(Role { id: id?, description: description?, patterns: patterns?, inherits: inherits?, etag })
}

/// All of a list, none of them twice.
fn read_all<T>(fields: &mut Fields, field: &str, texts: &[String]) -> Option<Vec<T>>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let mut seen = std::collections::HashSet::new();
    let mut read = Vec::with_capacity(texts.len());
    let mut sound = true;
    for (index, text) in texts.iter().enumerate() {
        let field = format_args!("{field}[{index}]");
        if !seen.insert(text) {
            fields.refuse(field, "must not be named twice");
            sound = false;
            continue;
        }
        match fields.parse(field, text) {
            Some(value) => read.push(value),
            None => sound = false,
        }
    }
    sound.then_some(read)
}

fn read_id(id: &str) -> Result<RoleId, AuthError> {
    let mut fields = Fields::default();
    let id = fields.parse("id", id);
    fields.finish(|| id)
}

fn render_role(role: Role) -> wire::Role {
    wire::Role {
        id: role.id.to_string(),
        description: role.description,
        patterns: role.patterns.iter().map(ToString::to_string).collect(),
        inherits: role.inherits.iter().map(ToString::to_string).collect(),
        etag: role.etag,
    }
}

/// As many of them as fit, but one at least; and whether some did not.
fn fit(mut roles: Vec<wire::Role>, bytes_max: usize) -> (Vec<wire::Role>, bool) {
    let mut bytes = 0;
    let fitting = roles.iter().take_while(|role| {
        bytes += role.encoded_len();
        bytes <= bytes_max
    });
    let count = fitting.count().max(1);
    let cut = count < roles.len();
    roles.truncate(count);
    (roles, cut)
}

#[cfg(test)]
mod tests;
