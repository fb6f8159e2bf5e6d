//! Sessions as people and administrators see and end them.

use std::collections::BTreeSet;
use std::time::Duration;

use postern::config::{Config, Store};
use postern::domain::id::UserId;
use postern::proto::auth::v1 as pb;
use tonic::Code;

use crate::people::{add_user, disable, end_all_sessions, kim, set_password, sign_in};
use crate::support::{Answer, PASSWORD, Server, metadata, quick, reason, verdict};

const DAY: Duration = Duration::from_hours(24);
/// Past the grace, and past what a record remembers beyond it.
const PAST: Duration = Duration::from_secs(36);
const DEAD: (pb::Decision, pb::Reason) = (pb::Decision::Unauthenticated, pb::Reason::TokenRevoked);
const ALLOW: (pb::Decision, pb::Reason) = (pb::Decision::Allow, pb::Reason::Unspecified);

async fn decided(server: &Server, access_token: &str) -> (pb::Decision, pb::Reason) {
    verdict(&server.verify(access_token).await)
}

/// Why a session is over, by its refresh token.
async fn cause(server: &Server, refresh_token: &str) -> String {
    let status = server.refresh(refresh_token).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "SESSION_ENDED"));
    metadata(&status, "endCause")
}

async fn end(server: &Server, asker: &str, session: &str) -> Answer<pb::RevokeResponse> {
    end_of(server, asker, session, "").await
}

async fn end_of(server: &Server, asker: &str, session: &str, user: &str) -> Answer<pb::RevokeResponse> {
    let target = Some(pb::revoke_request::Target::SessionId(session.to_owned()));
    let (access_token, user_id) = (asker.to_owned(), user.to_owned());
    server.revoke(pb::RevokeRequest { access_token, target, user_id, ..Default::default() }).await
}

async fn end_all(server: &Server, asker: &str, user: &str, keep_current: bool) -> Answer<pb::RevokeResponse> {
    let sessions = pb::UserSessions { user_id: user.to_owned(), keep_current };
    let target = Some(pb::revoke_request::Target::UserSessions(sessions));
    server.revoke(pb::RevokeRequest { access_token: asker.to_owned(), target, ..Default::default() }).await
}

async fn page(server: &Server, request: &pb::ListSessionsRequest) -> Answer<pb::ListSessionsResponse> {
    Ok(server.client().list_sessions(request.clone()).await?.into_inner())
}

/// How ListSessions, asked by `asker`, tells the end of `session`.
async fn listed_cause(server: &Server, asker: &str, session: &str) -> pb::EndCause {
    let all = server.sessions(asker, true).await;
    let one = all.iter().find(|one| one.id == session).unwrap_or_else(|| panic!("{session} is not listed"));
    assert_eq!(one.end_time.is_some(), one.end_cause() != pb::EndCause::Unspecified);
    one.end_cause()
}

