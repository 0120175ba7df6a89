-- What each living process may still spend of a hard budget's account without asking: set aside out of the account's room.
CREATE TABLE blocks (
    account            TEXT    NOT NULL,         -- as in spend
    owner              TEXT    NOT NULL,         -- owners.id; goes with its owner
    amount             INTEGER NOT NULL          -- nano-dollars or tokens
                       CHECK (typeof(amount) = 'integer' AND amount >= 0),
    PRIMARY KEY (account, owner)
) WITHOUT ROWID;

CREATE INDEX blocks_of ON blocks (owner);
