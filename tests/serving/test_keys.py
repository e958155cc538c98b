"""API keys and what each may ask for."""

import json
import threading

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.serving.access import api_keys
from lmwright.serving.keys import Keys, is_open
from lmwright.serving.rates import Allowance, TokenBucket

CHAT = "/v1/chat/completions"
KEY, OTHER = "sk-first-of-two", "sk-second-of-two"
OPEN = ["/", "/favicon.ico", "/page/app.js", "/page/config.json", "/health/live", "/health/ready"]
CLOSED = ["/v1/models", "/v1/models/tiny", "/metrics", "/openapi.json", "/nothing"]


def bearer(key):
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
def server(serve):
    return serve(keys=Keys([KEY, OTHER]))


def test_only_the_page_and_the_probes_are_answered_without_a_key(server):
    with server.client() as client:
        assert [path for path in OPEN if client.get(path).status_code != 200] == []
        for path in CLOSED:
            for headers in (
                {},
                bearer("wrong-key"),
                bearer(KEY[:-1]),
                bearer(KEY + "x"),
                {"authorization": f"Basic {KEY}"},
                {"authorization": KEY},
                {"authorization": b"Bearer \xff\xfe"},
            ):
                response = client.get(path, headers=headers)
                assert response.status_code == 401, (path, headers)
                assert response.json()["error"]["code"] == "invalid_api_key"
                assert response.json()["error"]["type"] == "authentication_error"
                assert response.headers["www-authenticate"] == "Bearer"
        assert client.post(CHAT, json=server.chat()).status_code == 401
        assert client.post("/tokenize", json={"prompt": "a"}).status_code == 401
    assert server.engine.seen == []


def test_each_key_opens(server):
    with server.client() as client:
        for key in (KEY, OTHER):
            assert client.get("/v1/models", headers=bearer(key)).status_code == 200
            assert client.post(CHAT, json=server.chat(), headers=bearer(key)).status_code == 200
        assert client.get("/page/config.json").json()["needs_key"] is True


def test_a_server_without_keys_asks_for_none(serve):
    server = serve()
    with server.client() as client:
        assert client.get("/page/config.json").json()["needs_key"] is False
        assert client.post(CHAT, json=server.chat(), headers=bearer("any")).status_code == 200


def test_no_key_is_kept_or_logged(server, logged):
    with server.client() as client:
        client.post(CHAT, json=server.chat(), headers=bearer(KEY))
        client.post(CHAT, json=server.chat(), headers=bearer("wrong-key-entirely"))
    assert '"key": "' in logged[0], "requests are told apart by their key's hash"
    assert KEY not in "".join(logged)
    assert "wrong-key-entirely" not in "".join(logged)
    assert KEY not in repr(vars(Keys([KEY])))


def test_refused_requests_are_logged_and_counted_by_their_route(serve, logged):
    server = serve(keys=Keys([KEY], per_minute=1))
    with server.client() as client:
        for headers in (bearer("wrong-key"), bearer(KEY), bearer(KEY)):
            client.post(CHAT, json=server.chat(), headers=headers)
        client.get("/v1/models/some/name")
        client.get("/v1/models", headers={"host": "evil.example"})
        client.get("/nothing")
        metrics = client.get("/metrics", headers=bearer(KEY)).text
    lines = [json.loads(line) for line in logged]
    told = [(line["route"], line["status"]) for line in lines if line["event"] == "request"]
    assert told == [
        (CHAT, 401),
        (CHAT, 200),
        (CHAT, 429),
        ("/v1/models/{model:path}", 401),
        ("/v1/models", 403),
        ("none", 401),
    ]
    for status in (401, 429):
        sample = f'http_requests_total{{handler="{CHAT}",method="POST",status="{status}"}} 1.0'
        assert sample in metrics


def test_a_key_has_so_many_requests_a_minute(serve):
    server = serve(keys=Keys([KEY, OTHER], per_minute=2))
    with server.client() as client:
        first = [
            client.post(CHAT, json=server.chat(), headers=bearer(KEY)).status_code for _ in range(2)
        ]
        refused = client.post(CHAT, json=server.chat(), headers=bearer(KEY))
        assert first == [200, 200]
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert client.get("/v1/models", headers=bearer(KEY)).status_code == 200
        other = client.post(CHAT, json=server.chat(), headers=bearer(OTHER))
        assert other.status_code == 200, "each key has its own"


def test_a_key_has_so_many_requests_at_once(serve, scripted, eventually):
    hold = threading.Semaphore(0)
    server = serve(scripted(hold=hold), keys=Keys([KEY], at_once=1))
    answers = []

    def ask():
        with server.client(headers=bearer(KEY)) as client:
            answers.append(client.post(CHAT, json=server.chat()).status_code)

    waiting = threading.Thread(target=ask)
    waiting.start()
    eventually(lambda: server.engine.seen)
    with server.client(headers=bearer(KEY)) as client:
        refused = client.post(CHAT, json=server.chat())
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        hold.release(100)
        waiting.join(10)
        assert answers == [200]
        with client.stream("POST", CHAT, json=server.chat(stream=True)) as response:
            next(response.iter_lines())  # hung up upon: its place is free again
        eventually(lambda: client.post(CHAT, json=server.chat()).status_code == 200)


def test_a_bucket_refills_evenly():
    now = [0.0]
    bucket = TokenBucket(6, clock=lambda: now[0])
    assert [bucket.take() for _ in range(7)] == [0] * 6 + [10]
    now[0] = 9.0
    assert bucket.take() == 1
    now[0] = 10.0
    assert bucket.take() == 0
    assert bucket.take() == 10
    now[0] = 10_000.0
    assert [bucket.take() for _ in range(7)].count(0) == 6, "never more than its size"


def test_a_refused_place_costs_no_request():
    allowance = Allowance("name", per_minute=2, at_once=1, clock=lambda: 0.0)
    assert [allowance.enter() for _ in range(3)] == [0, 1, 1]
    allowance.leave()
    assert allowance.enter() == 0


def test_keys_come_from_everywhere(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# ours\nkey-in-file-1\n\n  key-in-file-2  \n")
    environment = {"LMWRIGHT_API_KEY": "key-in-env-1, key-in-env-2"}
    assert api_keys(["key-given"], file, environment) == [
        "key-given",
        "key-in-env-1",
        "key-in-env-2",
        "key-in-file-1",
        "key-in-file-2",
    ]
    assert api_keys((), None, {}) == []


@pytest.mark.parametrize("content", [None, "", "# nothing\n", "short", "has a space", b"\xff\xfe"])
def test_a_file_without_keys_is_an_error(tmp_path, content):
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LmwrightError) as refused:
        api_keys((), file, {})
    assert "short" not in refused.value.what.replace("too short", "")


def test_what_is_open_cannot_be_stretched():
    assert not is_open("/healthy")
    assert not is_open("//health/live")
    assert not is_open("/v1/../health/live")
