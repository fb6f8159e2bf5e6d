//! `postern admin`: administration through `AdminService`, by the person who is signed in.

mod audit;
mod bindings;
mod bootstrap;
mod clients;
mod import;
mod keys;
mod offline;
mod operation;
mod policy;
mod roles;
mod users;

use super::args::admin::{AdminArgs, Area};
use super::caller::Caller;
use super::failure::Failure;
use super::output::Answer;
use crate::domain::id::{ClientId, UserId};
use crate::proto::admin::v1::get_user_request::Key;
use crate::proto::admin::v1::scope::Where;
use crate::proto::admin::v1::{GetUserRequest, GetUserResponse, Scope, User};

const EXTERNAL: &str = "ext:";
const CLIENT: &str = "client:";

/// As many as a page may have.
const PAGE: i32 = 500;

pub(super) async fn run(args: AdminArgs) -> Result<Answer, Failure> {
    // Whoever bootstraps has no server and no credentials yet.
    if let Area::Bootstrap(command) = args.area {
        return bootstrap::run(*command, &args.client).await;
    }
    let config = args.config.as_deref();
    match &args.offline {
        Some(data_dir) => {
            let offline = offline::open(data_dir, config).await?;
            let answer = act(&Caller::offline(&args.client, data_dir, config, offline.admin())?, args.area).await;
            offline.close().await;
            answer
        }
        // Clap cannot say this of options that stand before or behind the words of the command.
        None if config.is_some() => Err(Failure::local("--config is read with --offline DATA_DIR only").advise(
            "A server that runs has its settings; leave --config away, or add --offline to work on the store itself",
        )),
        None => act(&Caller::new(&args.client)?, args.area).await,
    }
}

async fn act(caller: &Caller, area: Area) -> Result<Answer, Failure> {
    match area {
        Area::Bootstrap(_) => Err(Failure::local("bootstrap is not asked of a server")),
        Area::Users(command) => users::run(caller, command).await,
        Area::Roles(command) => roles::run(caller, command).await,
        Area::Policy(command) => policy::run(caller, command).await,
        Area::Bindings(command) => bindings::run(caller, command).await,
        Area::Explain(command) => operation::explain(caller, command).await,
        Area::Clients(command) => clients::run(caller, command).await,
        Area::Keys(command) => keys::run(caller, command).await,
        Area::Audit(command) => audit::run(caller, command).await,
        Area::Import(command) => import::run(caller, command).await,
        Area::Fence(command) => operation::fence(caller, command).await,
        Area::Server => operation::server(caller).await,
    }
}

/// The id behind what a person calls a user.
pub(super) async fn user_id(caller: &Caller, name: &str) -> Result<String, Failure> {
    match key(name) {
        Key::Id(id) => Ok(id),
        key => Ok(get_user(caller, key).await?.user.unwrap_or_default().id),
    }
}

/// The id behind a user, or a client as `client:ID`.
async fn principal_id(caller: &Caller, name: &str) -> Result<String, Failure> {
    match name.strip_prefix(CLIENT) {
        None => user_id(caller, name).await,
        Some(id) if id.parse::<ClientId>().is_ok() => Ok(id.to_owned()),
        Some(_) => Err(Failure::local("not a client's id: it is made of a-z, 0-9 and -")),
    }
}

async fn get_user(caller: &Caller, key: Key) -> Result<GetUserResponse, Failure> {
    let request = GetUserRequest { key: Some(key) };
    let answer = caller.admin(request, async |mut client, request| client.get_user(request).await).await?;
    match &answer.user {
        Some(user) if !user.id.is_empty() => Ok(answer),
        // An empty id would widen the next request to everybody.
        _ => Err(Failure::local("the server's answer names no user")),
    }
}

fn key(name: &str) -> Key {
    if name.parse::<UserId>().is_ok() {
        Key::Id(name.to_owned())
    } else if let Some(external) = name.strip_prefix(EXTERNAL) {
        Key::ExternalId(external.to_owned())
    } else {
        Key::Identifier(name.to_owned())
    }
}

/// What a person would call the user.
fn name_of(user: &User) -> &str {
    [&user.email, &user.user_name, &user.display_name].into_iter().find(|name| !name.is_empty()).unwrap_or(&user.id)
}

/// A place on the wire; nothing if none is named.
fn scope(tenant: Option<String>, everywhere: bool) -> Option<Scope> {
    let place = match tenant {
        Some(tenant) => Some(Where::Tenant(tenant)),
        None => everywhere.then_some(Where::Everywhere(true)),
    };
    place.map(|place| Scope { r#where: Some(place) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_an_id_an_external_id_or_a_name() {
        let id = "019a8c1e-0000-7000-8000-00000000b7f3";
        assert_eq!(key(id), Key::Id(id.to_owned()));
        assert_eq!(key("ext:42"), Key::ExternalId("42".to_owned()));
        assert_eq!(key("mira@example.com"), Key::Identifier("mira@example.com".to_owned()));
        assert_eq!(key("admin"), Key::Identifier("admin".to_owned()));
    }

    #[test]
    fn a_place_is_never_wider_than_what_was_said() {
        assert_eq!(scope(None, false), None);
        assert_eq!(scope(Some("acme".to_owned()), false).unwrap().r#where, Some(Where::Tenant("acme".to_owned())));
        assert_eq!(scope(None, true).unwrap().r#where, Some(Where::Everywhere(true)));
    }
}
