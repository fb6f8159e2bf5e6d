//! Section 9 of the design as one table: what each RPC does while an engine is away. The README shows it, and the tests hold
//! the server against it.

use std::fmt::Write as _;

/// What is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Away {
    Redis,
    Postgres,
    Both,
}

/// What becomes of an RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Works,
    /// The session is over; its record in the vault is cleaned later.
    WorksWithoutVault,
    /// Until `feed.max_staleness`, then `NOT_FRESH`.
    WorksWhileFresh,
    Unavailable,
}

use Fate::{Unavailable, Works, WorksWhileFresh, WorksWithoutVault};

struct Row {
    /// Of a service whose other RPCs stand in the last row.
    rpcs: &'static [&'static str],
    redis: Fate,
    postgres: Fate,
}

const ROWS: &[Row] = &[
    Row { rpcs: &["Verify", "BatchVerify", "GetKeys", "GetServerInfo"], redis: Works, postgres: WorksWhileFresh },
    Row { rpcs: &["ListProviders"], redis: Works, postgres: Works },
    Row { rpcs: SESSIONS, redis: Unavailable, postgres: Unavailable },
    Row { rpcs: &["ListIdentities"], redis: Works, postgres: Unavailable },
    Row { rpcs: &["Revoke"], redis: WorksWithoutVault, postgres: Unavailable },
    Row { rpcs: ADMINISTRATION, redis: Works, postgres: Unavailable },
];

const SESSIONS: &[&str] = &[
    "Login",
    "CompleteChallenge",
    "Refresh",
    "ListSessions",
    "OAuthStart",
    "OAuthExchange",
    "OAuthUnlink",
    "ExchangeToken",
    "ChangePassword",
    "LinkIdentity",
    "UnlinkIdentity",
];
const ADMINISTRATION: &[&str] = &[];

/// What is to become of an RPC.
pub(crate) fn fate(rpc: &str, away: Away) -> Fate {
    let row = ROWS.iter().find(|row| row.rpcs.contains(&rpc) || row.rpcs.is_empty()).unwrap();
    match (away, row.redis, row.postgres) {
        (Away::Redis, fate, _) | (Away::Postgres, _, fate) => fate,
        (Away::Both, Unavailable, _) => Unavailable,
        (Away::Both, _, postgres) => postgres,
    }
}

/// As the README has it.
pub(crate) fn table() -> String {
    let mut table = "| RPC | Redis away | PostgreSQL away | both away |\n|---|---|---|---|\n".to_owned();
    for row in ROWS {
        let rpcs = row.rpcs.iter().map(|rpc| format!("`{rpc}`")).collect::<Vec<_>>().join(", ");
        let rpcs = if rpcs.is_empty() { "all else of `AdminService`".to_owned() } else { rpcs };
        let rpc = row.rpcs.first().copied().unwrap_or("any other");
        let [redis, postgres, both] = [Away::Redis, Away::Postgres, Away::Both].map(|away| words(fate(rpc, away)));
        writeln!(table, "| {rpcs} | {redis} | {postgres} | {both} |").unwrap();
    }
    table
}

fn words(fate: Fate) -> &'static str {
    match fate {
        Works => "works",
        WorksWithoutVault => "works: over is what SQL says; the record on Redis expires",
        WorksWhileFresh => "works until `feed.max_staleness`, then `UNAVAILABLE` (`NOT_FRESH`)",
        Unavailable => "`UNAVAILABLE` (`ENGINE_UNAVAILABLE`)",
    }
}
