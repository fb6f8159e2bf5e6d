use super::*;
use crate::domain::time::Timestamp;

const USER: &str = "019a8c1e-0000-7000-8000-00000000b7f3";

fn paths<T>(read: Result<T, AuthError>) -> Vec<String> {
    match read {
        Ok(_) => Vec::new(),
        Err(AuthError::InvalidField(faults)) => faults.into_iter().map(|fault| fault.field).collect(),
        Err(other) => panic!("{other:?}"),
    }
}

fn everywhere(value: bool) -> wire::Scope {
    wire::Scope { r#where: Some(Where::Everywhere(value)) }
}

fn tenant(tenant: &str) -> wire::Scope {
    wire::Scope { r#where: Some(Where::Tenant(tenant.to_owned())) }
}

fn grant(binding: wire::Binding) -> Result<(PrincipalId, BoundRole), AuthError> {
    read_grant(wire::GrantRoleRequest { binding: Some(binding) })
}

fn binding(scope: impl Into<Option<wire::Scope>>) -> wire::Binding {
    wire::Binding { principal_id: USER.into(), role: "clerk".into(), scope: scope.into(), ..Default::default() }
}

#[test]
fn nothing_is_granted_everywhere_by_omission() {
    assert_eq!(paths(grant(binding(None))), ["binding.scope"]);
    assert_eq!(paths(grant(binding(wire::Scope::default()))), ["binding.scope"]);
    assert_eq!(paths(grant(binding(everywhere(false)))), ["binding.scope.everywhere"]);
    assert_eq!(paths(grant(binding(tenant("")))), ["binding.scope.tenant"]);
    assert_eq!(grant(binding(everywhere(true))).unwrap().1.scope, Scope::Everywhere);
}

#[test]
fn all_faults_of_a_grant_are_told() {
    let expire_time = Some(prost_types::Timestamp { seconds: 0, nanos: -1 });
    let wrong = wire::Binding { principal_id: "K".into(), role: "R".into(), expire_time, ..Default::default() };
    assert_eq!(paths(grant(wrong)), ["binding.principal_id", "binding.role", "binding.scope", "binding.expire_time"]);
    assert_eq!(paths(read_grant(wire::GrantRoleRequest::default())), ["binding"]);
}

#[test]
fn a_listed_binding_may_be_granted_again() {
    let stored = Binding {
        principal: PrincipalId::User(USER.parse().unwrap()),
        bound: BoundRole {
            role: "clerk".parse().unwrap(),
            scope: Scope::Tenant("acme".parse().unwrap()),
            expires_at: Some(Timestamp::from_secs(100)),
        },
        create_time: Timestamp::from_secs(1),
        granted_by: None,
    };
    let shown = render_binding(&stored);
    assert_eq!(shown.principal_kind(), PrincipalKind::User);
    let (principal, bound) = grant(shown).unwrap();
    assert_eq!((principal, bound), (stored.principal.clone(), stored.bound.clone()));
    let key = read_key(&key_text(&stored)).unwrap();
    assert_eq!(
        key,
        BindingKey { principal: USER.parse().unwrap(), role: stored.bound.role, scope: stored.bound.scope }
    );
}

#[test]
fn a_page_belongs_to_its_filters() {
    let request = |scope| wire::ListBindingsRequest { scope, ..Default::default() };
    let texts = [None, Some(everywhere(true)), Some(tenant("everywhere"))].map(|scope| scope_text(&request(scope)));
    assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2], "{texts:?}");

    let pages = Pages(&["ListBindings"]);
    let read = |request: &wire::ListBindingsRequest| read_list(request, &pages);
    assert!(read(&request(None)).unwrap().filter.scope.is_none());
    assert_eq!(paths(read(&request(Some(wire::Scope::default())))), ["scope"]);
    let wrong = wire::ListBindingsRequest { principal_id: "K".into(), role: "R".into(), ..request(None) };
    assert_eq!(paths(read(&wrong)), ["principal_id", "role"]);
    for last in ["", "x", "x\ny", &format!("{USER}\nclerk\nno tenant")] {
        let page_token = pages.token(last);
        assert_eq!(paths(read(&wire::ListBindingsRequest { page_token, ..request(None) })), ["page_token"], "{last}");
    }
}
