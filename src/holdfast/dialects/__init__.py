"""Wire formats: bytes to values and back. Pure: no clock, no I/O."""
