//! A token, a question and the time in; a verdict out. Owns all that `Verify` needs in memory; must not know of I/O, of
//! async, or of messages on the wire, so that a client library can use it as it is.

pub mod policy;
