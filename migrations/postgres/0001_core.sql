-- Instants are microseconds of Unix time; text is ordered by its bytes. The same tables, names and columns as on SQLite.

-- What is fixed at the first start, such as the development issuer.
CREATE TABLE settings (
    name TEXT COLLATE "C" PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);

-- A master key shows itself by a check value, so that a server with other bytes under the same number does not start.
CREATE TABLE master_keys (
    number BIGINT PRIMARY KEY,
    check_value BYTEA NOT NULL
);

-- One row. Each transaction that verifiers must learn of takes its ids from `head` last, so that ids appear in commit
-- order and without gaps.
CREATE TABLE feed (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    head BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    fence_at BIGINT NOT NULL,
    policy_version BIGINT NOT NULL
);

CREATE TABLE changes (
    id BIGINT PRIMARY KEY,
    -- Random, so that a log that was rewound and grew again is not taken for the one that was read.
    mark BYTEA NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    -- Names of things that may be gone by now, hence no foreign keys.
    user_id UUID,
    client_id TEXT COLLATE "C",
    session_id UUID
);
CREATE INDEX changes_at ON changes (at);

-- The first row is there from the start: a reader's cursor always stands on a row.
INSERT INTO feed (id, head, fence, fence_at, policy_version) VALUES (1, 1, 0, 0, 0);
INSERT INTO changes (id, mark, at, kind)
VALUES (1, decode(substr(replace(gen_random_uuid()::text, '-', ''), 17), 'hex'),
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, 'reload');

CREATE TABLE users (
    id UUID PRIMARY KEY,
    external_id TEXT COLLATE "C" UNIQUE,
    email TEXT COLLATE "C",
    email_canonical TEXT COLLATE "C" UNIQUE,
    email_verified BOOLEAN NOT NULL,
    user_name TEXT COLLATE "C",
    user_name_canonical TEXT COLLATE "C" UNIQUE,
    display_name TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    roles_at BIGINT NOT NULL,
    floor BIGINT NOT NULL,
    floor_at BIGINT NOT NULL,
    floor_cause TEXT COLLATE "C" NOT NULL,
    floor_except UUID,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    etag BIGINT NOT NULL
);
CREATE INDEX users_version ON users (version);

CREATE TABLE passwords (
    user_id UUID PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    hash TEXT COLLATE "C" NOT NULL,
    set_at BIGINT NOT NULL
);

-- Makes a retry of CreateUser safe for a day.
CREATE TABLE creations (
    request_id UUID PRIMARY KEY,
    user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    at BIGINT NOT NULL
);
CREATE INDEX creations_user_id ON creations (user_id);
CREATE INDEX creations_at ON creations (at);

-- All but the built-in ones. `etag` is the policy's version at the last change of the role.
CREATE TABLE roles (
    id TEXT COLLATE "C" PRIMARY KEY,
    description TEXT COLLATE "C" NOT NULL,
    patterns TEXT COLLATE "C" NOT NULL,
    inherits TEXT COLLATE "C" NOT NULL,
    etag BIGINT NOT NULL
);

-- Which of the two ids is set says the kind of principal. Role names are checked by the writer, because the built-in
-- ones are in no table.
CREATE TABLE bindings (
    user_id UUID REFERENCES users (id) ON DELETE CASCADE,
    client_id TEXT COLLATE "C",
    role TEXT COLLATE "C" NOT NULL,
    -- '' is everywhere, so that uniqueness sees it.
    tenant TEXT COLLATE "C" NOT NULL,
    expires_at BIGINT,
    create_time BIGINT NOT NULL,
    -- NULL: the server itself, at its first start.
    granted_by TEXT COLLATE "C",
    CHECK ((user_id IS NULL) <> (client_id IS NULL)),
    UNIQUE (user_id, role, tenant),
    UNIQUE (client_id, role, tenant)
);
CREATE INDEX bindings_role ON bindings (role);
CREATE INDEX bindings_expires_at ON bindings (expires_at);

-- Kept until the session's absolute end, because Refresh asks here. A deleted user's stay, hence no foreign key.
CREATE TABLE revocations (
    user_id UUID NOT NULL,
    session_id UUID NOT NULL,
    cause TEXT COLLATE "C" NOT NULL,
    end_time BIGINT NOT NULL,
    keep_until BIGINT NOT NULL,
    summary BYTEA,
    PRIMARY KEY (user_id, session_id)
);
CREATE INDEX revocations_end_time ON revocations (end_time);
CREATE INDEX revocations_keep_until ON revocations (keep_until);

CREATE TABLE generation_floors (
    session_id UUID PRIMARY KEY,
    user_id UUID NOT NULL,
    generation BIGINT NOT NULL,
    at BIGINT NOT NULL,
    keep_until BIGINT NOT NULL
);
CREATE INDEX generation_floors_keep_until ON generation_floors (keep_until);

CREATE TABLE signing_keys (
    kid TEXT COLLATE "C" PRIMARY KEY,
    algorithm TEXT COLLATE "C" NOT NULL,
    master_key BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    publish_time BIGINT NOT NULL,
    sign_time BIGINT NOT NULL,
    retire_time BIGINT
);

CREATE TABLE audit (
    id UUID PRIMARY KEY,
    time BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    actor TEXT COLLATE "C",
    target TEXT COLLATE "C",
    session_id UUID,
    client TEXT COLLATE "C",
    ip_address TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C",
    detail TEXT COLLATE "C" NOT NULL
);

-- The SQL form of the vault: opaque sealed values.
CREATE TABLE vault (
    kind TEXT COLLATE "C" NOT NULL,
    partition TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    value BYTEA NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (kind, partition, key)
);
CREATE INDEX vault_expires_at ON vault (expires_at);
