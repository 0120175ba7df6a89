"""Entries of the journal as a test wants them."""

from holdfast.chaos.journal import Entry


def entry(seq: int = 1, at_ns: int = 0, **said: object) -> Entry:
    """One that ended well, unless it is said otherwise."""
    given = {"model": "m", "rule": "default", "status": 200, "end": "complete", **said}
    return Entry(
        seq=seq,
        arrived_wall_ns=0,
        arrived_ns=at_ns,
        method="POST",
        path="/v1/chat/completions",
        query="",
        wire="openai_chat",
        operation="answer",
        headers={},
        key_sha256=None,
        body=b"",
        body_size=0,
        head_size=0,
        body_sha256="",
        **given,
    )
