//! Postern, a gRPC authentication service. The rooms, in reading order; each may name only those that stand after it,
//! save `config`, `clock` and `telemetry`, which stand aside.

/// The one place that reads the time.
pub mod clock;
/// Every setting, typed and checked.
pub mod config;
/// Values and rules: ids, accounts, sessions and their rotation, permissions, roles. Pure.
pub mod domain;
/// The log: which lines are written, and that one event is one line.
pub mod telemetry;
