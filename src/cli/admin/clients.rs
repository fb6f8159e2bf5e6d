//! `admin clients`: programs, and the secrets that prove them.

mod secret_file;

use prost_types::FieldMask;

use super::PAGE;
use crate::cli::args::clients::{ClientFields, Clients, CreateClient, Limit, RotateSecret, UpdateClient};
use crate::cli::caller::Caller;
use crate::cli::failure::Failure;
use crate::cli::json::Secrets;
use crate::cli::output::Answer;
use crate::cli::table::{Table, facts, or_dash, plain};
use crate::cli::{pages, prompt};
use crate::proto::admin::v1::{
    Client, CreateClientRequest, DeleteClientRequest, ListClientsRequest, ListClientsResponse,
    RotateClientSecretRequest, SessionPolicy, UpdateClientRequest,
};
use secret_file::SecretFile;

pub(super) async fn run(caller: &Caller, command: Clients) -> Result<Answer, Failure> {
    match command {
        Clients::List => list(caller).await,
        Clients::Create(args) => create(caller, args).await,
        Clients::Update(args) => update(caller, args).await,
        Clients::RotateSecret(args) => rotate(caller, args).await,
        Clients::Delete { id, yes } => delete(caller, id, yes).await,
    }
}

async fn list(caller: &Caller) -> Result<Answer, Failure> {
    let fetch = async |page_token| {
        let request = ListClientsRequest { page_size: PAGE, page_token };
        let answer = caller.admin(request, async |mut client, request| client.list_clients(request).await).await?;
        Ok((answer.clients, answer.next_page_token))
    };
    let (clients, next_page_token) = pages::all(fetch).await?;
    let text = render_clients(&clients);
    Ok(Answer::new(ListClientsResponse { clients, next_page_token }, text))
}

async fn create(caller: &Caller, args: CreateClient) -> Result<Answer, Failure> {
    let file = args.secret_file.as_deref().map(SecretFile::create).transpose()?;
    let client = Client { id: args.id, ..client(args.fields) };
    let request = CreateClientRequest { client: Some(client), with_secret: !args.no_secret };
    let answer = caller.admin(request, async |mut client, request| client.create_client(request).await).await?;
    let client = answer.client.clone().unwrap_or_default();
    let told = tell(&answer.secret, file)?;
    let id = plain(&client.id);
    // Who may ask tokens for something signs people in; who only is something asks about them.
    let role = if client.token_audiences.is_empty() && !client.audience.is_empty() { "backend" } else { "front" };
    let at = caller.to_admin();
    let next = format!("Next: postern admin bindings grant client:{id} postern.{role} --everywhere{at}\n");
    let text = format!("Created client {id}.\n{}{told}{next}", render_client(&client));
    Ok(Answer::new(answer, text).with_secrets(shown(args.secret_file.is_none())))
}

async fn update(caller: &Caller, args: UpdateClient) -> Result<Answer, Failure> {
    let mask = mask(&args.fields, args.disabled);
    if mask.paths.is_empty() {
        return Err(Failure::local("nothing to change").advise("Name a field, such as --audience orders"));
    }
    let disabled = args.disabled.unwrap_or_default();
    let client = Client { id: args.id, etag: args.etag, disabled, ..client(args.fields) };
    let request = UpdateClientRequest { client: Some(client), update_mask: Some(mask) };
    let answer = caller.admin(request, async |mut client, request| client.update_client(request).await).await?;
    let text = format!("Updated.\n{}", render_client(&answer.client.clone().unwrap_or_default()));
    Ok(Answer::new(answer, text))
}

async fn rotate(caller: &Caller, args: RotateSecret) -> Result<Answer, Failure> {
    let file = args.secret_file.as_deref().map(SecretFile::create).transpose()?;
    let overlap =
        prost_types::Duration::try_from(args.overlap).map_err(|_long| Failure::local("--overlap is too long"))?;
    let request = RotateClientSecretRequest { id: args.id.clone(), overlap: Some(overlap) };
    let answer = caller.admin(request, async |mut client, request| client.rotate_client_secret(request).await).await?;
    let until = if args.overlap.is_zero() {
        "ends now".to_owned()
    } else {
        format!("works for another {}", humantime::format_duration(args.overlap))
    };
    let told = tell(&answer.secret, file)?;
    let text = format!("New secret of client {}; the one before {until}.\n{told}", plain(&args.id));
    Ok(Answer::new(answer, text).with_secrets(shown(args.secret_file.is_none())))
}

