"""The HTTP API: what it answers, and what it refuses."""

import json
from itertools import pairwise

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmwright.serving.limits import Limits
from lmwright.serving.model import Loaded, Sampling
from lmwright.serving.protocol import FIELDS, NEUTRAL

CHAT = "/v1/chat/completions"


@pytest.fixture
def server(serve):
    return serve()


@pytest.fixture(scope="module")
def refusing(server_context, scripted):
    """One server for all that never reaches its engine."""
    engine = scripted()
    with server_context(lambda: Loaded(engine), engine=engine) as server:
        yield server
        assert engine.seen == [], "a refused request reached the engine"


def refused(response: httpx.Response, status: int, **expected: object) -> dict:
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error | expected == error
    return error


def events(text: str) -> list[dict]:
    blocks = text.strip().split("\n\n")
    assert blocks[-1] == "data: [DONE]"
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-1]]


def test_a_chat_is_answered_with_its_token_counts(server):
    with server.client() as client:
        body = client.post(CHAT, json=server.chat()).json()

    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"] == {
        "role": "assistant",
        "content": "Hello there.",
        "refusal": None,
    }
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}


def test_a_stream_carries_the_same_text_piece_by_piece(server):
    with server.client() as client:
        response = client.post(
            CHAT, json=server.chat(stream=True, stream_options={"include_usage": True})
        )

    assert response.headers["content-type"].startswith("text/event-stream")
    first, *middle, counts = events(response.text)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    deltas = [chunk["choices"][0]["delta"].get("content", "") for chunk in middle]
    assert [text for text in deltas if text] == ["Hello", " there", "."]
    assert middle[-1]["choices"][0]["finish_reason"] == "stop"
    assert counts["choices"] == []
    assert counts["usage"]["completion_tokens"] == 4
    assert len({chunk["id"] for chunk in (first, *middle, counts)}) == 1


def test_several_prompts_and_answers_keep_their_order(server):
    with server.client() as client:
        body = client.post(
            "/v1/completions",
            json={"model": "tiny", "prompt": ["one", "two words"], "n": 2, "seed": 5},
        ).json()

    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert body["usage"]["prompt_tokens"] == 3, "each prompt counts once"
    lengths = [len(request.prompt) for request in server.engine.seen]
    assert lengths == [1, 1, 2, 2]
    assert [request.params.seed for request in server.engine.seen] == [5, 6, 7, 8]


@pytest.mark.parametrize("prompt", [[1, 2, 3], [[1, 2, 3]], "a b c", ["a b c"]])
def test_every_form_of_prompt_is_taken(server, prompt):
    with server.client() as client:
        body = client.post("/v1/completions", json={"model": "tiny", "prompt": prompt}).json()
    assert body["usage"]["prompt_tokens"] == 3


def test_sampling_fields_reach_the_engine(server):
    fields = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "min_p": 0.05,
        "seed": 3,
        "max_tokens": 2,
        "min_tokens": 1,
        "stop": ["a", "b"],
        "stop_token_ids": [9],
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "repetition_penalty": 1.5,
        "logit_bias": {"3": -100, "4": 2.5},
        "ignore_eos": True,
        "priority": -1,
    }
    with server.client() as client:
        body = client.post(CHAT, json=server.chat(**fields)).json()

    params = server.engine.seen[0].params
    taken = {"stop": ("a", "b"), "stop_token_ids": (9,), "logit_bias": {3: -100, 4: 2.5}}
    assert {name: getattr(params, name) for name in fields} == fields | taken
    assert body["choices"][0]["finish_reason"] == "length"


def test_what_a_request_leaves_out_comes_from_the_model(serve, scripted):
    engine = scripted()
    served = Loaded(engine, Sampling(temperature=0.6, top_p=0.95, top_k=20))
    server = serve(engine, load=lambda: served)
    with server.client() as client:
        client.post(CHAT, json=server.chat(temperature=0))

    params = engine.seen[0].params
    assert (params.temperature, params.top_p, params.top_k) == (0, 0.95, 20)


