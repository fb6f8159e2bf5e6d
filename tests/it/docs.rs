//! The front pages say what is true: every RPC with the permission it needs, every setting with its default, and what each
//! RPC does in an outage.

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
