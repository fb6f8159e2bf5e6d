//! Postern, a gRPC authentication service. The rooms, in reading order; each may name only those that stand above it,
//! save `config`, `clock` and `telemetry`, which stand aside.

/// The composition root: settings in, a running server out.
pub mod app;
/// The command line: serving, and a client for people.
pub mod cli;
/// Values and rules: ids, accounts, sessions and their rotation, permissions, roles. Pure.
pub mod domain;
/// The contract, generated from `proto/`.
pub mod proto;
/// Token, question and time in, verdict out; all in memory. Pure.
pub mod verifier;

/// The one place that reads the time.
pub mod clock;

/// Every setting, typed and checked.
pub mod config;
/// The log: which lines are written, and that one event is one line.
pub mod telemetry;
