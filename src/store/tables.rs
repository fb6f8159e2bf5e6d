//! All tables with their columns, in an order in which rows may be written: what others refer to comes first. Whoever means
//! all tables (what a role needs, what a copy takes along) reads this list; a migration adds to it.

/// A table of both engines.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Type)],
}

/// Of a column: the palette that both engines share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Uuid,
    Number,
    Truth,
    Text,
    Bytes,
}

use Type::{Bytes, Number, Text, Truth, Uuid};

pub(super) const TABLES: &[Table] = &[
    Table { name: "settings", columns: &[("name", Text), ("value", Text)] },
    Table { name: "master_keys", columns: &[("number", Number), ("check_value", Bytes)] },
    Table { name: FEED, columns: FEED_COLUMNS },
    Table { name: CHANGES, columns: CHANGES_COLUMNS },
    Table { name: "users", columns: USERS_COLUMNS },
    Table { name: "passwords", columns: PASSWORDS_COLUMNS },
    Table { name: "login_failures", columns: &[("name", Bytes), ("failures", Number), ("time", Number)] },
    Table { name: "identities", columns: IDENTITIES_COLUMNS },
    Table { name: "creations", columns: &[("request_id", Uuid), ("user_id", Uuid), ("at", Number)] },
    Table { name: "roles", columns: ROLES_COLUMNS },
    Table { name: "clients", columns: CLIENTS_COLUMNS },
    Table { name: "client_secrets", columns: CLIENT_SECRETS_COLUMNS },
    Table { name: "client_sans", columns: &[("san", Text), ("client_id", Text), ("position", Number)] },
    Table { name: "bindings", columns: BINDINGS_COLUMNS },
    Table { name: "revocations", columns: REVOCATIONS_COLUMNS },
    Table { name: "generation_floors", columns: GENERATION_FLOORS_COLUMNS },
    Table { name: "signing_keys", columns: SIGNING_KEYS_COLUMNS },
    Table { name: AUDIT, columns: AUDIT_COLUMNS },
    Table { name: VAULT, columns: VAULT_COLUMNS },
];

/// The two that hold a row from the first migration on.
pub(super) const FEED: &str = "feed";
pub(super) const CHANGES: &str = "changes";
/// What happened: written once, and neither changed nor taken back by whoever serves.
pub(super) const AUDIT: &str = "audit";
/// What expires.
pub(super) const VAULT: &str = "vault";

type Columns = &'static [(&'static str, Type)];

const FEED_COLUMNS: Columns =
    &[("id", Number), ("head", Number), ("fence", Number), ("fence_at", Number), ("policy_version", Number)];

const CHANGES_COLUMNS: Columns = &[
    ("id", Number),
    ("mark", Bytes),
    ("at", Number),
    ("kind", Text),
    ("user_id", Uuid),
    ("client_id", Text),
    ("session_id", Uuid),
];

const PASSWORDS_COLUMNS: Columns = &[
    ("user_id", Uuid),
    ("hash", Text),
    ("set_at", Number),
    ("due", Truth),
    ("failures", Number),
    ("known_failures", Number),
    ("scheme", Text),
];

const IDENTITIES_COLUMNS: Columns = &[
    ("provider", Text),
    ("subject", Text),
    ("user_id", Uuid),
    ("issuer", Text),
    ("display_name", Text),
    ("email", Text),
    ("email_verified", Truth),
    ("link_time", Number),
    ("sign_in_time", Number),
];

const USERS_COLUMNS: Columns = &[
    ("id", Uuid),
    ("external_id", Text),
    ("email", Text),
    ("email_canonical", Text),
    ("email_verified", Truth),
    ("user_name", Text),
    ("user_name_canonical", Text),
    ("display_name", Text),
    ("state", Text),
    ("version", Number),
    ("roles_at", Number),
    ("floor", Number),
    ("floor_at", Number),
    ("floor_cause", Text),
    ("floor_except", Uuid),
    ("create_time", Number),
    ("update_time", Number),
    ("etag", Number),
];

const ROLES_COLUMNS: Columns =
    &[("id", Text), ("description", Text), ("patterns", Text), ("inherits", Text), ("etag", Number)];

