//! Users as messages.

use tonic::Request;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::auth::Auth;
use crate::auth::admin::users::{CreateUser, ListUsers, NewPassword};
use crate::auth::error::AuthError;
use crate::domain::account::{Email, IDENTIFIER_BYTES_MAX, Identifier, Profile, User, UserName, UserState};
use crate::domain::id::UserId;
use crate::domain::password::Password;
use crate::grpc::admin_service::{PAGE_SIZE_MAX, admit};
use crate::grpc::fields::{Fields, Length};
use crate::grpc::pages::Pages;
use crate::grpc::render;
use crate::proto::admin::v1 as wire;
use crate::proto::admin::v1::get_user_request::Key;
use crate::store::{ProfileChange, UserKey};

const EXTERNAL_ID: Length = Length::Bytes(128);
const OUTPUT_ONLY: &str = "must not be set: the server says it";
const DISPLAY_NAME: Length = Length::Chars(128);

pub(super) async fn create(
    auth: &Auth,
    request: Request<wire::CreateUserRequest>,
) -> Result<wire::CreateUserResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let (user, revision) = auth.create_user(&caller, read_create(request.into_inner())?).await?;
    Ok(wire::CreateUserResponse { user: Some(render_user(user)), revision: revision.to_string() })
}

pub(super) async fn get(
    auth: &Auth,
    request: Request<wire::GetUserRequest>,
) -> Result<wire::GetUserResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let user = auth.get_user(&caller, &read_get(request.into_inner())?).await?;
    Ok(wire::GetUserResponse { user: Some(render_user(user)) })
}

pub(super) async fn list(
    auth: &Auth,
    request: Request<wire::ListUsersRequest>,
) -> Result<wire::ListUsersResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let request = request.into_inner();
    let (query, state) = (request.query.clone(), request.state.to_string());
    let parts = ["ListUsers", query.as_str(), state.as_str()];
    let pages = Pages(&parts);
    let (users, more) = auth.list_users(&caller, &read_list(request, &pages)?).await?;
    let next = users.last().filter(|_| more).map(|last| pages.token(&last.id.to_string()));
    Ok(wire::ListUsersResponse {
        users: users.into_iter().map(render_user).collect(),
        next_page_token: next.unwrap_or_default(),
    })
}

pub(super) async fn update(
    auth: &Auth,
    request: Request<wire::UpdateUserRequest>,
) -> Result<wire::UpdateUserResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let Update { id, etag, change } = read_update(request.into_inner())?;
    let (user, revision) = auth.update_user(&caller, id, etag.as_deref(), change).await?;
    Ok(wire::UpdateUserResponse { user: Some(render_user(user)), revision: revision.to_string() })
}

pub(super) async fn disable(
    auth: &Auth,
    request: Request<wire::DisableUserRequest>,
) -> Result<wire::DisableUserResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let wire::DisableUserRequest { id, note } = request.into_inner();
    let (id, note) = read_id_and_note(&id, note)?;
    let revision = auth.disable_user(&caller, id, &note).await?.to_string();
    Ok(wire::DisableUserResponse { revision })
}

pub(super) async fn enable(
    auth: &Auth,
    request: Request<wire::EnableUserRequest>,
) -> Result<wire::EnableUserResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let wire::EnableUserRequest { id, note } = request.into_inner();
    let (id, note) = read_id_and_note(&id, note)?;
    let revision = auth.enable_user(&caller, id, &note).await?.to_string();
    Ok(wire::EnableUserResponse { revision })
}

pub(super) async fn delete(
    auth: &Auth,
    request: Request<wire::DeleteUserRequest>,
) -> Result<wire::DeleteUserResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let wire::DeleteUserRequest { id, note } = request.into_inner();
    let (id, note) = read_id_and_note(&id, note)?;
    let revision = auth.delete_user(&caller, id, &note).await?.to_string();
    Ok(wire::DeleteUserResponse { revision })
}