// ---- listing ----

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_their_own_sessions_with_device_and_times_but_no_secret() {
    let server = Server::quick().await;
    let (id, first) = kim(&server).await;
    let device = pb::Device {
        ip_address: "192.0.2.7".to_owned(),
        user_agent: "curl/8".to_owned(),
        display_name: "work phone".to_owned(),
        ..Default::default()
    };
    let mut request = crate::support::login_request("kim", PASSWORD);
    request.device = Some(device.clone());
    let answer = server.client().login(request).await.unwrap().into_inner();
    let Some(pb::login_response::Outcome::SignIn(sign_in)) = answer.outcome else { panic!("no outcome") };
    let second = sign_in.tokens.unwrap();
    server.advance(Duration::from_secs(90));
    let refresh = pb::RefreshRequest {
        refresh_token: second.refresh_token.clone(),
        device: Some(pb::Device { ip_address: "2001:DB8::0:7".to_owned(), ..device }),
        ..Default::default()
    };
    server.client().refresh(refresh).await.unwrap();
    server.later(Duration::ZERO).await;

    let sessions = server.sessions(&first.access_token, false).await;
    let [newest, oldest] = sessions.as_slice() else { panic!("{sessions:?}") };
    assert_eq!((&newest.id, &oldest.id), (&second.session_id, &first.session_id), "newest first");
    assert_eq!((newest.current, oldest.current), (false, true));
    for session in [newest, oldest] {
        assert_eq!(session.user_id, id.to_string());
        assert_eq!((session.client_id.as_str(), session.method.as_str()), ("dev", "password"));
        assert_eq!(session.amr, ["pwd"]);
        let create = session.create_time.unwrap().seconds;
        assert_eq!(session.auth_time.unwrap().seconds, create);
        assert!(create < session.idle_expire_time.unwrap().seconds);
        assert!(session.idle_expire_time.unwrap().seconds < session.expire_time.unwrap().seconds);
        assert_eq!((session.end_time, session.end_cause()), (None, pb::EndCause::Unspecified));
    }
    assert_eq!(oldest.last_refresh_time, None);
    let refreshed = newest.last_refresh_time.unwrap().seconds - newest.create_time.unwrap().seconds;
    assert!((89..=92).contains(&refreshed), "{refreshed}");
    let device = newest.device.clone().unwrap();
    assert_eq!((device.ip_address.as_str(), device.display_name.as_str()), ("2001:db8::7", "work phone"));

    // Nothing of a token, sealed record or hash in any spelling.
    let shown = format!("{sessions:?}");
    for secret in [&first.access_token, &first.refresh_token, &second.access_token, &second.refresh_token] {
        for part in secret.as_bytes().chunks(24).filter(|part| part.len() == 24) {
            assert!(!shown.contains(std::str::from_utf8(part).unwrap()), "{shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_lists_or_ends_the_sessions_of_others_without_the_permission() {
    let server = Server::quick().await;
    let (kim_id, kims) = kim(&server).await;
    add_user(&server, "lee", Some(PASSWORD)).await;
    let lees = server.login("lee", PASSWORD).await.unwrap().tokens.unwrap();
    let kims_own = kim_id.to_string();

    // An id of somebody else's session is as good as one that never was.
    let foreign = end(&server, &lees.access_token, &kims.session_id).await.unwrap();
    let random = end(&server, &lees.access_token, &uuid::Uuid::now_v7().to_string()).await.unwrap();
    assert_eq!(foreign, random);
    assert_eq!(foreign.ended_count, 0);
    for answer in [
        end_of(&server, &lees.access_token, &kims.session_id, &kims_own).await,
        end_all(&server, &lees.access_token, &kims_own, false).await,
    ] {
        let status = answer.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "PERMISSION_MISSING"));
        assert_eq!(metadata(&status, "permission"), "postern:sessions:revoke");
    }
    let ask = |user_id: &str| pb::ListSessionsRequest {
        access_token: lees.access_token.clone(),
        user_id: user_id.to_owned(),
        show_ended: true,
        ..Default::default()
    };
    let status = page(&server, &ask(&kims_own)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "PERMISSION_MISSING"));
    assert_eq!(metadata(&status, "permission"), "postern:sessions:read");
    // Whether the user exists is nobody's business either.
    let nobody = page(&server, &ask(&UserId::generate().to_string())).await.unwrap_err();
    assert_eq!((nobody.code(), nobody.message()), (status.code(), status.message()));

    // A front by itself may neither.
    let status = page(&server, &pb::ListSessionsRequest { user_id: kims_own.clone(), ..Default::default() }).await;
    assert_eq!(reason(&status.unwrap_err()), "CLIENT_NOT_ALLOWED");
    assert_eq!(reason(&end_of(&server, "", &kims.session_id, &kims_own).await.unwrap_err()), "CLIENT_NOT_ALLOWED");
    assert_eq!(decided(&server, &kims.access_token).await, ALLOW);
    assert!(server.refresh(&kims.refresh_token).await.is_ok());

    // An administrator may both.
    let admin = server.login_admin().await.access_token;
    let listed = page(&server, &pb::ListSessionsRequest { access_token: admin.clone(), ..ask(&kims_own) }).await;
    let listed = listed.unwrap().sessions;
    assert_eq!(listed.iter().map(|one| &one.id).collect::<Vec<_>>(), [&kims.session_id]);
    assert!(!listed[0].current);
    assert_eq!(end_of(&server, &admin, &kims.session_id, &kims_own).await.unwrap().ended_count, 1);
    assert_eq!(cause(&server, &kims.refresh_token).await, "ENDED_BY_ADMIN");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_is_listed_with_the_reason_of_its_end() {
    let server = Server::start_with(|config: &mut Config| {
        quick(config);
        config.sessions.max_per_user = 6;
    })
    .await;
    let (id, over_limit) = kim(&server).await;
    let admin = server.login_admin().await.access_token;
    let (out, other, by_admin, stolen, replaced) = (
        sign_in(&server).await,
        sign_in(&server).await,
        sign_in(&server).await,
        sign_in(&server).await,
        sign_in(&server).await,
    );
    let current = sign_in(&server).await;
    server.logout(&out.refresh_token).await;
    assert_eq!(end(&server, &current.access_token, &other.session_id).await.unwrap().ended_count, 1);
    assert_eq!(end_of(&server, &admin, &by_admin.session_id, &id.to_string()).await.unwrap().ended_count, 1);
    let next = server.refresh(&stolen.refresh_token).await.unwrap().tokens.unwrap();
    server.refresh(&next.refresh_token).await.unwrap();
    server.later(PAST).await;
    server.refresh(&stolen.refresh_token).await.unwrap_err();
    let mut again = crate::support::login_request("kim", PASSWORD);
    again.replace_refresh_token.clone_from(&replaced.refresh_token);
    server.client().login(again).await.unwrap();

    for (tokens, expected) in [
        (&over_limit, pb::EndCause::SessionLimit),
        (&out, pb::EndCause::Logout),
        (&other, pb::EndCause::EndedByUser),
        (&by_admin, pb::EndCause::EndedByAdmin),
        (&stolen, pb::EndCause::RefreshReused),
        (&replaced, pb::EndCause::Replaced),
    ] {
        assert_eq!(listed_cause(&server, &current.access_token, &tokens.session_id).await, expected);
        let name = expected.as_str_name().trim_start_matches("END_CAUSE_");
        assert_eq!(cause(&server, &tokens.refresh_token).await, name);
        assert_eq!(decided(&server, &tokens.access_token).await, DEAD, "{name}");
    }
    // What is remembered is what the person needs to know it again.
    let all = server.sessions(&current.access_token, true).await;
    let ended = all.iter().find(|one| one.id == out.session_id).unwrap();
    assert_eq!((ended.client_id.as_str(), ended.method.as_str()), ("dev", "password"));
    assert!(ended.create_time.is_some() && ended.auth_time.is_some() && ended.end_time.is_some());
    let living = server.sessions(&current.access_token, false).await;
    assert!(living.iter().all(|one| one.end_time.is_none()));
    assert_eq!(living.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_ended_by_time_or_floor_are_listed_with_their_reason_too() {
    let server = Server::quick().await;
    let (id, expired) = kim(&server).await;
    let mut token = expired.refresh_token.clone();
    for _ in 0..8 {
        server.advance(10 * DAY);
        token = server.refresh(&token).await.unwrap().tokens.unwrap().refresh_token;
    }
    // Ten days before the absolute end of the first: a second one, which is then left alone for the idle time.
    let current = sign_in(&server).await;
    server.advance(Duration::from_mins(10 * 24 * 60 - 1));
    let last = server.refresh(&token).await.unwrap().tokens.unwrap().refresh_token;
    server.later(Duration::from_mins(2)).await;
    let current = server.refresh(&current.refresh_token).await.unwrap().tokens.unwrap();
    assert_eq!(cause(&server, &last).await, "EXPIRED");
    assert_eq!(listed_cause(&server, &current.access_token, &expired.session_id).await, pb::EndCause::Expired);

    server.later(14 * DAY + Duration::from_secs(100)).await;
    let idle = current;
    let current = sign_in(&server).await;
    assert_eq!(cause(&server, &idle.refresh_token).await, "IDLE");
    assert_eq!(listed_cause(&server, &current.access_token, &idle.session_id).await, pb::EndCause::Idle);

    set_password(&server, id, "quite another password").await;
    let before = current;
    let current = server.login("kim", "quite another password").await.unwrap().tokens.unwrap();
    let listed = listed_cause(&server, &current.access_token, &before.session_id).await;
    assert_eq!(listed, pb::EndCause::CredentialChanged);

    end_all_sessions(&server).await;
    let before = current;
    let current = server.login("kim", "quite another password").await.unwrap().tokens.unwrap();
    assert_eq!(listed_cause(&server, &current.access_token, &before.session_id).await, pb::EndCause::EndedForAll);

    disable(&server, id).await;
    let admin = server.login_admin().await.access_token;
    let ask = pb::ListSessionsRequest {
        access_token: admin,
        user_id: id.to_string(),
        show_ended: true,
        ..Default::default()
    };
    let all = page(&server, &ask).await.unwrap().sessions;
    let one = all.iter().find(|one| one.id == current.session_id).unwrap();
    assert_eq!(one.end_cause(), pb::EndCause::UserDisabled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_vault_lost_is_lost_and_not_called_anything_worse() {
    let server = Server::quick().await;
    let mut database = server.database().await;
    let (id, lost) = kim(&server).await;
    let current = sign_in(&server).await;
    database.lose_record(&lost.session_id).await;
    assert_eq!(cause(&server, &lost.refresh_token).await, "LOST");
    // Nobody knows of it any more: ending it ends nothing and fills nothing.
    assert_eq!(end(&server, &current.access_token, &lost.session_id).await.unwrap().ended_count, 0);
    assert_eq!(database.count("revocations").await, 0);
    // Its own token proves that it was, so from there it can be ended.
    assert_eq!(end(&server, &lost.access_token, &lost.session_id).await.unwrap().ended_count, 1);
    assert_eq!(decided(&server, &lost.access_token).await, DEAD);
    assert_eq!(cause(&server, &lost.refresh_token).await, "LOGOUT");
    // An administrator is believed: its access tokens would count on, and a backup may bring it back.
    let lost = sign_in(&server).await;
    database.lose_record(&lost.session_id).await;
    let ask = pb::RevokeRequest {
        access_token: server.login_admin().await.access_token,
        target: Some(pb::revoke_request::Target::SessionId(lost.session_id.clone())),
        user_id: id.to_string(),
        ..Default::default()
    };
    for count in [1, 0] {
        assert_eq!(server.client().revoke(ask.clone()).await.unwrap().into_inner().ended_count, count);
    }
    assert_eq!(decided(&server, &lost.access_token).await, DEAD);
    assert_eq!(cause(&server, &lost.refresh_token).await, "ENDED_BY_ADMIN");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_join_into_the_whole_list_and_a_strange_page_token_is_refused() {
    let server = Server::quick().await;
    let (_, first) = kim(&server).await;
    let mut ids = vec![first.session_id.clone()];
    for index in 0..6 {
        let tokens = sign_in(&server).await;
        if index % 2 == 0 {
            server.logout(&tokens.refresh_token).await;
        }
        ids.push(tokens.session_id);
    }
    ids.reverse();
    for show_ended in [true, false] {
        let mut ask = pb::ListSessionsRequest {
            access_token: first.access_token.clone(),
            page_size: 2,
            show_ended,
            ..Default::default()
        };
        let mut seen = Vec::new();
        loop {
            let answer = page(&server, &ask).await.unwrap();
            assert!((1..=2).contains(&answer.sessions.len()));
            seen.extend(answer.sessions.into_iter().map(|one| one.id));
            if answer.next_page_token.is_empty() {
                break;
            }
            ask.page_token = answer.next_page_token;
        }
        if show_ended {
            assert_eq!(seen, ids);
        } else {
            assert_eq!(seen.len(), 4);
        }
        // Of the other listing, cut short, and nonsense.
        let strange = ask.page_token.clone();
        for (page_token, show_ended) in
            [(strange.clone(), !show_ended), (strange[1..].to_owned(), show_ended), ("nonsense".to_owned(), show_ended)]
        {
            let status = page(&server, &pb::ListSessionsRequest { page_token, show_ended, ..ask.clone() }).await;
            let status = status.unwrap_err();
            assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
        }
    }
    let whole = pb::ListSessionsRequest { access_token: first.access_token.clone(), ..Default::default() };
    for (page_size, expected) in [(0, Some(4)), (4, Some(4)), (i32::MAX, Some(4)), (-1, None), (i32::MIN, None)] {
        let answer = page(&server, &pb::ListSessionsRequest { page_size, ..whole.clone() }).await;
        assert_eq!(answer.ok().map(|answer| answer.sessions.len()), expected, "{page_size}");
    }
}

// ---- ending one ----

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_ends_one_session_at_once_and_again_ends_nothing() {
    let server = Server::quick().await;
    let (id, tokens) = kim(&server).await;
    let other = sign_in(&server).await;
    let mut database = server.database().await;
    let answer = server.logout(&tokens.refresh_token).await;
    assert_eq!(answer.ended_count, 1);
    assert_eq!(decided(&server, &tokens.access_token).await, DEAD);
    assert_eq!(cause(&server, &tokens.refresh_token).await, "LOGOUT");
    for _ in 0..3 {
        let again = server.logout(&tokens.refresh_token).await;
        assert_eq!((again.ended_count, &again.revision), (0, &answer.revision));
    }
    assert_eq!(database.causes(id).await, ["LOGOUT"]);
    assert_eq!(database.audited("session_revoked").await, 1);
    assert_eq!(database.count("vault").await, 1, "its record is gone");
    assert_eq!(decided(&server, &other.access_token).await, ALLOW);
    assert!(server.refresh(&other.refresh_token).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_refresh_token_still_logs_its_session_out() {
    let server = Server::quick().await;
    let (_, first) = kim(&server).await;
    let mut newest = server.refresh(&first.refresh_token).await.unwrap().tokens.unwrap();
    for _ in 0..3 {
        server.later(PAST).await;
        newest = server.refresh(&newest.refresh_token).await.unwrap().tokens.unwrap();
    }
    assert_eq!(server.logout(&first.refresh_token).await.ended_count, 1);
    assert_eq!(cause(&server, &newest.refresh_token).await, "LOGOUT");
    assert_eq!(decided(&server, &newest.access_token).await, DEAD);
    // Long after the session's end in time a logout is no error either.
    let late = sign_in(&server).await;
    server.later(100 * DAY).await;
    assert_eq!(server.logout(&late.refresh_token).await.ended_count, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_ids_and_tokens_are_no_error_and_write_nothing() {
    let server = Server::quick().await;
    let (_, tokens) = kim(&server).await;
    let elsewhere = Server::quick().await;
    let (_, foreign) = kim(&elsewhere).await;
    let mut database = server.database().await;
    let before = (database.count("revocations").await, database.count("changes").await);
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(end(&server, &tokens.access_token, &uuid::Uuid::now_v7().to_string()).await.unwrap());
        answers.push(end(&server, &tokens.access_token, &uuid::Uuid::from_u128(7).to_string()).await.unwrap());
    }
    for token in [&foreign.refresh_token, "ptr_nonsense", "", &tokens.access_token, &"x".repeat(10_000)] {
        answers.push(server.logout(token).await);
    }
    let admin = server.login_admin().await.access_token;
    let nobody = UserId::generate().to_string();
    answers.push(end_of(&server, &admin, &tokens.session_id, &nobody).await.unwrap());
    answers.push(end_all(&server, &admin, &nobody, false).await.unwrap());
    let first = answers.first().unwrap().clone();
    assert_eq!(first.ended_count, 0);
    assert!(answers.iter().all(|answer| *answer == first), "{answers:?}");
    assert_eq!((database.count("revocations").await, database.count("changes").await), before);
    assert_eq!(decided(&server, &tokens.access_token).await, ALLOW);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoke_names_what_ends_and_whose() {
    let server = Server::quick().await;
    let (_, tokens) = kim(&server).await;
    let token = tokens.access_token.clone();
    let user = UserId::generate().to_string();
    let of = |target| pb::RevokeRequest { access_token: token.clone(), target, ..Default::default() };
    let refresh = pb::revoke_request::Target::RefreshToken(tokens.refresh_token.clone());
    let all = pb::revoke_request::Target::UserSessions(pb::UserSessions::default());
    for request in [
        of(None),
        of(Some(pb::revoke_request::Target::SessionId(String::new()))),
        of(Some(pb::revoke_request::Target::SessionId("not-an-id".to_owned()))),
        pb::RevokeRequest { user_id: user.clone(), ..of(Some(refresh)) },
        pb::RevokeRequest { user_id: user, ..of(Some(all)) },
        pb::RevokeRequest {
            note: "x".repeat(257),
            ..of(Some(pb::revoke_request::Target::SessionId(tokens.session_id.clone())))
        },
    ] {
        let status = server.revoke(request.clone()).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"), "{request:?}");
    }
    assert_eq!(decided(&server, &token).await, ALLOW);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_that_is_dead_asks_for_nothing() {
    let server = Server::quick().await;
    let (_, tokens) = kim(&server).await;
    let other = sign_in(&server).await;
    server.logout(&tokens.refresh_token).await;
    let status = end(&server, &tokens.access_token, &other.session_id).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "TOKEN_REVOKED"));
    let ask = pb::ListSessionsRequest { access_token: tokens.access_token, ..Default::default() };
    assert_eq!(reason(&page(&server, &ask).await.unwrap_err()), "TOKEN_REVOKED");
    server.later(Duration::from_mins(31)).await;
    let status = end_all(&server, &other.access_token, "", false).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "TOKEN_EXPIRED"));
    assert!(server.refresh(&other.refresh_token).await.is_ok());
}

// ---- ending many ----

#[tokio::test(flavor = "multi_thread")]
async fn ending_all_ends_this_one_too_and_a_new_sign_in_is_good() {
    let server = Server::quick().await;
    let (_, current) = kim(&server).await;
    let others = [sign_in(&server).await, sign_in(&server).await];
    let answer = end_all(&server, &current.access_token, "", false).await.unwrap();
    assert_eq!(answer.ended_count, 3);
    for tokens in others.iter().chain([&current]) {
        assert_eq!(decided(&server, &tokens.access_token).await, DEAD);
        assert_eq!(cause(&server, &tokens.refresh_token).await, "ENDED_BY_USER");
    }
    let fresh = sign_in(&server).await;
    assert_eq!(decided(&server, &fresh.access_token).await, ALLOW);
    assert!(server.refresh(&fresh.refresh_token).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_all_but_the_current_keeps_exactly_that_one() {
    let server = Server::quick().await;
    let (_, kept) = kim(&server).await;
    let others = [sign_in(&server).await, sign_in(&server).await];
    let answer = end_all(&server, &kept.access_token, "", true).await.unwrap();
    assert_eq!(answer.ended_count, 2);
    for tokens in &others {
        assert_eq!(decided(&server, &tokens.access_token).await, DEAD);
        assert_eq!(cause(&server, &tokens.refresh_token).await, "ENDED_BY_USER");
    }
    // The kept one goes on: its old tokens, its next ones, and after a restart.
    assert_eq!(decided(&server, &kept.access_token).await, ALLOW);
    let next = server.refresh(&kept.refresh_token).await.unwrap().tokens.unwrap();
    assert_eq!(decided(&server, &next.access_token).await, ALLOW);
    let server = server.restart_with(quick).await;
    assert_eq!(decided(&server, &kept.access_token).await, ALLOW);
    assert_eq!(decided(&server, &others[0].access_token).await, DEAD);
    let next = server.refresh(&next.refresh_token).await.unwrap().tokens.unwrap();

    // Kept from another session the next time: then this one goes.
    let newer = sign_in(&server).await;
    assert_eq!(end_all(&server, &newer.access_token, "", true).await.unwrap().ended_count, 1);
    assert_eq!(decided(&server, &newer.access_token).await, ALLOW);
    for token in [&kept.access_token, &next.access_token] {
        assert_eq!(decided(&server, token).await, DEAD);
    }
    assert_eq!(cause(&server, &next.refresh_token).await, "ENDED_BY_USER");
    // One that is dead cannot keep itself.
    let status = end_all(&server, &next.access_token, "", true).await.unwrap_err();
    assert_eq!(reason(&status), "TOKEN_REVOKED");
    assert!(server.refresh(&newer.refresh_token).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_all_needs_a_recent_sign_in_and_a_refresh_is_none() {
    let server = Server::quick().await;
    let (_, tokens) = kim(&server).await;
    server.later(Duration::from_secs(3_590)).await;
    let tokens = server.refresh(&tokens.refresh_token).await.unwrap().tokens.unwrap();
    server.later(Duration::from_secs(20)).await;
    let other = sign_in(&server).await;
    for keep_current in [true, false] {
        let status = end_all(&server, &tokens.access_token, "", keep_current).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(
            (reason(&status).as_str(), metadata(&status, "maxAgeSeconds").as_str()),
            ("REAUTHENTICATION_REQUIRED", "3600")
        );
    }
    assert_eq!(decided(&server, &other.access_token).await, ALLOW);
    // One session by one is no such thing, and whoever signed in just now may.
    assert_eq!(end(&server, &tokens.access_token, &other.session_id).await.unwrap().ended_count, 1);
    let fresh = sign_in(&server).await;
    assert_eq!(end_all(&server, &fresh.access_token, "", false).await.unwrap().ended_count, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_ends_all_sessions_of_one_user() {
    let server = Server::quick().await;
    let (id, tokens) = kim(&server).await;
    let others = [sign_in(&server).await, sign_in(&server).await];
    let admin = server.login_admin().await;
    let status = end_all(&server, &admin.access_token, &id.to_string(), true).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_FIELD", "the current one is not the user's");
    let answer = end_all(&server, &admin.access_token, &id.to_string(), false).await.unwrap();
    assert_eq!(answer.ended_count, 3);
    for tokens in others.iter().chain([&tokens]) {
        assert_eq!(decided(&server, &tokens.access_token).await, DEAD);
        assert_eq!(cause(&server, &tokens.refresh_token).await, "ENDED_BY_ADMIN");
    }
    assert_eq!(decided(&server, &admin.access_token).await, ALLOW);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fence_ends_everybodys_sessions_and_every_token() {
    let server = Server::quick().await;
    let admin = server.login_admin().await;
    let (_, tokens) = kim(&server).await;
    let mut all = vec![admin, tokens];
    for index in 0..10 {
        let name = format!("user{index}");
        add_user(&server, &name, Some(PASSWORD)).await;
        all.push(server.login(&name, PASSWORD).await.unwrap().tokens.unwrap());
    }
    end_all_sessions(&server).await;
    for tokens in &all {
        assert_eq!(decided(&server, &tokens.access_token).await, DEAD);
        assert_eq!(cause(&server, &tokens.refresh_token).await, "ENDED_FOR_ALL");
    }
    // And after it everybody signs in, in the same millisecond and after a restart.
    let fresh = sign_in(&server).await;
    assert_eq!(decided(&server, &fresh.access_token).await, ALLOW);
    let server = server.restart_with(quick).await;
    assert_eq!(decided(&server, &fresh.access_token).await, ALLOW);
    assert_eq!(decided(&server, &all[0].access_token).await, DEAD);
    assert!(server.refresh(&fresh.refresh_token).await.is_ok());
}

// ---- read your writes ----

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hands_the_revision_back_never_sees_the_time_before() {
    let server = Server::quick().await;
    let slow = server.replica_with(|config| {
        quick(config);
        config.feed.poll_interval = Duration::from_millis(300);
        // One that is told of nothing, so that it is late.
        if let Store::Postgres(server) = &mut config.store {
            server.pooler = true;
        }
    });
    let replica = slow.await;
    kim(&server).await;
    let mut reasons = BTreeSet::new();
    for _ in 0..4 {
        let tokens = sign_in(&server).await;
        let revision = server.logout(&tokens.refresh_token).await.revision;
        let ask = pb::VerifyRequest {
            access_token: tokens.access_token.clone(),
            min_revision: revision,
            ..Default::default()
        };
        assert_eq!(verdict(&server.verify_with(ask.clone()).await.unwrap()), DEAD);
        loop {
            match replica.verify_with(ask.clone()).await {
                Ok(answer) => {
                    assert_eq!(verdict(&answer), DEAD);
                    break;
                }
                Err(status) => {
                    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "NOT_FRESH"));
                    assert!(status.metadata().contains_key("grpc-retry-pushback-ms"));
                    reasons.insert(reason(&status));
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }
    assert!(!reasons.is_empty(), "the replica was never behind: this proved nothing");
}
