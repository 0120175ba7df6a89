-- What was deleted because it was over long ago: whoever adds the rest up must know that it isn't all. No row: nothing was.
CREATE TABLE pruned (
    what               TEXT    PRIMARY KEY,      -- 'requests', with their attempts
    before_ns          INTEGER NOT NULL,         -- some that ended before then are gone; all that ended later are here
    deleted            INTEGER NOT NULL          -- how many, so far
) WITHOUT ROWID;
