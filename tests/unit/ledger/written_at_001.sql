BEGIN TRANSACTION;
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
INSERT INTO "attempts" VALUES('1',1,'openai','gpt-4o',1790000000000000000,'rate_limited',429,'slow down ☂
',2.5,1.25,NULL,1.5,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,'none','req_1');
INSERT INTO "attempts" VALUES('1',2,'wall','fb-ok',1790000000000000005,'ok',200,NULL,NULL,3.0,4.0,9.75,'stop',11,2,3,4,1099511627776,6,0,'{"accepted_prediction_tokens":8,"nested":{"tier":"flex"}}',9007199254740993,'2026-11-20','provider',NULL);
INSERT INTO "attempts" VALUES('1',3,'x','y',1790000000000000000,'ok',NULL,NULL,NULL,NULL,NULL,0.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{}',NULL,NULL,'bound',NULL);
CREATE TABLE migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_ns INTEGER NOT NULL
);
INSERT INTO "migrations" VALUES(1,'core','86e9dc3d5fbaa57c3159660e051d6be87ff685e589704814f697e2b95831c83a',1790000000000000000);
CREATE TABLE owners (
    id                 TEXT    PRIMARY KEY,
    pid                INTEGER NOT NULL,
    host               TEXT    NOT NULL,
    started_ns         INTEGER NOT NULL,
    renewed_ns         INTEGER NOT NULL,
    expires_ns         INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO "owners" VALUES('01a0c450-6c00-78ca-a4d7-39ce343dd705',10432,'vm',1790000000000000000,1790000000000000000,1790000030000000000);
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
INSERT INTO "requests" VALUES(1,'1','01a0c450-6c00-78ca-a4d7-39ce343dd705','ok','end',0,1790000000000000001,'team ✓','s-1','{"app":"a","Ключ":"знач ''x'' \"y\""}','chat','gpt-4o','openai_chat',1,1099511627776,9007199254740993,1790000000000000002,200,'wall','fb-ok','stop','truncated','…',12.5,99.125,9007199254740993,11,2,3,4,1099511627776,6,0,'{"accepted_prediction_tokens":8,"nested":{"tier":"flex"}}',8589934592,'[["deepseek/chat","response_format"],["o/x","tools[0].strict"]]');
INSERT INTO "requests" VALUES(2,'2','01a0c450-6c00-78ca-a4d7-39ce343dd705','failed','end',0,1790000000000000002,'local',NULL,NULL,'chat','m','openai_chat',0,0,NULL,1790000000000000003,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
INSERT INTO "requests" VALUES(3,'3','01a0c450-6c00-78ca-a4d7-39ce343dd705','in_flight',NULL,0,1790000000000000003,'team ✓','s-1','{"app":"a","Ключ":"знач ''x'' \"y\""}','chat','gpt-4o','openai_chat',1,1099511627776,9007199254740993,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
CREATE INDEX requests_started ON requests (started_ns);
CREATE INDEX requests_open ON requests (owner) WHERE state = 'in_flight';
COMMIT;
