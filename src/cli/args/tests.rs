use clap::{CommandFactory as _, Parser as _};

use super::*;

fn help_of(path: &[&str]) -> String {
    let mut command = help::command().term_width(110);
    command.build();
    let mut found = &mut command;
    for name in path {
        found = found.find_subcommand_mut(name).unwrap();
    }
    let help = found.render_help().to_string();
    format!("$ postern {} --help\n{help}\n", path.join(" "))
}

fn parses(line: &str) -> bool {
    Cli::try_parse_from(line.split(' ')).is_ok()
}

fn overrides(line: &str) -> Vec<(String, String)> {
    Cli::try_parse_from(line.split(' ')).unwrap().serve.overrides()
}

#[test]
fn the_tree_is_sound() {
    help::command().debug_assert();
}

#[test]
fn help_of_the_root() {
    insta::assert_snapshot!(help_of(&[]));
}

#[test]
fn help_of_serving() {
    let one = ["gateway", "config", "health"].map(|name| help_of(&[name])).concat();
    let two = [&["config", "check"][..], &["master-key"], &["master-key", "new"], &["master-key", "status"]];
    let three = [&["master-key", "use"][..], &["master-key", "drop"], &["migrate"], &["migrate-store"]];
    insta::assert_snapshot!(one + &two.map(help_of).concat() + &three.map(help_of).concat());
}

#[test]
fn help_of_use() {
    let names = ["login", "whoami", "refresh", "verify", "sessions", "revoke", "logout"];
    insta::assert_snapshot!(names.map(|name| help_of(&[name])).concat());
}

#[test]
fn help_of_administration() {
    let areas = ["users", "roles", "policy", "bindings", "clients", "explain", "keys", "bootstrap", "fence", "server"];
    insta::assert_snapshot!(format!("{}{}", help_of(&["admin"]), areas.map(|area| help_of(&["admin", area])).concat()));
}

#[test]
fn help_of_integration() {
    insta::assert_snapshot!(["proto", "completions", "man"].map(|name| help_of(&[name])).concat());
}

/// The commands within the areas of `admin`, where most flags are.
#[test]
fn help_of_each_act_of_administration() {
    let mut pages = String::new();
    let command = Cli::command();
    for area in command.find_subcommand("admin").unwrap().get_subcommands() {
        for act in area.get_subcommands() {
            pages.push_str(&help_of(&["admin", area.get_name(), act.get_name()]));
        }
    }
    insta::assert_snapshot!(pages);
}

#[test]
fn every_command_stands_in_the_help_of_the_root() {
    let root = help_of(&[]);
    for command in Cli::command().get_subcommands() {
        assert!(root.contains(&format!("\n  {} ", command.get_name())), "{}", command.get_name());
    }
}

#[test]
fn every_command_has_examples() {
    for command in Cli::command().get_subcommands() {
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(after.contains("Examples:\n  postern"), "{}", command.get_name());
        assert!(command.get_about().is_some());
    }
}

#[test]
fn flags_become_dotted_settings() {
    let line = "postern --profile development --data /d --listen.grpc 127.0.0.1:1 --listen.operations 127.0.0.1:2 \
                --set sessions.idle_ttl=7d --set log.filter=a=b";
    let expected = [
        ("sessions.idle_ttl", "7d"),
        ("log.filter", "a=b"),
        ("profile", "development"),
        ("data_dir", "/d"),
        ("listen.grpc", "127.0.0.1:1"),
        ("listen.operations", "127.0.0.1:2"),
    ];
    let found = overrides(line);
    assert!(found.iter().map(|(key, value)| (key.as_str(), value.as_str())).eq(expected), "{found:?}");
    assert!(overrides("postern").is_empty());
}

#[test]
fn half_a_command_is_refused() {
    for line in [
        "postern revoke",
        "postern revoke --keep-current",
        "postern revoke s1 --all",
        "postern admin bindings grant mira clerk",
        "postern admin bindings grant mira clerk --tenant acme --everywhere",
        "postern admin fence",
        "postern admin users create",
        "postern admin explain",
        "postern login admin --password hunter2",
        "postern login --show-tokens",
        "postern --set novalue",
        "postern admin keys retire",
        "postern master-key",
        "postern master-key new",
        "postern master-key new --out a --add b",
        "postern --data x login",
        "postern nonsense",
    ] {
        assert!(!parses(line), "{line}");
    }
}

#[test]
fn a_key_may_begin_with_a_hyphen() {
    use admin::{Area, Keys};

    for (kid, line) in [
        ("-C4tz", "postern admin keys retire -C4tz --immediately"),
        ("-C4tz", "postern admin keys retire --immediately -C4tz"),
        ("-h4tz", "postern admin keys retire -h4tz --immediately --json"),
        ("--C4tz", "postern admin keys retire --C4tz --immediately"),
    ] {
        let Some(Command::Admin(args)) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("{line}");
        };
        let Area::Keys(Keys::Retire { kid: found, immediately }) = args.area else { panic!("{line}") };
        assert_eq!((found.as_str(), immediately), (kid, true), "{line}");
    }
}

#[test]
fn whole_commands_are_taken() {
    for line in [
        "postern",
        "postern health --server http://127.0.0.1:7301",
        "postern health --server https://auth.internal:7301 --ca ca.crt --cert me.crt --key me.key",
        "postern admin server --admin-server https://auth.internal:7304",
        "postern login",
        "postern login admin --json --show-tokens",
        "postern refresh --show-tokens --json",
        "postern verify --require a:b --require c:d --ask e:f --tenant t --max-age 15m --level multi --json",
        "postern revoke --all --keep-current",
        "postern revoke s1 --user mira",
        "postern admin --server x users list",
        "postern admin users list --json --server x",
        "postern admin users delete mira --yes",
        "postern admin roles put clerk --allow orders:* --inherit base",
        "postern admin roles apply roles.toml --dry-run",
        "postern admin policy export",
        "postern admin bindings withdraw mira clerk --everywhere",
        "postern admin explain mira a:b --tenant t",
        "postern admin explain --token-stdin a:b",
        "postern admin explain --decision 019a8c1e-7f3a-7b21-9c55-0a1b2c3d4e5f",
        "postern admin import people.jsonl --dry-run",
        "postern admin import - --report report.jsonl",
        "postern admin import r.json --format keycloak --role a=b --role c=d --provider kakao=kakao",
        "postern admin audit",
        "postern admin audit --since 2h --user kim --type authn_login_fail --limit 20",
        "postern admin keys list",
        "postern admin keys rotate --algorithm ES256",
        "postern admin keys retire k1 --immediately",
        "postern master-key new --out f",
        "postern master-key new --add f --json",
        "postern master-key status --config f --data d",
        "postern admin fence --confirm http://127.0.0.1:7302",
        "postern admin server",
    ] {
        assert!(parses(line), "{line}");
    }
}

#[test]
fn what_is_not_built_is_not_offered() {
    for name in ["import", "oauth"] {
        assert!(Cli::command().find_subcommand(name).is_none(), "{name}");
    }
    assert!(!parses("postern admin clients"));
}
