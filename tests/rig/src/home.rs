//! A temporary directory with a watcher, who ends what was started in it and removes it as soon as its owner is gone.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A test process has no hook for its end and may be killed at any time. Its end of a pipe closes in every case; the
/// watcher waits for that, in a process group of its own, so that nobody's Ctrl-C ends it too.
const WATCH: &str = r#"
trap '' HUP INT TERM
home=$1
read -r _
# From here on no server can start: each writes its number below `run` first.
mv "$home/run" "$home/ended"
for server in $(cat "$home"/ended/* 2>/dev/null); do
    # Stopped, it cannot start another child meanwhile.
    kill -STOP "$server"
    for stat in /proc/[0-9]*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue
        parent=${line##*) ? }
        if [ "${parent%% *}" = "$server" ]; then
            child=${stat#/proc/}
            kill -KILL "${child%/stat}"
        fi
    done
    kill -KILL "$server"
done
# Of PostgreSQL's memory, all that outlasts its processes; see `postgres`.
memory=$(sed -n '7s/.* //p' "$home/data/postmaster.pid")
[ -z "$memory" ] || ipcrm -m "$memory"
tries=0
until rm -rf "$home" || [ $((tries += 1)) -gt 100 ]; do
    sleep 0.05
done
"#;

/// PostgreSQL refuses to run as root; `nobody` owns nothing on a machine but what is handed to it here.
pub(crate) const NOBODY: u32 = 65_534;

/// For the servers of a few tests at once.
const ROOM: u64 = 2 << 30;

pub(crate) struct Home {
    path: PathBuf,
    watcher: Child,
}

impl Home {
    pub(crate) fn new() -> Self {
        let path = tempfile::Builder::new().prefix("postern-rig-").tempdir_in(base()).unwrap().keep();
        if is_root() {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::create_dir(path.join("run")).unwrap();
        let watcher = Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .arg(&path)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { path, watcher }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A directory for a server that does not run as root, and for nobody else.
    pub(crate) fn create_for_nobody(&self, name: &str) {
        let path = self.path.join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        give_to_nobody(&path);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        self.watcher.wait().ok();
    }
}

/// Where TMPDIR says, else in memory if that has room: a new PostgreSQL is a thousand files, which takes a busy disk seconds.
fn base() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let has_room = |room: rustix::fs::StatVfs| room.f_bavail * room.f_frsize > ROOM;
    if std::env::var_os("TMPDIR").is_none() && rustix::fs::statvfs(memory).is_ok_and(has_room) {
        return memory.to_owned();
    }
    // Sockets lie below it, and their paths must be short.
    let base = Some(std::env::temp_dir()).filter(|base| base.as_os_str().len() < 50);
    base.unwrap_or_else(|| PathBuf::from("/tmp"))
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn give_to_nobody(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

#[cfg(test)]
mod tests;