async fn delete(caller: &Caller, id: String, yes: bool) -> Result<Answer, Failure> {
    if !yes {
        let label =
            format!("Delete client {} and sign out everybody who came through it? Type its id again: ", plain(&id));
        let typed = prompt::text(caller.output, &label, "Say that you mean it: --yes")?;
        if typed != id {
            return Err(Failure::local("not the same; nothing was deleted"));
        }
    }
    let request = DeleteClientRequest { id: id.clone() };
    let answer = caller.admin(request, async |mut client, request| client.delete_client(request).await).await?;
    let text = format!("Deleted client {}. Nothing it has opens anything any more.\n", plain(&id));
    Ok(Answer::new(answer, text))
}

/// What of a secret is told on the terminal: itself, or where it is.
fn tell(secret: &str, file: Option<SecretFile>) -> Result<String, Failure> {
    match file {
        _ if secret.is_empty() => Ok(String::new()),
        None => Ok(format!("Secret, shown this once:\n{}\n", plain(secret))),
        Some(file) => {
            let path = file.keep(secret)?;
            Ok(format!("Its secret is in {}, for this user alone.\n", plain(&path.display().to_string())))
        }
    }
}

const fn shown(on_terminal: bool) -> Secrets {
    if on_terminal { Secrets::Shown } else { Secrets::Hidden }
}

/// The values of flags; which of them count is for the mask to say.
fn client(fields: ClientFields) -> Client {
    // `--san ''` stands for none.
    let some = |texts: Option<Vec<String>>| -> Vec<String> {
        texts.unwrap_or_default().into_iter().filter(|text| !text.is_empty()).collect()
    };
    let ttl = |limit: Option<Limit>| limit.and_then(Limit::duration);
    let policy = SessionPolicy {
        access_ttl: ttl(fields.access_ttl),
        idle_ttl: ttl(fields.idle_ttl),
        absolute_ttl: ttl(fields.absolute_ttl),
        refresh_grace: ttl(fields.refresh_grace),
        max_per_user: fields.max_per_user.unwrap_or_default(),
    };
    Client {
        display_name: fields.display_name.unwrap_or_default(),
        mtls_sans: some(fields.san),
        audience: fields.audience.unwrap_or_default(),
        token_audiences: some(fields.token_audience),
        return_urls: some(fields.return_url),
        session_policy: (policy != SessionPolicy::default()).then_some(policy),
        ..Client::default()
    }
}

fn mask(fields: &ClientFields, disabled: Option<bool>) -> FieldMask {
    let given = [
        ("display_name", fields.display_name.is_some()),
        ("mtls_sans", fields.san.is_some()),
        ("audience", fields.audience.is_some()),
        ("token_audiences", fields.token_audience.is_some()),
        ("return_urls", fields.return_url.is_some()),
        ("session_policy.access_ttl", fields.access_ttl.is_some()),
        ("session_policy.idle_ttl", fields.idle_ttl.is_some()),
        ("session_policy.absolute_ttl", fields.absolute_ttl.is_some()),
        ("session_policy.refresh_grace", fields.refresh_grace.is_some()),
        ("session_policy.max_per_user", fields.max_per_user.is_some()),
        ("disabled", disabled.is_some()),
    ];
    FieldMask { paths: given.into_iter().filter(|(_, given)| *given).map(|(path, _)| path.to_owned()).collect() }
}

