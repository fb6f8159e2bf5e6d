//! Private engines for tests: servers on free ports in temporary directories, and a network between that fails on command.
//!
//! Plain blocking code, for tests with and without a runtime. Servers and directories are gone when the test process is,
//! however it ended. A program that is not installed is a panic that says what to install, and never a skipped test.
//! Linux only, as is what it starts: processes are found in /proc.
//!
//! A server that is shared between the tests of a process is handed out by shared reference, and what stops or harms a
//! server takes `&mut self`: so no test can take the shared one from the others.
#![expect(
    clippy::disallowed_methods,
    reason = "the rules of the service about time and settings are not the tests' own"
)]

pub mod fuzz;
mod home;
pub mod pgbouncer;
mod ports;
pub mod postgres;
mod process;
mod programs;
pub mod providers;
pub mod proxy;
pub mod redis;

pub use ports::port;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Far more than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until it is so, and panics with `what` when that takes too long.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(2);
    while !is_so() {
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(pause);
        // Some questions are a process each.
        pause = (pause * 3 / 2).min(Duration::from_millis(100));
    }
}

/// A number for a name that nothing else in this process has.
fn next() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// What a text ends with: enough of a log to say what was wrong.
fn tail(text: &str) -> &str {
    let start = text.lines().rev().take(20).map(|line| line.len() + 1).sum::<usize>();
    &text[text.len().saturating_sub(start)..]
}

/// A certificate for 127.0.0.1, which is its own authority, and its key.
#[cfg(test)]
fn certificate(directory: &std::path::Path) -> [std::path::PathBuf; 2] {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    [("server.crt", made.cert.pem()), ("server.key", made.signing_key.serialize_pem())].map(|(name, pem)| {
        let path = directory.join(name);
        std::fs::write(&path, pem).unwrap();
        path
    })
}
