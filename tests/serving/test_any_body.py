"""The HTTP API under bodies that nobody would write: it answers or refuses, and never fails."""

import json
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmwright.serving.model import Loaded
from lmwright.serving.protocol import FIELDS, NEUTRAL
from tests.serving.replies import CHAT, refused

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
NAMES = st.sampled_from(sorted({*FIELDS, *NEUTRAL})) | st.text(max_size=9)


@pytest.fixture(scope="module")
def fuzzed(server_context, scripted):
    engine = scripted()
    with server_context(lambda: Loaded(engine), engine=engine) as server:
        yield server


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(path=st.sampled_from([CHAT, "/v1/completions"]), fields=st.dictionaries(NAMES, ANYTHING))
def test_no_json_makes_the_server_fail(fuzzed, path, fields):
    base = fuzzed.chat() if path == CHAT else {"model": "tiny", "prompt": "Hi"}
    with fuzzed.client() as client:
        response = client.post(
            path,
            content=json.dumps({**base, **fields}),
            headers={"content-type": "application/json"},
        )
    if response.status_code != 200:
        refused(response, response.status_code)
        assert response.status_code in (400, 404)


def in_pieces(data: bytes, cuts: list[int]):
    """The bytes cut anywhere, within characters too."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, stop in pairwise(edges):
        if start < stop:  # an empty piece would end the body
            yield data[start:stop]


@settings(max_examples=100, deadline=None)
@given(
    text=st.text(max_size=30),
    cuts=st.lists(st.integers(0, 10_000), max_size=8),
    damage=st.none() | st.tuples(st.integers(0, 10_000), st.binary(max_size=3)),
)
def test_a_body_may_come_in_any_pieces(fuzzed, text, cuts, damage):
    """What is not UTF-8 or not JSON is refused; anything else is what it is in one piece."""
    body = json.dumps(fuzzed.chat(user=text), ensure_ascii=False).encode()
    if damage is not None:
        place = damage[0] % len(body)
        body = body[:place] + damage[1] + body[place + 1 :]
    headers = {"content-type": "application/json"}
    with fuzzed.client() as client:
        whole = client.post(CHAT, content=body, headers=headers)
        pieces = client.post(CHAT, content=in_pieces(body, cuts), headers=headers)
    assert whole.status_code == pieces.status_code
    if damage is None:
        assert whole.status_code == 200
    if whole.status_code != 200:
        assert refused(pieces, whole.status_code) == whole.json()["error"]
        assert whole.status_code in (400, 404)
