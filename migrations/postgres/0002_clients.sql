-- Clients that administrators registered. Those of the configuration are in no table.
CREATE TABLE clients (
    id TEXT COLLATE "C" PRIMARY KEY,
    display_name TEXT COLLATE "C" NOT NULL,
    audience TEXT COLLATE "C" NOT NULL,
    -- Lists, as JSON.
    token_audiences TEXT COLLATE "C" NOT NULL,
    return_urls TEXT COLLATE "C" NOT NULL,
    -- Microseconds; NULL: as the server has it.
    access_ttl BIGINT,
    idle_ttl BIGINT,
    absolute_ttl BIGINT,
    refresh_grace BIGINT,
    max_per_user BIGINT,
    disabled BOOLEAN NOT NULL,
    -- As a user's: raised by every change of its bindings.
    version BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    etag BIGINT NOT NULL
);

-- SHA-256 of 32 random bytes each, so the digest alone finds the client.
CREATE TABLE client_secrets (
    digest BYTEA PRIMARY KEY,
    client_id TEXT COLLATE "C" NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    create_time BIGINT NOT NULL,
    -- NULL: for good.
    end_time BIGINT
);
CREATE INDEX client_secrets_client_id ON client_secrets (client_id);

-- A name proves one client.
CREATE TABLE client_sans (
    san TEXT COLLATE "C" PRIMARY KEY,
    client_id TEXT COLLATE "C" NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    -- In the order in which they were given.
    position BIGINT NOT NULL
);
CREATE INDEX client_sans_client_id ON client_sans (client_id);
