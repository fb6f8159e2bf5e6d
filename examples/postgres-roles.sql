-- Roles and rights on PostgreSQL: `postern_owner` makes the tables, `postern` serves and can do no more than read and write
-- rows. Whoever breaks into the service then finds no way to change tables, to read files or to run programs.
--
-- Run it with psql as a superuser, before the first `postern migrate`; it may be repeated at any time:
--
--     psql -v ON_ERROR_STOP=1 -f postgres-roles.sql postgres
--
-- Then give both roles a password: \password postern_owner and \password postern. In the settings:
--
--     [store.postgres]
--     url = { file = "…" }          # postgres://postern:…@host/postern?sslmode=verify-full
--     migrate_url = { file = "…" }  # postgres://postern_owner:…@host/postern?sslmode=verify-full
--
-- What the service may do with the tables, `postern migrate --grant-to postern` says, when it has made them.
-- Another name of the database: -v database=NAME.
\if :{?database}
\else
\set database postern
\endif

SELECT 'CREATE ROLE postern_owner LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'postern_owner') \gexec
SELECT 'CREATE ROLE postern LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'postern') \gexec
SELECT format('CREATE DATABASE %I OWNER postern_owner', :'database')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
\connect :"database"

-- Of the database: nobody else comes in, and nobody makes temporary tables.
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO postern;

-- Tables are made by the owner alone.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO postern_owner;
GRANT USAGE ON SCHEMA public TO postern;
