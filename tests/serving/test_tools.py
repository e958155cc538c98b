"""Tool calls: told to the model, read from its answers, and the same whole and in pieces."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmwright.serving.protocol import ChatCompletionRequest
from lmwright.serving.tools import CallPart, ToolText, constraint

CHAT = "/v1/chat/completions"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"$ref": "#/$defs/City"}},
            "required": ["city"],
            "$defs": {"City": {"type": "string"}},
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "a\\"}b"}}\n</tool_call>'
ARGUMENTS = '{"city": "a\\"}b"}'


def read(pieces, **options):
    """Text, calls as (name, arguments), of an answer that comes in these pieces."""
    reader = ToolText(**options)
    parts = [part for piece in pieces for part in reader.push(piece)] + reader.finish()
    text = "".join(part for part in parts if isinstance(part, str))
    names, arguments = {}, {}
    for part in parts:
        if isinstance(part, CallPart):
            assert (part.name is not None) == (part.index not in names), (
                "the name comes first, once"
            )
            names.setdefault(part.index, part.name)
            arguments[part.index] = arguments.get(part.index, "") + part.arguments
    assert list(names) == list(range(len(names)))
    return text, [(names[index], arguments[index]) for index in names]


@pytest.mark.parametrize(
    ("answer", "text", "calls"),
    [
        ("Hello.", "Hello.", []),
        (" Hello \n", " Hello \n", []),
        ("", "", []),
        (CALL, "", [("weather", ARGUMENTS)]),
        (f"Let me see.\n{CALL}\n", "Let me see.", [("weather", ARGUMENTS)]),
        (f"{CALL}\n{CALL}", "", [("weather", ARGUMENTS)] * 2),
        (f"{CALL} and so", " and so", [("weather", ARGUMENTS)]),
        # Cut short by the length: what came is given as it is.
        (CALL[: CALL.index('b"}')], "", [("weather", '{"city": "a\\"}')]),
        (CALL[:15], CALL[:15], []),
        ("<tool_", "<tool_", []),
        # Fields in another order, and none at all.
        (
            '<tool_call>{"arguments": {"city": "b"}, "name": "weather"}</tool_call>',
            "",
            [("weather", '{"city": "b"}')],
        ),
        ('<tool_call>{"name": "clock"}</tool_call>', "", [("clock", "{}")]),
        ('<tool_call>{"name": "clock"}', "", [("clock", "{}")]),
        # What is no call is text.
        ("<tool_call>no JSON</tool_call>", "<tool_call>no JSON</tool_call>", []),
        ("<tool_call>[1]</tool_call>", "<tool_call>[1]</tool_call>", []),
        ('<tool_call>{"name": 3}</tool_call> x', '<tool_call>{"name": 3}</tool_call> x', []),
        ("</tool_call>", "</tool_call>", []),
    ],
)
def test_calls_are_told_from_text(answer, text, calls):
    assert read([answer]) == (text, calls)
    assert read(answer) == (text, calls), "a character at a time"


FRAGMENTS = [
    "<tool_call>",
    "</tool_call>",
    '{"name": "f", "arguments": {',
    '{"name":"f"}',
    '"a": [1, {"b": "}"}]',
    "}",
    "}}",
    "\n",
    " ",
    "text",
    '"\\"',
    '{"arguments": {}, "name": "g"}',
    "<tool",
    "日本",
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join), st.data())
def test_the_pieces_do_not_matter(answer, data):
    whole = read([answer])
    cuts = sorted(data.draw(st.sets(st.integers(0, len(answer)), max_size=10)))
    edges = [0, *cuts, len(answer)]
    assert read([answer[a:b] for a, b in pairwise(edges)]) == whole
    assert read(answer) == whole
    bare = read([answer], bare=True)
    assert read(answer, bare=True) == bare


def test_only_the_first_call_counts_where_one_is_wanted():
    assert read([CALL + CALL], several=False) == ("", [("weather", ARGUMENTS)])


def test_a_bare_call_is_read_without_tags():
    bare = '{"name": "weather", "arguments": {"city": "x"}}'
    assert read(bare, bare=True) == ("", [("weather", '{"city": "x"}')])


def body(**fields):
    message = {"role": "user", "content": "Hi"}
    return ChatCompletionRequest.model_validate(
        {"model": "m", "messages": [message], "tools": [WEATHER, CLOCK], **fields}
    )


def test_a_call_that_has_to_be_made_can_be_nothing_else():
    import jsonschema_rs

    allowed = jsonschema_rs.validator_for(json.loads(constraint(body(tool_choice="required")).text))
    assert allowed.is_valid({"name": "weather", "arguments": {"city": "x"}})
    assert allowed.is_valid({"name": "clock", "arguments": {}})
    for wrong in (
        {"name": "weather", "arguments": {}},
        {"name": "weather", "arguments": {"city": 3}},
        {"name": "clock", "arguments": {"city": "x"}},
        {"name": "other", "arguments": {}},
        {"name": "clock"},
        {"name": "clock", "arguments": {}, "more": 1},
        "text",
    ):
        assert not allowed.is_valid(wrong), wrong
    named = constraint(body(tool_choice={"type": "function", "function": {"name": "clock"}}))
    only = jsonschema_rs.validator_for(json.loads(named.text))
    assert only.is_valid({"name": "clock", "arguments": {}})
    assert not only.is_valid({"name": "weather", "arguments": {"city": "x"}})
    assert constraint(body()) is None
    assert constraint(body(tool_choice="none")) is None


def accepts(grammar, tokenizer, text):
    matcher = grammar.matcher()
    for token_id in [*tokenizer.encode(text), tokenizer.eos_token_id]:
        if not matcher.mask[token_id]:
            return False
        matcher.advance(token_id)
    return True


def test_strict_functions_get_the_arguments_that_they_want():
    from lmwright.engine.constraints import Grammar
    from lmwright.tokens.tokenizer import train

    tokenizer = train(["<tool_call> weather clock </tool_call> " * 3], vocab_size=300)
    strict = {"type": "function", "function": {**WEATHER["function"], "strict": True}}
    tools = [strict, CLOCK]
    grammar = Grammar.compile(constraint(body(tools=tools)), tokenizer)
    fine = '<tool_call>\n{"name": "weather", "arguments": {"city": "x"}}\n</tool_call>'
    loose = '<tool_call>{"name": "clock", "arguments": {"any": [1]}}</tool_call>'
    for text in ("", "Hello, 2 < 3.", fine, f"So:\n{fine}{loose}\nDone.", "<tool_", "</tool_call>"):
        assert accepts(grammar, tokenizer, text), text
    for text in (
        "<tool_call>",
        "<tool_call>no",
        '<tool_call>{"name": "weather", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "other", "arguments": {}}</tool_call>',
    ):
        assert not accepts(grammar, tokenizer, text), text
    one = Grammar.compile(constraint(body(tools=tools, parallel_tool_calls=False)), tokenizer)
    assert accepts(one, tokenizer, fine)
    assert not accepts(one, tokenizer, fine + fine)


def pieces_of(text):
    return [text[start : start + 7] for start in range(0, len(text), 7)]


@pytest.fixture
def calling(serve, scripted):
    return serve(scripted(script=pieces_of(f"Well.\n{CALL}"), context_length=200))


def test_a_call_is_answered_whole_and_streamed(calling):
    fields = calling.chat(tools=[WEATHER, CLOCK])
    with calling.client() as client:
        whole = client.post(CHAT, json=fields).json()["choices"][0]
        streamed = client.post(CHAT, json={**fields, "stream": True}).text

    call = whole["message"]["tool_calls"][0]
    assert whole["finish_reason"] == "tool_calls"
    assert whole["message"]["content"] == "Well."
    assert call["type"] == "function"
    assert call["function"] == {"name": "weather", "arguments": ARGUMENTS}
    chunks = [json.loads(line[6:]) for line in streamed.split("\n\n")[:-2]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("content", "") for delta in deltas) == "Well."
    parts = [part for delta in deltas for part in delta.get("tool_calls", [])]
    assert parts[0]["function"]["name"] == "weather"
    assert parts[0]["id"].startswith("call_")
    assert all("id" not in part and "name" not in part["function"] for part in parts[1:])
    assert "".join(part["function"]["arguments"] for part in parts) == ARGUMENTS
    assert len(parts) >= 3, "the arguments come as they are written"
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert calling.engine.seen[0].params.constraint is None
    assert len(calling.engine.seen[0].prompt) == 4, "the template was told of both tools"


def test_a_required_call_is_constrained(serve, scripted):
    script = pieces_of('{"name": "clock", "arguments": {}}')
    server = serve(scripted(script=script))
    fields = server.chat(tools=[WEATHER, CLOCK], tool_choice="required")
    with server.client() as client:
        choice = client.post(CHAT, json=fields).json()["choices"][0]
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "clock", "arguments": "{}"}
    assert choice["message"]["content"] is None
    assert server.engine.seen[0].params.constraint.kind == "json_schema"


def test_a_model_that_must_not_call_is_not_told(calling):
    fields = calling.chat(tools=[WEATHER], tool_choice="none")
    with calling.client() as client:
        choice = client.post(CHAT, json=fields).json()["choices"][0]
    assert len(calling.engine.seen[0].prompt) == 2
    assert "tool_calls" not in choice["message"]
    assert choice["message"]["content"].endswith("</tool_call>")
    assert choice["finish_reason"] == "stop"


def test_a_template_that_tells_nothing_of_tools_is_said_so(serve, scripted):
    server = serve(scripted())
    server.engine.tokenizer.encode_chat = lambda messages, tools=(): [1, 2]
    with server.client() as client:
        response = client.post(CHAT, json=server.chat(tools=[WEATHER]))
        allowed = client.post(CHAT, json=server.chat(tools=[WEATHER], tool_choice="none"))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "tools"
    assert "template" in response.json()["error"]["message"]
    assert allowed.status_code == 200


def test_calls_and_their_results_are_history(calling):
    with calling.client() as client:
        message = client.post(CHAT, json=calling.chat(tools=[WEATHER])).json()["choices"][0][
            "message"
        ]
        result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "warm"}
        history = [{"role": "user", "content": "Hi"}, message, result]
        response = client.post(CHAT, json=calling.chat(messages=history, tools=[WEATHER]))
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "perhaps", "tools": [CLOCK]}, "tool_choice"),
        (
            {"tool_choice": {"type": "function", "function": {"name": "no"}}, "tools": [CLOCK]},
            "tool_choice",
        ),
        ({"tools": [CLOCK, CLOCK]}, "tools"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [CLOCK], "response_format": {"type": "json_object"}}, "response_format"),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "[]"}}],
                    }
                ]
            },
            "messages[0].tool_calls[0].function.arguments",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(calling, fields, param):
    with calling.client() as client:
        response = client.post(CHAT, json=calling.chat(**fields))
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


def test_a_format_becomes_a_constraint(serve):
    server = serve()
    schema = {"type": "object", "properties": {"größe": {"type": "integer"}}}
    named = {"name": "answer", "schema": schema, "strict": True}
    with server.client() as client:
        client.post(CHAT, json=server.chat(response_format={"type": "json_object"}))
        fields = {"response_format": {"type": "json_schema", "json_schema": named}}
        client.post(CHAT, json=server.chat(**fields))
        client.post("/v1/completions", json={"model": "tiny", "prompt": "a", **fields})
        client.post(CHAT, json=server.chat(response_format={"type": "text"}))
    seen = [request.params.constraint for request in server.engine.seen]
    assert [None if one is None else one.kind for one in seen] == [
        "json_object",
        "json_schema",
        "json_schema",
        None,
    ]
    assert json.loads(seen[1].text) == schema