fn render_clients(clients: &[Client]) -> String {
    if clients.is_empty() {
        return "No clients.\n".to_owned();
    }
    let mut table = Table::new(&["CLIENT", "NAME", "PROVEN BY", "AUDIENCE", "TOKENS FOR", "STATE"]);
    for client in clients {
        table.row([
            client.id.clone(),
            or_dash(&client.display_name),
            proofs(client),
            or_dash(&client.audience),
            or_dash(&client.token_audiences.join(" ")),
            state(client).to_owned(),
        ]);
    }
    table.render()
}

fn proofs(client: &Client) -> String {
    let secret = client.has_secret.then_some("secret");
    let names = client.mtls_sans.iter().map(String::as_str);
    or_dash(&secret.into_iter().chain(names).collect::<Vec<_>>().join(" "))
}

const fn state(client: &Client) -> &'static str {
    match (client.disabled, client.from_config) {
        (true, _) => "disabled",
        (false, true) => "of the server's configuration",
        (false, false) => "active",
    }
}

fn render_client(client: &Client) -> String {
    let ttl = |ttl: Option<prost_types::Duration>| {
        let ttl = ttl.and_then(|ttl| std::time::Duration::try_from(ttl).ok());
        ttl.map_or_else(|| "as the server's".to_owned(), |ttl| humantime::format_duration(ttl).to_string())
    };
    let policy = client.session_policy.unwrap_or_default();
    let mut lines = vec![
        ("client", or_dash(&client.id)),
        ("name", or_dash(&client.display_name)),
        ("state", state(client).to_owned()),
        ("proven by", proofs(client)),
        ("audience", or_dash(&client.audience)),
        ("tokens for", or_dash(&client.token_audiences.join(" "))),
        ("return urls", or_dash(&client.return_urls.join(" "))),
    ];
    if client.session_policy.is_some() {
        lines.extend([
            ("access life", ttl(policy.access_ttl)),
            ("idle life", ttl(policy.idle_ttl)),
            ("longest life", ttl(policy.absolute_ttl)),
            ("grace", ttl(policy.refresh_grace)),
        ]);
        let max = if policy.max_per_user == 0 { "as the server's".to_owned() } else { policy.max_per_user.to_string() };
        lines.push(("per user", max));
    }
    lines.push(("etag", or_dash(&client.etag)));
    facts(lines)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn clients_are_listed_and_shown() {
        let web = Client {
            id: "web".to_owned(),
            display_name: "The shop\u{1b}[2J".to_owned(),
            mtls_sans: vec!["spiffe://prod/web".to_owned()],
            has_secret: true,
            audience: "shop".to_owned(),
            token_audiences: vec!["orders".to_owned(), "billing".to_owned()],
            session_policy: Some(SessionPolicy {
                idle_ttl: Limit::Is(Duration::from_hours(1)).duration(),
                max_per_user: 3,
                ..SessionPolicy::default()
            }),
            etag: "7".to_owned(),
            ..Client::default()
        };
        let lost = Client { id: "lost".to_owned(), disabled: true, ..Client::default() };
        let fixed = Client { id: "dev".to_owned(), from_config: true, ..Client::default() };
        let table = render_clients(&[fixed, lost.clone(), web.clone()]);
        insta::assert_snapshot!(format!("{table}\n{}\n{}", render_client(&web), render_client(&lost)));
    }

    #[test]
    fn only_what_is_given_is_changed_also_if_empty() {
        let given =
            ClientFields { san: Some(vec![String::new()]), idle_ttl: Some(Limit::Server), ..ClientFields::default() };
        assert_eq!(mask(&given, Some(false)).paths, ["mtls_sans", "session_policy.idle_ttl", "disabled"]);
        let client = client(given);
        assert!(client.mtls_sans.is_empty() && client.session_policy.is_none());
        assert!(mask(&ClientFields::default(), None).paths.is_empty());
    }

    #[test]
    fn a_secret_is_told_once_or_where_it_is() {
        assert_eq!(tell("", None).unwrap(), "");
        assert!(tell("pcs_x", None).unwrap().contains("\npcs_x\n"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let told = tell("pcs_x", Some(SecretFile::create(&path).unwrap())).unwrap();
        assert!(!told.contains("pcs_x") && told.contains("secret"), "{told}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "pcs_x\n");
    }
}
