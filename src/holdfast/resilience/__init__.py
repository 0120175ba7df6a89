"""Policies that keep a call alive: they know time and chance, and no word of what is called. No I/O."""
