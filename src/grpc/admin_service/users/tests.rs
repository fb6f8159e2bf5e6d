use super::*;
use crate::domain::password::{BYTES_MAX, PasswordRule};

const USER: &str = "019a8c1e-0000-7000-8000-00000000b7f3";

fn paths<T>(read: Result<T, AuthError>) -> Vec<String> {
    match read {
        Ok(_) => Vec::new(),
        Err(AuthError::InvalidField(faults)) => faults.into_iter().map(|fault| fault.field).collect(),
        Err(other) => panic!("{other:?}"),
    }
}

fn update(user: wire::User, mask: &[&str]) -> wire::UpdateUserRequest {
    let paths = mask.iter().map(|path| (*path).to_owned()).collect();
    wire::UpdateUserRequest { user: Some(user), update_mask: Some(prost_types::FieldMask { paths }) }
}

fn named() -> wire::User {
    wire::User { id: USER.into(), ..Default::default() }
}

#[test]
fn nobody_chooses_what_the_server_says() {
    let request = wire::CreateUserRequest {
        user: Some(wire::User {
            id: USER.into(),
            state: wire::UserState::Active.into(),
            has_password: true,
            create_time: Some(prost_types::Timestamp::default()),
            update_time: Some(prost_types::Timestamp::default()),
            etag: "1".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let fields = ["id", "state", "has_password", "create_time", "update_time", "etag"];
    assert_eq!(paths(read_create(request)), fields.map(|field| format!("user.{field}")));
}

#[test]
fn all_faults_of_a_new_user_are_told() {
    let request = wire::CreateUserRequest {
        user: Some(wire::User {
            external_id: "a".repeat(129),
            email: "nobody".into(),
            user_name: "a@b".into(),
            display_name: "\u{7}".into(),
            ..Default::default()
        }),
        password: String::new(),
        must_change_password: true,
        request_id: "1".into(),
    };
    assert_eq!(
        paths(read_create(request)),
        ["user.external_id", "user.email", "user.user_name", "user.display_name", "request_id", "must_change_password"]
    );
    assert_eq!(paths(read_create(wire::CreateUserRequest::default())), ["user"]);
}

#[test]
fn a_new_user_may_be_anybody() {
    let request = wire::CreateUserRequest { user: Some(wire::User::default()), ..Default::default() };
    let read = read_create(request).unwrap();
    assert_eq!(read.profile, Profile::default());
    assert!(read.password.is_none() && read.request_id.is_none());
    let request = wire::CreateUserRequest {
        user: Some(wire::User {
            external_id: "a".repeat(128),
            email: "Kim@example.com".into(),
            email_verified: true,
            user_name: "kim".into(),
            display_name: "가".repeat(128),
            ..Default::default()
        }),
        password: "a".repeat(BYTES_MAX),
        must_change_password: true,
        request_id: USER.into(),
    };
    let read = read_create(request).unwrap();
    assert_eq!(read.profile.email.unwrap().as_given(), "Kim@example.com");
    assert!(read.profile.email_verified && read.password.is_some_and(|new| new.due) && read.request_id.is_some());
}

#[test]
fn a_proof_needs_an_address() {
    let user = wire::User { email_verified: true, ..Default::default() };
    let request = wire::CreateUserRequest { user: Some(user), ..Default::default() };
    assert_eq!(paths(read_create(request)), ["user.email_verified"]);
}

#[test]
fn a_password_that_is_too_long_is_refused_as_one() {
    let user = Some(wire::User::default());
    let request = wire::CreateUserRequest { user, password: "a".repeat(BYTES_MAX + 1), ..Default::default() };
    assert!(matches!(read_create(request), Err(AuthError::PasswordRefused(PasswordRule::TooLong))));
}

#[test]
fn an_update_names_what_it_sets() {
    for mask in [&[][..], &["*"], &["id"], &["etag"], &["state"], &["user.email"], &["displayName"]] {
        assert_eq!(paths(read_update(update(named(), mask))).len(), 1, "{mask:?}");
    }
    assert_eq!(paths(read_update(update(wire::User::default(), &["email", "x"]))), ["user.id", "update_mask.paths[1]"]);
    assert_eq!(paths(read_update(wire::UpdateUserRequest::default())), ["update_mask", "user"]);
}

#[test]
fn an_update_sets_nothing_else() {
    let user = wire::User { email: "not one".into(), display_name: "Kim".into(), etag: "7".into(), ..named() };
    let Update { id, etag, change } = read_update(update(user, &["display_name"])).unwrap();
    assert_eq!((id.to_string().as_str(), etag.as_deref()), (USER, Some("7")));
    assert_eq!(change.display_name.as_deref(), Some("Kim"));
    assert!(change.external_id.is_none() && change.email.is_none() && change.email_verified.is_none());
    assert!(change.user_name.is_none());
}

#[test]
fn an_empty_value_clears() {
    let mask = ["external_id", "email", "email_verified", "user_name", "display_name"];
    let change = read_update(update(named(), &mask)).unwrap().change;
    assert_eq!(change.external_id.as_deref(), Some(""));
    assert_eq!((change.email, change.user_name), (Some(None), Some(None)));
    assert_eq!((change.email_verified, change.display_name.as_deref()), (Some(false), Some("")));
}

#[test]
fn a_user_is_found_by_one_key() {
    let read = |key| read_get(wire::GetUserRequest { key });
    assert_eq!(paths(read(None)), ["key"]);
    assert_eq!(paths(read(Some(Key::Id("kim".into())))), ["id"]);
    assert_eq!(paths(read(Some(Key::ExternalId(String::new())))), ["external_id"]);
    assert_eq!(paths(read(Some(Key::Identifier(" ".into())))), ["identifier"]);
    assert!(matches!(read(Some(Key::Id(USER.into()))), Ok(UserKey::Id(_))));
    assert!(matches!(read(Some(Key::Identifier("Kim@x.y".into()))), Ok(UserKey::Identifier(Identifier::Email(_)))));
}

#[test]
fn a_list_is_bounded_and_bound_to_its_filters() {
    let pages = Pages(&["ListUsers", "", "0"]);
    let last: UserId = USER.parse().unwrap();
    let read = |page_size, page_token: &str| {
        let page_token = page_token.to_owned();
        read_list(wire::ListUsersRequest { page_size, page_token, ..Default::default() }, &pages)
    };
    assert_eq!(read(0, "").unwrap().page_size, 50);
    assert_eq!(read(1_000, "").unwrap().page_size, 500);
    assert_eq!(read(1, &pages.token(USER)).unwrap().after, Some(last));
    assert_eq!(paths(read(-1, "x")), ["page_size", "page_token"]);
    let request = wire::ListUsersRequest { query: "a".repeat(255), state: 9, ..Default::default() };
    assert_eq!(paths(read_list(request, &pages)), ["query", "state"]);
}

#[test]
fn notes_are_bounded() {
    assert!(read_id_and_note(USER, "a".repeat(256)).is_ok());
    assert_eq!(paths(read_id_and_note("", "a".repeat(257))), ["id", "note"]);
}
