"""The client against sockets that answer by a script, and against our own server."""

import asyncio
import contextlib
import json
import time

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.serving.bench.client import Client, first_model
from lmwright.serving.bench.http import Endpoint
from lmwright.serving.bench.outcomes import Outcome
from lmwright.serving.bench.prompts import Prompt

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ROLE = {"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
END = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
USAGE = {"choices": [], "usage": {"completion_tokens": 7, "prompt_tokens": 3}}


def says(text):
    return {"choices": [{"delta": {"content": text}, "finish_reason": None}]}


def event(value):
    return f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode()


def chunked(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def plain(status, body):
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


@contextlib.asynccontextmanager
async def scripted(*parts, asked=None):
    """A server that reads a request, then sends bytes, waiting where a number stands."""

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"length" in line),
            0,
        )
        body = await reader.readexactly(length)
        if asked is not None:
            asked.append((head, body))
        with contextlib.suppress(ConnectionError):
            for part in parts:
                if isinstance(part, bytes):
                    writer.write(part)
                    await writer.drain()
                else:
                    await asyncio.sleep(part)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def ask(*parts, asked=None, api="chat", **options):
    """What a request to a scripted server comes to."""

    async def run():
        async with scripted(*parts, asked=asked) as url:
            client = Client(Endpoint.parse(url, api_key="secret"), "m", api, **options)
            outcome, start = Outcome(0.0), time.perf_counter()
            await client.send(Prompt("Hi", 5), outcome, lambda: time.perf_counter() - start)
            return outcome

    return asyncio.run(run())


def test_pieces_are_timed_as_they_arrive():
    outcome = ask(
        STREAM + chunked(event(ROLE)),
        0.15,  # what a server says before its first token is none
        chunked(event(says("a"))),
        0.1,
        chunked(event(says("b"))[:9]),  # half an event is no piece
        0.1,
        chunked(event(says("b"))[9:] + event(says("c"))),
        chunked(event(END) + event(USAGE) + event("[DONE]")) + b"0\r\n\r\n",
    )
    assert outcome.error is None
    assert len(outcome.arrivals) == 3
    assert 0.14 <= outcome.time_to_first_token < 0.25
    assert outcome.gaps[0] >= 0.19
    assert outcome.gaps[1] == 0
    assert (outcome.completion_tokens, outcome.prompt_tokens) == (7, 3)
    assert outcome.latency >= 0.34


def test_without_counts_every_piece_is_a_token():
    parts = [event(says("a")), event(says("b")), event(END)]
    outcome = ask(STREAM + chunked(b"".join(parts)) + b"0\r\n\r\n")
    assert outcome.error is None
    assert outcome.completion_tokens == 2


def test_a_stream_that_ends_with_the_connection():
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
    text = {"choices": [{"text": "a", "finish_reason": "length"}]}
    outcome = ask(head + event(text) + event("[DONE]"), api="completions")
    assert (outcome.error, outcome.completion_tokens) == (None, 1)


def test_what_is_sent():
    asked = []
    ask(STREAM + b"0\r\n\r\n", asked=asked, fields={"temperature": 0.5})
    ask(STREAM + b"0\r\n\r\n", asked=asked, api="completions", usage=False)
    (head, body), (other_head, other) = asked
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert other_head.startswith(b"POST /v1/completions HTTP/1.1\r\n")
    assert b"authorization: Bearer secret\r\n" in head
    expected = {"model": "m", "max_tokens": 5, "stream": True}
    assert json.loads(body) == expected | {
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.5,
        "stream_options": {"include_usage": True},
    }
    assert json.loads(other) == expected | {"prompt": "Hi"}


def test_every_failure_has_its_kind():
    refusal = json.dumps({"error": {"message": "the queue is full", "type": "x"}}).encode()
    error = event({"error": {"message": "the engine ended"}})
    failures = {
        "HTTP 429: the queue is full": [plain(429, refusal)],
        "HTTP 500: oops": [plain(500, b"oops")],
        "the answer is no event stream": [plain(200, b"{}")],
        "error event: the engine ended": [STREAM + chunked(event(says("a")) + error)],
        "an event is no JSON": [STREAM + chunked(event("{"))],
        "answer broken off": [STREAM + chunked(event(says("a")))],
        "connection broken off": [b""],
    }
    for kind, parts in failures.items():
        outcome = ask(*parts)
        assert (outcome.error, outcome.finished) == (kind, None)
    whole = STREAM + chunked(event(says("a"))) + b"0\r\n\r\n"
    assert ask(whole).error == "answer broken off", "neither a finish reason nor [DONE]"
    slow = ask(STREAM + chunked(event(says("a"))), 5, timeout=0.2)
    assert (slow.error, len(slow.arrivals)) == ("timed out", 1)


def test_nobody_there():
    async def run():
        async with scripted() as url:
            pass
        outcome = Outcome(0.0)
        await Client(Endpoint.parse(url), "m").send(Prompt("Hi", 1), outcome, lambda: 0.0)
        with pytest.raises(LmwrightError, match=r"no answer from 127\.0\.0\.1"):
            await first_model(Endpoint.parse(url))
        return outcome.error

    assert asyncio.run(run()) == "connection refused"


def test_a_server_without_models_is_named():
    async def run(body):
        async with scripted(plain(200, body)) as url:
            return await first_model(Endpoint.parse(url))

    assert asyncio.run(run(b'{"data": [{"id": "one"}, {"id": "two"}]}')) == "one"
    for body in (b"<html>", b'{"data": []}', b"[]"):
        with pytest.raises(LmwrightError, match="lists no model"):
            asyncio.run(run(body))


def test_urls():
    assert Endpoint.parse("http://localhost:80").host_header == "localhost"
    assert Endpoint.parse("http://[::1]:8000/").host_header == "[::1]:8000"
    assert Endpoint.parse("https://example.org").port == 443
    assert Endpoint.parse("http://h:1").base == "/v1"
    assert Endpoint.parse("http://h:1/api/v3/").base == "/api/v3"
    for url in ("localhost:8000", "ftp://h", "http://", "http://h:port", ""):
        with pytest.raises(LmwrightError, match="URL"):
            Endpoint.parse(url)
