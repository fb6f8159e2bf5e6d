//! AdminService as an administrator uses it: what changes what, who may not, and what happens when two do it at once.
//! Which permission each RPC needs is in `contract`.

use std::collections::BTreeSet;
use std::time::Duration;

use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use admin::get_user_request::Key as UserKey;

use crate::backstage;
use crate::support::{Admin, Answer, PASSWORD, Server, everywhere, in_tenant, metadata, quick, reason, verdict};

const OTHER_PASSWORD: &str = "wrong horse battery";

/// A server, its administrator, and somebody who signs in.
struct Office {
    server: Server,
    root: Admin,
    root_id: String,
}

impl Office {
    async fn new() -> Self {
        let server = backstage::server().await;
        let token = server.login_admin().await.access_token;
        let root_id = server.verify(&token).await.principal.unwrap().id;
        Self { root: server.admin(&token), root_id, server }
    }

    async fn user(&self, name: &str) -> String {
        backstage::user(&self.server, name).await.to_string()
    }

    /// AdminService on behalf of somebody with [`PASSWORD`].
    async fn acting(&self, name: &str) -> Admin {
        self.server.admin(&backstage::token(&self.server, name).await)
    }

    async fn role(&self, id: &str, patterns: &[&str], inherits: &[&str]) {
        self.root.put_role(put(role(id, patterns, inherits))).await.unwrap();
    }

    async fn grant(&self, principal: &str, role: &str, scope: Option<admin::Scope>) {
        self.root.grant_role(binding(principal, role, scope)).await.unwrap();
    }

    /// What a helpdesk needs, and no more.
    async fn helpdesk(&self, name: &str) -> (String, Admin) {
        let id = self.user(name).await;
        self.role("helpdesk", &["postern:users:*", "postern:bindings:*", "postern:roles:*"], &[]).await;
        self.grant(&id, "helpdesk", everywhere()).await;
        (id, self.acting(name).await)
    }
}

fn role(id: &str, patterns: &[&str], inherits: &[&str]) -> admin::Role {
    let [patterns, inherits] = [patterns, inherits].map(|texts| texts.iter().map(ToString::to_string).collect());
    admin::Role { id: id.to_owned(), patterns, inherits, ..Default::default() }
}

fn put(role: admin::Role) -> admin::PutRoleRequest {
    admin::PutRoleRequest { role: Some(role) }
}

fn binding(principal: &str, role: &str, scope: Option<admin::Scope>) -> admin::GrantRoleRequest {
    let (principal_id, role) = (principal.to_owned(), role.to_owned());
    admin::GrantRoleRequest { binding: Some(admin::Binding { principal_id, role, scope, ..Default::default() }) }
}

fn withdrawal(principal: &str, role: &str, scope: Option<admin::Scope>) -> admin::WithdrawRoleRequest {
    admin::WithdrawRoleRequest { principal_id: principal.to_owned(), role: role.to_owned(), scope }
}

fn create(user: admin::User) -> admin::CreateUserRequest {
    admin::CreateUserRequest { user: Some(user), ..Default::default() }
}

fn named(user_name: &str) -> admin::User {
    admin::User { user_name: user_name.to_owned(), ..Default::default() }
}

fn update(user: admin::User, paths: &[&str]) -> admin::UpdateUserRequest {
    let update_mask = Some(prost_types::FieldMask { paths: paths.iter().map(ToString::to_string).collect() });
    admin::UpdateUserRequest { user: Some(user), update_mask }
}

fn by_id(id: &str) -> admin::GetUserRequest {
    admin::GetUserRequest { key: Some(admin::get_user_request::Key::Id(id.to_owned())) }
}

fn new_password(id: &str) -> admin::SetPasswordRequest {
    admin::SetPasswordRequest { id: id.to_owned(), password: OTHER_PASSWORD.to_owned(), ..Default::default() }
}

/// A refusal with this code and reason.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Answer<T>, code: Code, expected: &str) -> Status {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (code, expected), "{status:?}");
    status
}

#[track_caller]
fn lacks<T: std::fmt::Debug>(answer: Answer<T>, permission: &str) {
    let status = refused(answer, Code::PermissionDenied, "PERMISSION_MISSING");
    assert_eq!(metadata(&status, "permission"), permission);
}

