"""Side-by-side measurements. `make bench` runs them all; each module says what it measures."""
