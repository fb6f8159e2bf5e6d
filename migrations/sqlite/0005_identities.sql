-- Who a user is at a provider. Found by provider and subject alone, never by what else is written here.
CREATE TABLE identities (
    provider TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- Subjects are unique below it: a provider whose name came to mean another one must not inherit its people.
    issuer TEXT NOT NULL,
    -- As the provider last said.
    display_name TEXT NOT NULL,
    email TEXT NOT NULL,
    email_verified INTEGER NOT NULL,
    link_time INTEGER NOT NULL,
    -- NULL: never.
    sign_in_time INTEGER,
    PRIMARY KEY (provider, subject)
) STRICT;
CREATE INDEX identities_user_id ON identities (user_id);