def test_log_probabilities_name_each_token(server):
    with server.client() as client:
        chat = client.post(CHAT, json=server.chat(logprobs=True)).json()
        plain = client.post(
            "/v1/completions", json={"model": "tiny", "prompt": "a", "logprobs": 0}
        ).json()

    content = chat["choices"][0]["logprobs"]["content"]
    assert [token["token"] for token in content] == ["w1", "w2", "w3"], "the end has no text"
    assert all(token["logprob"] == -0.5 for token in content)
    assert bytes(content[0]["bytes"]) == b"w1"
    scored = plain["choices"][0]["logprobs"]
    assert scored["tokens"] == ["w1", "w2", "w3", "<end>"], "whoever scores texts counts tokens"
    assert scored["text_offset"] == [0, 2, 4, 6]
    assert scored["top_logprobs"] is None


def test_the_likeliest_tokens_stand_beside_each(server):
    with server.client() as client:
        chat = client.post(CHAT, json=server.chat(logprobs=True, top_logprobs=2)).json()
        plain = client.post(
            "/v1/completions", json={"model": "tiny", "prompt": "a", "logprobs": 2}
        ).json()

    first = chat["choices"][0]["logprobs"]["content"][0]
    assert [(one["token"], one["logprob"]) for one in first["top_logprobs"]] == [
        ("w5", -0.25),
        ("w6", -1.25),
    ]
    top = plain["choices"][0]["logprobs"]["top_logprobs"]
    assert top[0] == {"w5": -0.25, "w6": -1.25, "w1": -0.5}, "the chosen one is always there"