pub(super) async fn set_password(
    auth: &Auth,
    request: Request<wire::SetPasswordRequest>,
) -> Result<wire::SetPasswordResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let wire::SetPasswordRequest { id, password, must_change_password } = request.into_inner();
    let text = Zeroizing::new(password);
    let mut fields = Fields::default();
    let id = fields.parse("id", &id);
    let id = fields.finish(|| id)?;
    let password = NewPassword { password: Password::from_typed(&text)?, due: must_change_password };
    let revision = auth.set_password(&caller, id, password).await?.to_string();
    Ok(wire::SetPasswordResponse { revision })
}

fn read_create(request: wire::CreateUserRequest) -> Result<CreateUser, AuthError> {
    let wire::CreateUserRequest { user, password, must_change_password, request_id } = request;
    let text = Zeroizing::new(password);
    let mut fields = Fields::default();
    let profile = fields.required("user", user).and_then(|user| read_new(&mut fields, user));
    let request_id = match (request_id.as_str(), Uuid::try_parse(&request_id)) {
        ("", _) => None,
        (_, Ok(id)) => Some(id),
        (_, Err(_)) => {
            fields.refuse("request_id", "must be a UUID");
            None
        }
    };
    if must_change_password && text.is_empty() {
        fields.refuse("must_change_password", "must not be set without a password");
    }
    let profile = fields.finish(|| profile)?;
    let new = |password| NewPassword { password, due: must_change_password };
    let password = if text.is_empty() { None } else { Some(new(Password::from_typed(&text)?)) };
    Ok(CreateUser { profile, password, request_id })
}

pub(super) fn read_new(fields: &mut Fields, user: wire::User) -> Option<Profile> {
    let output_only = [
        ("user.id", !user.id.is_empty()),
        ("user.state", user.state != 0),
        ("user.has_password", user.has_password),
        ("user.create_time", user.create_time.is_some()),
        ("user.update_time", user.update_time.is_some()),
        ("user.etag", !user.etag.is_empty()),
    ];
    for (field, is_set) in output_only {
        if is_set {
            fields.refuse(field, OUTPUT_ONLY);
        }
    }
    let wire::User { external_id, email, email_verified, user_name, display_name, .. } = user;
    let external_id = fields.text("user.external_id", external_id, EXTERNAL_ID);
    let email: Option<Option<Email>> = fields.parse_if_set("user.email", &email);
    if email_verified && email == Some(None) {
        fields.refuse("user.email_verified", "must not be set without an e-mail address");
    }
    let user_name: Option<Option<UserName>> = fields.parse_if_set("user.user_name", &user_name);
    let display_name = fields.text("user.display_name", display_name, DISPLAY_NAME);
    Some(Profile {
        external_id: external_id?,
        email: email?,
        email_verified,
        user_name: user_name?,
        display_name: display_name?,
    })
}

fn read_get(request: wire::GetUserRequest) -> Result<UserKey, AuthError> {
    let mut fields = Fields::default();
    let key = fields.required("key", request.key).and_then(|key| match key {
        Key::Id(id) => fields.parse("id", &id).map(UserKey::Id),
        // Nobody has the empty one.
        Key::ExternalId(id) if id.is_empty() => {
            fields.refuse("external_id", "must not be empty");
            None
        }
        Key::ExternalId(id) => fields.text("external_id", id, EXTERNAL_ID).map(UserKey::ExternalId),
        Key::Identifier(typed) => {
            let identifier = Identifier::from_typed(&typed);
            if identifier.is_none() {
                let problem = format_args!("must be 1 to {IDENTIFIER_BYTES_MAX} bytes without control characters");
                fields.refuse("identifier", problem);
            }
            identifier.map(UserKey::Identifier)
        }
    });
    fields.finish(|| key)
}

