//! The form of our own: one JSON object a line.

use std::io::{self, BufRead};

use serde::Deserialize;

use super::Row;
use crate::cli::admin::scope;
use crate::proto::admin::v1::{ImportUsersRequest, ImportedIdentity, RoleScope, User, UserState};

/// Longer than any row that a server takes.
const LINE_BYTES_MAX: u64 = 256 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    external_id: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    email_verified: bool,
    #[serde(default)]
    user_name: String,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    password_hash: String,
    #[serde(default)]
    identities: Vec<Identity>,
    #[serde(default)]
    roles: Vec<Role>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    provider: String,
    subject: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Role {
    role: String,
    /// Absent: everywhere.
    tenant: Option<String>,
}

/// Rows by the numbers of their lines. Empty lines are none.
pub(super) fn rows(mut file: impl BufRead + 'static) -> impl Iterator<Item = io::Result<Row>> {
    let mut number = 0;
    std::iter::from_fn(move || {
        loop {
            let mut line = Vec::new();
            number += 1;
            match io::Read::take(&mut file, LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) if line.len() as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") => {
                    return Some(skip_line(&mut file).map(|()| Err((number, "is too long".to_owned()))));
                }
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(_) => return Some(Ok(read(number, &line))),
                Err(error) => return Some(Err(error)),
            }
        }
    })
}

fn skip_line(file: &mut impl BufRead) -> io::Result<()> {
    file.skip_until(b'\n').map(|_| ())
}

fn read(number: i64, line: &[u8]) -> Row {
    // A mark of byte order, as some programs put at the beginning of a file.
    let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
    let line = line.trim_ascii_end();
    // Of the place only: the words of the error may quote a hash.
    let line: Line = serde_json::from_slice(line).map_err(|error| (number, told(&error)))?;
    let state = if line.disabled { UserState::Disabled } else { UserState::Unspecified };
    Ok(ImportUsersRequest {
        row: number,
        user: Some(User {
            external_id: line.external_id,
            email: line.email,
            email_verified: line.email_verified,
            user_name: line.user_name,
            display_name: line.display_name,
            state: state.into(),
            ..User::default()
        }),
        password_hash: line.password_hash,
        identities: line
            .identities
            .into_iter()
            .map(|Identity { provider, subject }| ImportedIdentity { provider, subject })
            .collect(),
        roles: line.roles.into_iter().map(granted).collect(),
        validate_only: false,
    })
}

fn granted(role: Role) -> RoleScope {
    RoleScope { role: role.role, scope: scope(role.tenant, true) }
}

/// What is wrong with JSON. Names of members are ours or the file's; values are not told.
fn told(error: &serde_json::Error) -> String {
    let column = error.column();
    if error.is_data() {
        let text = error.to_string();
        let known = ["unknown field", "missing field", "duplicate field"];
        if known.iter().any(|known| text.starts_with(known)) {
            return text;
        }
        return format!("a member is not of the right kind, at column {column}");
    }
    if error.is_eof() {
        return "is not JSON: it ends too early".to_owned();
    }
    format!("is not JSON, at column {column}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::admin::Where;

    fn all(text: &str) -> Vec<Row> {
        rows(io::Cursor::new(text.as_bytes().to_vec())).map(Result::unwrap).collect()
    }

    #[test]
    fn a_line_is_a_person() {
        let text = "\u{feff}{\"external_id\":\"4711\",\"email\":\"kim@example.com\",\"email_verified\":true,\
            \"password_hash\":\"$2b$12$x\",\"roles\":[{\"role\":\"clerk\",\"tenant\":\"acme\"},{\"role\":\"reader\"}],\
            \"identities\":[{\"provider\":\"kakao\",\"subject\":\"99\"}]}\n\n{\"user_name\":\"lee\",\"disabled\":true}";
        let rows = all(text);
        let (kim, lee) = (rows[0].as_ref().unwrap(), rows[1].as_ref().unwrap());
        assert_eq!((kim.row, lee.row), (1, 3));
        assert_eq!(kim.user.as_ref().unwrap().external_id, "4711");
        assert_eq!((kim.password_hash.as_str(), kim.identities[0].subject.as_str()), ("$2b$12$x", "99"));
        let places: Vec<_> = kim.roles.iter().map(|role| role.scope.clone().unwrap().r#where.unwrap()).collect();
        assert_eq!(places, [Where::Tenant("acme".to_owned()), Where::Everywhere(true)]);
        assert_eq!(lee.user.as_ref().unwrap().state(), UserState::Disabled);
        assert!(!kim.user.as_ref().unwrap().display_name.contains('x'));
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_place_alone() {
        let long = "x".repeat(300_000);
        let text = format!(
            "{{\"password_hash\":\"$2b$secret\n{{\"pasword_hash\":\"$2b$secret\"}}\n{{\"email\":[\"$2b$secret\"]}}\n{long}\n{{}}\n"
        );
        let rows = all(&text);
        let problems: Vec<_> =
            rows.iter().filter_map(|row| row.as_ref().err()).map(|(row, problem)| (*row, problem.as_str())).collect();
        assert_eq!(problems.len(), 4);
        assert_eq!(problems.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(problems[0].1, "is not JSON: it ends too early");
        assert!(problems[1].1.starts_with("unknown field `pasword_hash`"), "{}", problems[1].1);
        assert!(problems.iter().all(|(_, problem)| !problem.contains("secret")), "{problems:?}");
        assert_eq!(rows[4].as_ref().unwrap().row, 5);
    }
}
