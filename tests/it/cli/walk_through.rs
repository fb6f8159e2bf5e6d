//! The way to production as the README tells it: its settings and its commands, typed as they stand. Only folders, ports
//! and the name that the certificate is for are another machine's.

use rustix::process::Signal;

use super::{DONE, Outcome, Person, Served, command, finish, folder};
use crate::certificates::{Files, Leaf};

const README: &str = include_str!("../../../README.md");
const PASSWORD: &str = "a password of some length";

/// The blocks of a language below a heading.
fn blocks(heading: &str, language: &str) -> Vec<&'static str> {
    let section = README.split(&format!("\n## {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    let fence = format!("```{language}\n");
    section.split(&fence).skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

#[test]
fn the_way_to_production_is_as_the_readme_says() {
    let (site, files) = (folder(), Files::new());
    files.put("tls", &files.authority.sign(&Leaf::server()));
    let (etc, var) = (files.path("").display().to_string(), site.path().join("data").display().to_string());
    let here = |text: &str| text.replace("/etc/postern/", &etc).replace("/var/lib/postern", &var);
    let [settings] = blocks("Production", "toml")[..] else { panic!("one file of settings") };
    let [made, started, asked] = blocks("Production", "sh")[..] else { panic!("three blocks of commands") };
    files.write("postern.toml", &here(settings));

    let operator = Person::at(String::new());
    run(&operator, &here(made)).ends_with(DONE).says("Wrote master key 1");
    let (before, serve) = started.trim_end().rsplit_once('\n').unwrap();
    let before = run(&operator, &here(before)).ends_with(DONE);
    let before = before.says("A server can start on these settings").says("Created administrator admin");
    assert!(!before.stdout.contains("pcs_"), "{}", before.stdout);

    let mut program = command(site.path());
    let serve = here(serve.strip_prefix("postern ").unwrap());
    program.args(serve.split(' '));
    for listener in ["grpc", "admin", "operations"] {
        program.args([&format!("--listen.{listener}"), "127.0.0.1:0"]);
    }
    let served = Served::run(site.path(), program);
    assert_eq!(served.fact("signing_key")["algorithm"], "ES256");

    std::fs::copy(files.path("ca.crt"), operator.home.path().join("ca.crt")).unwrap();
    let at = |fact: &str| {
        let port = served.fact(fact)["address"].as_str().unwrap().rsplit_once(':').unwrap().1;
        format!("https://localhost:{port}")
    };
    let asked = here(asked).replace("https://auth.example.com:7301", &at("grpc"));
    let asked = asked.replace("https://auth.example.com:7304", &at("admin"));
    assert!(!asked.contains(".com:73"), "{asked}");
    run(&operator, &asked).ends_with(DONE).says("Signed in as admin").says("ALLOW   admin");
    assert_eq!(served.end(Signal::TERM), Some(DONE));
}

/// A block in a shell that ends at the first command that fails; whoever is asked for a password gives it.
fn run(person: &Person, block: &str) -> Outcome {
    let mut shell = person.shell(&format!("set -e\n{block}"));
    shell.env_remove("POSTERN_SERVER");
    finish(&mut shell, PASSWORD)
}
