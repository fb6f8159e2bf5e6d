use super::*;

fn paths<T>(read: Result<T, AuthError>) -> Vec<String> {
    match read {
        Ok(_) => Vec::new(),
        Err(AuthError::InvalidField(faults)) => faults.into_iter().map(|fault| fault.field).collect(),
        Err(other) => panic!("{other:?}"),
    }
}

fn role(id: &str, patterns: &[&str], inherits: &[&str]) -> wire::Role {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    wire::Role { id: id.into(), patterns: texts(patterns), inherits: texts(inherits), ..Default::default() }
}

fn apply(roles: Vec<wire::Role>, expected: &str) -> Result<ApplyPolicy, AuthError> {
    let expected_policy_revision = expected.to_owned();
    read_apply(wire::ApplyPolicyRequest { roles, validate_only: true, expected_policy_revision })
}

#[test]
fn all_faults_of_roles_are_told() {
    let long = wire::Role { description: "a".repeat(257), ..role("ok", &["a:b"], &["a"]) };
    let wrong = role("No", &["a:b", "a:**:b", "a:b"], &["a", "B"]);
    assert_eq!(
        paths(apply(vec![long, wrong], "x")),
        [
            "roles[0].description",
            "roles[1].id",
            "roles[1].patterns[1]",
            "roles[1].patterns[2]",
            "roles[1].inherits[1]",
            "expected_policy_revision",
        ]
    );
}

#[test]
fn a_policy_is_read_whole() {
    let read = apply(vec![role("b", &["a:*"], &["a"]), role("a", &[], &[])], "42").unwrap();
    assert_eq!(read.roles.iter().map(|role| role.id.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!((read.expected_version, read.validate_only), (Some(42), true));
    assert_eq!(apply(Vec::new(), "").unwrap().expected_version, None);
}

#[test]
fn a_role_comes_back_as_it_was() {
    let sent = wire::Role { description: "Clerks".into(), etag: "7".into(), ..role("clerk", &["a:*"], &["base"]) };
    let mut fields = Fields::default();
    let read = read_role(&mut fields, "role", sent.clone());
    assert_eq!(render_role(fields.finish(|| read).unwrap()), sent);
}

#[test]
fn a_page_of_long_roles_has_fewer() {
    let roles: Vec<_> = ["a", "b", "c"].map(|id| role(id, &["a:b"], &[])).into();
    let one = roles[0].encoded_len();
    let ids = |bytes_max| {
        let (roles, cut) = fit(roles.clone(), bytes_max);
        (roles.into_iter().map(|role| role.id).collect::<String>(), cut)
    };
    assert_eq!(ids(one * 3), ("abc".into(), false));
    assert_eq!(ids(one * 3 - 1), ("ab".into(), true));
    assert_eq!(ids(1), ("a".into(), true));
    assert_eq!(fit(Vec::new(), 1), (Vec::new(), false));
}
