"""A response that is broken off between two events: only what was told has happened."""

import json

import pytest

from holdfast.chaos.answer import Answer, Choice, Usage
from holdfast.chaos.realtime.conversation import Conversation
from holdfast.chaos.realtime.preferences import Preferences
from holdfast.chaos.realtime.scene import scene
from holdfast.chaos.realtime.speech import Speech

CHOICE = Choice(reasoning=(), text=["a ", "b "], calls=(), finish="stop")
TEXT = {"output_modalities": ["text"]}


def broken_off(after, modality="text", lost=0):
    """The types of the events that end it, its last event, and the conversation, with that many events told."""
    conversation = Conversation()
    circumstances = scene(
        Preferences("sess_1", "m", 0),
        {"output_modalities": [modality]},
        conversation,
        None,
        "conv_1",
        azure=False,
    )
    speech = Speech(None, circumstances, "resp_0123456789")
    answer = Answer("resp_1", 0, "m", "0123456789", [CHOICE], Usage(completion_tokens=2))
    events = speech.events(answer, circumstances.asked)
    parts = [next(events) for _ in range(after + 1)]  # the last one was made, but never told
    for part in parts:
        part.unseen += lost if part.kind == "text" else 0
    speech.served(parts[:-1])
    ends = [json.loads(event) for event in speech.cancelled("client_cancelled")]
    return [event["type"] for event in ends], ends[-1]["response"], list(conversation)


ITEM_DONE = ["conversation.item.done", "response.output_item.done", "response.done"]
ALL_DONE = ["response.output_text.done", "response.content_part.done", *ITEM_DONE]


@pytest.mark.parametrize(
    ("after", "types", "text"),
    [
        (1, ["response.done"], None),  # response.created
        (3, ITEM_DONE, ""),  # output_item.added, conversation.item.added
        (4, ALL_DONE, ""),  # content_part.added
        (5, ALL_DONE, "a "),
        (6, ALL_DONE, "a b "),
        (8, ITEM_DONE, "a b "),  # output_text.done, content_part.done
        (10, ["response.done"], "a b "),  # conversation.item.done, output_item.done
    ],
)
def test_only_what_was_told_has_happened(after, types, text):
    told, response, conversation = broken_off(after)
    assert told == types
    texts = [item["content"][0]["text"] for item in response["output"]]
    assert texts == ([] if text is None else [text])
    assert [stored.value["id"] for stored in conversation] == [item["id"] for item in response["output"]]
    assert [stored.text for stored in conversation] == texts
    assert response["usage"]["output_tokens"] == len((text or "").split())


def test_speech_is_billed_with_its_sound():
    _, response, [stored] = broken_off(6, "audio")  # the second token, but not yet its sound
    assert response["usage"]["output_token_details"] == {"text_tokens": 1, "audio_tokens": 1}
    assert (stored.ms, stored.audio_tokens) == (50, 1)


def test_what_was_lost_on_the_way_is_billed():
    _, response, _ = broken_off(6, "audio", lost=2)
    assert response["usage"]["output_token_details"] == {"text_tokens": 3, "audio_tokens": 1}
