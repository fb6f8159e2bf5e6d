//! The table of settings in the README, made from what the reader knows, so that neither can forget what the other has.

use super::reader::{Report, Section, Setting};
use super::source::{Node, Source, Table, Value};
use super::{Profile, read};

/// What follows the machine and would be another on each.
const COMPUTED: [(&str, &str); 2] =
    [("passwords.threads", "cores, or fewer if memory is short"), ("passwords.queue", "32 a thread")];

/// One row for each setting, in Markdown.
pub fn settings_table() -> String {
    let (development, production) = (settings(Profile::Development), settings(Profile::Production));
    let mut table = String::from("| Key | Default | May be | What it is for |\n|---|---|---|---|\n");
    for (setting, stricter) in development.iter().zip(&production) {
        let default = match COMPUTED.iter().find(|(key, _)| *key == setting.key) {
            Some((_, words)) => (*words).to_owned(),
            None => default(&setting.value, &stricter.value),
        };
        let key = setting.key.replace("[0]", "[]");
        let Setting { bounds, meaning, .. } = setting;
        table.extend([format!("| `{key}` | {default} | {bounds} | {meaning} |\n")]);
    }
    table
}

fn default(development: &str, production: &str) -> String {
    match (development, production) {
        ("", "") => String::new(),
        _ if development == production => format!("`{development}`"),
        ("", _) => format!("production `{production}`"),
        (_, "") => format!("development `{development}`"),
        _ => format!("`{development}`; production `{production}`"),
    }
}

/// All there is, with the defaults of a profile, and the keys of one client, one provider and one issuer that set none of them.
fn settings(profile: Profile) -> Vec<Setting> {
    let table = |entries| Node::Table { entries, source: Source::Default };
    let list = |item| Node::List { items: vec![item], source: Source::Default };
    let client = Table::from([("secrets".to_owned(), list(table(Table::new())))]);
    let mut root = Table::from([("clients".to_owned(), list(table(client)))]);
    root.insert("providers".to_owned(), list(table(Table::new())));
    root.insert("trusted_issuers".to_owned(), list(table(Table::new())));
    let served = Table::from([("clients".to_owned(), list(table(Table::new())))]);
    root.insert("gateway".to_owned(), table(served));
    let word = match profile {
        Profile::Development => "development",
        Profile::Production => "production",
    };
    let word = Node::Leaf { value: Value::Text(word.to_owned()), source: Source::Default };
    root.insert("profile".to_owned(), word);
    let mut report = Report::default();
    Section::read_root(root, &mut report, read::config);
    report.settings
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, DEFAULT_DATA_DIR};

    #[test]
    fn each_setting_has_a_row_with_its_default() {
        let table = settings_table();
        let row = |key: &str| table.lines().find(|line| line.starts_with(&format!("| `{key}` |"))).unwrap().to_owned();
        insta::assert_snapshot!(row("sessions.idle_ttl"), @"| `sessions.idle_ttl` | `14d` | `15m` to `365d` | ends a session that is not refreshed for so long |");
        insta::assert_snapshot!(row("listen.grpc"), @"| `listen.grpc` | `127.0.0.1:7301`; production `0.0.0.0:7301` | an address with a port | AuthService, and in development AdminService too |");
        insta::assert_snapshot!(row("listen.admin"), @"| `listen.admin` | production `127.0.0.1:7304` | an address with a port | AdminService, on a port of its own |");
        insta::assert_snapshot!(row("passwords.threads"), @"| `passwords.threads` | cores, or fewer if memory is short | 1 to 256 | that only hash; each needs `memory_kib` |");
        insta::assert_snapshot!(row("clients[].secrets[].file"), @"| `clients[].secrets[].file` |  | a path | holds one secret; its owner's alone (0600) |");
        insta::assert_snapshot!(row("keys.master.file"), @"| `keys.master.file` | development `./postern-data/master.key` | a path | seals all that is secret; its owner's alone (0600) |");
        let defaults = Config::development_defaults(Path::new(DEFAULT_DATA_DIR));
        assert!(row("passwords.memory_kib").contains(&defaults.passwords.memory_kib.to_string()));
        assert!(table.lines().all(|line| line.matches('|').count() == 5), "{table}");
    }
}
