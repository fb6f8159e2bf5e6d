-- Clients that administrators registered. Those of the configuration are in no table.
CREATE TABLE clients (
    id TEXT PRIMARY KEY NOT NULL,
    display_name TEXT NOT NULL,
    audience TEXT NOT NULL,
    -- Lists, as JSON.
    token_audiences TEXT NOT NULL,
    return_urls TEXT NOT NULL,
    -- Microseconds; NULL: as the server has it.
    access_ttl INTEGER,
    idle_ttl INTEGER,
    absolute_ttl INTEGER,
    refresh_grace INTEGER,
    max_per_user INTEGER,
    disabled INTEGER NOT NULL,
    -- As a user's: raised by every change of its bindings.
    version INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    etag INTEGER NOT NULL
) STRICT;

-- SHA-256 of 32 random bytes each, so the digest alone finds the client.
CREATE TABLE client_secrets (
    digest BLOB PRIMARY KEY NOT NULL,
    client_id TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    create_time INTEGER NOT NULL,
    -- NULL: for good.
    end_time INTEGER
) STRICT;
CREATE INDEX client_secrets_client_id ON client_secrets (client_id);

-- A name proves one client.
CREATE TABLE client_sans (
    san TEXT PRIMARY KEY NOT NULL,
    client_id TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    -- In the order in which they were given.
    position INTEGER NOT NULL
) STRICT;
CREATE INDEX client_sans_client_id ON client_sans (client_id);
