//! A whole installation from one engine into another: every table, row by row as it is, in one transaction that is read back
//! and compared before it is committed. So a copy that was cut short has left nothing, and one that was made is known by
//! the mark that it leaves. Must not know what the rows mean.

mod rows;

use std::collections::BTreeMap;

use aws_lc_rs::digest::{self, SHA256};

use crate::domain::time::Timestamp;
use crate::store::copy::rows::{Digest, read_all, write_all};
use crate::store::engine::{Connection, built_rows, query, query_as, query_scalar};
use crate::store::tables::{CHANGES, FEED, TABLES, Table, VAULT};
use crate::store::{Store, StoreError};
use crate::vault::{Kind, Slot};

/// How long all of it may take.
const COPY_MAX: std::time::Duration = std::time::Duration::from_hours(6);
/// The setting that says what a copy was made of. The source has none.
const MARK: &str = "copied_from";

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// `false`: all of it was there from an earlier copy, and nothing was written.
    pub changed: bool,
    /// Each table with its rows.
    pub tables: Vec<CopiedTable>,
}

/// A table that is the same on both sides, as its digest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedTable {
    pub table: &'static str,
    pub rows: u64,
    /// Of all rows, in hexadecimal.
    pub digest: String,
}

/// Why nothing was copied. Both sides are as they were.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Other master keys, or the same one with other users: not a place to write to.
    #[error("it holds another installation: its `{table}` has {rows} rows that this store has not")]
    Other { table: &'static str, rows: u64 },
    #[error("it holds another installation: it was made with another master key {number}")]
    OtherMasterKey { number: i64 },
    #[error("it holds an earlier copy of this store, which has changed since: somebody wrote to it after it had moved")]
    Outdated,
    #[error("`{table}` was read back with other content than was written; nothing was kept")]
    Differs { table: &'static str },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for CopyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What of a value of the vault an engine of its own needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultValue {
    pub slot: Slot,
    pub value: Vec<u8>,
    pub expires_at: Timestamp,
}

/// What expires goes along, or has been brought elsewhere already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithVault {
    Yes,
    No,
}

impl Store {
    /// Whether [`Store::copy_into`] would change anything.
    ///
    /// # Errors
    /// As it would end with.
    pub async fn is_copied_into(&self, target: &Self) -> Result<bool, CopyError> {
        let mut source = self.reader.begin().await?;
        source.allow(COPY_MAX);
        let sums = sums(&mut source).await?;
        let mut there = target.reader.begin().await?;
        there.allow(COPY_MAX);
        is_copy(&mut source, &sums, &mut there).await
    }

    /// Copies everything into another store, whose tables are up to date and which holds nothing yet; `tell` hears of each
    /// table and of how many rows are done.
    ///
    /// # Errors
    /// If anything else is there; nothing is written then.
    pub async fn copy_into(
        &self,
        target: &Self,
        with_vault: WithVault,
        mut tell: impl FnMut(&'static str, u64),
    ) -> Result<Copied, CopyError> {
        let mut source = self.reader.begin().await?;
        let sums = sums(&mut source).await?;
        let tables = |sums: &BTreeMap<&'static str, Digest>| {
            let of = |table: &Table| sums.get(table.name).map(|digest| digest.report(table.name));
            TABLES.iter().filter_map(of).collect::<Vec<_>>()
        };
        // The one transaction that changes something there, as any other: those of servers wait for it.
        let mut write = target.write().await?;
        write.connection().allow(COPY_MAX);
        if is_copy(&mut source, &sums, write.connection()).await? {
            return Ok(Copied { changed: false, tables: tables(&sums) });
        }
        // What the migrations put there; the log goes on where the source's ends, so that cursors and revisions hold.
        for table in [CHANGES, FEED] {
            built_rows(format!("DELETE FROM {table}")).execute(write.connection()).await?;
        }
        let mut written = sums.clone();
        for table in TABLES {
            if table.name == VAULT && with_vault == WithVault::No {
                written.remove(VAULT);
                continue;
            }
            write_all(table, &mut source, write.connection(), &mut tell).await?;
        }
        for table in TABLES.iter().filter(|table| written.contains_key(table.name)) {
            let digest = read_all(table, write.connection(), |_rows| {}).await?;
            if Some(&digest) != written.get(table.name) {
                return Err(CopyError::Differs { table: table.name });
            }
        }
        leave_mark(write.connection(), &mark(&sums)).await?;
        // Without a place in the log: a process that reads this store reads all of it anew.
        write.commit().await?;
        Ok(Copied { changed: true, tables: tables(&written) })
    }

