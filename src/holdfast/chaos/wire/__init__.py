"""The wire formats that the chaos provider speaks: its own code, so that a misreading can't hide on both sides."""
