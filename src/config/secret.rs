//! Where a secret comes from, and how it is opened. Owns the rule that a secret's file is its owner's alone; an error
//! names the path and the cause, never what the file holds.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use zeroize::Zeroizing;

/// Far more than any key needs; a device that never ends must not fill the memory.
const MAX_BYTES: u64 = 64 * 1024;

/// A secret that was named, but not yet read.
#[derive(Clone, Debug)]
pub enum SecretSource {
    File(PathBuf),
    Value(SecretString),
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("{}: there is no such file", path.display())]
    Missing { path: PathBuf },
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: not a regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{0}: open to other users (mode {mode:04o}); close it: chmod 600 '{0}'", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{}: longer than {MAX_BYTES} bytes, so it is not a secret of ours", path.display())]
    TooLong { path: PathBuf },
    #[error("{}: not text (UTF-8)", path.display())]
    NotText { path: PathBuf },
    #[error("{}: empty", path.display())]
    Empty { path: PathBuf },
}

impl SecretSource {
    /// Reads the secret. A line end after it is dropped, since editors and `echo` add one.
    ///
    /// # Errors
    /// If the file is absent, unreadable, open to other users, or does not hold text.
    pub fn open(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::File(path) => open_file(path),
        }
    }
}

/// Of a file that root gave to this process by way of a group, as Kubernetes does with `fsGroup`, the group may read.
fn is_open_to_others(mode: u32, owner: u32, own_user: u32) -> bool {
    let by_group_of_root = owner == 0 && own_user != 0;
    let allowed = if by_group_of_root { 0o740 } else { 0o700 };
    mode & 0o777 & !allowed != 0
}

fn open_file(path: &Path) -> Result<SecretString, SecretError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => SecretError::Missing { path: path.to_owned() },
        _ => SecretError::Unreadable { path: path.to_owned(), source },
    };
    // Asked before opening, because opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(SecretError::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(unreadable)?;
    // Asked of the open file: the path may name another one by now.
    let metadata = file.metadata().map_err(unreadable)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if is_open_to_others(mode, metadata.uid(), rustix::process::geteuid().as_raw()) {
        return Err(SecretError::Exposed { path: path.to_owned(), mode });
    }
    if metadata.len() > MAX_BYTES {
        return Err(SecretError::TooLong { path: path.to_owned() });
    }
    // Sized at once: a growing buffer would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_BYTES).unwrap_or_default()));
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    // The position of a bad byte would tell about the content.
    #[expect(clippy::map_err_ignore, reason = "the error of from_utf8 describes the secret")]
    let text = std::str::from_utf8(&bytes).map_err(|_| SecretError::NotText { path: path.to_owned() })?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() {
        return Err(SecretError::Empty { path: path.to_owned() });
    }
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, SecretSource) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a key");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (dir, SecretSource::File(path))
    }

    /// The error without the temporary folder.
    fn refusal(content: &[u8], mode: u32) -> String {
        let (dir, source) = file(content, mode);
        source.open().unwrap_err().to_string().replace(dir.path().to_str().unwrap(), "DIR")
    }

    #[test]
    fn a_line_end_is_not_part_of_the_secret() {
        for content in ["s3cret", "s3cret\n", "s3cret\r\n"] {
            assert_eq!(file(content.as_bytes(), 0o600).1.open().unwrap().expose_secret(), "s3cret");
        }
        assert_eq!(file(b" s3cret \n\n", 0o400).1.open().unwrap().expose_secret(), " s3cret \n");
        assert_eq!(SecretSource::Value("v\n".into()).open().unwrap().expose_secret(), "v\n");
    }

    #[test]
    fn refusals_name_the_path_and_never_the_content() {
        insta::assert_snapshot!(refusal(b"s3cret", 0o640), @"DIR/a key: open to other users (mode 0640); close it: chmod 600 'DIR/a key'");
        insta::assert_snapshot!(refusal(b"s3cret", 0o604), @"DIR/a key: open to other users (mode 0604); close it: chmod 600 'DIR/a key'");
        insta::assert_snapshot!(refusal(b"s3cret", 0o620), @"DIR/a key: open to other users (mode 0620); close it: chmod 600 'DIR/a key'");
        insta::assert_snapshot!(refusal(b"s3cret\xff", 0o600), @"DIR/a key: not text (UTF-8)");
        insta::assert_snapshot!(refusal(b"\n", 0o600), @"DIR/a key: empty");
        insta::assert_snapshot!(refusal(&vec![b'a'; 65_537], 0o600), @"DIR/a key: longer than 65536 bytes, so it is not a secret of ours");
        let absent = SecretSource::File("/nowhere/master.key".into()).open().unwrap_err();
        assert!(matches!(absent, SecretError::Missing { .. }));
        insta::assert_snapshot!(absent, @"/nowhere/master.key: there is no such file");
        insta::assert_snapshot!(SecretSource::File("/".into()).open().unwrap_err(), @"/: not a regular file");
    }

    #[test]
    fn a_group_may_read_what_root_gave_it() {
        for (mode, owner, own_user, open) in [
            (0o600, 1_000, 1_000, false),
            (0o440, 1_000, 1_000, true),
            (0o400, 0, 0, false),
            (0o440, 0, 0, true),
            (0o440, 0, 1_000, false),
            (0o640, 0, 1_000, false),
            (0o460, 0, 1_000, true),
            (0o444, 0, 1_000, true),
            (0o441, 0, 1_000, true),
        ] {
            assert_eq!(is_open_to_others(mode, owner, own_user), open, "{mode:o} of {owner} read by {own_user}");
        }
    }

    #[test]
    fn a_value_does_not_print_itself() {
        assert!(!format!("{:?}", SecretSource::Value("s3cret".into())).contains("s3cret"));
    }
}
