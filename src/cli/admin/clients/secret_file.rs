//! A file for a secret that is shown once. Made before the secret is asked for: one that cannot be written down would be
//! lost.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;

/// Empty and for this user alone; gone again unless it is kept.
pub(super) struct SecretFile {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl SecretFile {
    /// A new file: what is there already is not written over, since it may be the secret that still works.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = made.map_err(|error| {
            Failure::local(format!("--secret-file {}: {error}", path.display()))
                .advise("Name a file that is not there yet")
        })?;
        Ok(Self { path: path.to_owned(), file, kept: false })
    }

    /// Writes the secret; answers where it is.
    pub(super) fn keep(mut self, secret: &str) -> Result<PathBuf, Failure> {
        let written = writeln!(self.file, "{secret}").and_then(|()| self.file.sync_all());
        written.map_err(|error| {
            Failure::local(format!("{}: {error}: the secret is lost", self.path.display()))
                .advise("Make another: postern admin clients rotate-secret CLIENT")
        })?;
        self.kept = true;
        Ok(self.path.clone())
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        if !self.kept {
            // An empty file left behind is no harm beyond its name being taken.
            std::fs::remove_file(&self.path).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_its_owner_reads_it_and_nothing_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        drop(SecretFile::create(&path).unwrap());
        assert!(!path.exists(), "nothing was asked for, nothing stays");
        SecretFile::create(&path).unwrap().keep("pcs_x").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(SecretFile::create(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "pcs_x\n");
    }
}