    /// All values of the vault that are still worth something, in pages: those behind `after`, and what stands behind the
    /// last of them.
    pub async fn vault_page(&self, after: i64) -> Result<(Vec<VaultValue>, Option<i64>), StoreError> {
        // The row id: SQLite has one for each row, and this is only asked of the embedded store.
        const PAGE: &str = "SELECT rowid, kind, partition, key, value, expires_at FROM vault WHERE rowid > $1 \
            ORDER BY rowid LIMIT 500";
        let rows: Vec<(i64, String, String, String, Vec<u8>, i64)> =
            query_as(PAGE).bind(after).fetch_all(&self.reader).await?;
        let last = rows.last().map(|row| row.0);
        let value = |(_, kind, partition, key, value, expires_at): (i64, String, String, String, Vec<u8>, i64)| {
            let kind = Kind::from_name(&kind).ok_or(StoreError::corrupt("a value of an unknown kind in the vault"))?;
            let expires_at = Timestamp::from_micros(expires_at);
            Ok(VaultValue { slot: Slot { kind, partition, key }, value, expires_at })
        };
        Ok((rows.into_iter().map(value).collect::<Result<_, StoreError>>()?, last))
    }
}

async fn sums(source: &mut Connection) -> Result<BTreeMap<&'static str, Digest>, CopyError> {
    let mut sums = BTreeMap::new();
    for table in TABLES {
        sums.insert(table.name, read_all(table, source, |_rows| {}).await?);
    }
    Ok(sums)
}

/// Whether the target holds a copy of just this. Anything else that it holds is refused.
async fn is_copy(
    source: &mut Connection,
    sums: &BTreeMap<&'static str, Digest>,
    target: &mut Connection,
) -> Result<bool, CopyError> {
    const MARKED: &str = "SELECT value FROM settings WHERE name = $1";
    const KEYS: &str = "SELECT number, check_value FROM master_keys ORDER BY number";
    const HEAD: &str = "SELECT head FROM feed";
    let own: Vec<(i64, Vec<u8>)> = query_as(KEYS).fetch_all(source).await?;
    let there: Vec<(i64, Vec<u8>)> = query_as(KEYS).fetch_all(&mut *target).await?;
    let is_foreign =
        |(number, check): &&(i64, Vec<u8>)| own.iter().any(|(same, other)| same == number && other != check);
    if let Some((number, _)) = there.iter().find(is_foreign) {
        return Err(CopyError::OtherMasterKey { number: *number });
    }
    let marked: Option<String> = query_scalar(MARKED).bind(MARK).fetch_optional(&mut *target).await?;
    if let Some(marked) = marked {
        return if marked == mark(sums) { Ok(true) } else { Err(CopyError::Outdated) };
    }
    let head: i64 = query_scalar(HEAD).fetch_one(&mut *target).await?;
    for table in TABLES {
        let rows = count(table, target).await?;
        let own = u64::from([FEED, CHANGES].contains(&table.name));
        if rows > own || head > 1 {
            return Err(CopyError::Other { table: table.name, rows });
        }
    }
    Ok(false)
}

async fn count(table: &Table, connection: &mut Connection) -> Result<u64, StoreError> {
    let statement = format!("SELECT count(*) AS rows FROM {}", table.name);
    let rows: i64 = built_rows(statement).fetch_one(connection).await?.try_get("rows")?;
    Ok(u64::try_from(rows).unwrap_or_default())
}

async fn leave_mark(target: &mut Connection, mark: &str) -> Result<(), StoreError> {
    const LEAVE: &str = "INSERT INTO settings (name, value) VALUES ($1, $2)";
    query(LEAVE).bind(MARK).bind(mark).execute(target).await?;
    Ok(())
}

/// What a copy is known by: all that was copied.
fn mark(sums: &BTreeMap<&'static str, Digest>) -> String {
    let mut all = digest::Context::new(&SHA256);
    for (table, sum) in sums {
        all.update(format!("{table} {}\n", sum.report(table).digest).as_bytes());
    }
    rows::hexadecimal(all.finish().as_ref())
}

#[cfg(test)]
mod tests;
