-- Instants are microseconds of Unix time, ids are 16 bytes, truth is 0 or 1. The same tables, names and columns as on
-- PostgreSQL.

-- What is fixed at the first start, such as the development issuer.
CREATE TABLE settings (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT;

-- A master key shows itself by a check value, so that a server with other bytes under the same number does not start.
CREATE TABLE master_keys (
    number INTEGER PRIMARY KEY NOT NULL,
    check_value BLOB NOT NULL
) STRICT;

-- One row. Each transaction that verifiers must learn of takes its ids from `head` last, so that ids appear in commit
-- order and without gaps.
CREATE TABLE feed (
    id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    head INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    fence_at INTEGER NOT NULL,
    policy_version INTEGER NOT NULL
) STRICT;

CREATE TABLE changes (
    id INTEGER PRIMARY KEY NOT NULL,
    -- Random, so that a log that was rewound and grew again is not taken for the one that was read.
    mark BLOB NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    -- Names of things that may be gone by now, hence no foreign keys.
    user_id BLOB,
    client_id TEXT,
    session_id BLOB
) STRICT;
CREATE INDEX changes_at ON changes (at);

-- The first row is there from the start: a reader's cursor always stands on a row.
INSERT INTO feed (id, head, fence, fence_at, policy_version) VALUES (1, 1, 0, 0, 0);
INSERT INTO changes (id, mark, at, kind)
VALUES (1, randomblob(8), CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000, 'reload');

CREATE TABLE users (
    id BLOB PRIMARY KEY NOT NULL,
    external_id TEXT UNIQUE,
    email TEXT,
    email_canonical TEXT UNIQUE,
    email_verified INTEGER NOT NULL,
    user_name TEXT,
    user_name_canonical TEXT UNIQUE,
    display_name TEXT NOT NULL,
    state TEXT NOT NULL,
    version INTEGER NOT NULL,
    roles_at INTEGER NOT NULL,
    floor INTEGER NOT NULL,
    floor_at INTEGER NOT NULL,
    floor_cause TEXT NOT NULL,
    floor_except BLOB,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    etag INTEGER NOT NULL
) STRICT;
CREATE INDEX users_version ON users (version);

CREATE TABLE passwords (
    user_id BLOB PRIMARY KEY NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash TEXT NOT NULL,
    set_at INTEGER NOT NULL
) STRICT;

-- Makes a retry of CreateUser safe for a day.
CREATE TABLE creations (
    request_id BLOB PRIMARY KEY NOT NULL,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX creations_user_id ON creations (user_id);
CREATE INDEX creations_at ON creations (at);

-- All but the built-in ones. `etag` is the policy's version at the last change of the role.
CREATE TABLE roles (
    id TEXT PRIMARY KEY NOT NULL,
    description TEXT NOT NULL,
    patterns TEXT NOT NULL,
    inherits TEXT NOT NULL,
    etag INTEGER NOT NULL
) STRICT;

-- Which of the two ids is set says the kind of principal. Role names are checked by the writer, because the built-in
-- ones are in no table.
CREATE TABLE bindings (
    user_id BLOB REFERENCES users (id) ON DELETE CASCADE,
    client_id TEXT,
    role TEXT NOT NULL,
    -- '' is everywhere, so that uniqueness sees it.
    tenant TEXT NOT NULL,
    expires_at INTEGER,
    create_time INTEGER NOT NULL,
    -- NULL: the server itself, at its first start.
    granted_by TEXT,
    CHECK ((user_id IS NULL) <> (client_id IS NULL)),
    UNIQUE (user_id, role, tenant),
    UNIQUE (client_id, role, tenant)
) STRICT;
CREATE INDEX bindings_role ON bindings (role);
CREATE INDEX bindings_expires_at ON bindings (expires_at);

-- Kept until the session's absolute end, because Refresh asks here. A deleted user's stay, hence no foreign key.
CREATE TABLE revocations (
    user_id BLOB NOT NULL,
    session_id BLOB NOT NULL,
    cause TEXT NOT NULL,
    end_time INTEGER NOT NULL,
    keep_until INTEGER NOT NULL,
    summary BLOB,
    PRIMARY KEY (user_id, session_id)
) STRICT;
CREATE INDEX revocations_end_time ON revocations (end_time);
CREATE INDEX revocations_keep_until ON revocations (keep_until);

CREATE TABLE generation_floors (
    session_id BLOB PRIMARY KEY NOT NULL,
    user_id BLOB NOT NULL,
    generation INTEGER NOT NULL,
    at INTEGER NOT NULL,
    keep_until INTEGER NOT NULL
) STRICT;
CREATE INDEX generation_floors_keep_until ON generation_floors (keep_until);

CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY NOT NULL,
    algorithm TEXT NOT NULL,
    master_key INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    publish_time INTEGER NOT NULL,
    sign_time INTEGER NOT NULL,
    retire_time INTEGER
) STRICT;

CREATE TABLE audit (
    id BLOB PRIMARY KEY NOT NULL,
    time INTEGER NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT,
    target TEXT,
    session_id BLOB,
    client TEXT,
    ip_address TEXT NOT NULL,
    request_id TEXT NOT NULL,
    reason TEXT,
    detail TEXT NOT NULL
) STRICT;

-- The SQL form of the vault: opaque sealed values.
CREATE TABLE vault (
    kind TEXT NOT NULL,
    partition TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (kind, partition, key)
) STRICT;
CREATE INDEX vault_expires_at ON vault (expires_at);
