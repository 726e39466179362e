-- The conversations, as roles/web/store/postgres.rs reads and writes them. Texts are bytes: they may have a zero byte, and
-- text in PostgreSQL may not.
CREATE ROLE labctl LOGIN;
ALTER ROLE labctl SET lock_timeout = '500ms';
-- A statement that is interrupted while it waits for the standby counts as committed, so nothing here may interrupt one.
ALTER ROLE labctl SET statement_timeout = 0;
ALTER ROLE labctl SET synchronous_commit = 'on';
-- To see whether there is a standby.
GRANT pg_monitor TO labctl;
CREATE TABLE conversations (
    id bytea PRIMARY KEY,
    turns bigint NOT NULL,
    digest bytea NOT NULL
);
CREATE TABLE turns (
    conversation bytea NOT NULL REFERENCES conversations,
    position bigint NOT NULL,
    key text NOT NULL,
    body bytea NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (conversation, position),
    UNIQUE (conversation, key)
);
GRANT SELECT, INSERT, UPDATE ON conversations, turns TO labctl;
