use super::*;

fn paths<T>(read: Result<T, AuthError>) -> Vec<String> {
    match read {
        Ok(_) => Vec::new(),
        Err(AuthError::InvalidField(faults)) => faults.into_iter().map(|fault| fault.field).collect(),
        Err(other) => panic!("{other:?}"),
    }
}

fn read_new(client: wire::Client) -> Result<Registration, AuthError> {
    let mut fields = Fields::default();
    let read = new(&mut fields, client);
    fields.finish(|| read)
}

fn named() -> wire::Client {
    wire::Client { id: "web".into(), ..Default::default() }
}

#[expect(clippy::unnecessary_wraps, reason = "as the messages take it")]
fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn change(client: wire::Client, mask: &[&str]) -> Result<(ClientId, Option<String>, ClientChange), AuthError> {
    let paths = mask.iter().map(|path| (*path).to_owned()).collect();
    update(wire::UpdateClientRequest { client: Some(client), update_mask: Some(prost_types::FieldMask { paths }) })
}

#[test]
fn nobody_chooses_what_the_server_says() {
    let client = wire::Client { has_secret: true, from_config: true, etag: "1".into(), ..named() };
    assert_eq!(paths(read_new(client)), ["client.has_secret", "client.from_config", "client.etag"]);
    assert_eq!(paths(update(wire::UpdateClientRequest::default())), ["update_mask", "client"]);
}

#[test]
fn all_faults_of_a_new_client_are_told() {
    let client = wire::Client {
        // A client must not be taken for a user.
        id: "019a8c1e-0000-7000-8000-00000000b7f3".into(),
        display_name: "\u{7}".into(),
        mtls_sans: vec!["web.internal".into(), "*.internal".into(), "WEB.internal".into()],
        token_audiences: vec!["a".into(), String::new(), "a".into()],
        return_urls: vec!["https://a.example/back".into(), "https://a.example/#x".into(), "javascript:alert(1)".into()],
        session_policy: Some(wire::SessionPolicy {
            access_ttl: seconds(3_601),
            refresh_grace: seconds(601),
            max_per_user: -1,
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(
        paths(read_new(client)),
        [
            "client.id",
            "client.display_name",
            "client.mtls_sans[1]",
            "client.mtls_sans[2]",
            "client.token_audiences[1]",
            "client.token_audiences[2]",
            "client.return_urls[1]",
            "client.return_urls[2]",
            "client.session_policy.access_ttl",
            "client.session_policy.refresh_grace",
        ]
    );
}

#[test]
fn a_mask_says_what_is_set() {
    let client = || wire::Client {
        display_name: "\u{7}".into(),
        audience: "shop".into(),
        session_policy: Some(wire::SessionPolicy { idle_ttl: seconds(600), ..Default::default() }),
        ..named()
    };
    let (_, etag, read) = change(client(), &["audience", "session_policy.idle_ttl", "disabled"]).unwrap();
    assert_eq!((etag, read.fields()), (None, vec!["audience", "session_policy", "disabled"]));
    assert_eq!(read.limits.idle_ttl, Some(Some(Duration::from_mins(10))));
    assert_eq!((read.limits.access_ttl, read.disabled), (None, Some(false)));
    // As a whole, what it does not say is as the server has it.
    let (_, _, read) = change(client(), &["session_policy"]).unwrap();
    assert_eq!((read.limits.idle_ttl, read.limits.access_ttl), (Some(Some(Duration::from_mins(10))), Some(None)));
    assert_eq!(paths(change(client(), &["display_name"])), ["client.display_name"]);
    assert_eq!(paths(change(client(), &["id"])), ["update_mask"]);
    assert_eq!(paths(change(client(), &["has_secret"])), ["update_mask"]);
    assert_eq!(paths(change(client(), &[])), ["update_mask"]);
}

#[test]
fn urls_of_applications_are_urls() {
    for url in ["https://a.example", "http://127.0.0.1:8080/back?x=1", "com.example.app:/back", "myapp://back"] {
        let client = wire::Client { return_urls: vec![url.into()], ..named() };
        assert_eq!(read_new(client).unwrap().return_urls, [url]);
    }
    for url in ["a.example", "/back", ":x", "https:", "data:text/html,x", "https://a b", "HTTPS://a"] {
        let client = wire::Client { return_urls: vec![url.into()], ..named() };
        assert_eq!(paths(read_new(client)), ["client.return_urls[0]"], "{url}");
    }
}
