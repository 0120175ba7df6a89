"""The ways in which a simulated model finds its words."""
