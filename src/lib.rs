//! Postern, a gRPC authentication service. The rooms, in reading order; each may name only those that stand after it,
//! save `config`, `clock` and `telemetry`, which stand aside.

/// The one place that reads the time.
pub mod clock;
/// Values and rules: ids, accounts, sessions and their rotation, permissions, roles. Pure.
pub mod domain;
/// A token, a question and the time in; a verdict out. In memory, no I/O.
pub mod verifier;
