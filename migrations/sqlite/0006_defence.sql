-- Failures in a row, cleared by a success: what Redis forgets in a flush, this remembers. Of devices that the account knows
-- they are counted apart, so that strangers cannot use up their owner's.
ALTER TABLE passwords ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE passwords ADD COLUMN known_failures INTEGER NOT NULL DEFAULT 0;
-- How the hash was made, if another program made it: by how long its check takes. Empty: by this one.
ALTER TABLE passwords ADD COLUMN scheme TEXT NOT NULL DEFAULT '';
CREATE INDEX passwords_scheme ON passwords (scheme) WHERE scheme <> '';

-- The same count for names that are nobody's, under a keyed hash: they must not behave otherwise.
CREATE TABLE login_failures (
    name BLOB PRIMARY KEY NOT NULL,
    failures INTEGER NOT NULL,
    time INTEGER NOT NULL
) STRICT;
CREATE INDEX login_failures_time ON login_failures (time);

CREATE INDEX audit_time ON audit (time, id);
CREATE INDEX audit_actor ON audit (actor, time, id);
CREATE INDEX audit_target ON audit (target, time, id);
CREATE INDEX audit_session_id ON audit (session_id, time, id);
