-- Who a user is at a provider. Found by provider and subject alone, never by what else is written here.
CREATE TABLE identities (
    provider TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- Subjects are unique below it: a provider whose name came to mean another one must not inherit its people.
    issuer TEXT COLLATE "C" NOT NULL,
    -- As the provider last said.
    display_name TEXT COLLATE "C" NOT NULL,
    email TEXT COLLATE "C" NOT NULL,
    email_verified BOOLEAN NOT NULL,
    link_time BIGINT NOT NULL,
    -- NULL: never.
    sign_in_time BIGINT,
    PRIMARY KEY (provider, subject)
);
CREATE INDEX identities_user_id ON identities (user_id);
