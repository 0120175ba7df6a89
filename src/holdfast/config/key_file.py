"""A secret in a file of its own, as orchestrators mount them."""

from __future__ import annotations

import os
import stat
from typing import Final

__all__ = ["is_open_to_others", "read_key_file"]

_LARGEST: Final = 64 * 2**10


def read_key_file(path: str) -> str:
    """What stands in it, without white space around it. Read when the configuration is, so a reload reads it anew.

    Raises:
        ValueError: it can't be read, or holds no secret; the message says why and quotes nothing of it.
    """
    try:
        # A named pipe that nobody writes to would be waited for, for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from None
    except ValueError:
        raise ValueError("can't be read: its name can't be one") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("can't be read: it is no file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(data) > _LARGEST:
        raise ValueError(f"holds more than {_LARGEST // 2**10} KiB: this is no key")
    try:
        text = data.decode("ascii").strip()
    except UnicodeDecodeError:
        text = "\0"
    if not text:
        raise ValueError("is empty")
    return text


def is_open_to_others(path: str) -> bool:
    """Whether other users of this machine may read it. Not an error: what is mounted into a container often is so."""
    try:
        return bool(os.stat(path).st_mode & 0o077)  # noqa: PTH116  # a path with a NUL is no Path either
    except (OSError, ValueError):
        return False