@pytest.mark.parametrize("max_tokens", [0, 2])
@pytest.mark.parametrize("stream", [False, True])
def test_an_echo_scores_the_prompt(server, stream, max_tokens):
    fields = {"prompt": [[1, 2, 3], [7, 8]], "max_tokens": max_tokens, "echo": True, "logprobs": 1}
    with server.client() as client:
        response = client.post(
            "/v1/completions", json={"model": "tiny", "stream": stream, **fields}
        )
    chunks = events(response.text) if stream else [response.json()]
    texts, tokens, logprobs, tops, offsets = {}, {}, {}, {}, {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        index, scored = choice["index"], choice["logprobs"]
        texts[index] = texts.get(index, "") + choice["text"]
        tokens.setdefault(index, []).extend(scored["tokens"])
        logprobs.setdefault(index, []).extend(scored["token_logprobs"])
        tops.setdefault(index, []).extend(scored["top_logprobs"])
        offsets.setdefault(index, []).extend(scored["text_offset"])

    said = ["w1", "w2"][:max_tokens]
    answer = "Hello there" if said else ""
    assert texts == {0: "w1 w2 w3" + answer, 1: "w7 w8" + answer}
    assert tokens == {0: ["w1", "w2", "w3", *said], 1: ["w7", "w8", *said]}
    assert logprobs[0] == [None, -1.5, -1.5, *[-0.5] * max_tokens]
    assert tops[1][:2] == [None, {"w7": -0.25, "w8": -1.5}]
    assert offsets[0] == [0, 2, 4, 6, 8][: 3 + max_tokens]
    assert server.engine.seen[0].params.prompt_logprobs


def test_an_echo_without_scores_is_the_prompt_alone(server):
    fields = {"model": "tiny", "prompt": "a b", "max_tokens": 0, "echo": True}
    with server.client() as client:
        choice = client.post("/v1/completions", json=fields).json()["choices"][0]
    assert choice["text"] == "a b"
    assert choice["logprobs"] is None
    assert choice["finish_reason"] == "length"


def test_fields_that_ask_for_nothing_are_accepted(server):
    """The official client, and programs around it, send many fields at their defaults."""
    neutral = {name: values[0] for name, values in NEUTRAL.items() if values}
    absent = dict.fromkeys(NEUTRAL)
    harmless = {"user": "me", "metadata": {"a": "b"}, "n": None, "stop": None, "seed": None}
    with server.client() as client:
        for fields in (neutral, absent, harmless):
            assert client.post(CHAT, json=server.chat(**fields)).status_code == 200, fields


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_a_known_field_that_is_not_supported_is_refused_by_name(refusing, name):
    with refusing.client() as client:
        response = client.post(CHAT, json=refusing.chat(**{name: {"asks": "something"}}))
    refused(response, 400, param=name, code="unsupported_field")


def test_true_is_not_one(refusing):
    with refusing.client() as client:
        refused(client.post(CHAT, json=refusing.chat(best_of=True)), 400, param="best_of")
        refused(client.post(CHAT, json=refusing.chat(max_tokens=True)), 400, param="max_tokens")


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"temprature": 1}, "temprature", "unknown_field"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": "Hi"}, "messages", "invalid_value"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "invalid_value"),
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            "messages[0].tool_call_id",
            "missing_field",
        ),
        (
            {"messages": [{"role": "user", "content": "x", "tool_call_id": "y"}]},
            "messages[0].tool_call_id",
            "invalid_value",
        ),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_field"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user", "content": "x", "name": "bob"}]},
            "messages[0].name",
            "unsupported_field",
        ),
        ({"messages": [{"role": "user", "content": "refuse me"}]}, "messages", None),
        ({"temperature": "1"}, "temperature", "invalid_value"),
        ({"temperature": 2.5}, "temperature", "invalid_value"),
        ({"temperature": -0.1}, "temperature", "invalid_value"),
        ({"top_p": 0}, "top_p", "invalid_value"),
        ({"top_k": -1}, "top_k", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": 1.5}, "max_tokens", "invalid_value"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": 17}, "n", None),
        ({"seed": 2**63}, "seed", "invalid_value"),
        ({"stop": [""]}, "stop", "invalid_value"),
        ({"stop": ["a"] * 5}, "stop", "invalid_value"),
        ({"stream": "yes"}, "stream", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"top_logprobs": 3}, "top_logprobs", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"min_p": 1.5}, "min_p", "invalid_value"),
        ({"presence_penalty": 2.5}, "presence_penalty", "invalid_value"),
        ({"repetition_penalty": 0}, "repetition_penalty", "invalid_value"),
        ({"logit_bias": {"1000": 1}}, "logit_bias", "invalid_value"),
        ({"stop_token_ids": [1000]}, "stop_token_ids", "invalid_value"),
        ({"max_tokens": 2, "min_tokens": 3}, "min_tokens", None),
        ({"ignore_eos": True, "response_format": {"type": "json_object"}}, "ignore_eos", None),
        ({"response_format": {"type": "yaml"}}, "response_format.type", "invalid_value"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
            "missing_field",
        ),
        ({"model": None}, "model", "invalid_value"),
        ({"user": "\ud800"}, "user", "invalid_value"),
        ({"messages": [{"role": "user", "content": "\udfff"}]}, "messages[0].content", None),
    ],
)
def test_a_wrong_value_is_refused_by_name(refusing, fields, param, code):
    body = json.dumps(refusing.chat(**fields))
    with refusing.client() as client:
        response = client.post(CHAT, content=body, headers={"content-type": "application/json"})
    error = refused(response, 400, param=param)
    assert code is None or error["code"] == code


def test_a_misspelt_field_gets_a_suggestion(refusing):
    with refusing.client() as client:
        error = refused(client.post(CHAT, json=refusing.chat(temprature=1)), 400)
    assert "temperature" in error["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b"[]",
        b"3",
        b"null",
        b'"text"',
        b"\xff\xfe{}",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"seed": ' + b"9" * 6_000 + b"}",
        b'{"\\ud800": 1}',
    ],
)
def test_a_body_that_is_no_request_is_refused(refusing, body):
    with refusing.client() as client:
        for path in (CHAT, "/v1/completions"):
            response = client.post(path, content=body, headers={"content-type": "application/json"})
            refused(response, 400)


