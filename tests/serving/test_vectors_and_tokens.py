"""`/v1/embeddings`, `/tokenize` and `/detokenize`."""

import base64
import struct

import pytest

from lmwright.serving.model import Loaded, Served
from lmwright.serving.vectors import VectorEvent

EMBED = "/v1/embeddings"


class LengthEngine:
    """Gives each text the vector (its length, its first id, 0.5)."""

    max_sequences = 4
    context_length = 16

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.waiting = {}
        self.seen = []

    def add(self, prompt, params):
        self.waiting[len(self.seen)] = prompt
        self.seen.append(prompt)
        return len(self.seen) - 1

    def abort(self, request_id):
        self.waiting.pop(request_id, None)

    def has_work(self):
        return bool(self.waiting)

    def step(self):
        events = []
        for number, ids in self.waiting.items():
            vector = base64.b64encode(struct.pack("<3f", len(ids), ids[0], 0.5)).decode()
            events.append(VectorEvent(number, vector))
        self.waiting = {}
        return events

    def stats(self):
        from lmwright.engine.stats import EngineStats

        return EngineStats(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


@pytest.fixture
def embedding(serve, scripted, monkeypatch):
    engine = LengthEngine(scripted().tokenizer)
    monkeypatch.setattr(Served, "embedding_ids", lambda self, text: self.tokenizer.encode(text))
    server = serve(load=lambda: Loaded(engine, kind="embedding", chats=False))
    server.embedder = engine
    return server


def ask(server, **fields):
    with server.client() as client:
        return client.post(EMBED, json={"model": "tiny", **fields})


@pytest.mark.parametrize(
    ("given", "vectors"),
    [
        ("a b c", [[3, 1, 0.5]]),
        (["a b c", "b"], [[3, 1, 0.5], [1, 2, 0.5]]),
        ([7, 8], [[2, 7, 0.5]]),
        ([[7, 8], [9]], [[2, 7, 0.5], [1, 9, 0.5]]),
        ([[n + 1] for n in range(11)], [[1, n + 1, 0.5] for n in range(11)]),
    ],
)
def test_every_form_of_input_gets_its_vectors_in_order(embedding, given, vectors):
    body = ask(embedding, input=given).json()
    assert body["object"] == "list"
    assert [row["embedding"] for row in body["data"]] == vectors
    assert [row["index"] for row in body["data"]] == list(range(len(vectors)))
    tokens = sum(int(vector[0]) for vector in vectors)
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_base64_holds_the_same_numbers(embedding):
    row = ask(embedding, input="a b", encoding_format="base64").json()["data"][0]
    assert struct.unpack("<3f", base64.b64decode(row["embedding"])) == (2, 1, 0.5)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input": ""}, "input", "invalid_value"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": [""]}, "input", "invalid_value"),
        ({"input": [[]]}, "input", "invalid_value"),
        ({"input": [1, "a"]}, "input", "invalid_value"),
        ({"input": "a", "dimensions": 2}, "dimensions", "unsupported_field"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "invalid_value"),
        ({"input": "a " * 17}, "input", "context_length_exceeded"),
        ({}, "input", "missing_field"),
    ],
)
def test_what_cannot_be_is_refused_by_name(embedding, fields, param, code):
    response = ask(embedding, **fields)
    assert response.status_code == 400, response.text
    assert (response.json()["error"]["param"], response.json()["error"]["code"]) == (param, code)


def test_a_model_does_what_it_was_trained_for(embedding, serve):
    generating = serve()
    with embedding.client() as client:
        chat = client.post("/v1/chat/completions", json=embedding.chat())
    for response in (chat, ask(generating, input="a")):
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "unsupported_model"
    assert ask(embedding, input="a", model="other").status_code == 404


@pytest.fixture
def server(serve):
    return serve()


def post(server, path, **fields):
    with server.client() as client:
        return client.post(path, json=fields)


def test_a_text_is_cut_and_joined(server):
    body = post(server, "/tokenize", prompt="a b a", return_token_strs=True).json()
    assert body == {
        "count": 3,
        "max_model_len": 64,
        "tokens": [1, 2, 1],
        "token_strs": ["w1", "w2", "w1"],
    }
    bare = post(server, "/tokenize", model="tiny", prompt="a", add_special_tokens=False).json()
    assert bare["tokens"] == [1]
    assert bare["token_strs"] is None
    assert post(server, "/detokenize", tokens=[1, 0, 2]).json() == {"prompt": "w1 <end> w2"}
    assert post(server, "/detokenize", tokens=[]).json() == {"prompt": ""}


def test_a_conversation_is_cut_as_it_would_be_answered(server):
    messages = [{"role": "user", "content": "a b"}]
    with server.client() as client:
        usage = client.post("/v1/chat/completions", json=server.chat(messages=messages)).json()
    body = post(server, "/tokenize", messages=messages).json()
    assert body["count"] == usage["usage"]["prompt_tokens"]
    assert body["tokens"] == list(server.engine.seen[0].prompt)


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, "prompt"),
        ("/tokenize", {"prompt": "a", "add_generation_prompt": True}, "add_generation_prompt"),
        (
            "/tokenize",
            {"messages": [{"role": "user", "content": "a"}], "add_special_tokens": True},
            "add_special_tokens",
        ),
        ("/detokenize", {"tokens": [1000]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("/detokenize", {}, "tokens"),
    ],
)
def test_what_cannot_be_cut_or_joined_is_refused(server, path, fields, param):
    response = post(server, path, **fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
    assert post(server, path, model="other", **fields).status_code in (400, 404)
