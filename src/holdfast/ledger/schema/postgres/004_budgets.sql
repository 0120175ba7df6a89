-- What a request that dies with its process is charged, and to whom.
ALTER TABLE requests ADD COLUMN bound_tokens BIGINT;    -- beside bound_nano; NULL: unknown
ALTER TABLE requests ADD COLUMN accounts TEXT;           -- JSON array of [account, unit, start_ns, until_ns]; NULL: none

-- What is wrong with the usage that the provider told: it was not believed. NULL: nothing.
ALTER TABLE attempts ADD COLUMN usage_flag TEXT;
-- Whose key paid the provider: the gateway's, or the caller's own.
ALTER TABLE attempts ADD COLUMN paid_by TEXT NOT NULL DEFAULT 'gateway';

-- What was spent of each budget by each subject, in parts of its window. Written with the ends of requests.
CREATE TABLE spend (
    account            TEXT COLLATE "C" NOT NULL, -- budget:unit:window:subject
    start_ns           BIGINT  NOT NULL,         -- the part of the window
    until_ns           BIGINT,                   -- from when on it doesn't count; NULL: it always does
    amount             BIGINT  NOT NULL          -- nano-dollars or tokens
                       CHECK (amount >= 0),
    PRIMARY KEY (account, start_ns)
);

CREATE INDEX spend_over ON spend (until_ns) WHERE until_ns IS NOT NULL;

-- Sessions of callers: when they began, and how they ended.
CREATE TABLE sessions (
    key                TEXT COLLATE "C" NOT NULL, -- whose
    id                 TEXT COLLATE "C" NOT NULL,
    started_ns         BIGINT  NOT NULL,
    ends_ns            BIGINT  NOT NULL,         -- at the latest
    ended_ns           BIGINT,                   -- NULL: it goes on, until ends_ns
    state              TEXT    NOT NULL,
    warned_ns          BIGINT,                   -- when its caller was warned; NULL: not yet
    PRIMARY KEY (key, id)
);

CREATE INDEX sessions_over ON sessions (ends_ns);
