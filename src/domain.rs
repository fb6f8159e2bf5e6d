//! Values and rules. Owns what a word of the project means and what is decided about it; must not know of async, of
//! I/O, of SQL, or of messages on the wire.

pub mod account;
pub mod audit;
pub mod change;
pub mod client;
pub mod flood;
pub mod id;
pub mod identity;
pub mod json;
pub mod key;
pub mod password;
pub mod permission;
pub mod proxy;
pub mod rate;
pub mod refresh_token;
pub mod role;
pub mod session;
pub mod standing;
pub mod time;
