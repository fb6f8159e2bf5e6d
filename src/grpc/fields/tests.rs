use super::*;
use crate::domain::id::UserId;

fn faults(error: AuthError) -> Vec<(String, String)> {
    let AuthError::InvalidField(faults) = error else { panic!("{error:?}") };
    faults.into_iter().map(|Violation { field, problem }| (field, problem)).collect()
}

fn check(permission: &str, tenant: &str) -> wire::Check {
    wire::Check { permission: permission.to_owned(), tenant: tenant.to_owned() }
}

#[test]
fn all_faults_are_told_at_once_with_their_paths() {
    let mut fields = Fields::default();
    let checks = [check("orders:read", ""), check("orders:*", "acme"), check("Orders", "no spaces")];
    assert_eq!(fields.checks("require", &checks, 16), None);
    let device =
        wire::Device { ip_address: "10.0.0.1:80".into(), display_name: "a\u{1b}[2J".into(), ..Default::default() };
    assert_eq!(fields.device("device", device), None);
    assert_eq!(fields.page_size(-1, 200), None);
    let paths: Vec<_> = faults(fields.finish(|| Some(())).unwrap_err()).into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        paths,
        [
            "require[1].permission",
            "require[2].permission",
            "require[2].tenant",
            "device.ip_address",
            "device.display_name",
            "page_size"
        ]
    );
}

#[test]
fn so_many_faults_are_told_as_fit_into_a_header() {
    let mut fields = Fields::default();
    assert_eq!(fields.checks("ask", &vec![check("*", ""); 256], 256), None);
    assert_eq!(faults(fields.finish(|| Some(())).unwrap_err()).len(), TOLD_MAX);
}

#[test]
fn what_is_wrong_is_not_repeated() {
    let mut fields = Fields::default();
    fields.parse::<UserId>("user_id", "hunter2");
    fields.check("check", &check("hunter2 hunter2", "hunter2 hunter2"));
    fields.text("note", "hunter2\0".to_owned(), Length::Bytes(256));
    assert!(!format!("{fields:?}").contains("hunter2"));
}

#[test]
fn good_checks_keep_their_order() {
    let mut fields = Fields::default();
    let checks = [check("orders:read", "acme"), check("a", "")];
    let read = fields.checks("ask", &checks, 2).unwrap();
    assert_eq!(read[0].permission.as_str(), "orders:read");
    assert_eq!(read[0].tenant.as_ref().unwrap().as_str(), "acme");
    assert_eq!(read[1].tenant, None);
    assert_eq!(fields.checks("ask", &checks, 1), None);
    assert_eq!(faults(fields.finish(|| Some(())).unwrap_err())[0].1, "must have at most 1 entries");
}

#[test]
fn addresses_have_one_spelling() {
    for (given, canonical) in [
        ("", Some("")),
        ("127.0.0.1", Some("127.0.0.1")),
        ("::ffff:10.1.2.3", Some("10.1.2.3")),
        ("2001:DB8:0:0::1", Some("2001:db8::1")),
        ("127.0.0.01", None),
        ("127.1", None),
        ("[::1]", None),
        ("fe80::1%eth0", None),
        ("10.0.0.1:80", None),
        ("example.com", None),
        (" 10.0.0.1", None),
    ] {
        let read = Fields::default().ip_address("ip_address", given);
        assert_eq!(read.as_deref(), canonical, "{given:?}");
    }
}

#[test]
fn a_browsers_text_is_cut_between_letters_and_cleaned() {
    let agent = |user_agent: &str| {
        let device = wire::Device { user_agent: user_agent.to_owned(), ..Default::default() };
        Fields::default().device("device", device).unwrap().user_agent
    };
    assert_eq!(agent("Mozilla/5.0\r\n\u{202e}x"), "Mozilla/5.0x");
    assert_eq!(agent(&"가".repeat(200)), "가".repeat(170));
    assert_eq!(agent(&"a".repeat(600)).len(), 512);
}

