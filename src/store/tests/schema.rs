//! House-style section 9: both engines have the same tables, with the same columns, the same of them required, and the same
//! unique keys. A statement is written once for both.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::Store;
use crate::store::engine::query_as;
use crate::store::testing::{Engine, Scratch};

/// Columns in their order, and unique keys.
#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    columns: Vec<Column>,
    unique: BTreeSet<Vec<String>>,
    references: BTreeSet<(String, String)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Column {
    name: String,
    form: &'static str,
    required: bool,
}

/// What SQLite keeps it as.
fn form(declared: &str) -> &'static str {
    match declared {
        "INTEGER" | "bigint" | "boolean" => "number",
        "TEXT" | "text" => "text",
        "BLOB" | "bytea" | "uuid" => "bytes",
        other => panic!("a type that is not in the palette: {other}"),
    }
}

async fn tables(
    store: &Store,
    columns: &'static str,
    unique: &'static str,
    references: &'static str,
) -> BTreeMap<String, Table> {
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    let all: Vec<(String, String, String, bool)> = query_as(columns).fetch_all(&store.reader).await.unwrap();
    for (table, name, declared, required) in all {
        tables.entry(table).or_default().columns.push(Column { name, form: form(&declared), required });
    }
    let mut keys: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let all: Vec<(String, String, String)> = query_as(unique).fetch_all(&store.reader).await.unwrap();
    for (table, key, column) in all {
        keys.entry((table, key)).or_default().push(column);
    }
    for ((table, _), columns) in keys {
        tables.get_mut(&table).unwrap().unique.insert(columns);
    }
    let all: Vec<(String, String, String)> = query_as(references).fetch_all(&store.reader).await.unwrap();
    for (table, column, other) in all {
        tables.get_mut(&table).unwrap().references.insert((column, other));
    }
    tables
}

async fn of_sqlite(store: &Store) -> BTreeMap<String, Table> {
    tables(
        store,
        "SELECT t.name, c.name, c.type, c.\"notnull\" OR c.pk > 0 FROM pragma_table_list t, pragma_table_info(t.name) c \
         WHERE t.type = 'table' AND t.schema = 'main' AND t.name NOT IN ('_sqlx_migrations', 'sqlite_schema') \
         ORDER BY t.name, c.cid",
        // A key that is the number of the row has no index.
        "SELECT t.name, i.name, c.name FROM pragma_table_list t, pragma_index_list(t.name) i, pragma_index_info(i.name) c \
         WHERE t.type = 'table' AND t.schema = 'main' AND i.\"unique\" AND t.name <> '_sqlx_migrations' \
         UNION ALL SELECT t.name, 'number', c.name FROM pragma_table_list t, pragma_table_info(t.name) c \
         WHERE t.type = 'table' AND t.schema = 'main' AND t.name NOT IN ('_sqlx_migrations', 'sqlite_schema') \
         AND c.pk = 1 AND NOT EXISTS (SELECT 1 FROM pragma_index_list(t.name) WHERE origin = 'pk')",
        "SELECT t.name, f.\"from\", f.\"table\" FROM pragma_table_list t, pragma_foreign_key_list(t.name) f \
         WHERE t.type = 'table' AND t.schema = 'main'",
    )
    .await
}

async fn of_postgres(store: &Store) -> BTreeMap<String, Table> {
    tables(
        store,
        "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, NULL), a.attnotnull \
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND c.relname <> '_sqlx_migrations' \
         ORDER BY c.relname, a.attnum",
        "SELECT c.relname::text, i.indexrelid::regclass::text, a.attname::text \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid CROSS JOIN unnest(i.indkey) WITH ORDINALITY k (number, place) \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number \
         WHERE i.indisunique AND c.relnamespace = 'public'::regnamespace AND c.relname <> '_sqlx_migrations' \
         ORDER BY c.relname, i.indexrelid, k.place",
        "SELECT c.relname::text, a.attname::text, r.relname::text FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid \
         JOIN pg_class r ON r.oid = f.confrelid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (f.conkey) \
         WHERE f.contype = 'f'",
    )
    .await
}

#[tokio::test]
async fn both_engines_have_the_same_tables() {
    let [sqlite, postgres] = [Scratch::new(Engine::Sqlite).await, Scratch::new(Engine::Postgres).await];
    let (sqlite, postgres) = (of_sqlite(&sqlite.store).await, of_postgres(&postgres.store).await);
    let names = |tables: &BTreeMap<String, Table>| tables.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&sqlite), names(&postgres));
    for (name, table) in &sqlite {
        assert_eq!(table, &postgres[name], "{name}: SQLite on the left, PostgreSQL on the right");
    }
    // The readers must read.
    assert!(sqlite["users"].unique.contains(&vec!["email_canonical".to_owned()]));
    assert!(sqlite["vault"].unique.iter().any(|key| key == &["kind", "partition", "key"]));
    assert!(sqlite["passwords"].references.contains(&("user_id".to_owned(), "users".to_owned())));
    assert!(sqlite.values().all(|table| !table.unique.is_empty()), "each table has a key: {sqlite:#?}");
}
