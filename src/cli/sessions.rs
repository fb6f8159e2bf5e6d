//! `sessions` and `revoke`: where somebody is signed in, and ending it.

use super::admin;
use super::args::{RevokeArgs, SessionsArgs};
use super::caller::Caller;
use super::failure::{Failure, refusal};
use super::output::Answer;
use super::pages;
use super::state::SignedIn;
use super::table::{Table, or_dash};
use super::view::View;
use crate::proto::auth::v1::revoke_request::Target;
use crate::proto::auth::v1::{
    Device, ListSessionsRequest, ListSessionsResponse, RevokeRequest, RevokeResponse, Session, UserSessions,
};

const PAGE: i32 = 200;
const DEVICE_CHARS: usize = 32;

pub(super) async fn list(args: SessionsArgs) -> Result<Answer, Failure> {
    let caller = Caller::new(&args.client)?;
    let user_id = match &args.user {
        Some(user) => admin::user_id(&caller, user).await?,
        None => String::new(),
    };
    let fetch = async |page_token: String| {
        let answer = caller
            .with_token(async |signed_in: &SignedIn| {
                let request = ListSessionsRequest {
                    access_token: signed_in.access_token.clone(),
                    user_id: user_id.clone(),
                    page_size: PAGE,
                    page_token: page_token.clone(),
                    show_ended: args.all,
                };
                caller.auth(request, async |mut client, request| client.list_sessions(request).await).await
            })
            .await?;
        Ok((answer.sessions, answer.next_page_token))
    };
    let (sessions, next_page_token) = pages::all(fetch).await?;
    let text = render(&sessions, args.all, &caller.output.view(&caller.clock));
    Ok(Answer::new(ListSessionsResponse { sessions, next_page_token }, text))
}

pub(super) async fn revoke(args: RevokeArgs) -> Result<Answer, Failure> {
    let caller = Caller::new(&args.client)?;
    let user_id = match &args.user {
        Some(user) => admin::user_id(&caller, user).await?,
        None => String::new(),
    };
    let (target, user_id) = match args.session {
        Some(session) => (Target::SessionId(session), user_id),
        None => (Target::UserSessions(UserSessions { user_id, keep_current: args.keep_current }), String::new()),
    };
    let answer = caller
        .with_token(async |signed_in: &SignedIn| {
            let request = RevokeRequest {
                access_token: signed_in.access_token.clone(),
                target: Some(target.clone()),
                note: args.note.clone().unwrap_or_default(),
                user_id: user_id.clone(),
            };
            caller.auth(request, async |mut client, request| client.revoke(request).await).await
        })
        .await?;
    let text = render_revoked(&answer);
    Ok(Answer::new(answer, text))
}

fn render(sessions: &[Session], with_ended: bool, view: &View) -> String {
    if sessions.is_empty() {
        return "No sessions.\n".to_owned();
    }
    let mut headings = vec!["SESSION", "SIGNED IN", "LAST REFRESH", "DEVICE", "FROM", "BY"];
    if with_ended {
        headings.extend(["ENDED", "WHY"]);
    }
    let mut table = Table::new(&headings);
    for session in sessions {
        let device = session.device.clone().unwrap_or_default();
        let mut cells = vec![
            session.id.clone(),
            view.relative(session.create_time.as_ref()),
            last_refresh(session, view),
            or_dash(&device_name(&device)),
            or_dash(&device.ip_address),
            or_dash(&session.method),
        ];
        if with_ended {
            cells.push(view.relative(session.end_time.as_ref()));
            cells.push(refusal::end_cause(session.end_cause()).unwrap_or("-").to_owned());
        }
        table.marked_row(session.current, cells);
    }
    table.render()
}

/// A session that was never refreshed has the time of its sign-in there, or none.
fn last_refresh(session: &Session, view: &View) -> String {
    match &session.last_refresh_time {
        time if *time == session.create_time => "-".to_owned(),
        time => view.relative(time.as_ref()),
    }
}

fn device_name(device: &Device) -> String {
    let name = if device.display_name.is_empty() { &device.user_agent } else { &device.display_name };
    if name.chars().count() <= DEVICE_CHARS {
        return name.clone();
    }
    name.chars().take(DEVICE_CHARS - 1).chain(['…']).collect()
}

fn render_revoked(answer: &RevokeResponse) -> String {
    match answer.ended_count {
        0 => "Nothing to end: no such session lives, or it is somebody else's.\n".to_owned(),
        1 => "Ended 1 session. Its tokens are refused from now on, everywhere.\n".to_owned(),
        count => format!("Ended {count} sessions. Their tokens are refused from now on, everywhere.\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::view::{time, view_at};
    use crate::proto::auth::v1::EndCause;

    fn sessions() -> Vec<Session> {
        let device = |name: &str, agent: &str| {
            Some(Device {
                ip_address: "127.0.0.1".to_owned(),
                user_agent: agent.to_owned(),
                display_name: name.to_owned(),
                ..Device::default()
            })
        };
        vec![
            Session {
                id: "019a8c1f-0000-7000-8000-0000000002d1".to_owned(),
                current: true,
                create_time: time("2026-03-01T11:59:50Z"),
                last_refresh_time: time("2026-03-01T11:59:50Z"),
                method: "password".to_owned(),
                device: device("postern on laptop", "postern/0.1.0"),
                ..Session::default()
            },
            Session {
                id: "019a8c1f-0000-7000-8000-0000000002d0".to_owned(),
                create_time: time("2026-02-20T10:00:00Z"),
                last_refresh_time: time("2026-03-01T09:00:00Z"),
                method: "password".to_owned(),
                device: device("", "Mozilla/5.0 (\u{1b}[31mX11; Linux x86_64; rv:140.0) Gecko"),
                end_time: time("2026-03-01T11:00:00Z"),
                end_cause: EndCause::EndedByAdmin.into(),
                ..Session::default()
            },
        ]
    }

    #[test]
    fn living_sessions_are_listed() {
        insta::assert_snapshot!(render(&sessions(), false, &view_at("2026-03-01T12:00:00Z")));
    }

    #[test]
    fn ended_ones_say_why() {
        insta::assert_snapshot!(render(&sessions(), true, &view_at("2026-03-01T12:00:00Z")));
    }

    #[test]
    fn ending_is_counted() {
        let text = |ended_count| render_revoked(&RevokeResponse { ended_count, ..RevokeResponse::default() });
        assert_eq!(text(1), "Ended 1 session. Its tokens are refused from now on, everywhere.\n");
        assert!(text(0).starts_with("Nothing to end"));
        assert!(text(3).starts_with("Ended 3 sessions."));
    }
}
