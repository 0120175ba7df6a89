-- What stands under an idempotency key. Of the request only an HMAC is kept.
CREATE TABLE idempotency (
    seq                INTEGER PRIMARY KEY,      -- order of admission
    tenant             TEXT    NOT NULL,         -- whose key it is
    key                TEXT    NOT NULL,         -- as the caller sent it
    run_id             TEXT    NOT NULL,         -- the one run that it admitted; at the gateway the request's id
    owner              TEXT    NOT NULL,         -- owners.id of the process that runs it
    state              TEXT    NOT NULL DEFAULT 'running' -- what became of the run
                       CHECK (state IN ('running', 'done', 'not_replayable', 'unknown')),
    fingerprint        BLOB    NOT NULL,         -- HMAC-SHA256 of the request under this database's secret
    since_ns           INTEGER NOT NULL,         -- when the run was admitted
    ttl_ns             INTEGER NOT NULL,         -- how long it is kept after its end
    expires_ns         INTEGER,                  -- when the key is free again; NULL: it runs
    status             INTEGER,                  -- the answer's HTTP status; NULL: no answer is kept
    headers            BLOB,                     -- the answer's headers: MessagePack, pairs of bytes
    digest             BLOB,                     -- SHA-256 of the key, the request's HMAC and the whole answer
    body               BLOB,                     -- the answer's bytes

    UNIQUE (tenant, key),
    CHECK ((state = 'running') = (expires_ns IS NULL)),
    CHECK ((state = 'done') = (digest IS NOT NULL))
);

CREATE INDEX idempotency_over ON idempotency (expires_ns) WHERE expires_ns IS NOT NULL;

-- Holds only what runs, so that recovery looks at nothing else.
CREATE INDEX idempotency_running ON idempotency (owner) WHERE state = 'running';

-- Made once for each database, and never shown.
CREATE TABLE secrets (
    name               TEXT    PRIMARY KEY,      -- what it is for
    value              BLOB    NOT NULL          -- 32 bytes of chance
) WITHOUT ROWID;
