//! The signed-in state: who is signed in to which server, and the tokens. Owns the file, its modes and its lock.
//!
//! Two processes may refresh at once. The protocol forgives it, but the file must end up with the newest pair: whoever
//! changes it holds the lock beside it, from reading to writing.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use crate::domain::time::Timestamp;

const FILE: &str = "default.json";
const LOCK: &str = "default.lock";
const TEMPORARY: &str = "default.json.new";
const MAX_BYTES: u64 = 1024 * 1024;
const OTHERS: u32 = 0o077;

/// Being signed in to one server. Has no `Debug`: it holds tokens.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct SignedIn {
    /// As it was typed; for words and hints only.
    pub(super) identifier: String,
    pub(super) user_id: String,
    pub(super) session_id: String,
    pub(super) access_token: String,
    /// In microseconds of Unix time, as are the others.
    access_expire: i64,
    pub(super) refresh_token: String,
}

impl SignedIn {
    /// Out of a sign-in or a refresh; nothing if it lacks what the contract promises.
    pub(super) fn new(identifier: String, user_id: String, tokens: &crate::proto::auth::v1::TokenPair) -> Option<Self> {
        if tokens.access_token.is_empty() || tokens.refresh_token.is_empty() {
            return None;
        }
        Some(Self {
            identifier,
            user_id,
            session_id: tokens.session_id.clone(),
            access_token: tokens.access_token.clone(),
            access_expire: super::view::instant(tokens.access_expire_time.as_ref()?).micros(),
            refresh_token: tokens.refresh_token.clone(),
        })
    }

    pub(super) const fn access_expires(&self) -> Timestamp {
        Timestamp::from_micros(self.access_expire)
    }
}

/// By server, so that several can be used side by side.
#[derive(Default, Deserialize, Serialize)]
struct Contents {
    #[serde(default)]
    servers: BTreeMap<String, SignedIn>,
    /// What this machine shows each server at a sign-in, so that its tries are not counted with those of strangers. Stays
    /// when a session ends.
    #[serde(default)]
    devices: BTreeMap<String, String>,
}

/// The folder of the state file.
#[derive(Clone, Debug)]
pub(super) struct States {
    folder: PathBuf,
}

/// The right to change the state, until dropped.
pub(super) struct Locked<'a> {
    states: &'a States,
    contents: Contents,
    /// The lock goes with the open file, also if the process dies.
    _lock: File,
}

impl States {
    /// Under `XDG_STATE_HOME`, else under `~/.local/state`.
    pub(super) fn of_this_person() -> Result<Self, Failure> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        match base {
            Some(base) => Ok(Self { folder: base.join("postern") }),
            None => Err(Failure::local("no place to keep the signed-in state")
                .advise("Set HOME or XDG_STATE_HOME to an absolute path")),
        }
    }

    #[cfg(test)]
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// The state file as people write it, with `~`.
    pub(super) fn shown_path(&self) -> String {
        let path = self.path();
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let below = home.as_deref().and_then(|home| path.strip_prefix(home).ok());
        below.map_or_else(|| path.display().to_string(), |below| format!("~/{}", below.display()))
    }

    /// Who is signed in to a server.
    pub(super) fn read(&self, server: &str) -> Result<Option<SignedIn>, Failure> {
        Ok(self.load()?.servers.remove(server))
    }

    /// Waits until no other process changes the state.
    pub(super) fn lock(&self) -> Result<Locked<'_>, Failure> {
        let open = || -> io::Result<File> {
            make_folder(&self.folder)?;
            let lock =
                OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(self.folder.join(LOCK))?;
            lock.lock()?;
            Ok(lock)
        };
        let lock = open().map_err(|error| self.unusable(&error))?;
        Ok(Locked { states: self, contents: self.load()?, _lock: lock })
    }

    fn load(&self) -> Result<Contents, Failure> {
        let file = match File::open(self.path()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contents::default()),
            Err(error) => return Err(self.unusable(&error)),
        };
        let mode = file.metadata().map_err(|error| self.unusable(&error))?.permissions().mode();
        if mode & OTHERS != 0 {
            let path = self.path().display().to_string();
            return Err(Failure::local(format!("{path} is open to others (mode {:04o})", mode & 0o7777))
                .advise(
                    "It holds tokens that somebody may have copied. End the sessions, or close it if you trust them:",
                )
                .advise(format!("  chmod 600 {}", super::shell_word(&path))));
        }
        let mut text = String::new();
        file.take(MAX_BYTES).read_to_string(&mut text).map_err(|error| self.unusable(&error))?;
        // Not the error's own words, which may quote the content.
        serde_json::from_str(&text).map_err(|error| {
            let path = self.path().display().to_string();
            Failure::local(format!("{path} is not a state file (line {})", error.line()))
                .advise(format!("Remove it and sign in again: rm {}", super::shell_word(&path)))
        })
    }

    fn unusable(&self, error: &io::Error) -> Failure {
        Failure::local(format!("{} cannot be used: {error}", self.path().display()))
    }
}

impl Locked<'_> {
    pub(super) fn get(&self, server: &str) -> Option<&SignedIn> {
        self.contents.servers.get(server)
    }

    pub(super) fn put(&mut self, server: &str, signed_in: SignedIn) -> Result<(), Failure> {
        self.contents.servers.insert(server.to_owned(), signed_in);
        self.save()
    }

    pub(super) fn device(&self, server: &str) -> String {
        self.contents.devices.get(server).cloned().unwrap_or_default()
    }

    pub(super) fn put_device(&mut self, server: &str, token: String) {
        self.contents.devices.insert(server.to_owned(), token);
    }

    pub(super) fn remove(&mut self, server: &str) -> Result<(), Failure> {
        if self.contents.servers.remove(server).is_some() { self.save() } else { Ok(()) }
    }

    /// Whole or not at all: a half-written file would lose every sign-in.
    fn save(&self) -> Result<(), Failure> {
        let write = || -> io::Result<()> {
            let temporary = self.states.folder.join(TEMPORARY);
            // Left over by a process that died; nobody else can be writing it.
            match fs::remove_file(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
            file.write_all(&serde_json::to_vec_pretty(&self.contents)?)?;
            file.sync_all()?;
            fs::rename(&temporary, self.states.path())
        };
        write().map_err(|error| self.states.unusable(&error))
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if fs::metadata(folder)?.permissions().mode() & OTHERS != 0 {
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
