//! Values and rules. Owns what a word of the project means and what is decided about it; must not know of async, of
//! I/O, of SQL, or of messages on the wire.

pub mod id;
pub mod permission;
pub mod role;
pub mod time;
