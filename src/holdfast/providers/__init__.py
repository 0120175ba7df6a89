"""Who is out there: provider rows, which model is whose, and what a token costs."""
