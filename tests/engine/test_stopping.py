from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmwright.engine.stopping import AnswerText
from lmwright.tokens.stream import StreamDecoder

# Few characters, one to four bytes each, so that stop strings begin, fail and overlap often.
LETTERS = "abé🙂"
BYTES = {byte: bytes([byte]) for byte in range(256)}


def text_before_stop(text: str, stops: list[str]) -> tuple[str, bool]:
    """The definition: read character by character, cut where the first stop string is complete."""
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))], True
    return text, False


@given(
    text=st.text(LETTERS, max_size=30),
    stops=st.lists(st.text(LETTERS, min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(0, 120), max_size=20),
)
def test_no_part_of_a_stop_string_is_ever_shown(text, stops, cuts):
    data = text.encode()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in pairwise(edges)]
    answer = AnswerText(StreamDecoder(dict(enumerate(pieces))), tuple(stops))
    expected, stopped = text_before_stop(text, stops)

    shown = ""
    for token in range(len(pieces)):
        if answer.stopped:
            break
        shown += answer.push(token)
        assert expected.startswith(shown)
    shown += answer.finish()

    assert shown == answer.text == expected
    assert answer.stopped == stopped


@given(st.binary(max_size=30))
def test_bytes_that_are_no_text_give_the_decoders_text(data):
    answer = AnswerText(StreamDecoder(BYTES))
    shown = "".join(answer.push(byte) for byte in data) + answer.finish()
    assert shown == data.decode("utf-8", errors="replace")


def test_text_is_shown_as_soon_as_no_stop_string_can_begin_in_it():
    answer = AnswerText(StreamDecoder(BYTES), ("\n\n",))
    shown = [answer.push(byte) for byte in b"a\nb\n"]
    assert shown == ["a", "", "\nb", ""]
    assert answer.finish() == "\n"


@pytest.mark.parametrize("stop", ["\ufffd", "x\ufffd"])
def test_a_character_that_never_came_whole_can_complete_a_stop_string(stop):
    answer = AnswerText(StreamDecoder(BYTES), (stop,))
    for byte in b"ax" + "é".encode()[:1]:
        answer.push(byte)
    answer.finish()
    assert answer.stopped
    assert answer.text == "ax\ufffd"[: "ax\ufffd".index(stop)]
