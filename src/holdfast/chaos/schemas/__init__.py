"""Values that follow a JSON schema, part by part; :mod:`holdfast.chaos.schema` is the way in."""
