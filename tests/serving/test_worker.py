"""The door to the engine and its supervisor, with engines that do on cue what goes wrong."""

import asyncio
import json
import threading

import httpx
import pytest

from lmwright.core.errors import LmwrightError
from lmwright.serving.answers import Answer, Reply
from lmwright.serving.errors import ApiError
from lmwright.serving.limits import Limits
from lmwright.serving.model import Loaded
from lmwright.serving.pieces import Piece
from lmwright.serving.telemetry import Telemetry

CHAT = "/v1/chat/completions"


def in_background(function, *arguments):
    results: list = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments)), daemon=True)
    thread.start()
    return thread, results


def last_event(text: str) -> dict:
    return json.loads(text.strip().split("\n\n")[-1].removeprefix("data: "))


def new_reply(count=1, unread=1_000):
    cancelled = []
    answers = [Answer(i, [1, 2], None, Telemetry("tiny")) for i in range(count)]
    return Reply(answers, 2, cancelled.append, unread=unread), answers, cancelled


def test_pieces_survive_the_journey():
    piece = Piece(
        "text", 7, -0.5, "length", None, ((7, -0.5), (3, -1.5)), [None, -2.0], "AAAA", 3.5
    )
    assert Piece.from_json(json.loads(json.dumps(piece.to_json())), piece.time) == piece
    assert Piece(token_id=0, logprob=0.0).to_json() == {"token_id": 0, "logprob": 0.0}


def test_a_reply_is_admitted_when_every_answer_is():
    async def scenario():
        reply, (first, second), _ = new_reply(2)
        admitted = asyncio.ensure_future(reply.admitted())
        reply.put(first, Piece())
        reply.put(first, Piece("early", 1))  # a step between the two must not lose its token
        await asyncio.sleep(0)
        assert not admitted.done()
        reply.put(second, Piece())
        await admitted
        reply.put(first, Piece(ending="stop"))
        reply.put(second, Piece(ending="stop"))
        return [item[1].text async for item in reply.pieces(1.0)]

    assert asyncio.run(scenario()) == ["early", "", ""]


def test_one_refused_prompt_refuses_the_request():
    async def scenario():
        reply, (first, second), cancelled = new_reply(2)
        reply.put(first, Piece())
        reply.put(second, Piece(ending="refused", error="too long"))
        with pytest.raises(ApiError, match="too long") as refused:
            await reply.admitted()
        reply.close()
        return refused.value.status_code, cancelled == [first]

    assert asyncio.run(scenario()) == (400, True)


def test_a_reader_that_lies_too_far_behind_is_cut_off():
    async def scenario():
        reply, (answer,), cancelled = new_reply(unread=5)
        for number in range(20):
            reply.put(answer, Piece("x", number))
        assert cancelled == [answer]
        assert len(answer.pieces) == 6
        with pytest.raises(ApiError) as error:
            async for _ in reply.pieces(1.0):
                pass
        return error.value.code

    assert asyncio.run(scenario()) == "reader_too_slow"


def test_a_reader_that_does_not_read_costs_the_engine_nothing_more(serve, scripted, eventually):
    script = ["x" * 2_000] * 20_000  # far more than the system's buffers hold
    engine = scripted(script=script, context_length=30_000)
    server = serve(engine, limits=Limits(unread_pieces=50))
    with (
        server.client() as client,
        client.stream("POST", CHAT, json=server.chat(stream=True)) as response,
    ):
        assert response.status_code == 200
        eventually(lambda: engine.aborted == [0], 30)
        assert engine.seen[0].said < len(script)


@pytest.mark.parametrize("stream", [True, False])
def test_a_request_that_takes_too_long_is_ended(serve, scripted, eventually, stream):
    engine = scripted(script=["word "] * 10_000, seconds=0.01, context_length=20_000)
    server = serve(engine, limits=Limits(request_seconds=0.3))
    with server.client() as client:
        response = client.post(CHAT, json=server.chat(stream=stream))
    if stream:
        assert last_event(response.text)["error"]["code"] == "timeout"
    else:
        assert response.status_code == 504
        assert response.json()["error"]["code"] == "timeout"
    eventually(lambda: engine.aborted == [0])
    eventually(lambda: not server.worker.in_flight)


def test_a_lost_engine_is_told_to_all_and_replaced(serve, scripted, thread_engine, eventually):
    engines = [
        scripted(script=["word "] * 50, hold=threading.Semaphore(0), max_sequences=1),
        scripted(),
    ]
    handles, may_load = [], threading.Event()

    def start(model):
        engine = engines[len(handles)]

        def load():
            if handles:
                may_load.wait(10)
            return Loaded(engine)

        handles.append(thread_engine(load))
        return handles[-1]

    server = serve(engines[0], start=start)
    with server.client() as client:
        streamed = in_background(lambda: client.post(CHAT, json=server.chat(stream=True)))
        eventually(lambda: len(engines[0].seen) == 1)
        engines[0].hold.release(2)
        waiting = in_background(lambda: client.post(CHAT, json=server.chat()))
        eventually(lambda: len(server.worker.in_flight) == 2)

        handles[0].kill()
        engines[0].hold.release(1000)
        for thread, _ in (streamed, waiting):
            thread.join(10)
        unready = client.get("/health/ready")
        refused = client.post(CHAT, json=server.chat())
        may_load.set()
        eventually(lambda: client.get("/health/ready").status_code == 200)
        answered = client.post(CHAT, json=server.chat())

    assert last_event(streamed[1][0].text)["error"]["code"] == "engine_lost"
    assert waiting[1][0].status_code == 503
    assert int(waiting[1][0].headers["retry-after"]) > 0
    assert (unready.status_code, refused.status_code) == (503, 503)
    assert int(unready.headers["retry-after"]) > 0
    assert answered.json()["choices"][0]["message"]["content"] == "Hello there."
    assert server.failures == []


