//! `admin users`.

use prost_types::FieldMask;
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::{PAGE, get_user, key, name_of, user_id};
use crate::cli::args::admin::{CreateUser, Noted, State, UpdateUser, UserFields, Users};
use crate::cli::caller::Caller;
use crate::cli::failure::Failure;
use crate::cli::output::Answer;
use crate::cli::table::{Table, facts, or_dash, plain};
use crate::cli::view::View;
use crate::cli::{pages, prompt, shell_word};
use crate::proto::admin::v1::{
    CreateUserRequest, DeleteUserRequest, DisableUserRequest, EnableUserRequest, ListUsersRequest, ListUsersResponse,
    SetPasswordRequest, UpdateUserRequest, User, UserState,
};

const WILL_CHANGE: &str = "They choose another one at their next sign-in.\n";

pub(super) async fn run(caller: &Caller, command: Users) -> Result<Answer, Failure> {
    match command {
        Users::List { query, state, limit } => list(caller, query.unwrap_or_default(), state, limit).await,
        Users::Show { user } => {
            let answer = get_user(caller, key(&user)).await?;
            let text = render_user(&answer.user.clone().unwrap_or_default(), &caller.output.view(&caller.clock));
            Ok(Answer::new(answer, text))
        }
        Users::Create(args) => create(caller, args).await,
        Users::Update(args) => update(caller, args).await,
        Users::Disable(Noted { user, note }) => {
            let request = DisableUserRequest { id: user_id(caller, &user).await?, note };
            let answer = caller.admin(request, async |mut client, request| client.disable_user(request).await).await?;
            let text = format!("Disabled {}. All their sessions are over.\n", plain(&user));
            Ok(Answer::new(answer, text))
        }
        Users::Enable(Noted { user, note }) => {
            let request = EnableUserRequest { id: user_id(caller, &user).await?, note };
            let answer = caller.admin(request, async |mut client, request| client.enable_user(request).await).await?;
            let text = format!("Enabled {}. They may sign in again.\n", plain(&user));
            Ok(Answer::new(answer, text))
        }
        Users::Delete { whom: Noted { user, note }, yes } => {
            let id = user_id(caller, &user).await?;
            if !yes {
                confirm_deletion(caller, &user)?;
            }
            let request = DeleteUserRequest { id, note };
            let answer = caller.admin(request, async |mut client, request| client.delete_user(request).await).await?;
            let text = format!("Deleted {} for good.\n", plain(&user));
            Ok(Answer::new(answer, text))
        }
        Users::SetPassword { user, must_change } => {
            let id = user_id(caller, &user).await?;
            let password = prompt::new_password("New password: ")?;
            let request = SetPasswordRequest {
                id,
                password: password.expose_secret().to_owned(),
                must_change_password: must_change,
            };
            let answer = caller.admin(request, async |mut client, request| client.set_password(request).await).await?;
            let will_change = if must_change { WILL_CHANGE } else { "" };
            let text = format!("Set the password of {}. All their sessions are over.\n{will_change}", plain(&user));
            Ok(Answer::new(answer, text))
        }
    }
}

async fn list(caller: &Caller, query: String, state: Option<State>, limit: usize) -> Result<Answer, Failure> {
    let state = match state {
        None => UserState::Unspecified,
        Some(State::Active) => UserState::Active,
        Some(State::Disabled) => UserState::Disabled,
    };
    let page_size = i32::try_from(limit).unwrap_or(PAGE).clamp(1, PAGE);
    let fetch = async |page_token| {
        let request = ListUsersRequest { page_size, page_token, query: query.clone(), state: state.into() };
        let answer = caller.admin(request, async |mut client, request| client.list_users(request).await).await?;
        Ok((answer.users, answer.next_page_token))
    };
    let (users, next_page_token) = pages::up_to(limit, fetch).await?;
    let text = render_users(&users, !next_page_token.is_empty(), &caller.output.view(&caller.clock));
    Ok(Answer::new(ListUsersResponse { users, next_page_token }, text))
}

async fn create(caller: &Caller, args: CreateUser) -> Result<Answer, Failure> {
    let password = if args.no_password {
        String::new()
    } else {
        prompt::new_password("Password for the new user: ")?.expose_secret().to_owned()
    };
    let user = new_user(args.identifier, args.fields)?;
    // Made once for all attempts, so that a repeated call creates one user.
    let request = CreateUserRequest {
        user: Some(user),
        password,
        must_change_password: args.must_change,
        request_id: Uuid::now_v7().to_string(),
    };
    let answer = caller.admin(request, async |mut client, request| client.create_user(request).await).await?;
    let user = answer.user.clone().unwrap_or_default();
    let name = name_of(&user);
    let will_change = if args.must_change { WILL_CHANGE } else { "" };
    let text = format!(
        "Created {} (user {}).\n{will_change}Next: postern admin bindings grant {} ROLE --tenant TENANT{}\n",
        plain(name),
        plain(&user.id),
        plain(&shell_word(name)),
        caller.to_admin(),
    );
    Ok(Answer::new(answer, text))
}

fn new_user(identifier: Option<String>, fields: UserFields) -> Result<User, Failure> {
    let is_email = identifier.as_deref().is_some_and(|name| name.contains('@'));
    let twice = |flag: &str| Failure::local(format!("the user's {flag} is given twice"));
    let (mut email, mut user_name) = (fields.email, fields.user_name);
    match (identifier, is_email) {
        (Some(_), true) if email.is_some() => return Err(twice("e-mail")),
        (Some(_), false) if user_name.is_some() => return Err(twice("user name")),
        (Some(address), true) => email = Some(address),
        (Some(name), false) => user_name = Some(name),
        (None, _) => {}
    }
    Ok(User {
        email: email.unwrap_or_default(),
        email_verified: fields.email_verified.unwrap_or_default(),
        user_name: user_name.unwrap_or_default(),
        display_name: fields.display_name.unwrap_or_default(),
        external_id: fields.external_id.unwrap_or_default(),
        ..User::default()
    })
}

