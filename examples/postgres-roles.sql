-- Roles and rights on PostgreSQL: `postern_owner` makes the tables, `postern` serves and can do no more than read and write
-- rows. Whoever breaks into the service then finds no way to change tables, to read files or to run programs.
--
-- Run it with psql as a superuser, once before the first `postern migrate` and once after it; it may be repeated at any time:
--
--     psql -v ON_ERROR_STOP=1 -f postgres-roles.sql postgres
--
-- Then give both roles a password: \password postern_owner and \password postern. In the settings:
--
--     [store.postgres]
--     url = { file = "…" }          # postgres://postern:…@host/postern?sslmode=verify-full
--     migrate_url = { file = "…" }  # postgres://postern_owner:…@host/postern?sslmode=verify-full
--
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

-- Tables are made by the owner; the service uses them, also those of later versions.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO postern_owner;
GRANT USAGE ON SCHEMA public TO postern;
ALTER DEFAULT PRIVILEGES FOR ROLE postern_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO postern;

-- The history of the tables is not the service's to write, and what was audited stays as it is.
SELECT 'REVOKE INSERT, UPDATE, DELETE ON _sqlx_migrations FROM postern'
WHERE to_regclass('public._sqlx_migrations') IS NOT NULL \gexec
SELECT 'REVOKE UPDATE, DELETE ON audit FROM postern' WHERE to_regclass('public.audit') IS NOT NULL \gexec
