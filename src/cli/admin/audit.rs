//! `admin audit`.

use super::{PAGE, principal_id};
use crate::cli::args::admin::Audit;
use crate::cli::caller::Caller;
use crate::cli::failure::{Failure, wire_name};
use crate::cli::output::Answer;
use crate::cli::pages;
use crate::cli::table::{Table, or_dash, plain};
use crate::cli::view::{View, wire};
use crate::proto::admin::v1::{AuditEvent, ListAuditEventsRequest, ListAuditEventsResponse};
use crate::proto::auth::v1::Reason;

pub(super) async fn run(caller: &Caller, args: Audit) -> Result<Answer, Failure> {
    let view = caller.output.view(&caller.clock);
    let principal_id = match &args.user {
        Some(name) => principal_id(caller, name).await?,
        None => String::new(),
    };
    let page_size = i32::try_from(args.limit).unwrap_or(PAGE).clamp(1, PAGE);
    let fetch = async |page_token| {
        let request = ListAuditEventsRequest {
            page_size,
            page_token,
            principal_id: principal_id.clone(),
            session_id: args.session.clone().unwrap_or_default(),
            types: args.types.clone(),
            start_time: args.since.map(|since| wire(view.now - since)),
            end_time: None,
        };
        let answer = caller.admin(request, async |mut client, request| client.list_audit_events(request).await).await?;
        Ok((answer.events, answer.next_page_token))
    };
    let (events, next_page_token) = pages::up_to(args.limit, fetch).await?;
    let text = render(&events, !next_page_token.is_empty(), &view);
    Ok(Answer::new(ListAuditEventsResponse { events, next_page_token }, text))
}

fn render(events: &[AuditEvent], more: bool, view: &View) -> String {
    if events.is_empty() {
        return "No events.\n".to_owned();
    }
    let mut table = Table::new(&["TIME", "EVENT", "BY", "ABOUT", "CLIENT", "FROM", "MORE"]);
    for event in events {
        let reason = match event.reason() {
            Reason::Unspecified => None,
            reason => Some(wire_name(reason).to_owned()),
        };
        let mut detail: Vec<_> = event.detail.iter().map(|(name, value)| format!("{name}={value}")).collect();
        detail.sort_unstable();
        let about: Vec<String> = reason.into_iter().chain(detail).collect();
        table.row([
            view.local(event.time.as_ref()),
            plain(&event.r#type),
            or_dash(&event.actor_id),
            or_dash(&event.target_id),
            or_dash(&event.client_id),
            or_dash(&event.ip_address),
            or_dash(&about.join(" ")),
        ]);
    }
    let end = if more { "There are older ones: --limit, or --since, --type and --user.\n" } else { "" };
    format!("{}{end}", table.render())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::view::{time, view_at};

    #[test]
    fn events_stand_newest_first_with_what_is_known() {
        let refused = AuditEvent {
            time: time("2026-03-01T11:59:30Z"),
            r#type: "authz_fail".to_owned(),
            actor_id: "019a8c1e-0000-7000-8000-00000000b7f3".to_owned(),
            client_id: "orders".to_owned(),
            reason: Reason::PermissionMissing.into(),
            detail: [("permission", "orders:refund"), ("tenant", "acme\u{1b}[8m")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..AuditEvent::default()
        };
        let disabled = AuditEvent {
            time: time("2026-03-01T11:00:00Z"),
            r#type: "user_disabled".to_owned(),
            target_id: "019a8c1e-0000-7000-8000-00000000b7f3".to_owned(),
            ip_address: "192.0.2.7".to_owned(),
            ..AuditEvent::default()
        };
        let view = view_at("2026-03-01T12:00:00Z");
        insta::assert_snapshot!(render(&[refused, disabled], true, &view));
        assert_eq!(render(&[], false, &view), "No events.\n");
    }
}
