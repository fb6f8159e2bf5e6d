//! `admin bindings`: who has which role where.

use std::collections::{BTreeSet, HashMap};

use super::{CLIENT, PAGE, get_user, principal_id, scope};
use crate::cli::args::admin::{Bindings, Place};
use crate::cli::caller::Caller;
use crate::cli::failure::Failure;
use crate::cli::output::Answer;
use crate::cli::pages;
use crate::cli::table::{Table, or_dash, plain};
use crate::cli::view::{View, wire};
use crate::domain::id::UserId;
use crate::domain::time::Timestamp;
use crate::proto::admin::v1::get_user_request::Key;
use crate::proto::admin::v1::scope::Where;
use crate::proto::admin::v1::{
    Binding, GrantRoleRequest, ListBindingsRequest, ListBindingsResponse, Scope, WithdrawRoleRequest,
};

/// Each is a call; whoever lists more reads ids.
const NAMES_MAX: usize = 100;

pub(super) async fn run(caller: &Caller, command: Bindings) -> Result<Answer, Failure> {
    match command {
        Bindings::List { user, role, tenant, everywhere } => {
            list(caller, user, role.unwrap_or_default(), scope(tenant, everywhere)).await
        }
        Bindings::Grant { user, role, place, until } => grant(caller, user, role, place, until).await,
        Bindings::Withdraw { user, role, place } => withdraw(caller, user, role, place).await,
    }
}

async fn list(caller: &Caller, user: Option<String>, role: String, scope: Option<Scope>) -> Result<Answer, Failure> {
    let principal_id = match &user {
        Some(user) => principal_id(caller, user).await?,
        None => String::new(),
    };
    let fetch = async |page_token| {
        let (principal_id, role, scope) = (principal_id.clone(), role.clone(), scope.clone());
        let request = ListBindingsRequest { page_size: PAGE, page_token, principal_id, role, scope };
        let answer = caller.admin(request, async |mut client, request| client.list_bindings(request).await).await?;
        Ok((answer.bindings, answer.next_page_token))
    };
    let (bindings, next_page_token) = pages::all(fetch).await?;
    let names = names(caller, &bindings).await;
    let text = render(&bindings, &names, &caller.output.view(&caller.clock));
    Ok(Answer::new(ListBindingsResponse { bindings, next_page_token }, text))
}

async fn grant(
    caller: &Caller,
    user: String,
    role: String,
    place: Place,
    until: Option<String>,
) -> Result<Answer, Failure> {
    let expire_time = match &until {
        Some(text) => Some(wire(end(text, caller.clock.now())?)),
        None => None,
    };
    let binding = Binding {
        principal_id: principal_id(caller, &user).await?,
        role: role.clone(),
        scope: scope(place.tenant, place.everywhere),
        expire_time,
        ..Binding::default()
    };
    let request = GrantRoleRequest { binding: Some(binding) };
    let answer = caller.admin(request, async |mut client, request| client.grant_role(request).await).await?;
    let binding = answer.binding.clone().unwrap_or_default();
    let until = match &binding.expire_time {
        Some(_) => format!(" until {}", caller.output.view(&caller.clock).local(binding.expire_time.as_ref())),
        None => String::new(),
    };
    let place = place_of(binding.scope.as_ref());
    let text = format!(
        "Granted {} to {} {place}{until}. It holds at once, for tokens already issued too.\n",
        plain(&role),
        plain(&user)
    );
    Ok(Answer::new(answer, text))
}

async fn withdraw(caller: &Caller, user: String, role: String, place: Place) -> Result<Answer, Failure> {
    let scope = scope(place.tenant, place.everywhere);
    let shown = place_of(scope.as_ref());
    let request = WithdrawRoleRequest { principal_id: principal_id(caller, &user).await?, role: role.clone(), scope };
    let answer = caller.admin(request, async |mut client, request| client.withdraw_role(request).await).await?;
    let text = format!("Withdrew {} from {} {shown}, for tokens already issued too.\n", plain(&role), plain(&user));
    Ok(Answer::new(answer, text))
}

