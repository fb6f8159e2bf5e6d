//! End to end: every test starts a server of its own and speaks gRPC.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail loudly")]

mod binary;
mod database;
mod people;
mod raw;
mod support;

mod crash;
mod docs;
mod feed;
mod hostile;
mod login;
mod refresh;
mod sessions;
mod storage;
