//! `admin roles`.

use super::{PAGE, policy};
use crate::cli::args::admin::{PutRole, Roles};
use crate::cli::caller::Caller;
use crate::cli::failure::Failure;
use crate::cli::output::Answer;
use crate::cli::table::{Table, facts, or_dash, plain};
use crate::cli::{pages, shell_word};
use crate::proto::admin::v1::{
    DeleteRoleRequest, GetRoleRequest, ListRolesRequest, ListRolesResponse, PutRoleRequest, Role,
};

const ALLOWS_CHARS: usize = 48;

pub(super) async fn run(caller: &Caller, command: Roles) -> Result<Answer, Failure> {
    match command {
        Roles::List => {
            let answer = list(caller).await?;
            let text = render_roles(&answer.roles);
            Ok(Answer::new(answer, text))
        }
        Roles::Show { role } => {
            let request = GetRoleRequest { id: role };
            let answer = caller.admin(request, async |mut client, request| client.get_role(request).await).await?;
            let text = render_role(&answer.role.clone().unwrap_or_default());
            Ok(Answer::new(answer, text))
        }
        Roles::Put(args) => put(caller, args).await,
        Roles::Delete { role, force } => {
            let request = DeleteRoleRequest { id: role.clone(), force };
            let answer = caller.admin(request, async |mut client, request| client.delete_role(request).await).await?;
            Ok(Answer::new(answer, format!("Deleted role {}.\n", plain(&role))))
        }
        Roles::Apply(args) => policy::apply(caller, args).await,
    }
}

/// All roles, in one answer.
pub(super) async fn list(caller: &Caller) -> Result<ListRolesResponse, Failure> {
    let revision = std::cell::RefCell::new(String::new());
    let fetch = async |page_token| {
        let request = ListRolesRequest { page_size: PAGE, page_token };
        let answer = caller.admin(request, async |mut client, request| client.list_roles(request).await).await?;
        revision.replace(answer.policy_revision);
        Ok((answer.roles, answer.next_page_token))
    };
    let (roles, next_page_token) = pages::all(fetch).await?;
    Ok(ListRolesResponse { roles, next_page_token, policy_revision: revision.into_inner() })
}

async fn put(caller: &Caller, args: PutRole) -> Result<Answer, Failure> {
    let role = Role {
        id: args.role,
        description: args.description,
        patterns: args.patterns,
        inherits: args.inherits,
        etag: args.etag,
    };
    let request = PutRoleRequest { role: Some(role) };
    let answer = caller.admin(request, async |mut client, request| client.put_role(request).await).await?;
    let role = answer.role.clone().unwrap_or_default();
    let id = shell_word(&plain(&role.id));
    let next = format!("Next: postern admin bindings grant USER {id} --tenant TENANT{}\n", caller.to_admin());
    let text = format!("Put role {}.\n{}{next}", plain(&role.id), render_role(&role));
    Ok(Answer::new(answer, text))
}

fn render_roles(roles: &[Role]) -> String {
    let mut table = Table::new(&["ROLE", "ALLOWS", "INHERITS", "DESCRIPTION"]);
    for role in roles {
        table.row([
            role.id.clone(),
            cut(&or_dash(&role.patterns.join(" "))),
            or_dash(&role.inherits.join(" ")),
            or_dash(&role.description),
        ]);
    }
    table.render()
}

fn render_role(role: &Role) -> String {
    let mut lines = vec![("role", plain(&role.id)), ("description", or_dash(&role.description))];
    let several = |name: &'static str, items: &[String], lines: &mut Vec<(&str, String)>| {
        lines.extend(items.iter().enumerate().map(|(index, item)| (if index == 0 { name } else { "" }, plain(item))));
        if items.is_empty() {
            lines.push((name, "-".to_owned()));
        }
    };
    several("allows", &role.patterns, &mut lines);
    several("inherits", &role.inherits, &mut lines);
    lines.push(("etag", or_dash(&role.etag)));
    facts(lines)
}

fn cut(text: &str) -> String {
    if text.chars().count() <= ALLOWS_CHARS {
        return text.to_owned();
    }
    text.chars().take(ALLOWS_CHARS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_listed_and_shown() {
        let owned = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        let clerk = Role {
            id: "clerk".to_owned(),
            description: "Takes orders".to_owned(),
            patterns: owned(&["orders:*", "customers:read"]),
            inherits: Vec::new(),
            etag: "3".to_owned(),
        };
        let manager = Role {
            id: "manager".to_owned(),
            patterns: vec!["reports:**".to_owned(); 9],
            inherits: owned(&["clerk"]),
            ..Role::default()
        };
        insta::assert_snapshot!(format!("{}\n{}", render_roles(&[clerk.clone(), manager]), render_role(&clerk)));
    }
}
