"""The formats that the chaos provider speaks, by its own code, and which path speaks which."""
