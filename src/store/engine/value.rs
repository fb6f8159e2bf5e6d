//! What a statement is given, in the palette that both engines share.

use std::borrow::Cow;

use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments};
use uuid::Uuid;

use crate::store::engine::Statement;

/// Typed also where it is NULL: PostgreSQL asks for the type of every parameter.
pub(in crate::store) enum Value<'q> {
    Uuid(Option<Uuid>),
    Number(Option<i64>),
    Truth(bool),
    Text(Option<Cow<'q, str>>),
    Bytes(Option<Cow<'q, [u8]>>),
}

macro_rules! values {
    ($($from:ty => |$value:ident| $into:expr;)*) => {
        $(impl<'q> From<$from> for Value<'q> {
            fn from($value: $from) -> Self {
                $into
            }
        })*
    };
}

values! {
    Uuid => |value| Self::Uuid(Some(value));
    Option<Uuid> => |value| Self::Uuid(value);
    i64 => |value| Self::Number(Some(value));
    Option<i64> => |value| Self::Number(value);
    u32 => |value| Self::Number(Some(value.into()));
    bool => |value| Self::Truth(value);
    &'q str => |value| Self::Text(Some(value.into()));
    String => |value| Self::Text(Some(value.into()));
    Option<&'q str> => |value| Self::Text(value.map(Cow::from));
    Option<String> => |value| Self::Text(value.map(Cow::from));
    &'q [u8] => |value| Self::Bytes(Some(value.into()));
    Vec<u8> => |value| Self::Bytes(Some(value.into()));
    Option<&'q [u8]> => |value| Self::Bytes(value.map(Cow::from));
}

pub(super) fn to_sqlite<'a>(statement: &'a Statement, values: &'a [Value<'_>]) -> Query<'a, Sqlite, SqliteArguments> {
    let query = match statement {
        Statement::Fixed(text) => sqlx::query(*text),
        Statement::Built(text) => sqlx::query(AssertSqlSafe(text.as_str())).persistent(false),
    };
    values.iter().fold(query, |query, value| match value {
        Value::Uuid(uuid) => query.bind(*uuid),
        Value::Number(number) => query.bind(*number),
        Value::Truth(truth) => query.bind(*truth),
        Value::Text(text) => query.bind(text.as_deref()),
        Value::Bytes(bytes) => query.bind(bytes.as_deref()),
    })
}

pub(super) fn to_postgres<'a>(statement: &'a Statement, values: &'a [Value<'_>]) -> Query<'a, Postgres, PgArguments> {
    let query = match statement {
        Statement::Fixed(text) => sqlx::query(*text),
        Statement::Built(text) => sqlx::query(AssertSqlSafe(text.as_str())),
    };
    values.iter().fold(query, |query, value| match value {
        Value::Uuid(uuid) => query.bind(*uuid),
        Value::Number(number) => query.bind(*number),
        Value::Truth(truth) => query.bind(*truth),
        // PostgreSQL's text has no NUL. A name with one names nobody, rather than failing as an outage would.
        Value::Text(Some(text)) if text.contains('\0') => query.bind(text.replace('\0', "\u{FFFD}")),
        Value::Text(text) => query.bind(text.as_deref()),
        Value::Bytes(bytes) => query.bind(bytes.as_deref()),
    })
}
