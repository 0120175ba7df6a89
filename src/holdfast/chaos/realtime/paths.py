"""Where sessions are."""

__all__ = ["PATHS", "is_realtime"]

PATHS = {"/v1/realtime": False, "/openai/v1/realtime": True, "/openai/realtime": True}
"""Path -> whether it is Azure's."""


def is_realtime(path: str) -> bool:
    """Whether ``path`` leads to a session."""
    return path in PATHS
