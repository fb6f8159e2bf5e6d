//! Files that a command leaves behind: all of them, or none if one would be lost.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::output::Answer;

/// A file to be: its path below the folder, and what is in it.
pub(super) type NewFile = (String, Vec<u8>);

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Created,
    Replaced,
    Same,
}

impl Done {
    const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Replaced => "replaced",
            Self::Same => "unchanged",
        }
    }
}

/// Writes the files below `folder`. One that is there and differs is replaced only by `force`; nothing is written before
/// that is known of all.
pub(super) fn write(folder: &Path, files: &[NewFile], force: bool) -> Result<Answer, Failure> {
    let mut planned = Vec::with_capacity(files.len());
    for (name, bytes) in files {
        let path = folder.join(name);
        let done = match std::fs::read(&path) {
            Ok(found) if found == *bytes => Done::Same,
            Ok(_) if force => Done::Replaced,
            Ok(_) => {
                return Err(Failure::local(format!("{} is there and differs; nothing was written", path.display()))
                    .advise("Choose another folder, or replace what differs: --force"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Done::Created,
            Err(error) => return Err(unusable(&path, &error)),
        };
        planned.push((path, bytes, done));
    }
    let mut text = String::new();
    for (path, bytes, done) in planned {
        if done != Done::Same {
            put(&path, bytes)?;
        }
        // Writing to a string does not fail.
        writeln!(text, "{} {}", done.name(), path.display()).unwrap_or_default();
    }
    Ok(Answer::of_text(text))
}

fn put(path: &PathBuf, bytes: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(|error| unusable(folder, &error))?;
    std::fs::write(path, bytes).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::local(format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> NewFile {
        (name.to_owned(), text.as_bytes().to_vec())
    }

    #[test]
    fn what_differs_is_kept_and_nothing_is_written_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).ok();
        assert!(write(folder.path(), &[file("a/b", "1")], false).is_ok());
        assert_eq!(read("a/b").as_deref(), Some("1"));
        assert!(write(folder.path(), &[file("c", "3"), file("a/b", "2")], false).is_err());
        assert_eq!((read("a/b").as_deref(), read("c")), (Some("1"), None));
        assert!(write(folder.path(), &[file("c", "3"), file("a/b", "1")], false).is_ok(), "the same is no conflict");
        assert!(write(folder.path(), &[file("c", "4"), file("a/b", "2")], true).is_ok());
        assert_eq!((read("a/b").as_deref(), read("c").as_deref()), (Some("2"), Some("4")));
        assert!(write(&folder.path().join("c"), &[file("d", "5")], false).is_err(), "a file is no folder");
    }
}
