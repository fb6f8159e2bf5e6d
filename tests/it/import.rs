//! Bringing people over from another system (rows 23 to 26 of the security page): what comes, what is refused row by row, what
//! is never touched, and who may.

use std::time::Duration;

use postern::proto::admin::v1 as admin;
use postern::proto::admin::v1::ImportOutcome;
use postern::proto::auth::v1 as pb;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::backstage;
use crate::support::{Admin, PASSWORD, Server, everywhere, in_tenant, reason};

const FOREIGN: &str = "correct horse of another stable";
/// Made of it by argon2-cffi 25.1.
const FOREIGN_HASH: &str =
    "$argon2id$v=19$m=1024,t=2,p=1$0gbCxJrrAB0zlo2glVZdSQ$0qEsAtHZQHIPoXiPXxL1G9nqRd/Dw5wTG9i9ZkDI8AY";

struct Office {
    server: Server,
    root: Admin,
}

impl Office {
    async fn new() -> Self {
        let server = backstage::server().await;
        let root = server.admin(&server.login_admin().await.access_token);
        Self { server, root }
    }

    async fn import(&self, rows: Vec<admin::ImportUsersRequest>) -> Vec<admin::ImportUsersResponse> {
        let (answers, ended) = self.root.import(tokio_stream::iter(rows)).await;
        assert!(ended.is_none(), "{ended:?}");
        answers
    }
}

fn user(name: &str) -> admin::User {
    admin::User {
        external_id: format!("old-{name}"),
        user_name: name.to_owned(),
        email: format!("{name}@example.com"),
        email_verified: true,
        ..Default::default()
    }
}

fn row(number: i64, name: &str) -> admin::ImportUsersRequest {
    admin::ImportUsersRequest { row: number, user: Some(user(name)), ..Default::default() }
}

fn bound(role: &str, scope: Option<admin::Scope>) -> admin::RoleScope {
    admin::RoleScope { role: role.to_owned(), scope }
}

fn outcomes(answers: &[admin::ImportUsersResponse]) -> Vec<(i64, ImportOutcome)> {
    answers.iter().map(|answer| (answer.row, answer.outcome())).collect()
}

fn told(answers: &[admin::ImportUsersResponse], row: i64) -> &str {
    &answers.iter().find(|answer| answer.row == row).unwrap().problem
}

