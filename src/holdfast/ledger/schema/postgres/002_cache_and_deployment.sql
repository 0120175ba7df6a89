-- Of cache_write_tokens those that are kept for an hour, at a price of their own. NULL: the provider didn't say.
ALTER TABLE requests ADD COLUMN cache_write_1h_tokens BIGINT;
ALTER TABLE attempts ADD COLUMN cache_write_1h_tokens BIGINT;

-- Which of the provider's deployments (keys, regions) was asked. Empty: it has but one.
ALTER TABLE attempts ADD COLUMN deployment TEXT NOT NULL DEFAULT '';
