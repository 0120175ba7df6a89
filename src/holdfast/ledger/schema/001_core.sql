-- One row per accepted request: the intent's columns are written before anything is sent, the end's by one UPDATE.
CREATE TABLE requests (
    seq                INTEGER PRIMARY KEY,      -- order of acceptance
    id                 TEXT    NOT NULL UNIQUE,
    owner              TEXT    NOT NULL,         -- owners.id; a row without a living owner is nobody's
    state              TEXT    NOT NULL DEFAULT 'in_flight'
                       CHECK (state IN ('in_flight', 'ok', 'failed', 'cancelled', 'unknown')),
    settled_by         TEXT    CHECK (settled_by IN ('end', 'recovery')),
    late               INTEGER NOT NULL DEFAULT 0,

    started_ns         INTEGER NOT NULL,
    key                TEXT    NOT NULL,
    session            TEXT,
    tags               TEXT,                     -- JSON object; NULL: none
    route              TEXT    NOT NULL,
    model              TEXT    NOT NULL,
    dialect            TEXT    NOT NULL,
    stream             INTEGER NOT NULL,
    request_bytes      INTEGER NOT NULL,
    bound_nano         INTEGER,

    ended_ns           INTEGER,
    status             INTEGER,
    served_provider    TEXT,
    served_model       TEXT,
    finish_reason      TEXT,
    error_label        TEXT,
    error              TEXT,
    first_token_ms     REAL,
    total_ms           REAL,
    cost_nano          INTEGER,
    input_tokens       INTEGER,
    cache_read_tokens  INTEGER,
    cache_write_tokens INTEGER,
    input_audio_tokens INTEGER,
    output_tokens      INTEGER,
    reasoning_tokens   INTEGER,
    output_audio_tokens INTEGER,
    usage_extra        TEXT,                     -- JSON object; NULL: no usage arrived
    delivered_bytes    INTEGER NOT NULL DEFAULT 0,
    skipped            TEXT,                     -- JSON array of [target, field]; NULL: none

    CHECK ((state = 'in_flight') = (ended_ns IS NULL)),
    CHECK ((state = 'in_flight') = (settled_by IS NULL))
);

CREATE INDEX requests_started ON requests (started_ns);

-- Holds only what is open, so that recovery looks at nothing else.
CREATE INDEX requests_open ON requests (owner) WHERE state = 'in_flight';

CREATE TABLE attempts (
    request_id         TEXT    NOT NULL,
    number             INTEGER NOT NULL,
    provider           TEXT    NOT NULL,
    model              TEXT    NOT NULL,
    started_ns         INTEGER NOT NULL,
    outcome            TEXT    NOT NULL,
    status             INTEGER,
    error              TEXT,
    retry_after_s      REAL,
    first_byte_ms      REAL,
    first_token_ms     REAL,
    total_ms           REAL,
    finish_reason      TEXT,
    input_tokens       INTEGER,
    cache_read_tokens  INTEGER,
    cache_write_tokens INTEGER,
    input_audio_tokens INTEGER,
    output_tokens      INTEGER,
    reasoning_tokens   INTEGER,
    output_audio_tokens INTEGER,
    usage_extra        TEXT,
    cost_nano          INTEGER,
    price_id           TEXT,
    billed             TEXT    NOT NULL CHECK (billed IN ('provider', 'none', 'bound', 'delivered')),
    upstream_id        TEXT,
    PRIMARY KEY (request_id, number)
) WITHOUT ROWID;

-- The lease of each process that writes. No row, or one that has expired: that process is dead.
CREATE TABLE owners (
    id                 TEXT    PRIMARY KEY,
    pid                INTEGER NOT NULL,
    host               TEXT    NOT NULL,
    started_ns         INTEGER NOT NULL,
    renewed_ns         INTEGER NOT NULL,
    expires_ns         INTEGER NOT NULL
) WITHOUT ROWID;