fn read_list(request: wire::ListUsersRequest, pages: &Pages<'_>) -> Result<ListUsers, AuthError> {
    let wire::ListUsersRequest { page_size, page_token, query, state } = request;
    let mut fields = Fields::default();
    let page_size = fields.page_size(page_size, PAGE_SIZE_MAX);
    let after = pages.read(&mut fields, &page_token, |last| last.parse().ok());
    let prefix = fields.text("query", query, Length::Bytes(IDENTIFIER_BYTES_MAX));
    let state = match wire::UserState::try_from(state) {
        Ok(wire::UserState::Unspecified) => None,
        Ok(wire::UserState::Active) => Some(UserState::Active),
        Ok(wire::UserState::Disabled) => Some(UserState::Disabled),
        Err(_unknown) => {
            fields.refuse("state", "must be a state that this server knows");
            None
        }
    };
    fields.finish(|| Some(ListUsers { prefix: prefix?, state, after, page_size: page_size? }))
}

#[derive(Debug)]
struct Update {
    id: UserId,
    etag: Option<String>,
    change: ProfileChange,
}

fn read_update(request: wire::UpdateUserRequest) -> Result<Update, AuthError> {
    let wire::UpdateUserRequest { user, update_mask } = request;
    let mut fields = Fields::default();
    let mask = update_mask.unwrap_or_default().paths;
    if mask.is_empty() {
        fields.refuse("update_mask", "must name what to set");
    }
    let read = fields.required("user", user).and_then(|mut user| {
        let id = fields.parse("user.id", &user.id);
        let etag = Some(std::mem::take(&mut user.etag)).filter(|etag| !etag.is_empty());
        let change = read_change(&mut fields, &user, &mask);
        Some(Update { id: id?, etag, change: change? })
    });
    fields.finish(|| read)
}

/// What the mask names; all else of the message means nothing.
fn read_change(fields: &mut Fields, user: &wire::User, mask: &[String]) -> Option<ProfileChange> {
    let mut change = ProfileChange::default();
    let mut sound = true;
    for (index, path) in mask.iter().enumerate() {
        let read = match path.as_str() {
            "external_id" => fields
                .text("user.external_id", user.external_id.clone(), EXTERNAL_ID)
                .map(|text| change.external_id = Some(text)),
            "email" => fields.parse_if_set("user.email", &user.email).map(|email| change.email = Some(email)),
            "email_verified" => {
                change.email_verified = Some(user.email_verified);
                Some(())
            }
            "user_name" => {
                fields.parse_if_set("user.user_name", &user.user_name).map(|name| change.user_name = Some(name))
            }
            "display_name" => fields
                .text("user.display_name", user.display_name.clone(), DISPLAY_NAME)
                .map(|text| change.display_name = Some(text)),
            _ => {
                fields.refuse(
                    format_args!("update_mask.paths[{index}]"),
                    "must be one of external_id, email, email_verified, user_name, display_name",
                );
                None
            }
        };
        sound &= read.is_some();
    }
    sound.then_some(change)
}

fn read_id_and_note(id: &str, note: String) -> Result<(UserId, String), AuthError> {
    let mut fields = Fields::default();
    let id = fields.parse("id", id);
    let note = fields.note("note", note);
    fields.finish(|| id.zip(note))
}

fn render_user(user: User) -> wire::User {
    let state = match user.state {
        UserState::Active => wire::UserState::Active,
        UserState::Disabled => wire::UserState::Disabled,
    };
    wire::User {
        id: user.id.to_string(),
        external_id: user.external_id,
        email: user.email.as_ref().map(Email::as_given).unwrap_or_default().to_owned(),
        email_verified: user.email_verified,
        user_name: user.user_name.as_ref().map(UserName::as_given).unwrap_or_default().to_owned(),
        display_name: user.display_name,
        state: state.into(),
        has_password: user.has_password,
        create_time: Some(render::timestamp(user.create_time)),
        update_time: Some(render::timestamp(user.update_time)),
        etag: user.etag,
    }
}

#[cfg(test)]
mod tests;
