"""Money: what an attempt cost, in integer nano-dollars."""
