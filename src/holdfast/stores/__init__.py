"""What processes share and may lose: rates, breakers, adaptive limits. Money and promises stand in the ledger."""
