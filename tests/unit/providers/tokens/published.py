"""tiktoken's own encodings, made of our vocabularies and of nothing else of ours: what counts are held against."""

import types
from functools import cache

import tiktoken
from tiktoken_ext import openai_public

from holdfast.providers.tokens.ranks import load_ranks

NAMES = ("cl100k_base", "o200k_base")


def definition(name):
    """What tiktoken publishes of an encoding, and the sha256 that it expects its vocabulary to have.

    Its function runs with another loader in its globals: its own would download the vocabulary.
    """
    expected = []

    def load(_address, expected_hash):
        expected.append(expected_hash)
        return load_ranks(name)

    published = getattr(openai_public, name)
    made = types.FunctionType(published.__code__, {**vars(openai_public), "load_tiktoken_bpe": load})
    return made(), expected[0]


@cache
def independent(name):
    return tiktoken.Encoding(**definition(name)[0])