#[tokio::test(flavor = "multi_thread")]
async fn they_sign_in_with_what_they_know() {
    let office = Office::new().await;
    let role = admin::Role { id: "clerk".to_owned(), patterns: vec!["orders:*".to_owned()], ..Default::default() };
    office.root.put_role(admin::PutRoleRequest { role: Some(role) }).await.unwrap();
    let kim = admin::ImportUsersRequest {
        password_hash: FOREIGN_HASH.to_owned(),
        roles: vec![bound("clerk", in_tenant("acme"))],
        ..row(1, "kim")
    };
    let gone = admin::ImportUsersRequest {
        user: Some(admin::User { state: admin::UserState::Disabled.into(), ..user("gone") }),
        password_hash: FOREIGN_HASH.to_owned(),
        ..row(2, "gone")
    };
    let answers = office.import(vec![kim, gone]).await;
    assert_eq!(outcomes(&answers), [(1, ImportOutcome::Created), (2, ImportOutcome::Created)]);

    let tokens = office.server.login("kim@example.com", FOREIGN).await.unwrap().tokens.unwrap();
    let answer = office.server.verify(&tokens.access_token).await;
    assert_eq!(answer.principal.unwrap().id, answers[0].user_id);
    let refused = office.server.login("gone", FOREIGN).await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_CREDENTIALS");

    // Row 21: from now on it is a hash of ours.
    let mut database = office.server.database().await;
    let (foreign,): (i64,) =
        database.row("SELECT count(*) FROM passwords WHERE hash LIKE '$argon2id$v=19$m=1024%'", &[]).await;
    assert_eq!(foreign, 1, "of who cannot sign in");
    assert!(office.server.login("kim", FOREIGN).await.is_ok());

    // One event for each, and one for the whole.
    for _ in 0..100 {
        if database.audited("users_imported").await == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(database.audited("users_imported").await, 1);
    let request = admin::ListAuditEventsRequest { types: vec!["users_imported".to_owned()], ..Default::default() };
    let event = office.root.list_audit_events(request).await.unwrap().events.remove(0);
    assert_eq!((event.detail["created"].as_str(), event.detail["refused"].as_str()), ("2", "0"));
    let request = admin::ListAuditEventsRequest { principal_id: answers[0].user_id.clone(), ..Default::default() };
    let events = office.root.list_audit_events(request).await.unwrap().events;
    let made = events.iter().find(|event| event.r#type == "user_created").unwrap();
    assert_eq!((made.detail["by"].as_str(), made.detail["roles"].as_str()), ("import", "clerk@acme"));
}

/// Row 26.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_written_over() {
    let office = Office::new().await;
    let kim = backstage::user(&office.server, "kim").await.to_string();
    let mut hostile = row(1, "kim");
    hostile.password_hash = FOREIGN_HASH.to_owned();
    hostile.roles = vec![bound("postern.admin", everywhere())];
    let answers = office.import(vec![hostile, row(2, "lee"), row(3, "lee")]).await;
    assert_eq!(
        outcomes(&answers),
        [(1, ImportOutcome::Exists), (2, ImportOutcome::Created), (3, ImportOutcome::Exists)]
    );
    assert_eq!((answers[0].user_id.as_str(), told(&answers, 1)), (kim.as_str(), "user_name: this user has it"));
    assert_eq!(answers[2].user_id, answers[1].user_id);
    office.server.login("kim", FOREIGN).await.unwrap_err();
    assert!(office.server.login("kim", PASSWORD).await.is_ok());
    let bindings = admin::ListBindingsRequest { principal_id: kim, ..Default::default() };
    assert!(office.root.list_bindings(bindings).await.unwrap().bindings.is_empty());
    // Sent again, as after a broken line: nothing happens.
    let again = office.import(vec![row(2, "lee")]).await;
    assert_eq!((again[0].outcome(), &again[0].user_id), (ImportOutcome::Exists, &answers[1].user_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_is_told_what_is_wrong_with_it() {
    let office = Office::new().await;
    let of = |number: i64, change: fn(&mut admin::ImportUsersRequest)| {
        let mut row = row(number, &format!("name{number}"));
        change(&mut row);
        row
    };
    let rows = vec![
        of(1, |row| row.user = None),
        of(2, |row| row.user.as_mut().unwrap().email = "no address".to_owned()),
        of(3, |row| row.user = Some(admin::User { display_name: "Nobody".to_owned(), ..Default::default() })),
        of(4, |row| row.user.as_mut().unwrap().id = "mine".to_owned()),
        of(5, |row| row.password_hash = "$2x$05$malformed".to_owned()),
        // Row 23.
        of(6, |row| {
            row.password_hash =
                "$argon2id$v=19$m=4194304,t=1000,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG".to_owned();
        }),
        of(7, |row| row.roles = vec![bound("nothing", everywhere())]),
        of(8, |row| row.roles = vec![bound("postern.admin", None)]),
        of(9, |row| {
            row.identities = vec![admin::ImportedIdentity { provider: "nowhere".to_owned(), subject: "1".to_owned() }];
        }),
        of(10, |row| row.validate_only = true),
        of(11, |row| row.user.as_mut().unwrap().state = 77),
        of(12, |row| row.identities = vec![admin::ImportedIdentity::default(); 17]),
        of(13, |_| {}),
    ];
    let answers = office.import(rows).await;
    let mut expected: Vec<_> = (1..=12).map(|number| (number, ImportOutcome::Refused)).collect();
    expected.push((13, ImportOutcome::Created));
    assert_eq!(outcomes(&answers), expected);
    for (row, field) in [
        (1, "user"),
        (2, "user.email"),
        (3, "user: needs"),
        (4, "user.id"),
        (5, "password_hash"),
        (6, "password_hash"),
        (7, "roles[0]"),
        (8, "roles[0].scope"),
        (9, "identities[0]"),
        (10, "validate_only"),
        (11, "user.state"),
        (12, "identities"),
    ] {
        assert!(told(&answers, row).starts_with(field), "{row}: {}", told(&answers, row));
    }
    assert!(!told(&answers, 6).contains("c29tZXNhbHQ"), "no part of a hash is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_says_the_same_and_changes_nothing() {
    let office = Office::new().await;
    let mut rows: Vec<_> = (0..120).map(|number| row(number, &format!("name{number}"))).collect();
    // Far enough apart for two transactions.
    rows.push(row(120, "name3"));
    rows.push(row(121, "admin"));
    rows[7].password_hash = "nonsense".to_owned();
    let rehearsal = rows.iter().cloned().map(|row| admin::ImportUsersRequest { validate_only: true, ..row }).collect();
    let rehearsed = office.import(rehearsal).await;
    let mut database = office.server.database().await;
    let (count,): (i64,) = database.row("SELECT count(*) FROM users", &[]).await;
    assert_eq!(count, 1, "the administrator");
    assert!(rehearsed.iter().all(|answer| answer.outcome() != ImportOutcome::Created || answer.user_id.is_empty()));
    let done = office.import(rows).await;
    assert_eq!(outcomes(&rehearsed), outcomes(&done));
    assert_eq!(outcomes(&done).iter().filter(|(_, outcome)| *outcome == ImportOutcome::Created).count(), 119);
    let (count,): (i64,) = database.row("SELECT count(*) FROM users", &[]).await;
    assert_eq!(count, 120);
}

/// Who imports hands out no more than they hold, and whose right ends in the middle does not go on.
#[tokio::test(flavor = "multi_thread")]
async fn who_imports_stays_within_what_they_hold() {
    let office = Office::new().await;
    let importer = backstage::user(&office.server, "importer").await.to_string();
    let role = |id: &str, patterns: &[&str]| admin::PutRoleRequest {
        role: Some(admin::Role {
            id: id.to_owned(),
            patterns: patterns.iter().map(|&pattern| pattern.to_owned()).collect(),
            ..Default::default()
        }),
    };
    office
        .root
        .put_role(role("importer", &["postern:users:import", "postern:bindings:write", "orders:*"]))
        .await
        .unwrap();
    office.root.put_role(role("clerk", &["orders:read"])).await.unwrap();
    let grant = |role: &str| admin::GrantRoleRequest {
        binding: Some(admin::Binding {
            principal_id: importer.clone(),
            role: role.to_owned(),
            scope: everywhere(),
            ..Default::default()
        }),
    };

    let stranger = office.server.admin(&backstage::token(&office.server, "importer").await);
    let (answers, ended) = stranger.import(tokio_stream::iter([row(1, "one")])).await;
    let ended = ended.unwrap();
    assert_eq!(
        (answers.len(), ended.code(), reason(&ended).as_str()),
        (0, Code::PermissionDenied, "PERMISSION_MISSING")
    );
    let (answers, ended) = office.server.admin("no token").import(tokio_stream::iter([row(1, "one")])).await;
    assert_eq!((answers.len(), ended.unwrap().code()), (0, Code::Unauthenticated));

    office.root.grant_role(grant("importer")).await.unwrap();
    let token = backstage::token(&office.server, "importer").await;
    let acting = office.server.admin(&token);
    let with = |number, role: &str| admin::ImportUsersRequest {
        roles: vec![bound(role, everywhere())],
        ..row(number, &format!("name{number}"))
    };
    let (answers, ended) =
        acting.import(tokio_stream::iter([with(1, "clerk"), with(2, "postern.admin"), with(3, "clerk")])).await;
    assert!(ended.is_none(), "{ended:?}");
    assert_eq!(
        outcomes(&answers),
        [(1, ImportOutcome::Created), (2, ImportOutcome::Refused), (3, ImportOutcome::Created)]
    );
    assert!(told(&answers, 2).starts_with("roles[0]: `postern.admin`: "), "{}", told(&answers, 2));

    // Signed out in the middle.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let revoke = async {
        sender.send(row(10, "ten")).await.unwrap();
        loop {
            let listed = admin::ListUsersRequest { query: "ten".to_owned(), ..Default::default() };
            if !office.root.list_users(listed).await.unwrap().users.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        office
            .root
            .disable_user(admin::DisableUserRequest { id: importer.clone(), note: String::new() })
            .await
            .unwrap();
        while office.server.verify(&token).await.decision() == pb::Decision::Allow {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sender.send(row(11, "eleven")).await.unwrap();
        drop(sender);
    };
    let ((answers, ended), ()) = tokio::join!(acting.import(ReceiverStream::new(receiver)), revoke);
    assert_eq!(outcomes(&answers), [(10, ImportOutcome::Created)]);
    let ended = ended.unwrap();
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Unauthenticated, "TOKEN_REVOKED"));
}

/// A row has the limit of any message, whatever the call has.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_too_large_ends_the_call_and_takes_nothing_back() {
    let office = Office::new().await;
    let mut rows: Vec<_> = (0..60).map(|number| row(number, &format!("name{number}"))).collect();
    rows[55].password_hash = "x".repeat(65 * 1024);
    let (answers, ended) = office.root.import(tokio_stream::iter(rows)).await;
    assert_eq!(ended.unwrap().code(), Code::OutOfRange);
    assert!(answers.len() >= 50, "{}", answers.len());
    assert!(answers.iter().all(|answer| answer.outcome() == ImportOutcome::Created && !answer.user_id.is_empty()));
}

/// Row 11: how long a failure takes tells neither who exists nor who was brought over.
#[tokio::test(flavor = "multi_thread")]
async fn failures_take_the_same_time_whatever_the_hash() {
    // Of `a`, from the tests of py-bcrypt: dear enough to be told from argon2 as it is here by a wide margin.
    const BCRYPT: &str = "$2a$10$k87L/MF28Q673VKh8/cPi.SUl7MU/rWuSiIDDFayrKk/1tBsSQu4u";
    // The same by bcrypt 4.0, at four times the cost: it sets the level, and is far enough above all that is measured for a
    // machine that does other things besides.
    const DEAREST: &str = "$2b$12$myOHEifb6pd1wUDkefiud.87sJjDaHyytIekBcoKxPP.IT.QHgHLK";
    const SPLITS: usize = 4;
    const IN_A_SPLIT: usize = 3;
    let office = Office::new().await;
    backstage::user(&office.server, "native").await;
    let disabled = backstage::user(&office.server, "disabled").await.to_string();
    office.root.disable_user(admin::DisableUserRequest { id: disabled, note: String::new() }).await.unwrap();
    let mut brought = row(1, "brought");
    brought.password_hash = BCRYPT.to_owned();
    let mut gone = row(2, "gone");
    gone.password_hash = BCRYPT.to_owned();
    gone.user.as_mut().unwrap().state = admin::UserState::Disabled.into();
    let mut dearest = row(4, "dearest");
    dearest.password_hash = DEAREST.to_owned();
    office.import(vec![brought, gone, row(3, "passwordless"), dearest]).await;
    let tries = [
        ("nobody", "wrong"),
        ("native", "wrong"),
        ("disabled", PASSWORD),
        ("brought", "wrong"),
        ("gone", "a"),
        ("passwordless", "wrong"),
    ];
    let took = async |(name, password): (&str, &str)| {
        let began = tokio::time::Instant::now();
        assert_eq!(reason(&office.server.login(name, password).await.unwrap_err()), "INVALID_CREDENTIALS");
        began.elapsed()
    };
    // Until the new kinds were measured.
    let mut strangers = (0..).map(|number| format!("stranger{number}"));
    while took((&strangers.next().unwrap(), "wrong")).await < Duration::from_millis(100) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A machine that does other things spoils some rounds, and never makes unequal work look equal in all of one.
    let (mut told, mut database) = (String::new(), office.server.database().await);
    for _round in 0..20 {
        // Or the count of failures in a row would end it.
        database.run("DELETE FROM login_failures", &[]).await;
        database.run("UPDATE passwords SET failures = 0, known_failures = 0", &[]).await;
        let mut times = vec![Vec::new(); tries.len()];
        for _ in 0..SPLITS * IN_A_SPLIT {
            for (times, one) in times.iter_mut().zip(tries) {
                times.push(took(one).await);
            }
        }
        let median = |times: &[Duration]| {
            let mut sorted = times.to_vec();
            sorted.sort_unstable();
            sorted[sorted.len() / 2]
        };
        let medians: Vec<Duration> = times.iter().map(|times| median(times)).collect();
        let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
        let first_in = |split: usize| {
            let in_split = |times: &Vec<Duration>| median(&times[split * IN_A_SPLIT..(split + 1) * IN_A_SPLIT]);
            (0..tries.len()).min_by_key(|class| in_split(&times[*class])).unwrap()
        };
        let firsts: std::collections::BTreeSet<usize> = (0..SPLITS).map(first_in).collect();
        if *most <= *least * 105 / 100 && firsts.len() > 1 {
            return;
        }
        told = format!("{told}\n{medians:?} {firsts:?}");
    }
    panic!("{told}");
}
