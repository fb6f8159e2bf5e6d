//! The front pages say what is true: every RPC with the permission it needs, every setting with its default.

use prost_reflect::DescriptorPool;

const README: &str = include_str!("../../README.md");
const EXAMPLE: &str = include_str!("../../postern.example.toml");

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
fn the_readme_has_every_setting_with_its_default() {
    let uncommented: String = EXAMPLE
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.starts_with(' '))
        .fold(String::new(), |text, line| text + line + "\n");
    let table: toml::Table = uncommented.parse().unwrap();
    let mut missing = Vec::new();
    visit("", &toml::Value::Table(table), &mut |key, value| {
        let section = key.rsplit_once('.').map_or("", |(section, _)| section);
        let name = key.rsplit('.').next().unwrap();
        // `a.b`, or `a.x`, `.b` where a row has several of one section.
        let row = README.lines().filter(|line| line.starts_with("| `")).find(|line| {
            line.contains(&format!("`{key}`"))
                || (line.contains(&format!("| `{section}.")) && line.contains(&format!("`.{name}`")))
        });
        // These follow the machine, or are fixed at the first start.
        let has_fixed_default = !matches!(key, "passwords.threads" | "passwords.queue" | "issuer.url" | "profile");
        let is_told = row.is_some_and(|row| !has_fixed_default || row.contains(&format!("`{value}`")));
        if !is_told && key != "profile" {
            missing.push(format!("{key} = {value}"));
        }
    });
    assert!(missing.is_empty(), "README's table of settings lacks: {missing:?}");
}

fn visit(key: &str, value: &toml::Value, each: &mut impl FnMut(&str, &str)) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                visit(&key, value, each);
            }
        }
        toml::Value::String(text) => each(key, text),
        other => each(key, &other.to_string()),
    }
}
