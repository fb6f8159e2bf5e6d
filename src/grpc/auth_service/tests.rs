use secrecy::ExposeSecret as _;

use super::*;
use crate::proto::auth::v1::{Device, TokenOptions};

const USER: &str = "019a8c1e-0000-7000-8000-00000000b7f3";

fn paths<T>(read: Result<T, AuthError>) -> Vec<String> {
    match read {
        Ok(_) => Vec::new(),
        Err(AuthError::InvalidField(faults)) => faults.into_iter().map(|fault| fault.field).collect(),
        Err(other) => panic!("{other:?}"),
    }
}

fn login(identifier: &str, password: &str) -> LoginRequest {
    let (identifier, password) = (identifier.to_owned(), password.to_owned());
    LoginRequest {
        credential: Some(Credential::Password(PasswordCredential { identifier, password })),
        ..Default::default()
    }
}

#[test]
fn a_sign_in_needs_a_credential() {
    assert_eq!(paths(read_login(LoginRequest::default())), ["credential"]);
    assert_eq!(paths(read_login(login("", ""))), ["password.identifier", "password.password"]);
    assert_eq!(paths(read_login(login("kim", "pw"))), [""; 0]);
}

#[test]
fn a_sign_in_is_bounded() {
    assert_eq!(paths(read_login(login(&"a".repeat(254), &"a".repeat(1024)))), [""; 0]);
    let long = login(&"a".repeat(255), &"a".repeat(1025));
    assert_eq!(paths(read_login(long)), ["password.identifier", "password.password"]);
    assert_eq!(paths(read_login(login("kim\0", "pw"))), ["password.identifier"]);
}

#[test]
fn all_faults_of_a_sign_in_are_told() {
    let request = LoginRequest {
        device: Some(Device { ip_address: "x".into(), ..Default::default() }),
        token_options: Some(TokenOptions { tenant: "no spaces".into(), ..Default::default() }),
        ..login("", "pw")
    };
    assert_eq!(paths(read_login(request)), ["password.identifier", "device.ip_address", "token_options.tenant"]);
}

#[test]
fn no_token_to_replace_is_none() {
    assert!(read_login(login("kim", "pw")).unwrap().replace.is_none());
    let request = LoginRequest { replace_refresh_token: "ptr_x".into(), ..login("kim", "pw") };
    assert_eq!(read_login(request).unwrap().replace.unwrap().expose_secret(), "ptr_x");
}

#[test]
fn what_a_refresh_leaves_out_stays_as_it_was() {
    let unset = read_refresh(RefreshRequest::default()).unwrap();
    assert!(unset.device.is_none() && unset.scope.is_none());
    let set = read_refresh(RefreshRequest {
        device: Some(Device::default()),
        token_options: Some(TokenOptions::default()),
        ..Default::default()
    });
    let set = set.unwrap();
    assert!(set.device.is_some() && set.scope.is_some());
    let bad =
        RefreshRequest { device: Some(Device { ip_address: "x".into(), ..Default::default() }), ..Default::default() };
    assert_eq!(paths(read_refresh(bad)), ["device.ip_address"]);
}

#[test]
fn a_page_goes_on_where_the_last_one_ended() {
    let client: ClientId = "dev".parse().unwrap();
    let last = SessionId::generate();
    let mut request = ListSessionsRequest { user_id: USER.into(), ..Default::default() };
    let token = |request: &ListSessionsRequest| {
        Pages(&listing(&client, request).each_ref().map(String::as_str)).token(&last.to_string())
    };
    let read = |request: ListSessionsRequest| {
        let listing = listing(&client, &request);
        read_list(request, &Pages(&listing.each_ref().map(String::as_str)))
    };
    request.page_token = token(&request);
    let first = read(request.clone()).unwrap();
    assert_eq!((first.before, first.page_size), (Some(last), 50));
    assert_eq!(first.user.unwrap().to_string(), USER);
    for foreign in [
        ListSessionsRequest { show_ended: true, ..request.clone() },
        ListSessionsRequest { user_id: String::new(), ..request.clone() },
        ListSessionsRequest { access_token: "x".into(), ..request },
    ] {
        assert_eq!(paths(read(foreign)), ["page_token"]);
    }
}

#[test]
fn nothing_is_ended_by_omission() {
    assert_eq!(paths(read_revoke(RevokeRequest::default())), ["target"]);
    let bad = RevokeRequest {
        target: Some(WireTarget::SessionId(String::new())),
        user_id: "x".into(),
        note: "\n".into(),
        ..Default::default()
    };
    assert_eq!(paths(read_revoke(bad)), ["note", "session_id", "user_id"]);
}

#[test]
fn the_owner_of_a_session_is_named_for_a_session_only() {
    for (target, fits) in [
        (WireTarget::SessionId(USER.into()), true),
        (WireTarget::RefreshToken("ptr_x".into()), false),
        (WireTarget::UserSessions(UserSessions::default()), false),
    ] {
        let request = RevokeRequest { target: Some(target), user_id: USER.into(), ..Default::default() };
        assert_eq!(paths(read_revoke(request)).is_empty(), fits);
    }
}
