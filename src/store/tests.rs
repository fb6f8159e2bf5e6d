//! The engines themselves: that both have the same tables, and what PostgreSQL is trusted with, refuses and survives.

mod outage;
mod payloads;
mod pooler;
mod rights;
mod schema;
mod tls;
