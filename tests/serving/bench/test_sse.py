"""The parser of server-sent events: whole, cut anywhere, and with every line ending."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmwright.serving.bench.sse import EventParser

STREAM = (
    'data: {"a": "ä€😀"}\n\n'
    ": a comment\n"
    "event: x\nid: 7\ndata:first\ndata: second\n\n"
    "retry: 3\n\n"
    "data: \n\n"
    "data: [DONE]\n\n"
    "data: never finished\n"
)
EVENTS = ['{"a": "ä€😀"}', "first\nsecond", "", "[DONE]"]


def parsed(chunks):
    parser = EventParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_stream_in_one_piece_and_byte_by_byte(ending, mark):
    data = (mark + STREAM).replace("\n", ending).encode()
    # After a lone CR the parser waits for what follows it, as the stream goes on here.
    assert parsed([data, b"x"]) == EVENTS
    assert parsed([data[i : i + 1] for i in range(len(data))] + [b"x"]) == EVENTS


@given(
    events=st.lists(st.text(st.characters(blacklist_characters="\r\n"), min_size=1), max_size=6),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    data=st.data(),
)
def test_where_the_bytes_are_cut_changes_nothing(events, ending, data):
    stream = "".join(f"data: {json.dumps(event)}{ending}{ending}" for event in events).encode()
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    places = [0, *sorted(cuts), len(stream)]
    chunks = [stream[a:b] for a, b in itertools.pairwise(places)]
    assert [json.loads(event) for event in parsed([*chunks, b": end"])] == events


def test_bytes_that_are_no_text_do_not_end_the_stream():
    assert parsed([b"data: \xff\xfe\n\n", b"data: x\n\n"]) == ["\ufffd\ufffd", "x"]