async fn update(caller: &Caller, args: UpdateUser) -> Result<Answer, Failure> {
    let mask = mask(&args.fields);
    if mask.paths.is_empty() {
        return Err(Failure::local("nothing to change").advise("Name a field, such as --display-name Mira"));
    }
    let id = user_id(caller, &args.user).await?;
    let user = User { id, ..new_user(None, args.fields)? };
    let request = UpdateUserRequest { user: Some(user), update_mask: Some(mask) };
    let answer = caller.admin(request, async |mut client, request| client.update_user(request).await).await?;
    let view = caller.output.view(&caller.clock);
    let text = format!("Updated.\n{}", render_user(&answer.user.clone().unwrap_or_default(), &view));
    Ok(Answer::new(answer, text))
}

fn mask(fields: &UserFields) -> FieldMask {
    let given = [
        ("email", fields.email.is_some()),
        ("email_verified", fields.email_verified.is_some()),
        ("user_name", fields.user_name.is_some()),
        ("display_name", fields.display_name.is_some()),
        ("external_id", fields.external_id.is_some()),
    ];
    FieldMask { paths: given.into_iter().filter(|(_, given)| *given).map(|(path, _)| path.to_owned()).collect() }
}

fn confirm_deletion(caller: &Caller, user: &str) -> Result<(), Failure> {
    let label = format!("Delete {} for good? Type the name again: ", plain(user));
    let typed = prompt::text(caller.output, &label, "Say that you mean it: --yes")?;
    if typed == user { Ok(()) } else { Err(Failure::local("not the same; nothing was deleted")) }
}

const fn state_name(user: &User) -> &'static str {
    match user.state {
        1 => "active",
        2 => "disabled",
        _ => "-",
    }
}

fn render_users(users: &[User], more: bool, view: &View) -> String {
    if users.is_empty() {
        return "No users.\n".to_owned();
    }
    let mut table = Table::new(&["USER", "E-MAIL", "USER NAME", "DISPLAY NAME", "STATE", "CREATED"]);
    for user in users {
        table.row([
            user.id.clone(),
            or_dash(&user.email),
            or_dash(&user.user_name),
            or_dash(&user.display_name),
            state_name(user).to_owned(),
            view.relative(user.create_time.as_ref()),
        ]);
    }
    let mut out = table.render();
    if more {
        out.push_str("There are more: narrow the list with --query, or raise --limit.\n");
    }
    out
}

fn render_user(user: &User, view: &View) -> String {
    let email = match (user.email.as_str(), user.email_verified) {
        ("", _) => "-".to_owned(),
        (email, true) => format!("{} (verified)", plain(email)),
        (email, false) => format!("{} (not verified)", plain(email)),
    };
    let lines = [
        ("user", or_dash(&user.id)),
        ("e-mail", email),
        ("user name", or_dash(&user.user_name)),
        ("display name", or_dash(&user.display_name)),
        ("external id", or_dash(&user.external_id)),
        ("state", state_name(user).to_owned()),
        ("password", if user.has_password { "set" } else { "none" }.to_owned()),
        ("created", format!("{}, {}", view.local(user.create_time.as_ref()), view.relative(user.create_time.as_ref()))),
        ("updated", format!("{}, {}", view.local(user.update_time.as_ref()), view.relative(user.update_time.as_ref()))),
        ("etag", or_dash(&user.etag)),
    ];
    facts(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::view::{time, view_at};

    fn fields() -> UserFields {
        UserFields { email: None, email_verified: None, user_name: None, display_name: None, external_id: None }
    }

    fn mira() -> User {
        User {
            id: "019a8c1e-0000-7000-8000-00000000b7f3".to_owned(),
            email: "mira@example.com".to_owned(),
            display_name: "미라\u{1b}[2J".to_owned(),
            state: UserState::Active.into(),
            has_password: true,
            create_time: time("2026-03-01T11:00:00Z"),
            update_time: time("2026-03-01T11:30:00Z"),
            etag: "7".to_owned(),
            ..User::default()
        }
    }

    #[test]
    fn users_are_listed_and_shown() {
        let view = view_at("2026-03-01T12:00:00Z");
        insta::assert_snapshot!(format!("{}\n{}", render_users(&[mira()], true, &view), render_user(&mira(), &view)));
    }

    #[test]
    fn an_identifier_with_an_at_is_an_email() {
        assert_eq!(new_user(Some("a@b".to_owned()), fields()).unwrap().email, "a@b");
        assert_eq!(new_user(Some("mira".to_owned()), fields()).unwrap().user_name, "mira");
        let twice = UserFields { email: Some("c@d".to_owned()), ..fields() };
        assert!(new_user(Some("a@b".to_owned()), twice).is_err());
    }

    #[test]
    fn only_what_is_given_is_changed_also_if_empty() {
        let given = UserFields { email: Some(String::new()), email_verified: Some(false), ..fields() };
        assert_eq!(mask(&given).paths, ["email", "email_verified"]);
        assert!(mask(&fields()).paths.is_empty());
    }

    #[test]
    fn states_have_names() {
        for (state, name) in [(UserState::Active, "active"), (UserState::Disabled, "disabled")] {
            assert_eq!(state_name(&User { state: state.into(), ..User::default() }), name);
        }
    }
}