def test_a_swap_under_load_drops_nothing(serve, scripted, thread_engine, eventually, monkeypatch):
    monkeypatch.setattr("lmwright.serving.supervisor.RETIRE_SECONDS", 0.2)
    engines = {
        None: scripted(script=["old"] * 20, seconds=0.002, max_sequences=4),
        "other": scripted(script=["new"] * 20, seconds=0.002, max_sequences=4),
    }
    handles = {}

    def start(model):
        handles[model] = thread_engine(lambda: Loaded(engines[model]))
        return handles[model]

    server = serve(engines[None], start=start)
    answers: list[httpx.Response] = []
    over = threading.Event()

    def ask():
        with server.client() as client:
            while not over.is_set():
                answers.append(client.post(CHAT, json=server.chat(stream=True)))

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    eventually(lambda: len(answers) > 5)
    loop = server.server._loop
    served = asyncio.run_coroutine_threadsafe(server.worker.swap("other"), loop).result(10)
    count = len(answers)
    eventually(lambda: len(answers) > count + 8)
    eventually(lambda: handles[None].wait(0) == 0)  # the old one has ended by itself
    over.set()
    for client in clients:
        client.join(10)

    assert served is server.worker.served
    assert all(response.text.rstrip().endswith("data: [DONE]") for response in answers)
    assert "old" in answers[0].text
    assert "new" in answers[-1].text
    assert engines["other"].seen
    assert server.worker.state == "ready"


def test_a_swap_that_fails_leaves_the_old_model(serve, scripted, thread_engine):
    engine = scripted()

    def broken():
        raise LmwrightError("there is no such model")

    def start(model):
        return thread_engine(broken if model else lambda: Loaded(engine))

    server = serve(engine, start=start)
    swap = server.worker.swap("nowhere")
    future = asyncio.run_coroutine_threadsafe(swap, server.server._loop)
    with pytest.raises(LmwrightError, match="no such model"):
        future.result(10)
    with server.client() as client:
        assert client.post(CHAT, json=server.chat()).status_code == 200


def test_the_model_is_swapped_by_whoever_has_the_admin_key(serve, scripted, thread_engine):
    from lmwright.serving.keys import Keys

    engines = {None: scripted(), "other": scripted(script=["Other"])}
    start = lambda model: thread_engine(lambda: Loaded(engines[model]))  # noqa: E731
    server = serve(engines[None], start=start, admin=Keys(["a-long-secret"]))
    right = {"Authorization": "Bearer a-long-secret"}
    with server.client() as client:
        for headers in ({}, {"Authorization": "Bearer another-secret"}):
            refused = client.post("/admin/reload", json={"model": "other"}, headers=headers)
            assert refused.status_code == 401
        done = client.post("/admin/reload", json={"model": "other"}, headers=right)
        answer = client.post(CHAT, json=server.chat()).json()

    assert (done.status_code, done.json()["max_model_len"]) == (200, 64)
    assert answer["choices"][0]["message"]["content"] == "Other"


def test_without_an_admin_key_there_is_no_endpoint(serve):
    server = serve()
    with server.client() as client:
        assert client.post("/admin/reload", json={}).status_code in (404, 405)


def test_an_engine_that_hangs_is_killed(serve, scripted, thread_engine, eventually, monkeypatch):
    monkeypatch.setattr("lmwright.serving.supervisor.SILENT_SECONDS", 0.5)
    hanging = scripted(hold=threading.Semaphore(0))
    engines = [hanging, scripted()]
    server = serve(hanging, start=lambda model: thread_engine(lambda: Loaded(engines.pop(0))))
    with server.client() as client:
        response = client.post(CHAT, json=server.chat())
        hanging.hold.release(1000)
        eventually(lambda: client.get("/health/ready").status_code == 200)
        answered = client.post(CHAT, json=server.chat())
    assert response.status_code == 503
    assert answered.status_code == 200


def test_the_engines_counts_become_metrics(serve, scripted, eventually):
    server = serve(scripted(script=["word "] * 50, hold=(hold := threading.Semaphore(0))))
    with server.client() as client:
        thread, _ = in_background(lambda: client.post(CHAT, json=server.chat()))
        used = 'kv_cache_usage_perc{model_name="tiny"} 0.01'
        eventually(lambda: used in client.get("/metrics").text)
        hold.release(1000)
        thread.join(10)
        free = 'kv_cache_usage_perc{model_name="tiny"} 0.0\n'
        eventually(lambda: free in client.get("/metrics").text)


def test_a_request_that_fails_in_the_step_fails_alone(serve, monkeypatch, tiny_llm):
    from lmwright.engine import stopping

    push = stopping.AnswerText.push

    def bad_push(self, token_id):
        if "boom" in self._stops:
            raise RuntimeError("the scripted failure")
        return push(self, token_id)

    monkeypatch.setattr(stopping.AnswerText, "push", bad_push)
    server = serve(load=lambda: Loaded(tiny_llm))
    body = server.chat(max_tokens=20, temperature=0)
    with server.client() as client:
        alone = client.post(CHAT, json=body).json()["choices"][0]["message"]["content"]
        started = [in_background(lambda: client.post(CHAT, json=body)) for _ in range(3)]
        failed = client.post(CHAT, json=body | {"stop": ["boom"]})
        for thread, _ in started:
            thread.join(20)
        ready = client.get("/health/ready")

    assert failed.status_code == 500
    together = [results[0].json()["choices"][0]["message"]["content"] for _, results in started]
    assert together == [alone] * 3
    assert ready.status_code == 200
