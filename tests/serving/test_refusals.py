"""The HTTP API: what it refuses, and how it says so."""

import json

import pytest

from lmwright.serving.limits import Limits
from lmwright.serving.model import Loaded
from lmwright.serving.protocol import NEUTRAL
from tests.serving.replies import CHAT, refused


@pytest.fixture(scope="module")
def refusing(server_context, scripted):
    """One server for all that never reaches its engine."""
    engine = scripted()
    with server_context(lambda: Loaded(engine), engine=engine) as server:
        yield server
        assert engine.seen == [], "a refused request reached the engine"


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


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 2.5}, "temperature must be at most 2; given: 2.5"),
        ({"temperature": "1"}, 'temperature must be a number; given: "1"'),
        ({"top_p": 0}, "top_p must be above 0; given: 0"),
        ({"seed": 2**63}, f"seed must be below {2**63}; given: {2**63}"),
        ({"max_tokens": 1.5}, "max_tokens must be a whole number; given: 1.5"),
        ({"stream": 1}, "stream must be true or false; given: 1"),
        ({"model": None}, "model must be a string; given: null"),
        ({"model": "x" * 99, "n": "y" * 99}, f'n must be a whole number; given: "{"y" * 39}...'),
        ({"messages": []}, "messages must have 1 or more entries; given: 0"),
        ({"messages": {}}, "messages must be a list; given: an object"),
        ({"response_format": "json"}, 'response_format must be an object; given: "json"'),
        (
            {"response_format": {"type": "yaml"}},
            'response_format.type must be "text", "json_object" or "json_schema"; given: "yaml"',
        ),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation must be false; given: true",
        ),
        (
            {"stop": ["a"] * 5},
            "stop must be a string of 1 to 256 characters or a list of at most 4 of them; "
            "given: a list with 5 entries",
        ),
        ({"logit_bias": {"a": 1}}, 'logit_bias.a must match ^[0-9]{1,9}$; given: "a"'),
        ({"stop_token_ids": [-1]}, "stop_token_ids[0] must be at least 0; given: -1"),
    ],
)
def test_a_refusal_says_what_is_wanted_and_what_was_given(refusing, fields, message):
    with refusing.client() as client:
        error = refused(client.post(CHAT, json=refusing.chat(**fields)), 400)
    assert error["message"] == message


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


def test_what_only_the_engine_can_refuse_is_still_a_400(serve):
    server = serve()
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
