"""The vocabularies in the package: what tiktoken expects, byte for byte, or nothing."""

import base64
import hashlib
import subprocess
import sys
import zlib
from importlib.resources import files

import pytest
from msgspec.structs import replace
from tests.unit.providers.tokens.published import NAMES, definition
from tools.pack_ranks import pack, published

from holdfast.providers.tokens.ranks import RANK_FILES, RanksDamaged, load_ranks, unpack

DATA = files("holdfast.providers.tokens") / "data"


@pytest.mark.parametrize("name", NAMES)
def test_they_are_what_tiktoken_expects_to_download(name):
    _, expected = definition(name)
    lines = published(load_ranks(name))
    assert hashlib.sha256(lines).hexdigest() == expected
    assert hashlib.sha256(pack(lines)).hexdigest() == RANK_FILES[name].sha256


def test_they_are_small_and_their_licence_is_with_them():
    sizes = [len((DATA / f"{name}.ranks").read_bytes()) for name in NAMES]
    assert sum(sizes) < 1_500_000
    assert "Copyright (c) 2022 OpenAI, Shantanu Jain" in (DATA / "LICENSE-tiktoken").read_text("utf-8")


class TestDamage:
    file = RANK_FILES["cl100k_base"]
    packed = (DATA / "cl100k_base.ranks").read_bytes()

    def refused(self, packed, file=None):
        with pytest.raises(RanksDamaged, match=r"cl100k_base of this installation is damaged") as error:
            unpack(packed, file or self.file)
        assert "Install holdfast again" in str(error.value)
        return str(error.value)

    def test_one_changed_byte_is_noticed(self):
        data = bytearray(zlib.decompress(self.packed))
        data[500_000] ^= 1
        assert "sha256" in self.refused(zlib.compress(data))

    def test_a_byte_more_is_noticed(self):
        self.refused(zlib.compress(zlib.decompress(self.packed) + b"\x00"))

    @pytest.mark.parametrize("left", [0, 1, 200_000])
    def test_so_is_a_file_that_ends_early(self, left):
        self.refused(self.packed[:left])

    def test_what_isnt_packed_at_all_is_refused(self):
        assert "can't be unpacked" in self.refused(b"not packed at all")

    def test_a_file_that_unpacks_to_gigabytes_is_let_go_at_the_right_size(self):
        bomb = zlib.compress(b"\x00" * 50_000_000)
        counted = replace(
            self.file, sha256=hashlib.sha256(b"\x00" * (self.file.size + 1)).hexdigest(), tokens=0
        )
        assert unpack(bomb, counted) == {}, "not a byte more than one too many was unpacked"
        self.refused(bomb)


def test_ranks_that_arent_a_row_arent_packed():
    token = base64.b64encode(b"a")
    with pytest.raises(ValueError, match="line 2: rank 2, expected 1"):
        pack(token + b" 0\n" + token + b" 2\n")


def test_nothing_is_loaded_before_something_is_counted():
    code = "import sys, holdfast, holdfast.app, holdfast.providers.tokens; print('tiktoken' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