/// When a binding ends: in so long, or at a time.
fn end(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_micros(time.as_microsecond()));
    }
    let duration = humantime::parse_duration(text).map_err(|_neither| {
        Failure::local(format!("--until {}: neither a duration nor a time", text.escape_debug()))
            .advise("Write it as 8h, 30d or 2026-12-31T18:00:00Z")
    })?;
    Ok(now + duration)
}

fn place_of(scope: Option<&Scope>) -> String {
    match scope.and_then(|scope| scope.r#where.as_ref()) {
        Some(Where::Tenant(tenant)) => format!("in {}", plain(tenant)),
        Some(Where::Everywhere(_)) => "everywhere".to_owned(),
        None => "-".to_owned(),
    }
}

/// What people call the users of these bindings, as far as the server says it to whoever asks.
async fn names(caller: &Caller, bindings: &[Binding]) -> HashMap<String, String> {
    let ids = bindings.iter().flat_map(|binding| [&binding.principal_id, &binding.granted_by]);
    let ids: BTreeSet<&String> = ids.filter(|id| id.parse::<UserId>().is_ok()).collect();
    let mut names = HashMap::new();
    for id in ids.into_iter().take(NAMES_MAX) {
        let Ok(answer) = get_user(caller, Key::Id(id.clone())).await else { continue };
        let user = answer.user.unwrap_or_default();
        let name = [user.email, user.user_name].into_iter().find(|name| !name.is_empty());
        names.extend(name.map(|name| (id.clone(), name)));
    }
    names
}

/// As these commands take it.
fn who(id: &str, names: &HashMap<String, String>) -> String {
    match names.get(id) {
        Some(name) => name.clone(),
        None if id.is_empty() || id.parse::<UserId>().is_ok() => or_dash(id),
        None => format!("{CLIENT}{id}"),
    }
}

/// Whether it stands in the server's configuration, where it is changed.
fn is_declared(binding: &Binding) -> bool {
    binding.create_time.is_none() && binding.granted_by.is_empty()
}

fn render(bindings: &[Binding], names: &HashMap<String, String>, view: &View) -> String {
    if bindings.is_empty() {
        return "No bindings.\n".to_owned();
    }
    let mut table = Table::new(&["WHO", "ROLE", "WHERE", "UNTIL", "GRANTED", "BY"]);
    for binding in bindings {
        table.row([
            who(&binding.principal_id, names),
            binding.role.clone(),
            place_of(binding.scope.as_ref()),
            view.local(binding.expire_time.as_ref()),
            view.relative(binding.create_time.as_ref()),
            if is_declared(binding) { "the settings".to_owned() } else { who(&binding.granted_by, names) },
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::view::{time, view_at};

    #[test]
    fn an_end_is_a_duration_or_a_time() {
        let now = Timestamp::from_secs(1_000);
        assert_eq!(end("8h", now).unwrap(), Timestamp::from_secs(1_000 + 8 * 3_600));
        assert_eq!(end("1970-01-01T00:20:00Z", now).unwrap(), Timestamp::from_secs(1_200));
        assert_eq!(end("1970-01-01T01:20:00+01:00", now).unwrap(), Timestamp::from_secs(1_200));
        for text in ["", "tomorrow", "-8h", "2026-12-31"] {
            assert!(end(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn bindings_say_where_and_until_when() {
        let binding = |scope, expire_time| Binding {
            principal_id: "019a8c1e-0000-7000-8000-00000000b7f3".to_owned(),
            role: "clerk".to_owned(),
            scope,
            expire_time,
            create_time: time("2026-03-01T11:00:00Z"),
            granted_by: String::new(),
            ..Binding::default()
        };
        let client = Binding { principal_id: "orders".to_owned(), ..binding(scope(None, true), None) };
        let bindings = [
            binding(scope(Some("acme".to_owned()), false), time("2026-03-02T18:00:00Z")),
            binding(scope(None, true), None),
            client.clone(),
            Binding { principal_id: "shop".to_owned(), create_time: None, granted_by: String::new(), ..client },
        ];
        let names = HashMap::from([(bindings[0].principal_id.clone(), "mira@example.com".to_owned())]);
        let view = view_at("2026-03-01T12:00:00Z");
        insta::assert_snapshot!(render(&bindings, &names, &view));
        assert!(render(&bindings, &HashMap::new(), &view).contains("019a8c1e-0000-7000-8000-00000000b7f3  clerk"));
    }
}
