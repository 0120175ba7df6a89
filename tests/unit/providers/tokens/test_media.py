"""What pictures cost, and their sizes read from their first bytes."""

import base64
import struct

import pytest
from benchmarks.billed import billed
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model import Image, Message, Request, Role
from holdfast.providers.tokens import count_request
from holdfast.providers.tokens.bounds import OVERHEADS
from holdfast.providers.tokens.media import claude_image, claude_large_image, dimensions, gemini_image

SIDES = st.integers(1, 20_000)


def png(width, height):
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height) + b"\x08\x06"


def gif(width, height):
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x00"


def jpeg(width, height):
    thumbnail = b"\xff\xe0" + struct.pack(">H", 300) + bytes(298)
    return b"\xff\xd8" + thumbnail + b"\xff\xc2\x00\x11\x08" + struct.pack(">HH", height, width) + b"\x03"


def webp_lossless(width, height):
    packed = (width - 1) | (height - 1) << 14
    return b"RIFF\x00\x00\x00\x00WEBPVP8L\x00\x00\x00\x00\x2f" + struct.pack("<I", packed)


def webp_extended(width, height):
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00" + size


def webp_lossy(width, height):
    return b"RIFF\x00\x00\x00\x00WEBPVP8 \x00\x00\x00\x00\x00\x00\x00\x9d\x01\x2a" + struct.pack(
        "<HH", width, height
    )


@pytest.mark.parametrize("made", [png, gif, jpeg, webp_lossless, webp_extended, webp_lossy])
@given(st.integers(1, 16_000), st.integers(1, 16_000))
def test_a_size_is_read_from_the_files_head(made, width, height):
    assert dimensions(base64.b64encode(made(width, height)).decode()) == (width, height)


@given(st.one_of(st.text(), st.binary().map(lambda data: base64.b64encode(data).decode())))
def test_whatever_comes_is_a_size_or_none(data):
    found = dimensions(data)
    assert found is None or min(found) > 0


@pytest.mark.parametrize("made", [png, gif, jpeg, webp_lossless, webp_extended, webp_lossy])
def test_a_head_that_is_cut_is_no_size(made):
    whole = made(300, 200)
    for end in range(len(whole) - 2):
        found = dimensions(base64.b64encode(whole[:end]).decode())
        assert found is None or found == (300, 200)


def test_a_jpeg_of_markers_alone_ends():
    assert dimensions(base64.b64encode(b"\xff\xd8" + b"\xff" * 100_000).decode()) is None


def test_claude():
    assert claude_image(540, 360) == 260  # of 276 billed, the question included
    assert claude_image(1_000, 1_000) == 1_334
    assert claude_image(8_000, 8_000) == 1_600
    assert claude_large_image(2_000, 1_500) == 4_000


def test_gemini():
    assert gemini_image(384, 384) == 258
    assert gemini_image(960, 540) == 6 * 258


@given(SIDES, SIDES)
def test_no_picture_costs_more_than_its_bound(width, height):
    assert (
        0 < claude_image(width, height) <= claude_large_image(width, height) <= OVERHEADS["anthropic"].image
    )
    assert 0 < gemini_image(width, height) <= OVERHEADS["gemini"].image


def test_a_recorded_picture_is_billed_by_the_formula():
    found = [
        each
        for each in billed()
        if "test_image_as_binary_content_tool_response" in each.id or b'"base64"' in each.body
    ]
    pictures = [each for each in found if each.provider == "anthropic" and each.request is not None]
    counted = [(each, count_request(each.request, each.model)) for each in pictures]
    seen = [(each, count) for each, count in counted if not count.unseen]
    assert seen
    for each, count in seen:
        assert abs(count.tokens - each.tokens) <= 0.1 * each.tokens, each.id
        assert count.upper >= each.tokens


def test_a_picture_that_cant_be_read_costs_the_most():
    request = Request(model="m", messages=(Message(role=Role.USER, parts=(Image(data="????"),)),))
    count = count_request(request, "claude-opus-4-8")
    assert not count.unseen
    assert count.tokens >= OVERHEADS["anthropic"].image
