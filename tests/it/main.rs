//! End to end: every test starts a server of its own and speaks gRPC.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail loudly"
)]

mod backstage;
mod binary;
mod certificates;
mod database;
mod engines;
mod frames;
mod people;
mod raw;
mod support;

mod admin;
mod architecture;
mod audit;
mod canary;
mod challenge;
mod cli;
mod clients;
mod contract;
mod crash;
mod docs;
mod doors;
mod embedded;
mod exchange;
mod failover;
mod feed;
mod floods;
mod forgery;
mod gateway;
mod hostile;
mod import;
mod keys;
mod limits;
mod login;
mod metrics;
mod migrate_store;
mod mtls;
mod oauth;
mod outage;
mod passwords;
mod rbac;
mod refresh;
mod replicas;
mod sessions;
mod storage;
mod tls;
mod tokens;
mod verify;
mod wycheproof;
