//! The front pages say what is true: every RPC with the permission it needs, every setting with its default, and what each
//! RPC does in an outage.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use postern::domain::audit::AuditKind;
use prost_reflect::DescriptorPool;

const README: &str = include_str!("../../README.md");

/// The RPCs, each with the permissions that its comment in the contract names.
fn rpcs() -> Vec<(String, String, Vec<String>)> {
    let pool = DescriptorPool::decode(postern::proto::FILE_DESCRIPTOR_SET).unwrap();
    let mut rpcs = Vec::new();
    for service in pool.services().filter(|service| service.full_name().starts_with("postern.")) {
        let file = service.parent_file();
        let info = file.file_descriptor_proto().source_code_info.clone().unwrap();
        for method in service.methods() {
            let comment = info.location.iter().find(|location| location.path == method.path()).unwrap();
            let text = comment.leading_comments().to_owned();
            let named = text.split('`').filter(|word| word.starts_with("postern:")).map(str::to_owned);
            rpcs.push((service.full_name().to_owned(), method.name().to_owned(), named.collect()));
        }
    }
    rpcs
}

#[test]
fn the_readme_has_every_rpc_with_the_permissions_of_the_contract() {
    let rpcs = rpcs();
    assert!(rpcs.len() >= 32, "{}", rpcs.len());
    for (service, rpc, permissions) in rpcs {
        let table =
            README.split(&format!("| RPC of `{service}`")).nth(1).unwrap_or_else(|| panic!("no table of {service}"));
        let row =
            table.lines().find(|line| line.contains(&format!("`{rpc}`"))).unwrap_or_else(|| panic!("no row of {rpc}"));
        for permission in permissions.iter().filter(|permission| *permission != "postern:grants:any") {
            assert!(row.contains(&format!("`{permission}`")), "{rpc} needs {permission}: {row}");
        }
    }
}

#[test]
fn the_readme_has_the_table_of_settings() {
    let table = postern::config::settings_table();
    assert!(table.lines().count() > 40, "{table}");
    assert!(README.contains(&format!("\n\n{table}\n")), "put the output of `postern config table` into README.md");
}

#[test]
fn the_readme_has_the_table_of_outages() {
    let table = crate::outage::table();
    assert!(README.contains(&format!("\n\n{table}\n")), "put this into README.md:\n{table}");
}

#[test]
fn the_page_of_the_audit_log_has_every_event_and_no_other() {
    let page = include_str!("../../docs/audit.md");
    let table = page.split("| Event |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let told: Vec<&str> = rows.map(|row| row.split('`').nth(1).unwrap()).collect();
    let written: Vec<&str> = AuditKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(told, written);
    let schema: serde_json::Value = serde_json::from_str(crate::audit::SCHEMA).unwrap();
    for field in ["event", "message"] {
        assert_eq!(schema["properties"][field]["enum"], serde_json::json!(written), "{field}");
    }
    for field in schema["properties"].as_object().unwrap().keys() {
        let is_told = page.contains(&format!("| `{field}` |"));
        assert!(is_told || ["level", "target", "message"].contains(&field.as_str()), "{field}");
    }
}

/// How many rows a chapter of ASVS 5.0 has.
const ROWS: [(u32, usize); 11] =
    [(6, 47), (7, 19), (8, 13), (9, 7), (10, 36), (11, 24), (12, 12), (13, 21), (14, 13), (15, 21), (16, 17)];

#[test]
fn the_page_of_security_has_every_row_and_names_what_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources: String = ["src", "tests/it", "tests/rig/src", "tests/foreign"]
        .iter()
        .flat_map(|folder| crate::support::files_below(&root.join(folder)))
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs" || extension == "py"))
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    let defined: BTreeSet<&str> = sources
        .lines()
        .filter_map(|line| line.split_once("fn ").or_else(|| line.split_once("def ")))
        .filter_map(|(_, name)| name.split(['(', '<']).next())
        .collect();
    let mut rows: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
    for line in include_str!("../../docs/security.md").lines() {
        let cells: Vec<&str> = line.trim_matches(['|', ' ']).split(" | ").collect();
        let [row, level, _, standing, _, proof] = cells[..] else { continue };
        let mut numbers = row.split('.').map(str::parse::<u32>);
        let (Some(Ok(chapter)), Some(Ok(_)), Some(Ok(_)), None) =
            (numbers.next(), numbers.next(), numbers.next(), numbers.next())
        else {
            continue;
        };
        assert!(rows.entry(chapter).or_default().insert(row), "{row} twice");
        assert!(["1", "2", "3"].contains(&level), "{row}: {level}");
        let named: Vec<&str> = proof.split('`').skip(1).step_by(2).collect();
        match standing {
            "met" => assert!(!named.is_empty(), "{row} is met by nothing"),
            "partly" | "not met" | "not here" => {}
            other => panic!("{row}: {other}"),
        }
        for name in named {
            let test = name.rsplit("::").next().unwrap().rsplit('.').next().unwrap();
            let exists = if name.contains("::") || name.starts_with("test_") {
                defined.contains(test)
            } else {
                root.join(name).exists()
            };
            assert!(exists, "{row} names {name}");
        }
    }
    let told: Vec<(u32, usize)> = rows.iter().map(|(chapter, rows)| (*chapter, rows.len())).collect();
    assert_eq!(told, ROWS);
}
