"""The HTTP API: what it answers."""

import pytest

from lmwright.serving.model import Loaded, Sampling
from lmwright.serving.protocol import NEUTRAL
from tests.serving.replies import CHAT, events


@pytest.fixture
def server(serve):
    return serve()


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


def test_the_model_is_listed_with_its_context(server):
    with server.client() as client:
        listed = client.get("/v1/models").json()
        assert listed["object"] == "list"
        assert [card["id"] for card in listed["data"]] == ["tiny"]
        assert listed["data"][0]["max_model_len"] == 64
        assert client.get("/v1/models/tiny").json() == listed["data"][0]


def test_a_model_whose_name_has_a_slash_is_found(serve):
    server = serve(name="owner/model")
    with server.client() as client:
        assert client.get("/v1/models/owner/model").json()["id"] == "owner/model"


def test_the_openapi_document_describes_what_is_served(server):
    with server.client() as client:
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
