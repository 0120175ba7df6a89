-- Nothing to do here: one process writes this file, and knows what it changes. PostgreSQL's tells each what others change.
SELECT 1;
