//! The data directory: private to its owner, and locked as long as a server runs on it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::app::StartError;

const LOCK_FILE: &str = "postern.lock";
const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_ANYBODY: u32 = 0o002;

/// What opening a link answers where none is followed.
const LINK: i32 = Errno::LOOP.raw_os_error();

/// A data directory that nobody else runs on. The lock ends with this value, or with the process.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    lock: File,
}

impl DataDir {
    /// Makes the directory if it is missing, and locks it.
    pub(super) fn lock(path: &Path) -> Result<Self, StartError> {
        let failed = |source| StartError::DataDir { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let metadata = std::fs::metadata(path).map_err(failed)?;
        let mode = metadata.permissions().mode() & 0o7777;
        // Whoever may write here can put links in the place of our files, or a key of their own.
        if is_open_to_others(mode, metadata.uid(), rustix::process::geteuid().as_raw()) {
            let who = if mode & WRITABLE_BY_ANYBODY != 0 { "anybody" } else { "its group" };
            let why = format!("{who} may write there (mode {mode:04o}); close it: chmod go-w '{}'", path.display());
            return Err(failed(io::Error::other(why)));
        }
        let mut lock = private(OpenOptions::new().read(true).write(true).create(true).truncate(false))
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path.join(LOCK_FILE))
            .map_err(|error| failed(if error.raw_os_error() == Some(LINK) { linked() } else { error }))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock }),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Whoever holds the lock wrote its process id; a message without it is better than none.
                let holder = lock.read_to_string(&mut holder).ok().and_then(|_| holder.trim().parse().ok());
                Err(StartError::Locked { path: path.to_owned(), holder })
            }
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Writes down who runs here, for the message that a second server shows.
    pub(super) fn sign(&mut self) -> io::Result<()> {
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        writeln!(self.lock, "{}", std::process::id())
    }

    /// Writes a file that only its owner may read, whole or not at all.
    pub(super) fn write_private(&self, name: &str, content: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        write_private(&path, content)?;
        Ok(path)
    }
}

/// Writes a file that only its owner may read, whole or not at all.
pub(super) fn write_private(path: &Path, content: &str) -> io::Result<()> {
    let draft = path.with_added_extension("new");
    // A draft that lies there already may be open to others, or be a link to somewhere else.
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private(OpenOptions::new().write(true).create_new(true)).open(&draft)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    // The name must last as the content does: a key file lost after it was used locks its owner out.
    File::open(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
}

/// A directory that is closed now may have been open before.
fn linked() -> io::Error {
    io::Error::other(format!(
        "{LOCK_FILE} is a link, which this server never makes; look where it leads, and remove it"
    ))
}

/// Where root let this process in by way of a group, as Kubernetes does with `fsGroup`, that group may write.
fn is_open_to_others(mode: u32, owner: u32, own_user: u32) -> bool {
    let by_group_of_root = owner == 0 && own_user != 0;
    let others = if by_group_of_root { WRITABLE_BY_ANYBODY } else { WRITABLE_BY_GROUP | WRITABLE_BY_ANYBODY };
    mode & others != 0
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_learns_who_runs_here() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let mut first = DataDir::lock(&path).unwrap();
        first.sign().unwrap();
        let Err(StartError::Locked { holder, .. }) = DataDir::lock(&path) else { panic!("locked twice") };
        assert_eq!(holder, Some(std::process::id()));
        drop(first);
        assert!(DataDir::lock(&path).is_ok());
    }

    #[test]
    fn files_and_directory_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::lock(&dir.path().join("a/b")).unwrap();
        let file = data.write_private("secret", "x").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(&dir.path().join("a/b")), 0o700);
        assert_eq!(mode(&dir.path().join("a/b/postern.lock")), 0o600);
    }

    #[test]
    fn a_directory_of_everybody_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        let open = dir.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::os::unix::fs::symlink(&victim, open.join(LOCK_FILE)).unwrap();
        for mode in [0o777, 0o1777, 0o775, 0o702] {
            std::fs::set_permissions(&open, std::fs::Permissions::from_mode(mode)).unwrap();
            let refused = DataDir::lock(&open).unwrap_err().to_string();
            assert!(refused.contains("chmod go-w"), "{refused}");
        }
        // Closed now, it still has what was laid there before.
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
        let refused = DataDir::lock(&open).unwrap_err().to_string();
        assert!(refused.contains("postern.lock is a link"), "{refused}");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
        std::fs::remove_file(open.join(LOCK_FILE)).unwrap();
        assert!(DataDir::lock(&open).is_ok());
    }

    #[test]
    fn a_group_may_write_where_root_let_it() {
        for (mode, owner, own_user, others) in [
            (0o2775, 0, 65_532, false),
            (0o0770, 0, 65_532, false),
            (0o2777, 0, 65_532, true),
            (0o0775, 0, 0, true),
            (0o0770, 65_532, 65_532, true),
            (0o0770, 1_000, 65_532, true),
            (0o0755, 1_000, 1_000, false),
        ] {
            assert_eq!(is_open_to_others(mode, owner, own_user), others, "{mode:o} of {owner} for {own_user}");
        }
    }

    #[test]
    fn what_somebody_laid_in_the_way_gets_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let (link, open, trap) = (dir.path().join("link"), dir.path().join("open"), dir.path().join("trap"));
        std::os::unix::fs::symlink(&trap, dir.path().join("link.new")).unwrap();
        std::fs::write(dir.path().join("open.new"), "").unwrap();
        std::fs::set_permissions(dir.path().join("open.new"), std::fs::Permissions::from_mode(0o644)).unwrap();
        for path in [&link, &open] {
            write_private(path, "x").unwrap();
            let metadata = std::fs::symlink_metadata(path).unwrap();
            assert!(metadata.is_file(), "{}", path.display());
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{}", path.display());
        }
        assert!(!trap.exists());
    }
}
