"""What goes wrong on the way: hang-ups, overload, failing steps, loading, draining."""

import asyncio
import json
import logging
import signal
import socket
import threading
import time

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.serving import options
from lmwright.serving.limits import Limits
from lmwright.serving.model import Loaded

CHAT = "/v1/chat/completions"
LONG = ["word "] * 50


def in_background(function, *arguments):
    results: list = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments)), daemon=True)
    thread.start()
    return thread, results


def held(scripted, **changes):
    """An engine that waits before each step until the test lets it go on."""
    return scripted(script=LONG, hold=threading.Semaphore(0), **changes)


def raw_request(server, body: dict) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port))
    content = json.dumps(body).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)
    return connection


def cancelled(server) -> bool:
    return any(answer.cancelled for answer in server.worker.in_flight)


@pytest.mark.parametrize("stream", [True, False])
def test_generation_stops_when_the_client_hangs_up(serve, scripted, eventually, stream):
    engine = held(scripted)
    server = serve(engine)
    connection = raw_request(server, server.chat(stream=stream))
    engine.hold.release(3)
    eventually(lambda: engine.steps == 3)

    connection.close()
    eventually(lambda: cancelled(server))
    engine.hold.release(1)  # the step that was waiting

    eventually(lambda: engine.aborted == [0])
    assert engine.steps <= 4
    eventually(lambda: not engine.has_work())
    with server.client() as client:
        eventually(lambda: 'finished_reason="abort"' in client.get("/metrics").text)


def test_a_client_that_hangs_up_while_it_waits_frees_its_place(serve, scripted, eventually):
    engine = held(scripted, max_sequences=1)
    server = serve(engine, limits=Limits(waiting_requests=1))
    first = raw_request(server, server.chat(stream=True))
    eventually(lambda: len(engine.seen) == 1)
    second = raw_request(server, server.chat(stream=True))
    eventually(lambda: len(server.worker.in_flight) == 2)

    second.close()
    eventually(lambda: cancelled(server))
    engine.hold.release(2)

    eventually(lambda: len(server.worker.in_flight) == 1)
    assert len(engine.seen) == 1 or engine.aborted == [1]  # never added, or taken out again
    first.close()


def test_a_full_queue_is_refused_at_once_and_drains(serve, scripted, eventually):
    engine = held(scripted, max_sequences=1)
    server = serve(engine, limits=Limits(waiting_requests=1, retry_after=3))
    with server.client() as client:
        accepted = [in_background(lambda: client.post(CHAT, json=server.chat())) for _ in range(2)]
        eventually(lambda: len(server.worker.in_flight) == 2)
        refused = client.post(CHAT, json=server.chat(stream=True))
        metrics = client.get("/metrics").text
        engine.hold.release(1000)
        for thread, _ in accepted:
            thread.join(10)

    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "3"
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert [results[0].status_code for _, results in accepted] == [200, 200]
    assert 'admission_rejections_total{model_name="tiny",reason="requests"} 1.0' in metrics
    assert 'num_requests_running{model_name="tiny"} 1.0' in metrics
    assert 'num_requests_waiting{model_name="tiny"} 1.0' in metrics


def test_the_queue_is_bounded_in_tokens_as_well(serve, scripted, eventually):
    engine = held(scripted)
    server = serve(engine, limits=Limits(waiting_tokens=10))
    long = server.chat(messages=[{"role": "user", "content": "word " * 30}])
    with server.client() as client:
        thread, results = in_background(lambda: client.post(CHAT, json=long))
        eventually(lambda: len(server.worker.in_flight) == 1)  # into an idle server it may come
        refused = client.post(CHAT, json=server.chat())
        engine.hold.release(1000)
        thread.join(10)

    assert refused.status_code == 429
    assert results[0].status_code == 200


