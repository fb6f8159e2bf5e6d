use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use super::*;
use crate::domain::id::UserId;
use crate::store::tables::Type;
use crate::store::testing::{Engine, Scratch};

async fn both() -> (Scratch, Scratch) {
    (Scratch::new(Engine::Sqlite).await, Scratch::new(Engine::Postgres).await)
}

async fn copy(from: &Scratch, to: &Scratch) -> Result<Copied, CopyError> {
    from.store.copy_into(&to.store, WithVault::Yes, |_table, _rows| {}).await
}

/// Rows in every table, some with nothing where nothing may be; more than one page of the first.
async fn fill(scratch: &Scratch) {
    const OPTIONAL: &str = "SELECT count(*) FROM pragma_table_info($1) WHERE name = $2 AND \"notnull\" = 0 AND pk = 0";
    for table in TABLES.iter().filter(|table| table.name != FEED) {
        let rows: i64 = if table.name == "users" { 1_100 } else { 7 };
        let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
        let mut optional = Vec::new();
        for name in &names {
            let count: i64 =
                query_scalar(OPTIONAL).bind(table.name).bind(*name).fetch_one(&scratch.store.reader).await.unwrap();
            optional.push(count == 1);
        }
        let places: Vec<String> = (1..=names.len()).map(|place| format!("${place}")).collect();
        let insert = format!("INSERT INTO {} ({}) VALUES ({})", table.name, names.join(", "), places.join(", "));
        let mut write = scratch.store.writer.begin_write().await.unwrap();
        for row in 2..2 + rows {
            let mut query = built_rows(insert.clone());
            for ((name, kind), optional) in table.columns.iter().zip(&optional) {
                let is_null = match (table.name, *name) {
                    ("bindings", "user_id") => row % 2 == 0,
                    ("bindings", "client_id") => row % 2 == 1,
                    _ => *optional && row % 3 == 0,
                };
                let text = (!is_null).then(|| format!("t\u{1F511}'{row}"));
                query = match kind {
                    Type::Uuid => query.bind((!is_null).then(|| Uuid::from_u128(u128::from(row.unsigned_abs()) << 80))),
                    Type::Number => query.bind((!is_null).then_some(if row == 3 { i64::MAX } else { row })),
                    Type::Truth => query.bind(row % 2 == 0),
                    Type::Text => query.bind(text),
                    Type::Bytes => match text {
                        Some(text) => query.bind(text.into_bytes()),
                        None => query.bind(None::<&[u8]>),
                    },
                };
            }
            query.execute(&mut write).await.unwrap();
        }
        write.commit().await.unwrap();
    }
    scratch.execute("UPDATE feed SET head = 8, fence = 5, fence_at = 6, policy_version = 7").await;
}

#[tokio::test]
async fn everything_is_copied_once() {
    let (from, to) = both().await;
    fill(&from).await;
    assert!(!from.store.is_copied_into(&to.store).await.unwrap());
    let done = copy(&from, &to).await.unwrap();
    assert!(done.changed);
    let rows: Vec<_> = done.tables.iter().map(|table| (table.table, table.rows)).collect();
    assert_eq!(rows.len(), TABLES.len());
    for (table, rows) in rows {
        let expected = match table {
            "users" => 1_100,
            FEED => 1,
            CHANGES => 8,
            _ => 7,
        };
        assert_eq!(rows, expected, "{table}");
    }
    assert_eq!(to.number("SELECT count(*) FROM users WHERE external_id IS NULL").await, 367);
    assert_eq!(to.number("SELECT head * 100 + fence * 10 + policy_version FROM feed").await, 857);
    assert_eq!(to.store.setting(MARK).await.unwrap().map(|mark| mark.len()), Some(64));

    assert!(from.store.is_copied_into(&to.store).await.unwrap());
    let again = copy(&from, &to).await.unwrap();
    assert_eq!(again, Copied { changed: false, tables: done.tables });
    // Nor later, when those who serve from it have gone on.
    to.execute("UPDATE feed SET head = 9").await;
    to.execute("DELETE FROM users").await;
    assert!(!copy(&from, &to).await.unwrap().changed);
    assert_eq!(to.number("SELECT count(*) FROM users").await, 0);
}

#[tokio::test]
async fn whoever_went_on_with_the_old_one_is_told() {
    let (from, to) = both().await;
    fill(&from).await;
    copy(&from, &to).await.unwrap();
    from.execute("UPDATE users SET state = 'disabled'").await;
    let why = copy(&from, &to).await.unwrap_err();
    assert!(matches!(why, CopyError::Outdated), "{why:?}");
    assert_eq!(to.number("SELECT count(*) FROM users WHERE state = 'disabled'").await, 0);
}

