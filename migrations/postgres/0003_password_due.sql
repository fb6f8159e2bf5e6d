-- An administrator set the password and wants another one in its place: the next sign-in asks for it.
ALTER TABLE passwords ADD COLUMN due BOOLEAN NOT NULL DEFAULT FALSE;
