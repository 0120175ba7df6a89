-- Keys of tenants' own to providers, each sealed under a master key that isn't in this database.
CREATE TABLE provider_keys (
    tenant             TEXT COLLATE "C" NOT NULL, -- the caller's key's name, case folded
    provider           TEXT COLLATE "C" NOT NULL, -- case folded
    base_url           TEXT,                     -- an address that belongs to the key; NULL: the provider's
    master             BYTEA   NOT NULL,         -- which master key: eight bytes of an HMAC under it
    sealed             BYTEA   NOT NULL,         -- nonce and AES-256-GCM; bound to tenant, provider and base_url
    set_ns             BIGINT  NOT NULL,         -- when it was set; sealing it anew doesn't change that
    PRIMARY KEY (tenant, provider)
);
