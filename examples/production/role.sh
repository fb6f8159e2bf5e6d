#!/bin/sh
# Run once, by the image of PostgreSQL: the role of the servers, which owns nothing.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$(cat /run/secrets/server-password)" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
CREATE ROLE postern LOGIN PASSWORD :'password'
SQL