def test_a_failing_step_is_told_to_all_and_the_server_goes_on(serve, scripted):
    engine = scripted(failing_steps=1)
    server = serve(engine)
    with server.client() as client:
        failed = client.post(CHAT, json=server.chat())
        streamed = client.post(CHAT, json=server.chat(stream=True))
        ready = client.get("/health/ready")

    assert failed.status_code == 500
    assert failed.json()["error"]["code"] == "engine_error"
    assert streamed.text.rstrip().endswith("data: [DONE]")
    assert ready.status_code == 200
    assert server.failures == []


def test_a_stream_that_fails_ends_with_the_error_and_no_done(serve, scripted):
    server = serve(scripted(script=["Hello", "ERROR"]))
    with server.client() as client:
        text = client.post(CHAT, json=server.chat(stream=True)).text
        whole = client.post(CHAT, json=server.chat())

    last = json.loads(text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert last["error"]["code"] == "engine_error"
    assert "[DONE]" not in text
    assert whole.status_code == 500


def test_an_engine_that_always_fails_is_restarted_twice_and_then_ends_the_server(
    serve, scripted, eventually
):
    engine = scripted(failing_steps=1000)
    server = serve(engine)
    with server.client() as client:

        def failed():
            assert client.post(CHAT, json=server.chat()).status_code in (500, 503)
            engine.requests.clear()  # a new process would know nothing of them
            return server.worker.state == "failed"

        eventually(failed)
        ready = client.get("/health/ready")
        refused = client.post(CHAT, json=server.chat())
        metrics = client.get("/metrics").text

    assert ready.status_code == 503
    assert refused.status_code == 503
    assert "died 3 times within a minute" in str(server.failures[0])
    assert 'engine_deaths_total{model_name="tiny"} 3.0' in metrics


def test_while_loading_the_server_is_alive_but_not_ready(serve, scripted, eventually):
    engine, loaded = scripted(), threading.Event()

    def load():
        loaded.wait(10)
        return Loaded(engine)

    server = serve(engine, load=load, wait=False)
    with server.client() as client:
        assert client.get("/health/live").status_code == 200
        for response in (
            client.get("/health/ready"),
            client.get("/v1/models"),
            client.post(CHAT, json=server.chat()),
        ):
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "loading"
            assert int(response.headers["retry-after"]) > 0
        assert client.get("/page/config.json").json()["state"] == "loading"
        assert client.get("/").status_code == 200

        loaded.set()
        eventually(lambda: client.get("/health/ready").status_code == 200)
        assert client.post(CHAT, json=server.chat()).status_code == 200


def test_a_model_that_cannot_be_loaded_is_reported(serve, eventually):
    def load():
        raise LmwrightError("there is no such model")

    server = serve(load=load, wait=False)
    eventually(lambda: server.worker.state == "failed")
    assert [str(error) for error in server.failures] == ["there is no such model"]


def test_draining_finishes_what_was_accepted_and_refuses_the_rest(serve, scripted, eventually):
    engine = held(scripted)
    server = serve(engine)
    with server.client() as client:
        thread, results = in_background(lambda: client.post(CHAT, json=server.chat(stream=True)))
        eventually(lambda: len(engine.seen) == 1)

        server.server.handle_exit(signal.SIGTERM, None)
        eventually(lambda: server.worker.state == "draining")
        ready = client.get("/health/ready")
        refused = client.post(CHAT, json=server.chat())
        live = client.get("/health/live")
        engine.hold.release(1000)
        thread.join(10)

    assert (ready.status_code, refused.status_code, live.status_code) == (503, 503, 200)
    assert refused.json()["error"]["code"] == "draining"
    assert int(refused.headers["retry-after"]) > 0
    assert results[0].text.rstrip().endswith("data: [DONE]")
    eventually(lambda: server.server.should_exit)


def test_a_drain_that_takes_too_long_is_broken_off(serve, scripted, eventually):
    engine = scripted(script=["word "] * 10_000, seconds=0.01, context_length=20_000)
    server = serve(engine)
    server.server.drain_seconds = 0.1
    with server.client() as client:
        thread, results = in_background(lambda: client.post(CHAT, json=server.chat(stream=True)))
        eventually(lambda: len(engine.seen) == 1)
        server.server.handle_exit(signal.SIGTERM, None)
        thread.join(10)

    last = json.loads(results[0].text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert last["error"]["code"] == "aborted"


def test_an_idle_worker_sleeps(serve, scripted):
    engine = scripted()
    asked = 0
    has_work = engine.has_work

    def counted():
        nonlocal asked
        asked += 1
        return has_work()

    engine.has_work = counted
    serve(engine)
    before = asked
    time.sleep(0.3)
    assert asked - before <= 1


def test_logs_hold_numbers_and_never_words(serve, scripted, caplog, eventually):
    secret = "xyzzy-secret"
    server = serve(scripted(script=["plugh-answer"]))
    logging.getLogger("lmwright").setLevel(logging.DEBUG)
    logging.getLogger("lmwright").propagate = True
    with caplog.at_level(logging.DEBUG), server.client() as client:
        messages = [{"role": "user", "content": secret}]
        client.post(CHAT, json=server.chat(messages=messages))
        client.post(CHAT, json=server.chat(messages=messages, stream=True))
        client.post("/v1/completions", json={"model": "tiny", "prompt": secret, "n": 99})
        client.post(f"/v1/{secret}?q={secret}", json={secret: secret})

    def lines():
        return [record for record in caplog.records if record.getMessage() == "request"]

    eventually(lambda: len(lines()) == 4)  # each is written after its answer has been sent
    requests = lines()
    chat = requests[0].fields
    assert (chat["route"], chat["status"], chat["stream"]) == (CHAT, 200, False)
    assert (chat["prompt_tokens"], chat["completion_tokens"]) == (2, 2)
    assert chat["finish_reason"] == "stop"
    assert chat["first_token_seconds"] >= 0
    shown = " ".join(f"{record.getMessage()} {record.__dict__}" for record in requests)
    assert "xyzzy" not in shown
    assert "plugh" not in shown


def test_a_slow_reader_does_not_hold_the_others_up(serve, scripted, eventually):
    engine = scripted(script=["x" * 2_000] * 400, context_length=1_000, max_sequences=2)
    server = serve(engine)
    slow = raw_request(server, server.chat(stream=True))  # and never reads
    eventually(lambda: len(engine.seen) == 1)
    with server.client() as client:
        answer = client.post(CHAT, json=server.chat(max_tokens=3)).json()
    assert answer["usage"]["completion_tokens"] == 3
    eventually(lambda: not engine.has_work())
    slow.close()


def test_a_port_in_use_is_told_before_anything_is_loaded():
    first = options.bind("127.0.0.1", 0)
    port = first.getsockname()[1]
    with pytest.raises(LmwrightError, match=f"127.0.0.1:{port} is in use"):
        options.bind("127.0.0.1", port)
    first.close()
    options.bind("127.0.0.1", port).close()


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("no.such.host.invalid", 0)])
def test_an_impossible_address_is_one_clear_error(host, port):
    with pytest.raises(LmwrightError):
        options.bind(host, port)


def test_many_hang_ups_leave_nothing_behind(serve, scripted, eventually):
    engine = scripted(script=LONG, seconds=0.001, max_sequences=8)
    server = serve(engine)

    async def hang_up(number: int) -> None:
        import httpx

        async with httpx.AsyncClient(base_url=server.url, timeout=10) as client:
            body = server.chat(stream=True)
            async with client.stream("POST", CHAT, json=body) as response:
                count = 0
                async for _ in response.aiter_lines():
                    count += 1
                    if count > number % 7:
                        return

    async def all_of_them() -> None:
        await asyncio.gather(*(hang_up(number) for number in range(40)))

    asyncio.run(all_of_them())
    eventually(lambda: not engine.has_work())
    eventually(lambda: not server.worker.in_flight)
