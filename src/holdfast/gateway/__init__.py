"""The HTTP door: raw ASGI, no framework on the hot path."""
