//! Rows of any table: read in pages, written in batches, and summed up so that both engines come to the same.

use aws_lc_rs::digest::{self, SHA256};
use uuid::Uuid;

use crate::store::StoreError;
use crate::store::copy::CopiedTable;
use crate::store::engine::{Connection, Row, Value, built_rows};
use crate::store::tables::{Table, Type};

/// Rows in one step. The widest table has 18 columns, and a statement takes 32,766 values on SQLite.
const PAGE: usize = 500;

/// Of all rows of a table, in whatever order: engines place NULL at different ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest {
    rows: u64,
    /// The digests of all rows, one over the other. Each table has a unique key, so no two rows take each other away.
    sum: [u8; 32],
}

impl Digest {
    fn add(&mut self, row: &[Cell]) {
        let mut one = digest::Context::new(&SHA256);
        for cell in row {
            cell.update(&mut one);
        }
        self.sum.iter_mut().zip(one.finish().as_ref()).for_each(|(sum, byte)| *sum ^= byte);
        self.rows += 1;
    }

    pub(super) fn report(&self, table: &'static str) -> CopiedTable {
        CopiedTable { table, rows: self.rows, digest: hexadecimal(&self.sum) }
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// A value of the palette. Without `Debug`: it may be a hash or a sealed key.
enum Cell {
    Uuid(Option<Uuid>),
    Number(Option<i64>),
    Truth(bool),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl Cell {
    fn read(row: &Row, (column, kind): (&str, Type)) -> Result<Self, sqlx::Error> {
        Ok(match kind {
            Type::Uuid => Self::Uuid(row.try_get(column)?),
            Type::Number => Self::Number(row.try_get(column)?),
            Type::Truth => Self::Truth(row.try_get(column)?),
            // As it is written: PostgreSQL's text has no NUL.
            Type::Text => Self::Text(row.try_get::<Option<String>>(column)?.map(|text| text.replace('\0', "\u{FFFD}"))),
            Type::Bytes => Self::Bytes(row.try_get(column)?),
        })
    }

    /// With its length, so that no two rows look the same in a line.
    fn update(&self, digest: &mut digest::Context) {
        let number;
        let bytes: Option<&[u8]> = match self {
            Self::Uuid(value) => value.as_ref().map(|value| value.as_bytes().as_slice()),
            Self::Number(value) => {
                number = value.map(i64::to_be_bytes);
                number.as_ref().map(<[u8; 8]>::as_slice)
            }
            Self::Truth(value) => Some(if *value { b"1" } else { b"0" }),
            Self::Text(value) => value.as_ref().map(String::as_bytes),
            Self::Bytes(value) => value.as_deref(),
        };
        let len = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
        digest.update(&len.to_be_bytes());
        digest.update(bytes.unwrap_or_default());
    }

    fn value(&self) -> Value<'_> {
        match self {
            Self::Uuid(value) => (*value).into(),
            Self::Number(value) => (*value).into(),
            Self::Truth(value) => (*value).into(),
            Self::Text(value) => value.as_deref().into(),
            Self::Bytes(value) => value.as_deref().into(),
        }
    }
}

/// Sums all rows of a table up; `seen` hears how many there are so far.
pub(super) async fn read_all(
    table: &Table,
    connection: &mut Connection,
    mut seen: impl FnMut(u64),
) -> Result<Digest, StoreError> {
    let mut digest = Digest::default();
    let mut pages = Pages::of(table);
    while let Some(page) = pages.next(connection).await? {
        for row in &page {
            digest.add(row);
        }
        seen(digest.rows);
    }
    Ok(digest)
}

/// Writes all rows of a table that has none.
pub(super) async fn write_all(
    table: &Table,
    source: &mut Connection,
    target: &mut Connection,
    tell: &mut impl FnMut(&'static str, u64),
) -> Result<(), StoreError> {
    let mut written = 0;
    let mut pages = Pages::of(table);
    while let Some(page) = pages.next(source).await? {
        let places: Vec<String> = (0..page.len()).map(|row| places(row, table.columns.len())).collect();
        let insert = format!("INSERT INTO {} ({}) VALUES {}", table.name, columns(table), places.join(", "));
        let cells = page.iter().flatten();
        cells.fold(built_rows(insert), |query, cell| query.bind(cell.value())).execute(&mut *target).await?;
        written += page.len() as u64;
        tell(table.name, written);
    }
    if written == 0 {
        tell(table.name, 0);
    }
    Ok(())
}

/// `($1, $2)` of the first row, `($3, $4)` of the second.
fn places(row: usize, width: usize) -> String {
    let places: Vec<String> = (1..=width).map(|column| format!("${}", row * width + column)).collect();
    format!("({})", places.join(", "))
}

fn columns(table: &Table) -> String {
    table.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// A table from its first row to its last, one page after the other, in one transaction.
struct Pages<'t> {
    table: &'t Table,
    after: i64,
    begun: bool,
    over: bool,
}

impl<'t> Pages<'t> {
    fn of(table: &'t Table) -> Self {
        Self { table, after: i64::MIN, begun: false, over: false }
    }

    async fn next(&mut self, connection: &mut Connection) -> Result<Option<Vec<Vec<Cell>>>, StoreError> {
        if self.over {
            return Ok(None);
        }
        let rows = if connection.is_postgres() { self.fetch(connection).await? } else { self.seek(connection).await? };
        self.over = rows.len() < PAGE;
        let cells = |row: &Row| {
            self.table.columns.iter().map(|(name, kind)| Cell::read(row, (name, *kind))).collect::<Result<Vec<_>, _>>()
        };
        let page = rows.iter().map(cells).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(page).filter(|page| !page.is_empty()))
    }

    /// On PostgreSQL: a cursor, which holds what its transaction saw.
    async fn fetch(&mut self, connection: &mut Connection) -> Result<Vec<Row>, StoreError> {
        let Table { name, .. } = self.table;
        if !self.begun {
            self.begun = true;
            let declare = format!("DECLARE all_{name} CURSOR FOR SELECT {} FROM {name}", columns(self.table));
            built_rows(declare).execute(&mut *connection).await?;
        }
        let rows = built_rows(format!("FETCH {PAGE} FROM all_{name}")).fetch_all(&mut *connection).await?;
        if rows.len() < PAGE {
            built_rows(format!("CLOSE all_{name}")).execute(connection).await?;
        }
        Ok(rows)
    }

    /// On SQLite: by the row ids, which every table of ours has.
    async fn seek(&mut self, connection: &mut Connection) -> Result<Vec<Row>, StoreError> {
        let (table, columns) = (self.table.name, columns(self.table));
        let page =
            format!("SELECT rowid AS row_id, {columns} FROM {table} WHERE rowid > $1 ORDER BY rowid LIMIT {PAGE}");
        let rows = built_rows(page).bind(self.after).fetch_all(connection).await?;
        if let Some(last) = rows.last() {
            self.after = last.try_get("row_id")?;
        }
        Ok(rows)
    }
}
