-- Failures in a row, cleared by a success: what Redis forgets in a flush, this remembers. Of devices that the account knows
-- they are counted apart, so that strangers cannot use up their owner's.
ALTER TABLE passwords ADD COLUMN failures BIGINT NOT NULL DEFAULT 0;
ALTER TABLE passwords ADD COLUMN known_failures BIGINT NOT NULL DEFAULT 0;
-- How the hash was made, if another program made it: by how long its check takes. Empty: by this one.
ALTER TABLE passwords ADD COLUMN scheme TEXT COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX passwords_scheme ON passwords (scheme) WHERE scheme <> '';

-- The same count for names that are nobody's, under a keyed hash: they must not behave otherwise.
CREATE TABLE login_failures (
    name BYTEA PRIMARY KEY,
    failures BIGINT NOT NULL,
    time BIGINT NOT NULL
);
CREATE INDEX login_failures_time ON login_failures (time);

CREATE INDEX audit_time ON audit (time, id);
CREATE INDEX audit_actor ON audit (actor, time, id);
CREATE INDEX audit_target ON audit (target, time, id);
CREATE INDEX audit_session_id ON audit (session_id, time, id);

-- What is old goes, and nothing else: the role that serves may not delete from the audit log, so that whoever has broken into
-- the service cannot remove their traces. It may call this, which passes over the last thirty days whatever is asked for.
-- The path is that of the schema alone: temporary tables of the caller must not stand in the place of ours.
DO $$
BEGIN
    EXECUTE format($definition$
        CREATE FUNCTION purge_audit(before BIGINT, most BIGINT) RETURNS BIGINT
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = %I, pg_temp AS $body$
        DECLARE
            gone BIGINT;
        BEGIN
            DELETE FROM audit WHERE id IN (
                SELECT id FROM audit WHERE time < LEAST(before, clock_micros() - 30 * 86400000000::bigint)
                ORDER BY time LIMIT most
            );
            GET DIAGNOSTICS gone = ROW_COUNT;
            RETURN gone;
        END
        $body$
    $definition$, current_schema());
END
$$;
REVOKE ALL ON FUNCTION purge_audit(BIGINT, BIGINT) FROM PUBLIC;
