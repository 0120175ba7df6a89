"""The only meeting place: routes, attempts, the stream guard, and the loop that holds them together."""
