-- What each living process may still spend of a hard budget's account without asking: set aside out of the account's room.
CREATE TABLE blocks (
    account            TEXT COLLATE "C" NOT NULL, -- as in spend
    owner              TEXT COLLATE "C" NOT NULL, -- owners.id; goes with its owner
    amount             BIGINT  NOT NULL          -- nano-dollars or tokens
                       CHECK (amount >= 0),
    PRIMARY KEY (account, owner)
);

CREATE INDEX blocks_of ON blocks (owner);
