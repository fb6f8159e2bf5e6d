//! End to end: every test starts a server of its own and speaks gRPC.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail loudly"
)]

mod backstage;
mod support;

mod admin;
mod architecture;
mod canary;
mod contract;
mod docs;
mod forgery;
mod rbac;
mod smoke;
mod tokens;
mod verify;
mod wycheproof;
