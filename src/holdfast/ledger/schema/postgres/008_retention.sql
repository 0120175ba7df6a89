-- What was deleted because it was over long ago: whoever adds the rest up must know that it isn't all. No row: nothing was.
CREATE TABLE pruned (
    what               TEXT COLLATE "C" PRIMARY KEY,      -- 'requests', with their attempts
    before_ns          BIGINT  NOT NULL,         -- some that ended before then are gone; all that ended later are here
    deleted            BIGINT  NOT NULL          -- how many, so far
);
