//! Postern, a gRPC authentication service. The rooms, in reading order; each may name only those that stand above it,
//! save `config`, `clock` and `telemetry`, which stand aside.

/// The one place that reads the time.
pub mod clock;
/// Values and rules: ids, accounts, sessions and their rotation, permissions, roles. Pure.
pub mod domain;
/// The contract, generated from `proto/`.
pub mod proto;
/// What lasts, in SQL: users, roles, keys, revocations, the change log.
pub mod store;
/// What expires: opaque sealed values.
pub mod vault;
/// Token, question and time in, verdict out; all in memory. Pure.
pub mod verifier;
