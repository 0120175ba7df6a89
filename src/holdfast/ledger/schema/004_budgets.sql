-- What a request that dies with its process is charged, and to whom.
ALTER TABLE requests ADD COLUMN bound_tokens INTEGER;    -- beside bound_nano; NULL: unknown
ALTER TABLE requests ADD COLUMN accounts TEXT;           -- JSON array of [account, unit, start_ns, until_ns]; NULL: none

-- What is wrong with the usage that the provider told: it was not believed. NULL: nothing.
ALTER TABLE attempts ADD COLUMN usage_flag TEXT;
-- Whose key paid the provider: the gateway's, or the caller's own.
ALTER TABLE attempts ADD COLUMN paid_by TEXT NOT NULL DEFAULT 'gateway';

-- What was spent of each budget by each subject, in parts of its window. Written with the ends of requests.
CREATE TABLE spend (
    account            TEXT    NOT NULL,         -- budget:unit:window:subject
    start_ns           INTEGER NOT NULL,         -- the part of the window
    until_ns           INTEGER,                  -- from when on it doesn't count; NULL: it always does
    amount             INTEGER NOT NULL          -- nano-dollars or tokens
                       CHECK (typeof(amount) = 'integer' AND amount >= 0),
    PRIMARY KEY (account, start_ns)
) WITHOUT ROWID;

CREATE INDEX spend_over ON spend (until_ns) WHERE until_ns IS NOT NULL;

-- Sessions of callers: when they began, and how they ended.
CREATE TABLE sessions (
    key                TEXT    NOT NULL,         -- whose
    id                 TEXT    NOT NULL,
    started_ns         INTEGER NOT NULL,
    ends_ns            INTEGER NOT NULL,         -- at the latest
    ended_ns           INTEGER,                  -- NULL: it goes on, until ends_ns
    state              TEXT    NOT NULL,
    warned_ns          INTEGER,                  -- when its caller was warned; NULL: not yet
    PRIMARY KEY (key, id)
) WITHOUT ROWID;

CREATE INDEX sessions_over ON sessions (ends_ns);