/// The fields that are at fault.
#[track_caller]
fn faults<T: std::fmt::Debug>(answer: Answer<T>) -> Vec<String> {
    let status = refused(answer, Code::InvalidArgument, "INVALID_FIELD");
    let details = status.get_error_details();
    details.bad_request().unwrap().field_violations.iter().map(|violation| violation.field.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_made_found_and_changed() {
    let office = Office::new().await;
    let root = &office.root;
    let wanted = admin::User {
        external_id: "legacy-7".to_owned(),
        email: "Kim@Example.com".to_owned(),
        user_name: "Kim".to_owned(),
        display_name: "Kim Minji".to_owned(),
        ..Default::default()
    };
    let request = admin::CreateUserRequest { password: PASSWORD.to_owned(), ..create(wanted.clone()) };
    let made = root.create_user(request).await.unwrap().user.unwrap();
    assert_eq!((made.state(), made.has_password, made.email_verified), (admin::UserState::Active, true, false));
    assert!(!made.etag.is_empty() && made.create_time.is_some() && made.update_time.is_some());
    for key in [
        UserKey::Id(made.id.clone()),
        UserKey::ExternalId("legacy-7".to_owned()),
        UserKey::Identifier("KIM".to_owned()),
        UserKey::Identifier("kim@example.COM".to_owned()),
    ] {
        let found = root.get_user(admin::GetUserRequest { key: Some(key) }).await.unwrap().user.unwrap();
        assert_eq!(found, made);
    }
    for identifier in ["kim", "KIM@example.com"] {
        let tokens = office.server.login(identifier, PASSWORD).await.unwrap();
        assert_eq!(tokens.principal.unwrap().external_id, "legacy-7");
    }
    for (user, field) in [
        (admin::User { id: made.id.clone(), ..named("a") }, "user.id"),
        (admin::User { state: 2, ..named("a") }, "user.state"),
        (admin::User { has_password: true, ..named("a") }, "user.has_password"),
        (admin::User { etag: "1".to_owned(), ..named("a") }, "user.etag"),
        (admin::User { email_verified: true, ..named("a") }, "user.email_verified"),
        (named("with@sign"), "user.user_name"),
        (admin::User { email: "no address".to_owned(), ..named("a") }, "user.email"),
        (admin::User { external_id: "x".repeat(129), ..named("a") }, "user.external_id"),
        (admin::User { display_name: "a\nb".to_owned(), ..named("a") }, "user.display_name"),
    ] {
        assert_eq!(faults(root.create_user(create(user)).await), [field]);
    }
    let short = admin::CreateUserRequest { password: "short".to_owned(), ..create(named("a")) };
    refused(root.create_user(short).await, Code::InvalidArgument, "PASSWORD_REFUSED");
    refused(root.get_user(by_id("019a8c1e-0000-7000-8000-00000000b7f3")).await, Code::NotFound, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mask_says_what_changes_and_an_etag_since_when() {
    let office = Office::new().await;
    let root = &office.root;
    let email = |email: &str| email.to_owned();
    let user = admin::User {
        email: email("kim@example.com"),
        email_verified: true,
        display_name: "Kim".to_owned(),
        ..named("kim")
    };
    let made = root.create_user(create(user)).await.unwrap().user.unwrap();
    let all_else = admin::User { display_name: "Minji".to_owned(), id: made.id.clone(), ..Default::default() };
    let after = root.update_user(update(all_else.clone(), &["display_name"])).await.unwrap().user.unwrap();
    assert_eq!((after.display_name.as_str(), after.user_name.as_str(), after.email_verified), ("Minji", "kim", true));
    assert_ne!(after.etag, made.etag);
    // By an old etag nothing is changed; by the newest, once.
    let stale = admin::User { etag: made.etag.clone(), ..all_else.clone() };
    refused(root.update_user(update(stale, &["display_name"])).await, Code::Aborted, "ETAG_MISMATCH");
    let current = admin::User { etag: after.etag.clone(), display_name: "M".to_owned(), ..all_else.clone() };
    root.update_user(update(current.clone(), &["display_name"])).await.unwrap();
    refused(root.update_user(update(current, &["display_name"])).await, Code::Aborted, "ETAG_MISMATCH");
    // Another address is not proven by the old one.
    let moved = admin::User { email: email("minji@example.com"), ..all_else.clone() };
    let after = root.update_user(update(moved, &["email"])).await.unwrap().user.unwrap();
    assert_eq!((after.email.as_str(), after.email_verified), ("minji@example.com", false));
    // What is named and empty is taken away.
    let after = root.update_user(update(all_else.clone(), &["user_name", "email"])).await.unwrap().user.unwrap();
    assert_eq!((after.user_name.as_str(), after.email.as_str()), ("", ""));
    for path in
        ["id", "state", "has_password", "etag", "create_time", "update_time", "password", "*", "", "user_name.x"]
    {
        assert_eq!(
            faults(root.update_user(update(all_else.clone(), &[path])).await),
            ["update_mask.paths[0]"],
            "{path}"
        );
    }
    assert_eq!(faults(root.update_user(update(all_else, &[])).await), ["update_mask"]);
    let nobody = admin::User { id: "019a8c1e-0000-7000-8000-00000000b7f3".to_owned(), ..Default::default() };
    refused(root.update_user(update(nobody, &["display_name"])).await, Code::NotFound, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn identifiers_belong_to_one_user() {
    let office = Office::new().await;
    let root = &office.root;
    let first = admin::User { external_id: "7".to_owned(), email: "kim@example.com".to_owned(), ..named("kim") };
    root.create_user(create(first)).await.unwrap();
    let second = root.create_user(create(named("lee"))).await.unwrap().user.unwrap().id;
    for (user, path) in [
        (named("KIM"), "user_name"),
        (admin::User { email: "KIM@example.com".to_owned(), ..Default::default() }, "email"),
        (admin::User { external_id: "7".to_owned(), ..Default::default() }, "external_id"),
    ] {
        refused(root.create_user(create(user.clone())).await, Code::AlreadyExists, "IDENTIFIER_TAKEN");
        let user = admin::User { id: second.clone(), ..user };
        refused(root.update_user(update(user, &[path])).await, Code::AlreadyExists, "IDENTIFIER_TAKEN");
    }
    // Row 91: after a swap of names everybody is who they were.
    let token = |name: &'static str| backstage::token(&office.server, name);
    let (a, b) = (office.user("aa").await, office.user("bb").await);
    let (of_a, of_b) = (token("aa").await, token("bb").await);
    for (id, name) in [(&a, "cc"), (&b, "aa"), (&a, "bb")] {
        root.update_user(update(admin::User { id: id.clone(), ..named(name) }, &["user_name"])).await.unwrap();
    }
    for (token, id) in [(of_a, &a), (of_b, &b), (token("aa").await, &b), (token("bb").await, &a)] {
        assert_eq!(office.server.verify(&token).await.principal.unwrap().id, *id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_creation_makes_one_user() {
    let office = Office::new().await;
    let request_id = "8e6f0f5e-9d3c-4d5a-9a0e-0b6f0a5e6c11".to_owned();
    let request = admin::CreateUserRequest { request_id, ..create(named("kim")) };
    let first = office.root.create_user(request.clone()).await.unwrap().user.unwrap();
    for _retry in 0..2 {
        assert_eq!(office.root.create_user(request.clone()).await.unwrap().user.unwrap(), first);
    }
    // Without the id it is another attempt, and taken.
    refused(office.root.create_user(create(named("kim"))).await, Code::AlreadyExists, "IDENTIFIER_TAKEN");
    let bad = admin::CreateUserRequest { request_id: "1".to_owned(), ..create(named("lee")) };
    assert_eq!(faults(office.root.create_user(bad).await), ["request_id"]);
    // Sixteen at once are still one.
    let request_id = "8e6f0f5e-9d3c-4d5a-9a0e-0b6f0a5e6c12".to_owned();
    let request = admin::CreateUserRequest { request_id, ..create(named("lee")) };
    let (root, request) = (&office.root, &request);
    let answers = futures_of(16, || async { root.create_user(request.clone()).await.unwrap().user.unwrap().id }).await;
    assert_eq!(answers.into_iter().collect::<BTreeSet<_>>().len(), 1);
}

/// All of these at once.
async fn futures_of<T, F: Future<Output = T>>(count: usize, make: impl Fn() -> F) -> Vec<T> {
    let mut running: Vec<_> = (0..count).map(|_| Box::pin(make())).collect();
    let mut done: Vec<Option<T>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in running.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_disabled_deleted_or_given_a_password_is_signed_out() {
    let office = Office::new().await;
    let (server, root) = (&office.server, &office.root);
    let revoked = (pb::Decision::Unauthenticated, pb::Reason::TokenRevoked);
    let id = office.user("kim").await;
    let tokens = server.login("kim", PASSWORD).await.unwrap().tokens.unwrap();
    let note = || "left the company".to_owned();
    for _repeated in 0..2 {
        root.disable_user(admin::DisableUserRequest { id: id.clone(), note: note() }).await.unwrap();
        assert_eq!(verdict(&server.verify(&tokens.access_token).await), revoked);
        refused(server.login("kim", PASSWORD).await.map(drop), Code::Unauthenticated, "INVALID_CREDENTIALS");
        refused(server.refresh(&tokens.refresh_token).await, Code::Unauthenticated, "SESSION_ENDED");
    }
    let user = root.get_user(by_id(&id)).await.unwrap().user.unwrap();
    assert_eq!(user.state(), admin::UserState::Disabled);
    root.enable_user(admin::EnableUserRequest { id: id.clone(), note: note() }).await.unwrap();
    // What was ended stays ended.
    assert_eq!(verdict(&server.verify(&tokens.access_token).await), revoked);
    refused(server.refresh(&tokens.refresh_token).await, Code::Unauthenticated, "SESSION_ENDED");

    let tokens = server.login("kim", PASSWORD).await.unwrap().tokens.unwrap();
    root.set_password(new_password(&id)).await.unwrap();
    assert_eq!(verdict(&server.verify(&tokens.access_token).await), revoked);
    refused(server.refresh(&tokens.refresh_token).await, Code::Unauthenticated, "SESSION_ENDED");
    refused(server.login("kim", PASSWORD).await.map(drop), Code::Unauthenticated, "INVALID_CREDENTIALS");
    let tokens = server.login("kim", OTHER_PASSWORD).await.unwrap().tokens.unwrap();
    for password in ["", "short", &"x".repeat(1_025)] {
        let request = admin::SetPasswordRequest { id: id.clone(), password: password.to_owned(), ..Default::default() };
        refused(root.set_password(request).await, Code::InvalidArgument, "PASSWORD_REFUSED");
    }
    assert_eq!(server.verify(&tokens.access_token).await.decision(), pb::Decision::Allow);

    for _repeated in 0..2 {
        root.delete_user(admin::DeleteUserRequest { id: id.clone(), note: note() }).await.unwrap();
        assert_eq!(verdict(&server.verify(&tokens.access_token).await), revoked);
        refused(server.login("kim", OTHER_PASSWORD).await.map(drop), Code::Unauthenticated, "INVALID_CREDENTIALS");
    }
    refused(root.get_user(by_id(&id)).await, Code::NotFound, "NOT_FOUND");
    // The name is free, and its new owner is somebody else.
    let next = office.user("kim").await;
    assert_ne!(next, id);
    assert_eq!(verdict(&server.verify(&tokens.access_token).await), revoked);
    let unknown = || id.clone();
    refused(
        root.disable_user(admin::DisableUserRequest { id: unknown(), note: note() }).await,
        Code::NotFound,
        "NOT_FOUND",
    );
    refused(root.set_password(new_password(&id)).await, Code::NotFound, "NOT_FOUND");
}

/// Until so many seconds from now.
fn until(secs: i64, mut grant: admin::GrantRoleRequest, office: &Office) -> admin::GrantRoleRequest {
    let seconds = office.server.clock.now().secs() + secs;
    grant.binding.as_mut().unwrap().expire_time = Some(prost_types::Timestamp { seconds, nanos: 0 });
    grant
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_grants_for_longer_than_they_hold() {
    let office = Office::new().await;
    office.role("granter", &["postern:grants:any", "postern:bindings:write"], &[]).await;
    let (guest, kim) = (office.user("guest").await, office.user("kim").await);
    let an_hour = until(3_600, binding(&guest, "granter", everywhere()), &office);
    office.root.grant_role(an_hour).await.unwrap();
    let desk = office.acting("guest").await;
    for principal in [&guest, &kim] {
        let for_good = binding(principal, "granter", everywhere());
        lacks(desk.grant_role(for_good.clone()).await, "postern:bindings:write");
        lacks(desk.grant_role(until(3_700, for_good, &office)).await, "postern:bindings:write");
    }
    desk.grant_role(until(3_000, binding(&kim, "granter", everywhere()), &office)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_grants_what_they_do_not_hold() {
    let office = Office::new().await;
    let (helper, desk) = office.helpdesk("helper").await;
    let kim = office.user("kim").await;
    office.role("reader", &["orders:read"], &[]).await;
    office.role("empty", &[], &[]).await;
    for principal in [&kim, &helper] {
        lacks(desk.grant_role(binding(principal, "postern.admin", everywhere())).await, "postern:**");
        lacks(desk.grant_role(binding(principal, "postern.admin", in_tenant("acme"))).await, "postern:**");
        lacks(desk.grant_role(binding(principal, "reader", everywhere())).await, "orders:read");
        desk.grant_role(binding(principal, "helpdesk", everywhere())).await.unwrap();
        desk.grant_role(binding(principal, "empty", everywhere())).await.unwrap();
    }
    // Neither by a new role, nor by one that is held already, nor by inheritance, nor by the whole policy.
    lacks(desk.put_role(put(role("mine", &["orders:read"], &[]))).await, "orders:read");
    lacks(desk.put_role(put(role("mine", &["**"], &[]))).await, "**");
    lacks(desk.put_role(put(role("mine", &["postern:*:*"], &[]))).await, "postern:*:*");
    lacks(desk.put_role(put(role("mine", &[], &["reader"]))).await, "orders:read");
    lacks(desk.put_role(put(role("mine", &[], &["postern.admin"]))).await, "postern:**");
    lacks(
        desk.put_role(put(role("helpdesk", &["postern:users:*", "postern:grants:any"], &[]))).await,
        "postern:grants:any",
    );
    lacks(desk.put_role(put(role("empty", &["postern:sessions:revoke"], &[]))).await, "postern:sessions:revoke");
    let policy = |roles: Vec<admin::Role>, validate_only| admin::ApplyPolicyRequest {
        roles,
        validate_only,
        ..Default::default()
    };
    for validate_only in [true, false] {
        let bold = vec![role("mine", &["orders:read"], &[])];
        lacks(desk.apply_policy(policy(bold, validate_only)).await, "orders:read");
    }
    desk.put_role(put(role("mine", &["postern:users:read"], &[]))).await.unwrap();
    desk.put_role(put(role("mine", &["postern:users:read"], &["helpdesk"]))).await.unwrap();
    // Held in one tenant, it may be given there and nowhere else.
    office.grant(&helper, "reader", in_tenant("acme")).await;
    desk.grant_role(binding(&kim, "reader", in_tenant("acme"))).await.unwrap();
    lacks(desk.grant_role(binding(&kim, "reader", in_tenant("beta"))).await, "orders:read");
    lacks(desk.grant_role(binding(&kim, "reader", everywhere())).await, "orders:read");
    lacks(desk.put_role(put(role("mine", &["orders:read"], &[]))).await, "orders:read");
    // Who may grant anything, may.
    office.role("granter", &["postern:grants:any", "postern:bindings:write"], &[]).await;
    let granter = office.user("granter").await;
    office.grant(&granter, "granter", everywhere()).await;
    office.acting("granter").await.grant_role(binding(&kim, "reader", everywhere())).await.unwrap();
    // Nothing of all that was refused was done.
    let bindings = office
        .root
        .list_bindings(admin::ListBindingsRequest { role: "postern.admin".to_owned(), ..Default::default() });
    assert_eq!(bindings.await.unwrap().bindings.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_over_who_may_more() {
    let office = Office::new().await;
    let (helper, desk) = office.helpdesk("helper").await;
    let kim = office.user("kim").await;
    office.role("reader", &["orders:read"], &[]).await;
    let boss = office.user("boss").await;
    office.grant(&boss, "reader", in_tenant("acme")).await;
    for (stronger, by) in [(&office.root_id, "postern:**"), (&boss, "orders:read")] {
        let id = || stronger.clone();
        lacks(desk.set_password(new_password(stronger)).await, by);
        let address = admin::User { id: id(), email: "mine@example.com".to_owned(), ..Default::default() };
        lacks(desk.update_user(update(address, &["email"])).await, by);
        lacks(desk.disable_user(admin::DisableUserRequest { id: id(), ..Default::default() }).await, by);
        lacks(desk.enable_user(admin::EnableUserRequest { id: id(), ..Default::default() }).await, by);
        lacks(desk.delete_user(admin::DeleteUserRequest { id: id(), ..Default::default() }).await, by);
    }
    desk.set_password(new_password(&kim)).await.unwrap();
    desk.disable_user(admin::DisableUserRequest { id: kim.clone(), ..Default::default() }).await.unwrap();
    desk.enable_user(admin::EnableUserRequest { id: kim.clone(), ..Default::default() }).await.unwrap();
    desk.delete_user(admin::DeleteUserRequest { id: kim, ..Default::default() }).await.unwrap();
    // Oneself and one's equals are no stronger.
    let equal = office.user("equal").await;
    office.grant(&equal, "helpdesk", everywhere()).await;
    desk.set_password(new_password(&equal)).await.unwrap();
    let own = admin::User { id: helper, display_name: "Helper".to_owned(), ..Default::default() };
    desk.update_user(update(own.clone(), &["display_name"])).await.unwrap();
    // And who loses the role loses it at once, with the token in hand.
    office.root.withdraw_role(withdrawal(&own.id, "helpdesk", everywhere())).await.unwrap();
    lacks(desk.update_user(update(own.clone(), &["display_name"])).await, "postern:users:write");
    lacks(desk.get_user(by_id(&own.id)).await, "postern:users:read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_may_have_its_own_administrators() {
    let office = Office::new().await;
    office.role("tenant-admin", &["postern:bindings:*", "orders:**"], &[]).await;
    office.role("clerk", &["orders:read"], &[]).await;
    office.role("payer", &["billing:pay"], &[]).await;
    let (chief, kim) = (office.user("chief").await, office.user("kim").await);
    office.grant(&chief, "tenant-admin", in_tenant("acme")).await;
    let chief = office.acting("chief").await;
    let token = backstage::token(&office.server, "kim").await;
    let may = async |tenant| office.server.may(&token, "orders:read", tenant).await.decision() == pb::Decision::Allow;
    chief.grant_role(binding(&kim, "clerk", in_tenant("acme"))).await.unwrap();
    assert!(may("acme").await && !may("beta").await && !may("").await);
    lacks(chief.grant_role(binding(&kim, "clerk", in_tenant("beta"))).await, "postern:bindings:write");
    lacks(chief.grant_role(binding(&kim, "clerk", everywhere())).await, "postern:bindings:write");
    lacks(chief.grant_role(binding(&kim, "payer", in_tenant("acme"))).await, "billing:pay");
    lacks(chief.withdraw_role(withdrawal(&kim, "clerk", in_tenant("beta"))).await, "postern:bindings:write");
    lacks(chief.withdraw_role(withdrawal(&kim, "clerk", everywhere())).await, "postern:bindings:write");
    let listing = |scope| admin::ListBindingsRequest { scope, ..Default::default() };
    assert_eq!(chief.list_bindings(listing(in_tenant("acme"))).await.unwrap().bindings.len(), 2);
    for scope in [in_tenant("beta"), everywhere(), None] {
        lacks(chief.list_bindings(listing(scope)).await, "postern:bindings:read");
    }
    chief.withdraw_role(withdrawal(&kim, "clerk", in_tenant("acme"))).await.unwrap();
    assert!(!may("acme").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_remains() {
    let office = Office::new().await;
    let root = &office.root;
    let id = || office.root_id.clone();
    let last = |status: Answer<()>| refused(status, Code::FailedPrecondition, "LAST_ONE");
    let soon = prost_types::Timestamp { seconds: office.server.clock.now().secs() + 600, nanos: 0 };
    let ending = |principal: &str| {
        let mut request = binding(principal, "postern.admin", everywhere());
        request.binding.as_mut().unwrap().expire_time = Some(soon);
        request
    };
    // Neither a second one in a tenant, nor one that ends by itself, nor one who is disabled stands in.
    let (kim, lee) = (office.user("kim").await, office.user("lee").await);
    office.grant(&kim, "postern.admin", in_tenant("acme")).await;
    root.grant_role(ending(&kim)).await.unwrap();
    office.grant(&lee, "postern.admin", everywhere()).await;
    root.disable_user(admin::DisableUserRequest { id: lee.clone(), ..Default::default() }).await.unwrap();
    for _round in 0..2 {
        last(root.disable_user(admin::DisableUserRequest { id: id(), ..Default::default() }).await.map(drop));
        last(root.delete_user(admin::DeleteUserRequest { id: id(), ..Default::default() }).await.map(drop));
        last(root.withdraw_role(withdrawal(&id(), "postern.admin", everywhere())).await.map(drop));
        last(root.grant_role(ending(&id())).await.map(drop));
    }
    // With a second one, one of them may go, and not both, even at once.
    root.enable_user(admin::EnableUserRequest { id: lee.clone(), ..Default::default() }).await.unwrap();
    let (one, other) = tokio::join!(
        root.withdraw_role(withdrawal(&id(), "postern.admin", everywhere())),
        root.withdraw_role(withdrawal(&lee, "postern.admin", everywhere()))
    );
    assert_eq!(usize::from(one.is_ok()) + usize::from(other.is_ok()), 1, "{one:?} {other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_have_etags_and_no_circles() {
    let office = Office::new().await;
    let root = &office.root;
    let made = root.put_role(put(role("clerk", &["orders:read"], &[]))).await.unwrap().role.unwrap();
    let with_etag = |etag: &str, patterns| admin::Role { etag: etag.to_owned(), ..role("clerk", patterns, &[]) };
    let changed = root.put_role(put(with_etag(&made.etag, &["orders:list"]))).await.unwrap().role.unwrap();
    assert_ne!(changed.etag, made.etag);
    refused(root.put_role(put(with_etag(&made.etag, &["orders:**"]))).await, Code::Aborted, "ETAG_MISMATCH");
    refused(
        root.put_role(put(admin::Role { etag: "1".to_owned(), ..role("new", &[], &[]) })).await,
        Code::Aborted,
        "ETAG_MISMATCH",
    );
    // Put again as it is, nothing changes.
    let same = root.put_role(put(with_etag("", &["orders:list"]))).await.unwrap().role.unwrap();
    assert_eq!(same, changed);
    let found = root.get_role(admin::GetRoleRequest { id: "clerk".to_owned() }).await.unwrap().role.unwrap();
    assert_eq!(found, changed);

    office.role("boss", &[], &["clerk"]).await;
    for wrong in [role("clerk", &[], &["boss"]), role("clerk", &[], &["clerk"]), role("x", &[], &["nobody"])] {
        let (id, status) = (wrong.id.clone(), root.put_role(put(wrong)).await);
        let status = refused(status, Code::FailedPrecondition, "ROLE_GRAPH_INVALID");
        assert!(!metadata(&status, "role").is_empty(), "{id}");
    }
    assert_eq!(faults(root.put_role(put(role("postern.admin", &[], &[]))).await), ["role.id"]);
    assert_eq!(faults(root.put_role(put(role("postern.mine", &[], &[]))).await), ["role.id"]);
    for (wrong, field) in [
        (role("Upper", &[], &[]), "role.id"),
        (role("", &[], &[]), "role.id"),
        (role("a", &["orders:re*d"], &[]), "role.patterns[0]"),
        (role("a", &["a:b", "a:**:b"], &[]), "role.patterns[1]"),
        (role("a", &["a", "a"], &[]), "role.patterns[1]"),
        (role("a", &[], &["No"]), "role.inherits[0]"),
    ] {
        assert_eq!(faults(root.put_role(put(wrong)).await), [field]);
    }
    let built_in = root.get_role(admin::GetRoleRequest { id: "postern.admin".to_owned() }).await.unwrap().role.unwrap();
    assert_eq!(built_in.patterns, ["postern:**"]);
    refused(root.get_role(admin::GetRoleRequest { id: "nobody".to_owned() }).await, Code::NotFound, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_in_use_is_deleted_by_force_only() {
    let office = Office::new().await;
    let root = &office.root;
    office.role("clerk", &["orders:read"], &[]).await;
    office.role("boss", &["orders:list"], &["clerk"]).await;
    let kim = office.user("kim").await;
    let token = backstage::token(&office.server, "kim").await;
    let delete = |id: &str, force| admin::DeleteRoleRequest { id: id.to_owned(), force };
    assert_eq!(faults(root.delete_role(delete("clerk", false)).await), ["force"], "inherited");
    office.grant(&kim, "boss", everywhere()).await;
    assert_eq!(faults(root.delete_role(delete("boss", false)).await), ["force"], "bound");
    let may = async |permission| office.server.may(&token, permission, "").await.decision() == pb::Decision::Allow;
    assert!(may("orders:read").await && may("orders:list").await);
    root.delete_role(delete("clerk", true)).await.unwrap();
    assert!(!may("orders:read").await && may("orders:list").await);
    root.delete_role(delete("boss", true)).await.unwrap();
    assert!(!may("orders:list").await);
    let left =
        root.list_bindings(admin::ListBindingsRequest { principal_id: kim, ..Default::default() }).await.unwrap();
    assert!(left.bindings.is_empty());
    // Again is no error; the built-in ones stay.
    root.delete_role(delete("boss", false)).await.unwrap();
    for force in [false, true] {
        assert_eq!(faults(root.delete_role(delete("postern.admin", force)).await), ["id"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_replaced_as_a_whole() {
    let office = Office::new().await;
    let root = &office.root;
    for (id, patterns) in [("stays", ["a:x"]), ("changes", ["b:x"]), ("goes", ["c:x"])] {
        office.role(id, &patterns, &[]).await;
    }
    let kim = office.user("kim").await;
    for id in ["stays", "changes", "goes"] {
        office.grant(&kim, id, everywhere()).await;
    }
    let token = backstage::token(&office.server, "kim").await;
    let may = async |permission| office.server.may(&token, permission, "").await.decision() == pb::Decision::Allow;
    let before = root.list_roles(admin::ListRolesRequest::default()).await.unwrap().policy_revision;
    let apply = |validate_only, expected: &str| admin::ApplyPolicyRequest {
        roles: vec![role("stays", &["a:x"], &[]), role("changes", &["b:y"], &[]), role("comes", &["d:x"], &["stays"])],
        validate_only,
        expected_policy_revision: expected.to_owned(),
    };
    let said = |answer: &admin::ApplyPolicyResponse| {
        assert_eq!(
            (&answer.created[..], &answer.changed[..], &answer.deleted[..]),
            (&["comes".to_owned()][..], &["changes".to_owned()][..], &["goes".to_owned()][..])
        );
        assert_eq!(answer.affected_bindings, 2);
    };
    let dry = root.apply_policy(apply(true, "")).await.unwrap();
    said(&dry);
    assert_eq!(dry.policy_revision, before);
    assert!(may("b:x").await && may("c:x").await && !may("b:y").await, "only said");
    refused(root.apply_policy(apply(false, "1")).await, Code::Aborted, "ETAG_MISMATCH");
    assert_eq!(faults(root.apply_policy(apply(false, "x")).await), ["expected_policy_revision"]);
    let done = root.apply_policy(apply(false, &dry.policy_revision)).await.unwrap();
    said(&done);
    assert!(!may("b:x").await && !may("c:x").await && may("b:y").await && may("a:x").await);
    // The revision of before is spent; the same policy again changes nothing.
    refused(root.apply_policy(apply(false, &dry.policy_revision)).await, Code::Aborted, "ETAG_MISMATCH");
    let again = root.apply_policy(apply(false, &done.policy_revision)).await.unwrap();
    assert!(again.created.is_empty() && again.changed.is_empty() && again.deleted.is_empty());
    assert_eq!(again.policy_revision, done.policy_revision);
    let circle = vec![role("a", &[], &["b"]), role("b", &[], &["a"])];
    for validate_only in [true, false] {
        let request = admin::ApplyPolicyRequest { roles: circle.clone(), validate_only, ..Default::default() };
        refused(root.apply_policy(request).await, Code::FailedPrecondition, "ROLE_GRAPH_INVALID");
    }
    assert!(may("a:x").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_says_where_and_until_when() {
    let office = Office::new().await;
    let root = &office.root;
    office.role("clerk", &["orders:read"], &[]).await;
    let kim = office.user("kim").await;
    let nowhere = Some(admin::Scope { r#where: None });
    let not_everywhere = Some(admin::Scope { r#where: Some(admin::scope::Where::Everywhere(false)) });
    for (scope, field) in [
        (None, "binding.scope"),
        (nowhere, "binding.scope"),
        (not_everywhere, "binding.scope.everywhere"),
        (in_tenant(""), "binding.scope.tenant"),
        (in_tenant("*"), "binding.scope.tenant"),
    ] {
        assert_eq!(faults(root.grant_role(binding(&kim, "clerk", scope)).await), [field]);
    }
    refused(root.grant_role(binding(&kim, "nobody", everywhere())).await, Code::NotFound, "NOT_FOUND");
    let stranger = "019a8c1e-0000-7000-8000-00000000b7f3";
    refused(root.grant_role(binding(stranger, "clerk", everywhere())).await, Code::NotFound, "NOT_FOUND");
    let now = office.server.clock.now().secs();
    let until = |seconds| {
        let mut request = binding(&kim, "clerk", in_tenant("acme"));
        request.binding.as_mut().unwrap().expire_time = Some(prost_types::Timestamp { seconds, nanos: 0 });
        request
    };
    assert_eq!(faults(root.grant_role(until(now - 1)).await), ["binding.expire_time"]);
    let made = root.grant_role(until(now + 60)).await.unwrap().binding.unwrap();
    assert_eq!((made.principal_kind(), made.granted_by), (pb::PrincipalKind::User, office.root_id.clone()));
    assert!(made.create_time.is_some());
    // Given again with another end, the newer grant stands in its place.
    let again = root.grant_role(until(now + 600)).await.unwrap().binding.unwrap();
    assert_eq!(again.expire_time.unwrap().seconds, now + 600);
    // Given again as it is, nothing happens.
    assert_eq!(root.grant_role(until(now + 600)).await.unwrap().binding.unwrap(), again);
    let listing = admin::ListBindingsRequest { principal_id: kim.clone(), ..Default::default() };
    assert_eq!(root.list_bindings(listing.clone()).await.unwrap().bindings.len(), 1);
    // Ended ones are not listed, and cannot be told from those that never were.
    backstage::advance(&office.server, Duration::from_secs(601)).await;
    assert!(root.list_bindings(listing).await.unwrap().bindings.is_empty());
    root.withdraw_role(withdrawal(&kim, "clerk", in_tenant("beta"))).await.unwrap();
    assert_eq!(faults(root.withdraw_role(withdrawal(&kim, "clerk", None)).await), ["scope"]);
}

/// Reads all pages of a list, and checks that a page token is good for nothing else.
macro_rules! pages {
    ($list:expr, $request:expr, $items:ident, $size:expr) => {{
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let mut request = $request.clone();
            (request.page_size, request.page_token) = ($size, page_token);
            let answer = $list(request).await.unwrap();
            assert!(answer.$items.len() <= usize::try_from($size).unwrap());
            all.extend(answer.$items);
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                break all;
            }
        }
    }};
}

/// What the configuration gives its clients is listed among the rest, wherever a page ends.
#[tokio::test(flavor = "multi_thread")]
async fn declared_bindings_are_listed_too() {
    let server = Server::start_with(|config| {
        quick(config);
        config.clients = vec![crate::clients::config_client("shop", &crate::clients::random_secret())];
    })
    .await;
    let root = server.admin(&server.login_admin().await.access_token);
    for id in ["api", "web"] {
        backstage::client(&server, id).await;
        backstage::allow(&server, id, "postern.backend").await;
    }
    let list = async |request: admin::ListBindingsRequest| root.list_bindings(request).await.unwrap();
    let named = |bindings: &[admin::Binding]| -> Vec<String> {
        let clients = bindings.iter().filter(|binding| binding.principal_kind() == pb::PrincipalKind::Client);
        clients.map(|binding| format!("{} {}", binding.principal_id, binding.role)).collect()
    };
    let expected = [
        "api postern.backend",
        "dev postern.backend",
        "dev postern.front",
        "shop postern.front",
        "web postern.backend",
    ];
    for page_size in 1..=7 {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let page = list(admin::ListBindingsRequest { page_size, page_token, ..Default::default() }).await;
            assert!(page.bindings.len() <= usize::try_from(page_size).unwrap());
            all.extend(page.bindings);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(all.len(), 6, "the administrator's own too");
        assert_eq!(named(&all), expected, "in pages of {page_size}");
    }
    let of = |id: &str| admin::ListBindingsRequest { principal_id: id.to_owned(), ..Default::default() };
    let shop = list(of("shop")).await.bindings;
    assert_eq!(named(&shop), ["shop postern.front"]);
    assert_eq!((shop[0].create_time, shop[0].expire_time, shop[0].granted_by.as_str()), (None, None, ""));
    assert!(list(of("web")).await.bindings[0].create_time.is_some());
    let fronts = admin::ListBindingsRequest { role: "postern.front".to_owned(), ..Default::default() };
    assert_eq!(named(&list(fronts).await.bindings), ["dev postern.front", "shop postern.front"]);
    let in_acme = admin::ListBindingsRequest { scope: in_tenant("acme"), ..Default::default() };
    assert!(list(in_acme).await.bindings.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages() {
    let office = Office::new().await;
    let root = &office.root;
    let mut ids = vec![office.root_id.clone()];
    for n in 0..7 {
        office.role(&format!("role-{n}"), &[], &[]).await;
        let user = admin::User { display_name: format!("Page {n}"), ..named(&format!("user-{n}")) };
        ids.push(root.create_user(create(user)).await.unwrap().user.unwrap().id);
        office.grant(&ids[1], &format!("role-{n}"), in_tenant("acme")).await;
    }
    root.disable_user(admin::DisableUserRequest { id: ids[3].clone(), ..Default::default() }).await.unwrap();
    let users = admin::ListUsersRequest::default();
    for size in [1, 3, 8, 500] {
        let found: Vec<String> =
            pages!(|request| root.list_users(request), users, users, size).into_iter().map(|user| user.id).collect();
        assert_eq!(found, ids, "each once, in order of their ids");
        let roles = admin::ListRolesRequest::default();
        let found: Vec<String> =
            pages!(|request| root.list_roles(request), roles, roles, size).into_iter().map(|role| role.id).collect();
        assert_eq!(found.len(), 7 + 3, "the built-in ones too");
        assert!(found.is_sorted());
        let bindings = admin::ListBindingsRequest { principal_id: ids[1].clone(), ..Default::default() };
        assert_eq!(pages!(|request| root.list_bindings(request), bindings, bindings, size).len(), 7);
        let keys = admin::ListKeysRequest::default();
        assert_eq!(pages!(|request| root.list_keys(request), keys, keys, size).len(), 1);
    }
    let disabled = admin::ListUsersRequest { state: admin::UserState::Disabled.into(), ..Default::default() };
    let found = pages!(|request| root.list_users(request), disabled, users, 2);
    assert_eq!(found.iter().map(|user| &user.id).collect::<Vec<_>>(), [&ids[3]]);
    for (query, count) in [("user-", 7), ("USER-1", 1), ("page", 7), ("ser-", 0), ("%", 0), ("_", 0), ("admin", 1)] {
        let request = admin::ListUsersRequest { query: query.to_owned(), ..Default::default() };
        assert_eq!(pages!(|request| root.list_users(request), request, users, 3).len(), count, "{query}");
    }
    // A token of one list is none of another, nor of the same with another filter.
    let request = admin::ListUsersRequest { page_size: 2, ..Default::default() };
    let token = root.list_users(request).await.unwrap().next_page_token;
    let elsewhere = admin::ListRolesRequest { page_token: token.clone(), ..Default::default() };
    assert_eq!(faults(root.list_roles(elsewhere).await), ["page_token"]);
    let filtered = admin::ListUsersRequest { page_token: token, query: "user".to_owned(), ..Default::default() };
    assert_eq!(faults(root.list_users(filtered).await), ["page_token"]);
    let negative = admin::ListUsersRequest { page_size: -1, ..Default::default() };
    assert_eq!(faults(root.list_users(negative).await), ["page_size"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_is_explained_step_by_step() {
    use admin::explain_access_request::Subject;
    let office = Office::new().await;
    let (server, root) = (&office.server, &office.root);
    office.role("reader", &["orders:read"], &[]).await;
    office.role("clerk", &["orders:list"], &["reader"]).await;
    let kim = office.user("kim").await;
    office.grant(&kim, "clerk", in_tenant("acme")).await;
    let tokens = server.login("kim", PASSWORD).await.unwrap().tokens.unwrap();
    let ask = async |subject: Subject, permission: &str, tenant: &str| {
        let check = Some(pb::Check { permission: permission.to_owned(), tenant: tenant.to_owned() });
        root.explain_access(admin::ExplainAccessRequest { subject: Some(subject), check }).await.unwrap()
    };
    let whole = |answer: &admin::ExplainAccessResponse| {
        answer.steps.iter().map(|step| format!("{} {}", step.subject, step.text)).collect::<Vec<_>>().join("; ")
    };
    let token = || Subject::AccessToken(tokens.access_token.clone());
    for subject in [Subject::PrincipalId(kim.clone()), token()] {
        let answer = ask(subject.clone(), "orders:read", "acme").await;
        assert!(answer.allowed && answer.steps.iter().all(|step| step.held), "{}", whole(&answer));
        assert!(whole(&answer).contains("clerk inherits reader"), "{}", whole(&answer));
        for (permission, tenant) in [("orders:read", ""), ("orders:read", "beta"), ("orders:write", "acme")] {
            let answer = ask(subject.clone(), permission, tenant).await;
            assert_eq!((answer.allowed, answer.reason()), (false, pb::Reason::PermissionMissing));
            assert!(!answer.steps.last().unwrap().held, "the one that decided: {}", whole(&answer));
            // What is explained is what Verify says.
            let said = server.may(&tokens.access_token, permission, tenant).await;
            assert_eq!(verdict(&said), (pb::Decision::Deny, pb::Reason::PermissionMissing));
        }
    }
    let nobody = Subject::PrincipalId("019a8c1e-0000-7000-8000-00000000b7f3".to_owned());
    assert_eq!(ask(nobody, "orders:read", "").await.reason(), pb::Reason::NotFound);
    for nonsense in ["x", ""] {
        let answer = ask(Subject::AccessToken(nonsense.to_owned()), "orders:read", "").await;
        assert_eq!(answer.reason(), pb::Reason::TokenInvalid);
    }
    server.logout(&tokens.refresh_token).await;
    let answer = ask(token(), "orders:read", "acme").await;
    assert_eq!((answer.allowed, answer.reason()), (false, pb::Reason::TokenRevoked), "{}", whole(&answer));
    assert!(!whole(&answer).contains(&tokens.access_token));
    assert!(ask(Subject::PrincipalId(kim.clone()), "orders:read", "acme").await.allowed, "the user is well");
    root.disable_user(admin::DisableUserRequest { id: kim.clone(), ..Default::default() }).await.unwrap();
    assert_eq!(ask(Subject::PrincipalId(kim), "orders:read", "acme").await.reason(), pb::Reason::TokenRevoked);
    let nothing = admin::ExplainAccessRequest::default();
    assert_eq!(faults(root.explain_access(nothing).await), ["subject", "check"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_end_for_who_types_the_issuer() {
    let office = Office::new().await;
    let (server, root) = (&office.server, &office.root);
    office.user("kim").await;
    let tokens = server.login("kim", PASSWORD).await.unwrap().tokens.unwrap();
    let end = |confirm: &str| admin::EndAllSessionsRequest { confirm: confirm.to_owned(), note: String::new() };
    for confirm in ["", "yes", &server.issuer.to_uppercase(), &format!("{}/", server.issuer)] {
        assert_eq!(faults(root.end_all_sessions(end(confirm)).await), ["confirm"]);
    }
    assert_eq!(server.verify(&tokens.access_token).await.decision(), pb::Decision::Allow);
    root.end_all_sessions(end(&server.issuer)).await.unwrap();
    let revoked = (pb::Decision::Unauthenticated, pb::Reason::TokenRevoked);
    assert_eq!(verdict(&server.verify(&tokens.access_token).await), revoked);
    let ended = refused(server.refresh(&tokens.refresh_token).await, Code::Unauthenticated, "SESSION_ENDED");
    assert_eq!(metadata(&ended, "endCause"), "ENDED_FOR_ALL");
    refused(root.get_server_info(admin::GetServerInfoRequest {}).await, Code::Unauthenticated, "TOKEN_REVOKED");
    // Everybody signs in again, and stays.
    let tokens = server.login("kim", PASSWORD).await.unwrap().tokens.unwrap();
    assert_eq!(server.verify(&tokens.access_token).await.decision(), pb::Decision::Allow);
    server.refresh(&tokens.refresh_token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_tells_of_itself() {
    let office = Office::new().await;
    let info = office.root.get_server_info(admin::GetServerInfoRequest {}).await.unwrap();
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    assert!(info.schema_version >= 1 && info.replica_id.len() == 36);
    assert!(!info.freshness.unwrap().stale);
    let keys = office.root.list_keys(admin::ListKeysRequest::default()).await.unwrap().keys;
    assert_eq!(keys.len(), 1);
    assert_eq!((keys[0].algorithm.as_str(), keys[0].state()), ("EdDSA", admin::KeyState::Signing));
    assert!(keys[0].publish_time.is_some() && keys[0].sign_time.is_some() && keys[0].retire_time.is_none());
    // The key that is listed is the one that is published.
    let published = office.server.client().get_keys(pb::GetKeysRequest {}).await.unwrap().into_inner().jwks_json;
    assert!(published.contains(&keys[0].id));
}

/// Each change answers with a revision by which Verify has seen it.
#[tokio::test(flavor = "multi_thread")]
async fn every_change_has_its_revision() {
    let office = Office::new().await;
    let (server, root) = (&office.server, &office.root);
    let kim = office.user("kim").await;
    let token = backstage::token(server, "kim").await;
    let seen = async |revision: String| {
        assert!(!revision.is_empty());
        let check = pb::Check { permission: "orders:read".to_owned(), ..Default::default() };
        let request = pb::VerifyRequest {
            access_token: token.clone(),
            require: vec![check],
            min_revision: revision,
            ..Default::default()
        };
        server.verify_with(request).await.unwrap().decision()
    };
    let id = || kim.clone();
    assert_eq!(
        seen(root.put_role(put(role("clerk", &["orders:read"], &[]))).await.unwrap().revision).await,
        pb::Decision::Deny
    );
    assert_eq!(
        seen(root.grant_role(binding(&kim, "clerk", everywhere())).await.unwrap().revision).await,
        pb::Decision::Allow
    );
    assert_eq!(seen(root.put_role(put(role("clerk", &[], &[]))).await.unwrap().revision).await, pb::Decision::Deny);
    let apply = admin::ApplyPolicyRequest { roles: vec![role("clerk", &["orders:*"], &[])], ..Default::default() };
    assert_eq!(seen(root.apply_policy(apply).await.unwrap().revision).await, pb::Decision::Allow);
    assert_eq!(
        seen(root.withdraw_role(withdrawal(&kim, "clerk", everywhere())).await.unwrap().revision).await,
        pb::Decision::Deny
    );
    assert_eq!(
        seen(root.grant_role(binding(&kim, "clerk", everywhere())).await.unwrap().revision).await,
        pb::Decision::Allow
    );
    let delete = admin::DeleteRoleRequest { id: "clerk".to_owned(), force: true };
    assert_eq!(seen(root.delete_role(delete).await.unwrap().revision).await, pb::Decision::Deny);
    assert_eq!(
        seen(root.set_password(new_password(&kim)).await.unwrap().revision).await,
        pb::Decision::Unauthenticated
    );
    let revision =
        root.disable_user(admin::DisableUserRequest { id: id(), ..Default::default() }).await.unwrap().revision;
    assert_eq!(seen(revision).await, pb::Decision::Unauthenticated);
    let revision =
        root.delete_user(admin::DeleteUserRequest { id: id(), ..Default::default() }).await.unwrap().revision;
    assert_eq!(seen(revision).await, pb::Decision::Unauthenticated);
}