#[test]
fn a_name_is_counted_in_characters_and_a_note_in_bytes() {
    let device =
        |display_name: String| Fields::default().device("device", wire::Device { display_name, ..Default::default() });
    assert!(device("가".repeat(64)).is_some());
    assert!(device("가".repeat(65)).is_none());
    assert!(Fields::default().note("note", "a".repeat(256)).is_some());
    assert!(Fields::default().note("note", "가".repeat(86)).is_none());
    assert!(Fields::default().note("note", "two\nlines".to_owned()).is_none());
}

#[test]
fn a_page_is_never_larger_than_allowed() {
    for (size, read) in
        [(0, Some(50)), (1, Some(1)), (200, Some(200)), (201, Some(200)), (i32::MAX, Some(200)), (-1, None)]
    {
        assert_eq!(Fields::default().page_size(size, 200), read, "{size}");
    }
}

#[test]
fn ages_are_not_negative_and_levels_are_known() {
    let read = |seconds, nanos, level| {
        let max_age = Some(prost_types::Duration { seconds, nanos });
        Fields::default().assurance("assurance", Some(&wire::Assurance { max_age, level }))
    };
    let asked = read(90, 500_000_000, 2).unwrap();
    assert_eq!((asked.max_age, asked.level), (Some(Duration::from_millis(90_500)), Level::MultiFactor));
    assert_eq!(read(0, 0, 0).unwrap().max_age, Some(Duration::ZERO));
    assert!(read(-1, 0, 0).is_none());
    assert!(read(0, -1, 0).is_none());
    assert!(read(i64::MIN, i32::MIN, 0).is_none());
    assert!(read(0, 0, 3).is_none());
    assert_eq!(Fields::default().assurance("assurance", None), Some(Assurance::default()));
}

#[test]
fn times_are_those_that_the_type_allows() {
    let read =
        |seconds, nanos| Fields::default().timestamp("expire_time", Some(&prost_types::Timestamp { seconds, nanos }));
    assert_eq!(read(1, 1_500), Some(Some(Timestamp::from_micros(1_000_001))));
    assert_eq!(read(-1, 999_999_999), Some(Some(Timestamp::from_micros(-1))));
    for (seconds, nanos) in [(i64::MAX, 0), (i64::MIN, 0), (0, -1), (0, 1_000_000_000)] {
        assert_eq!(read(seconds, nanos), None, "{seconds} {nanos}");
    }
    assert_eq!(Fields::default().timestamp("expire_time", None), Some(None));
}

#[test]
fn nothing_is_granted_everywhere_by_omission() {
    use admin::scope::Where;
    let read = |place| Fields::default().scope("binding.scope", Some(&admin::Scope { r#where: place }));
    assert_eq!(read(Some(Where::Everywhere(true))), Some(Scope::Everywhere));
    assert_eq!(read(Some(Where::Tenant("acme".into()))), Some(Scope::Tenant("acme".parse().unwrap())));
    assert_eq!(read(Some(Where::Everywhere(false))), None);
    assert_eq!(read(Some(Where::Tenant(String::new()))), None);
    assert_eq!(read(None), None);
    assert_eq!(Fields::default().scope("binding.scope", None), None);
}

#[test]
fn audiences_are_named_once() {
    let read = |audiences: &[&str]| {
        let audiences = audiences.iter().map(ToString::to_string).collect();
        let mut fields = Fields::default();
        let scope = fields.token_options("token_options", wire::TokenOptions { audiences, tenant: String::new() });
        fields.finish(|| scope).map(|scope| scope.audiences.len()).map_err(faults)
    };
    assert_eq!(read(&[]), Ok(0));
    assert_eq!(read(&["a", "b"]), Ok(2));
    assert_eq!(read(&["a", "b", "a"]).unwrap_err()[0].0, "token_options.audiences[2]");
    assert_eq!(read(&["a", ""]).unwrap_err()[0].0, "token_options.audiences[1]");
    assert_eq!(read(&["a"; 17]).unwrap_err()[0].0, "token_options.audiences");
}
