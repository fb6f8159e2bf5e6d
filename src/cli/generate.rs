//! What other tools read: the contract, completions for shells, and man pages. Made from what this binary is, so that they
//! fit it; no server is asked.

use std::path::Path;

use clap::Command;
use clap_complete::Shell;

use super::args::{self, CompletionsArgs, ManArgs, ProtoArgs, ShellName};
use super::failure::Failure;
use super::files::{self, NewFile};
use super::output::Answer;
use crate::proto;

const NAME: &str = "postern";
/// As buf calls it.
const DESCRIPTORS: &str = "postern.binpb";
const SERVICE_CONFIG: &str = "service-config.json";

pub(super) fn proto(args: &ProtoArgs) -> Result<Answer, Failure> {
    files::write(&args.out, &contract(), args.force)
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<Answer, Failure> {
    let shell = match args.shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Zsh => Shell::Zsh,
        ShellName::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), NAME, &mut script);
    text(script)
}

pub(super) fn man(args: &ManArgs) -> Result<Answer, Failure> {
    let pages = pages().map_err(|error| Failure::local(format!("cannot make the pages: {error}")))?;
    match &args.out {
        Some(folder) => files::write(folder, &pages, args.force),
        // The one of the program itself is made last.
        None => text(pages.into_iter().next_back().map(|(_, page)| page).unwrap_or_default()),
    }
}

fn text(bytes: Vec<u8>) -> Result<Answer, Failure> {
    let text = String::from_utf8(bytes).map_err(|error| Failure::local(format!("cannot be printed: {error}")))?;
    Ok(Answer::of_text(text))
}

/// The sources, the same compiled with all that they import, and how clients should call.
fn contract() -> Vec<NewFile> {
    let sources = proto::SOURCES.map(|(name, source)| (name.to_owned(), source.as_bytes().to_vec()));
    let others = [
        (DESCRIPTORS.to_owned(), proto::FILE_DESCRIPTOR_SET.to_vec()),
        (SERVICE_CONFIG.to_owned(), proto::SERVICE_CONFIG.as_bytes().to_vec()),
    ];
    sources.into_iter().chain(others).collect()
}

/// A page for each command, those within a command before it.
fn pages() -> std::io::Result<Vec<NewFile>> {
    let mut root = args::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    add_pages(&root, &mut pages)?;
    Ok(pages)
}

fn add_pages(command: &Command, pages: &mut Vec<NewFile>) -> std::io::Result<()> {
    for inner in command.get_subcommands() {
        add_pages(inner, pages)?;
    }
    let man = clap_mangen::Man::new(command.clone());
    let mut page = Vec::new();
    man.render(&mut page)?;
    let name = Path::new(&man.get_filename()).to_string_lossy().into_owned();
    pages.push((name, page));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of all commands with those around them, such as `admin users create`.
    fn commands(command: &Command, around: &str, all: &mut Vec<String>) {
        for inner in command.get_subcommands() {
            let name = format!("{around} {}", inner.get_name()).trim_start().to_owned();
            commands(inner, &name, all);
            all.push(name);
        }
    }

    fn all_commands() -> Vec<String> {
        let mut all = Vec::new();
        commands(&args::command(), "", &mut all);
        assert!(all.len() > 30, "{all:?}");
        all
    }

    #[test]
    fn every_command_has_a_page() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for command in all_commands() {
            let name = format!("postern-{}.1", command.replace(' ', "-"));
            assert!(names.contains(&name.as_str()), "{name} is not among {names:?}");
        }
        assert_eq!(names.last(), Some(&"postern.1"));
        for (name, page) in &pages {
            let page = String::from_utf8(page.clone()).unwrap();
            assert!(page.contains(".TH ") && page.contains(".SH SYNOPSIS"), "{name}: {page}");
        }
    }

    #[test]
    fn every_shell_completes_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut args::command(), NAME, &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in all_commands() {
                let last = command.rsplit(' ').next().unwrap();
                assert!(script.contains(last), "{shell}: {command}");
            }
            for flag in ["new-password-file", "show-tokens", "keep-current"] {
                assert!(script.contains(flag), "{shell}: {flag}");
            }
        }
    }

    #[test]
    fn the_contract_is_whole() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
        let files = contract();
        let file = |name: &str| files.iter().find(|(own, _)| own == name).map(|(_, bytes)| bytes.as_slice());
        let descriptors = prost_reflect::DescriptorPool::decode(file(DESCRIPTORS).unwrap()).unwrap();
        for source in descriptors.files().filter(|file| file.name().starts_with("postern/")) {
            let on_disk = std::fs::read(root.join(source.name())).unwrap();
            assert_eq!(file(source.name()), Some(on_disk.as_slice()), "{}", source.name());
        }
        assert!(descriptors.get_file_by_name("google/protobuf/timestamp.proto").is_some(), "with its imports");
        assert!(serde_json::from_slice::<serde_json::Value>(file(SERVICE_CONFIG).unwrap()).is_ok());
        assert_eq!(files.len(), proto::SOURCES.len() + 2);
    }
}
