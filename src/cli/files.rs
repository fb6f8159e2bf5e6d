//! Files that a command leaves behind: all of them, or none if one would be lost.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

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

fn put(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(|error| unusable(folder, &error))?;
    replace(path, bytes).map_err(|error| unusable(path, &error))
}

/// Puts a file there whole or not at all, and in the place of a link, never where it leads.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_added_extension("new");
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = OpenOptions::new().write(true).create_new(true).open(&draft).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)
    });
    if written.is_err() {
        // A disk that is full may refuse even this; the first error says more.
        drop(std::fs::remove_file(&draft));
    }
    written
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
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn no_link_leads_a_file_elsewhere() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (precious, new) = (other.path().join("precious"), other.path().join("new"));
        std::fs::write(&precious, "1").unwrap();
        let path = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink(&precious, path("a")).unwrap();
        std::os::unix::fs::symlink(&new, path("b")).unwrap();
        std::os::unix::fs::symlink(&precious, path("c.new")).unwrap();
        assert!(write(folder.path(), &[file("a", "2"), file("b", "2"), file("c", "2")], true).is_ok());
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "1");
        assert!(!new.exists());
        for name in ["a", "b", "c"] {
            assert!(std::fs::symlink_metadata(path(name)).unwrap().is_file(), "{name}");
            assert_eq!(std::fs::read_to_string(path(name)).unwrap(), "2");
        }
    }

    /// What could not be written whole leaves what was there.
    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "1").unwrap();
        std::fs::create_dir(folder.path().join("a.new")).unwrap();
        assert!(write(folder.path(), &[file("a", "2")], true).is_err());
        assert_eq!(std::fs::read_to_string(folder.path().join("a")).unwrap(), "1");
    }
}
