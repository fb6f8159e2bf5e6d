//! What other tools read: the contract, completions, man pages.

use std::path::Path;
use std::process::Command;

use prost_reflect::DescriptorPool;

use super::{DONE, REFUSED, command, finish, folder};
use crate::support::files_below;

fn postern(folder: &Path, words: &str) -> super::Outcome {
    finish(command(folder).args(words.split(' ')), "")
}

#[test]
fn the_contract_is_written_whole_and_never_over_what_differs() {
    let folder = folder();
    postern(folder.path(), "proto --out contract").ends_with(DONE).says("created contract/postern/auth/v1/auth.proto");
    let out = folder.path().join("contract");
    let descriptors = std::fs::read(out.join("postern.binpb")).unwrap();
    let descriptors = DescriptorPool::decode(&*descriptors).unwrap();
    let ours: Vec<_> = descriptors.files().filter(|file| file.name().starts_with("postern/")).collect();
    assert_eq!(ours.len(), 4);
    for file in ours {
        let written = std::fs::read(out.join(file.name())).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto").join(file.name());
        assert_eq!(written, std::fs::read(source).unwrap(), "{}", file.name());
    }
    assert_eq!(files_below(&out).len(), 6);

    postern(folder.path(), "proto --out contract").ends_with(DONE).says("unchanged contract/service-config.json");
    std::fs::write(out.join("service-config.json"), "{}").unwrap();
    std::fs::remove_file(out.join("postern.binpb")).unwrap();
    postern(folder.path(), "proto --out contract")
        .ends_with(REFUSED)
        .complains("service-config.json")
        .complains("--force");
    assert!(!out.join("postern.binpb").exists(), "nothing was written");
    postern(folder.path(), "proto --out contract --force")
        .ends_with(DONE)
        .says("replaced contract/service-config.json");
}

#[test]
fn a_shell_reads_its_completions() {
    let folder = folder();
    let script = postern(folder.path(), "completions bash").ends_with(DONE).stdout;
    let path = folder.path().join("postern.bash");
    std::fs::write(&path, script).unwrap();
    let mut shell = Command::new("/bin/bash");
    finish(shell.arg("-n").arg(&path), "").ends_with(DONE);
    // It completes what a person begins to type.
    let ask = "source postern.bash; COMP_WORDS=(postern adm); COMP_CWORD=1; _postern postern adm postern; echo ${COMPREPLY[@]}";
    let mut shell = Command::new("/bin/bash");
    finish(shell.current_dir(folder.path()).args(["-c", ask]), "").ends_with(DONE).says("admin");
    for other in ["zsh", "fish"] {
        postern(folder.path(), &format!("completions {other}")).ends_with(DONE).says("postern");
    }
    postern(folder.path(), "completions tcsh").ends_with(REFUSED).complains("bash");
}

#[test]
fn there_is_a_man_page_for_each_command() {
    let folder = folder();
    postern(folder.path(), "man").ends_with(DONE).says(".TH postern 1").says("gRPC authentication");
    postern(folder.path(), "man --out pages").ends_with(DONE).says("created pages/postern-admin-users-create.1");
    assert!(folder.path().join("pages/postern.1").exists());
}
