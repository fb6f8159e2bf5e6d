//! Postern, a gRPC authentication service. The rooms, in reading order; each may name only those that stand above it,
//! save `breached`, `budget`, `config`, `clock` and `telemetry`, which stand aside.

/// Values and rules: ids, accounts, sessions and their rotation, permissions, roles. Pure.
pub mod domain;

/// Token, question and time in, verdict out; all in memory. Pure.
pub mod verifier;

/// What expires: opaque sealed values.
pub mod vault;

/// What lasts, in SQL: users, roles, keys, revocations, the change log.
pub mod store;

/// Providers of identities: what is said to them, and what of their answers may be believed.
pub mod oauth;

/// Use cases, one file a flow: every decision is here or in the pure rooms above.
pub mod auth;

/// Certificates: what the server shows, and which names a caller proved.
pub mod tls;

/// Where connections come in: how many, from whom, encrypted or not.
pub mod listener;

/// The gRPC port: whose a call is, how long it may take, translation, refusals.
pub mod grpc;

/// HTTP/1.1: the gateway for browsers, a client of the contract; and the operations port.
pub mod http;

/// Composition: settings in, a running service out.
pub mod app;

/// The command line: the server, and a client for people.
pub mod cli;

/// The contract, generated from `proto/`.
pub mod proto;

/// The one place that reads the time.
pub mod clock;

/// A file of breached passwords, searched where it lies.
pub mod breached;

/// How long one call may wait for engines.
pub mod budget;

/// Whether this process should be sent work.
pub mod readiness;

/// What is counted, for Prometheus.
pub mod metrics;

/// What a trace is made of.
pub mod spans;

/// Every setting, typed and judged before anything starts.
pub mod config;

/// Log lines: who reads them, in which form, and what never stands in them.
pub mod telemetry;