def test_a_body_of_another_content_type_is_refused(refusing):
    with refusing.client() as client:
        response = client.post(CHAT, content=json.dumps(refusing.chat()))
    assert "application/json" in refused(response, 400)["message"]


def test_a_large_body_is_refused_also_when_its_size_is_not_announced(serve):
    server = serve(limits=Limits(body_bytes=1_000))

    def pieces():
        for _ in range(20):
            yield b" " * 100

    with server.client() as client:
        headers = {"content-type": "application/json"}
        announced = client.post(CHAT, content=b" " * 2_000, headers=headers)
        chunked = client.post(CHAT, content=pieces(), headers=headers)
    refused(announced, 413, code="request_too_large")
    refused(chunked, 413, code="request_too_large")


def test_a_prompt_longer_than_the_context_is_refused(refusing):
    content = "word " * 64
    with refusing.client() as client:
        chat = client.post(
            CHAT, json=refusing.chat(messages=[{"role": "user", "content": content}])
        )
        plain = client.post("/v1/completions", json={"model": "tiny", "prompt": content})
    refused(chat, 400, param="messages", code="context_length_exceeded")
    refused(plain, 400, param="prompt", code="context_length_exceeded")


def test_too_many_messages_are_refused(serve):
    server = serve(limits=Limits(messages=2))
    with server.client() as client:
        response = client.post(
            CHAT, json=server.chat(messages=[{"role": "user", "content": "x"}] * 3)
        )
    refused(response, 400, param="messages")


def test_what_only_the_engine_can_refuse_is_still_a_400(server):
    with server.client() as client:
        for stream in (False, True):
            refused(client.post(CHAT, json=server.chat(seed=666, stream=stream)), 400)


def test_an_unknown_model_path_or_method_gets_the_error_object(refusing):
    with refusing.client() as client:
        refused(
            client.post(CHAT, json=refusing.chat(model="gpt-9")),
            404,
            param="model",
            code="model_not_found",
        )
        refused(client.get("/v1/models/gpt-9"), 404, code="model_not_found")
        refused(client.get("/v1/nothing"), 404)
        refused(client.get("/page/nothing.js"), 404)
        refused(client.get("/page/../app.py"), 404)
        refused(client.get("/page/%2e%2e/app.py"), 404)
        refused(client.get(CHAT), 405)


def test_the_model_is_listed_with_its_context(refusing):
    with refusing.client() as client:
        listed = client.get("/v1/models").json()
        assert listed["object"] == "list"
        assert [card["id"] for card in listed["data"]] == ["tiny"]
        assert listed["data"][0]["max_model_len"] == 64
        assert client.get("/v1/models/tiny").json() == listed["data"][0]


def test_a_model_whose_name_has_a_slash_is_found(serve):
    server = serve(name="owner/model")
    with server.client() as client:
        assert client.get("/v1/models/owner/model").json()["id"] == "owner/model"


def test_the_openapi_document_describes_what_is_served(refusing):
    with refusing.client() as client:
        document = client.get("/openapi.json").json()

    assert set(document["paths"]) >= {CHAT, "/v1/completions", "/v1/models", "/health/ready"}
    assert "/" not in document["paths"]
    chat = document["paths"][CHAT]["post"]
    assert set(chat["responses"]) == {"200", "4XX", "429", "500", "503"}
    request = document["components"]["schemas"]["ChatCompletionRequest"]
    assert set(request["required"]) == {"model", "messages"}
    assert request["additionalProperties"] is False
    assert all("description" in field for field in request["properties"].values())
    assert "HTTPValidationError" not in document["components"]["schemas"]
    content = chat["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/event-stream"}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
NAMES = st.sampled_from(sorted({*FIELDS, *NEUTRAL})) | st.text(max_size=9)


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


@pytest.fixture(scope="module")
def fuzzed(server_context, scripted):
    engine = scripted()
    with server_context(lambda: Loaded(engine), engine=engine) as server:
        yield server