#[tokio::test]
async fn another_installation_is_left_alone() {
    let (from, to) = both().await;
    fill(&from).await;
    let user = to.plant(1).await;
    let why = copy(&from, &to).await.unwrap_err();
    assert!(matches!(why, CopyError::Other { table: "users", rows: 1 }), "{why:?}");
    assert!(to.store.owner(user).await.unwrap().is_some());
    assert_eq!(to.number("SELECT count(*) FROM users").await, 1);

    let to = Scratch::new(Engine::Postgres).await;
    to.store.check_master_keys(&[(2, [9; 4])]).await.unwrap();
    let why = copy(&from, &to).await.unwrap_err();
    assert!(matches!(why, CopyError::OtherMasterKey { number: 2 }), "{why:?}");

    // A server that ran on it for a moment has made itself at home: its log has gone on.
    let to = Scratch::new(Engine::Postgres).await;
    to.store.write().await.map(|mut write| write.learn(crate::store::write::Learn::Reload)).unwrap();
    assert!(copy(&from, &to).await.unwrap().changed, "nothing was committed");
}

#[tokio::test]
async fn what_is_read_back_is_compared() {
    for (change, table) in [
        ("NEW.display_name := 'other'", "users"),
        ("NEW.sealed := '\\x00'", "signing_keys"),
        ("NEW.keep_until := 0", "revocations"),
    ] {
        let (from, to) = both().await;
        fill(&from).await;
        let url = to.server_url();
        let trigger = format!(
            "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {change}; RETURN NEW; END $$; \
             CREATE TRIGGER spoil BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION spoil()"
        );
        postern_rig::postgres::Postgres::shared().psql(url.rsplit('/').next().unwrap(), &trigger);
        let why = copy(&from, &to).await.unwrap_err();
        assert!(matches!(why, CopyError::Differs { table: spoilt } if spoilt == table), "{why:?}");
        assert_eq!(to.number("SELECT count(*) FROM users").await, 0);
        assert_eq!(to.number("SELECT head FROM feed").await, 1);
    }
}

#[tokio::test]
async fn a_copy_that_was_cut_short_is_taken_up() {
    let (from, to) = both().await;
    fill(&from).await;
    for cut in [1, 300, 1_150] {
        let seen = AtomicU64::new(0);
        let until = tokio::sync::Notify::new();
        let copying = from.store.copy_into(&to.store, WithVault::Yes, |_table, rows| {
            if seen.fetch_add(rows, Ordering::Relaxed) + rows >= cut {
                until.notify_one();
            }
        });
        tokio::select! {
            biased;
            () = until.notified() => {}
            done = copying => panic!("it was too quick: {done:?}"),
        }
    }
    assert!(copy(&from, &to).await.unwrap().changed);
    assert!(!copy(&from, &to).await.unwrap().changed);
}

#[tokio::test]
async fn the_vault_may_go_elsewhere() {
    let (from, to) = both().await;
    let (user, vault) = (UserId::generate(), from.store.vault());
    let mut put = Vec::new();
    for key in 0..1_010 {
        let slot = Slot { kind: Kind::Session, partition: user.to_string(), key: key.to_string() };
        crate::vault::Vault::insert(&vault, &slot, b"sealed", Timestamp::MAX).await.unwrap();
        put.push(slot);
    }
    let done = from.store.copy_into(&to.store, WithVault::No, |_table, _rows| {}).await.unwrap();
    assert!(done.tables.iter().all(|table| table.table != VAULT));
    assert_eq!(to.number("SELECT count(*) FROM vault").await, 0);
    let (mut after, mut found) = (i64::MIN, Vec::new());
    while let (page, Some(last)) = from.store.vault_page(after).await.unwrap() {
        found.extend(page.into_iter().map(|value| value.slot));
        after = last;
    }
    assert_eq!(found, put);
}

/// The sum of a row tells its values apart, and where they stand.
#[tokio::test]
async fn a_digest_sees_each_value() {
    let scratch = Scratch::new(Engine::Sqlite).await;
    let sum = async || {
        let mut connection = scratch.store.reader.begin().await.unwrap();
        sums(&mut connection).await.unwrap()["settings"].clone()
    };
    let mut seen = vec![sum().await];
    for (name, value) in [("a", "bc"), ("ab", "c"), ("abc", "")] {
        query("DELETE FROM settings").execute(&scratch.store.writer).await.unwrap();
        scratch.store.fix_setting(name, value).await.unwrap();
        let sum = sum().await;
        assert!(!seen.contains(&sum), "{name}");
        seen.push(sum);
    }
}
