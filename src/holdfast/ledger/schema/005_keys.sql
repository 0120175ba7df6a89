-- Keys that were made with `holdfast keys` or through /admin/keys: callers' keys, and those that open /admin.
CREATE TABLE keys (
    id                 TEXT    PRIMARY KEY,      -- UUID version 7: sorts by time of making
    name               TEXT    NOT NULL COLLATE NOCASE UNIQUE, -- ASCII; stays taken when the key is revoked
    kind               TEXT    NOT NULL          -- 'caller' asks models, 'admin' opens /admin; never both
                       CHECK (kind IN ('caller', 'admin')),
    team               TEXT,                     -- whose budgets it counts in; NULL: none
    tags               TEXT,                     -- JSON object; NULL: none
    routes             TEXT,                     -- JSON array of names; NULL: any
    models             TEXT,                     -- JSON array of patterns; NULL: any
    rate               TEXT,                     -- JSON object as [keys.NAME.rate]; NULL: none of its own
    budgets            TEXT,                     -- JSON array of {window, limit_nano | limit_tokens}; NULL: none of its own
    created_ns         INTEGER NOT NULL,         -- when it was made
    expires_ns         INTEGER,                  -- refused from then on; NULL: never
    revoked_ns         INTEGER                   -- NULL: it wasn't
) WITHOUT ROWID;

-- The texts of each key: the newest one, and those before it. A text itself is nowhere.
CREATE TABLE key_texts (
    sha256             BLOB    PRIMARY KEY,      -- of the whole text
    key_id             TEXT    NOT NULL REFERENCES keys (id), -- whose it is
    prefix             TEXT    NOT NULL,         -- its first characters, to tell it from others
    created_ns         INTEGER NOT NULL,         -- when it was made
    until_ns           INTEGER,                  -- refused from then on: another took its place; NULL: the newest
    last_used_ns       INTEGER                   -- to the minute; NULL: never
) WITHOUT ROWID;

CREATE INDEX key_texts_of ON key_texts (key_id);