const CLIENTS_COLUMNS: Columns = &[
    ("id", Text),
    ("display_name", Text),
    ("audience", Text),
    ("token_audiences", Text),
    ("return_urls", Text),
    ("access_ttl", Number),
    ("idle_ttl", Number),
    ("absolute_ttl", Number),
    ("refresh_grace", Number),
    ("max_per_user", Number),
    ("disabled", Truth),
    ("version", Number),
    ("create_time", Number),
    ("update_time", Number),
    ("etag", Number),
];

const CLIENT_SECRETS_COLUMNS: Columns =
    &[("digest", Bytes), ("client_id", Text), ("create_time", Number), ("end_time", Number)];

const BINDINGS_COLUMNS: Columns = &[
    ("user_id", Uuid),
    ("client_id", Text),
    ("role", Text),
    ("tenant", Text),
    ("expires_at", Number),
    ("create_time", Number),
    ("granted_by", Text),
];

const REVOCATIONS_COLUMNS: Columns = &[
    ("user_id", Uuid),
    ("session_id", Uuid),
    ("cause", Text),
    ("end_time", Number),
    ("keep_until", Number),
    ("summary", Bytes),
];

const GENERATION_FLOORS_COLUMNS: Columns =
    &[("session_id", Uuid), ("user_id", Uuid), ("generation", Number), ("at", Number), ("keep_until", Number)];

const SIGNING_KEYS_COLUMNS: Columns = &[
    ("kid", Text),
    ("algorithm", Text),
    ("master_key", Number),
    ("sealed", Bytes),
    ("publish_time", Number),
    ("sign_time", Number),
    ("retire_time", Number),
];

const AUDIT_COLUMNS: Columns = &[
    ("id", Uuid),
    ("time", Number),
    ("kind", Text),
    ("actor", Text),
    ("target", Text),
    ("session_id", Uuid),
    ("client", Text),
    ("ip_address", Text),
    ("request_id", Text),
    ("reason", Text),
    ("detail", Text),
];

const VAULT_COLUMNS: Columns =
    &[("kind", Text), ("partition", Text), ("key", Text), ("value", Bytes), ("expires_at", Number)];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::store::engine::query_as;
    use crate::store::testing::{Engine, Scratch};

    /// A migration that adds a table or a column adds it here, or nobody may use it and no copy has it.
    async fn the_list_is_what_the_migrations_make(engine: Engine) {
        const SQLITE: &str = "SELECT t.name, c.name, c.type FROM sqlite_schema t, pragma_table_info(t.name) c \
            WHERE t.type = 'table' AND t.name <> '_sqlx_migrations'";
        const POSTGRES: &str = "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod) \
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
            WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND c.relname <> '_sqlx_migrations'";
        let scratch = Scratch::new(engine).await;
        let (all, palette): (_, fn(Type) -> &'static str) = match engine {
            Engine::Sqlite => (SQLITE, |kind| match kind {
                Uuid | Bytes => "BLOB",
                Number | Truth => "INTEGER",
                Text => "TEXT",
            }),
            Engine::Postgres | Engine::Limited | Engine::Pooled => (POSTGRES, |kind| match kind {
                Uuid => "uuid",
                Bytes => "bytea",
                Number => "bigint",
                Truth => "boolean",
                Text => "text",
            }),
        };
        let made: Vec<(String, String, String)> = query_as(all).fetch_all(&scratch.store.reader).await.unwrap();
        let made: BTreeSet<_> = made.into_iter().collect();
        let column = |table: &Table, (name, kind): &(&str, Type)| {
            (table.name.to_owned(), (*name).to_owned(), palette(*kind).to_owned())
        };
        let listed: Vec<_> =
            TABLES.iter().flat_map(|table| table.columns.iter().map(|one| column(table, one))).collect();
        let set: BTreeSet<_> = listed.iter().cloned().collect();
        assert_eq!(set.len(), listed.len(), "a column is listed twice");
        assert_eq!(made, set);
    }

    crate::store::testing::conformance![the_list_is_what_the_migrations_make];
}
