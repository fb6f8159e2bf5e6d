-- The database's time in microseconds of Unix time, under one name on both engines. Not now(): a transaction may have
-- waited for another before it asks.
CREATE VIEW clock AS SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now;
