//! What Keycloak exports of a realm (`kc.sh export --users realm_file`): people with the hashes of their passwords, their realm
//! roles and the accounts that they have at other providers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead};

use serde::Deserialize;

use super::Row;
use crate::cli::admin::scope;
use crate::proto::admin::v1::{ImportUsersRequest, ImportedIdentity, RoleScope, User, UserState};

#[derive(Deserialize)]
#[serde(untagged)]
enum Export {
    Realm { users: Vec<Person> },
    People(Vec<Person>),
}

/// What is not named here does not come along.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Person {
    #[serde(default)]
    id: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    email_verified: bool,
    #[serde(default)]
    first_name: String,
    #[serde(default)]
    last_name: String,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default)]
    credentials: Vec<Credential>,
    #[serde(default)]
    federated_identities: Vec<Federated>,
    #[serde(default)]
    realm_roles: Vec<String>,
    /// Set for what stands for a client; those are programs.
    service_account_client_id: Option<String>,
}

const fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Credential {
    r#type: String,
    #[serde(default, rename = "secretData")]
    secret: String,
    #[serde(default, rename = "credentialData")]
    data: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Federated {
    identity_provider: String,
    user_id: String,
}

/// People by their place in the file. `roles` and `providers` say what is called how here; what they do not name is left out,
/// and told in `left_out`.
pub(super) fn rows(
    file: impl BufRead,
    roles: &[(String, String)],
    providers: &[(String, String)],
    left_out: &mut Vec<String>,
) -> io::Result<Vec<Row>> {
    let export: Export = serde_json::from_reader(file)
        .map_err(|error| io::Error::other(format!("no export of Keycloak: {}", place(&error))))?;
    let people = match export {
        Export::Realm { users } | Export::People(users) => users,
    };
    let mut left = LeftOut::default();
    let rows = people.into_iter().zip(1..).filter_map(|(person, number)| {
        if person.service_account_client_id.is_some() {
            left.programs += 1;
            return None;
        }
        Some(Ok(row(number, person, roles, providers, &mut left)))
    });
    let rows = rows.collect();
    left_out.extend(left.told());
    Ok(rows)
}

#[derive(Default)]
struct LeftOut {
    programs: u64,
    roles: BTreeMap<String, u64>,
    providers: BTreeMap<String, u64>,
    credentials: BTreeSet<String>,
}

impl LeftOut {
    fn told(self) -> Vec<String> {
        let mut told = Vec::new();
        if self.programs > 0 {
            told.push(format!("{} service accounts: register them as clients", self.programs));
        }
        let counted = |what: &str, option: &str, all: BTreeMap<String, u64>| {
            let each =
                all.into_iter().map(move |(name, count)| format!("{what} {name} of {count}: --{option} {name}=…"));
            each.collect::<Vec<_>>()
        };
        told.extend(counted("role", "role", self.roles));
        told.extend(counted("identities at", "provider", self.providers));
        told.extend(self.credentials.into_iter().map(|kind| format!("credentials of type {kind}")));
        told
    }
}

fn row(
    number: i64,
    person: Person,
    roles: &[(String, String)],
    providers: &[(String, String)],
    left: &mut LeftOut,
) -> ImportUsersRequest {
    let here = |known: &[(String, String)], name: &str| {
        known.iter().find(|(theirs, _)| theirs == name).map(|(_, ours)| ours.clone())
    };
    let mut granted = Vec::new();
    for role in person.realm_roles {
        match here(roles, &role) {
            Some(role) => granted.push(RoleScope { role, scope: scope(None, true) }),
            None => *left.roles.entry(role).or_default() += 1,
        }
    }
    let mut identities = Vec::new();
    for federated in person.federated_identities {
        match here(providers, &federated.identity_provider) {
            Some(provider) => identities.push(ImportedIdentity { provider, subject: federated.user_id }),
            None => *left.providers.entry(federated.identity_provider).or_default() += 1,
        }
    }
    let mut password_hash = String::new();
    for credential in person.credentials {
        if credential.r#type == "password" {
            // As Keycloak writes it: the server knows the form.
            password_hash = serde_json::json!({
                "credentialData": credential.data,
                "secretData": credential.secret,
            })
            .to_string();
        } else {
            left.credentials.insert(credential.r#type);
        }
    }
    // Keycloak lets a user name be an e-mail address.
    let user_name = if person.username.contains('@') { String::new() } else { person.username.clone() };
    let email = if person.email.is_empty() && user_name.is_empty() { person.username } else { person.email };
    let display_name = format!("{} {}", person.first_name, person.last_name).trim().to_owned();
    let state = if person.enabled { UserState::Unspecified } else { UserState::Disabled };
    ImportUsersRequest {
        row: number,
        user: Some(User {
            external_id: person.id,
            email_verified: person.email_verified && !email.is_empty(),
            email,
            user_name,
            display_name,
            state: state.into(),
            ..User::default()
        }),
        password_hash,
        identities,
        roles: granted,
        validate_only: false,
    }
}

/// Where, and not what: the words of the error may quote a hash.
fn place(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPORT: &str = r#"{"realm": "shop", "users": [
        {"id": "6f1c", "username": "kim", "email": "kim@example.com", "emailVerified": true, "firstName": "Kim", "enabled": true,
         "credentials": [
            {"type": "password", "secretData": "{\"value\":\"aGFzaA==\",\"salt\":\"c2FsdA==\",\"additionalParameters\":{}}",
             "credentialData": "{\"hashIterations\":210000,\"algorithm\":\"pbkdf2-sha512\",\"additionalParameters\":{}}"},
            {"type": "otp", "secretData": "{}", "credentialData": "{}"}],
         "federatedIdentities": [{"identityProvider": "kakao", "userId": "99", "userName": "k"},
                                 {"identityProvider": "corp", "userId": "1", "userName": "k"}],
         "realmRoles": ["clerk", "offline_access"]},
        {"username": "lee@example.com", "enabled": false},
        {"username": "service-account-x", "enabled": true, "serviceAccountClientId": "x"}]}"#;

    #[test]
    fn people_come_with_what_is_named() {
        let mut left_out = Vec::new();
        let named = |theirs: &str, ours: &str| vec![(theirs.to_owned(), ours.to_owned())];
        let rows =
            rows(EXPORT.as_bytes(), &named("clerk", "orders.clerk"), &named("kakao", "kakao"), &mut left_out).unwrap();
        assert_eq!(rows.len(), 2);
        let kim = rows[0].as_ref().unwrap();
        let user = kim.user.as_ref().unwrap();
        assert_eq!(
            (user.external_id.as_str(), user.user_name.as_str(), user.display_name.as_str()),
            ("6f1c", "kim", "Kim")
        );
        assert!(user.email_verified && kim.password_hash.contains("pbkdf2-sha512"));
        assert_eq!((kim.roles.len(), kim.roles[0].role.as_str()), (1, "orders.clerk"));
        assert_eq!((kim.identities.len(), kim.identities[0].subject.as_str()), (1, "99"));
        let lee = rows[1].as_ref().unwrap().user.as_ref().unwrap();
        assert_eq!(
            (lee.email.as_str(), lee.user_name.as_str(), lee.state()),
            ("lee@example.com", "", UserState::Disabled)
        );
        assert_eq!(
            left_out,
            [
                "1 service accounts: register them as clients",
                "role offline_access of 1: --role offline_access=…",
                "identities at corp of 1: --provider corp=…",
                "credentials of type otp",
            ]
        );
    }

    #[test]
    fn what_is_no_export_is_refused_by_its_place() {
        for text in ["", "{}", "[{\"credentials\": \"$2b$secret\"}]", "{\"users\": {}}"] {
            let error = rows(text.as_bytes(), &[], &[], &mut Vec::new()).err().unwrap().to_string();
            assert!(error.starts_with("no export of Keycloak") && !error.contains("secret"), "{error}");
        }
    }
}
