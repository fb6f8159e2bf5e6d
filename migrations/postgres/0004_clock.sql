-- The database's time in microseconds of Unix time, under one name on both engines. Not now(): a transaction may have
-- waited for another before it asks. A standby has none to give: what else it would say may be old, and behind a pooler
-- it may answer from one question to the next.
CREATE FUNCTION clock_micros() RETURNS BIGINT LANGUAGE plpgsql AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'the server is a standby' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    RETURN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
END
$$;
CREATE VIEW clock AS SELECT clock_micros() AS now;
