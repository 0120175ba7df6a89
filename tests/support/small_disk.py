"""A file system of a few megabytes, where the machine lets us mount one: it fills up, and has room again."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SmallDisk", "small_disk"]


class SmallDisk:
    """One that is mounted at ``path``, or just a folder, which never fills up.

    Attributes:
        why_not: why it isn't mounted; empty: it is.
    """

    def __init__(self, path: Path, why_not: str = "") -> None:
        self.path = path
        self.why_not = why_not
        self._ballast = path / "ballast"

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte is left for the block."""
        assert not self.why_not
        with self._ballast.open("wb") as file:
            for step in (2**20, 2**12):  # others write meanwhile: what is free isn't asked, but taken
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, step)
        try:
            yield
        finally:
            self._ballast.unlink()


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[SmallDisk]:
    """A tmpfs in a temporary folder, which everybody may enter."""
    path = Path(tempfile.mkdtemp(prefix="holdfast-disk-"))
    path.chmod(0o755)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "holdfast-test", str(path)]
    try:
        subprocess.run(mount, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        try:
            yield SmallDisk(
                path, f"no file system can be mounted here ({getattr(error, 'stderr', None) or error})"
            )
        finally:
            shutil.rmtree(path)
        return
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
        path.rmdir()
