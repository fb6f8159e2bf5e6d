//! End to end: every test starts a server of its own and speaks gRPC.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail loudly"
)]

mod backstage;
mod support;

mod admin;
mod architecture;
mod canary;
mod cli;
mod contract;
mod docs;
mod forgery;
mod rbac;
mod smoke;
mod tokens;
mod verify;
mod wycheproof;
