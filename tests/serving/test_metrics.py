"""What `/metrics` says, under our prefix and under vLLM's."""

import pytest

from lmwright.core import parts
from lmwright.core.part_calls import Calls
from lmwright.core.parts import Part
from lmwright.serving.model import Loaded
from lmwright.serving.telemetry import Telemetry

CHAT = "/v1/chat/completions"
LABEL = '{model_name="tiny"}'


def samples(text: str) -> dict[str, float]:
    """Each sample's value, by its name and labels."""
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def test_metrics_count_what_happened_under_the_names_of_vllm(serve):
    server = serve(metrics_prefix="vllm")
    with server.client() as client:
        client.post(CHAT, json=server.chat())
        client.post(CHAT, json=server.chat(max_tokens=2))
        client.post(CHAT, json=server.chat(temprature=1))
        response = client.get("/metrics")

    assert response.headers["content-type"].startswith("text/plain")
    lines = samples(response.text)
    label = 'model_name="tiny"'
    assert lines[f"vllm:prompt_tokens_total{{{label}}}"] == 4
    assert lines[f"vllm:generation_tokens_total{{{label}}}"] == 6
    assert lines[f'vllm:request_success_total{{finished_reason="stop",{label}}}'] == 1
    assert lines[f'vllm:request_success_total{{finished_reason="length",{label}}}'] == 1
    assert lines[f"vllm:time_to_first_token_seconds_count{{{label}}}"] == 2
    assert lines[f"vllm:inter_token_latency_seconds_count{{{label}}}"] == 4
    assert lines[f"vllm:e2e_request_latency_seconds_count{{{label}}}"] == 2
    assert lines[f"vllm:num_requests_running{{{label}}}"] == 0
    assert lines[f'http_requests_total{{handler="{CHAT}",method="POST",status="400"}}'] == 1


@pytest.mark.parametrize("prefix", ["lmwright", "vllm"])
def test_the_time_of_a_request_has_its_parts(server_context, tiny_llm, prefix):
    """Waiting and reading add up to the first token, waiting and computing to the last."""
    with (
        server_context(lambda: Loaded(tiny_llm), metrics_prefix=prefix) as server,
        server.client() as client,
    ):
        before = samples(client.get("/metrics").text)
        # More than run at once: the last ones wait for a place.
        fields = {"max_tokens": 20, "ignore_eos": True, "n": 6}
        assert client.post(CHAT, json=server.chat(**fields)).status_code == 200
        after = samples(client.get("/metrics").text)

    def total(part: str, what: str = "sum") -> float:
        name = f"{prefix}:{part}_seconds_{what}{LABEL}"
        return after[name] - before[name]

    parts = [f"request_{part}_time" for part in ("queue", "prefill", "inference", "decode")]
    assert [total(part, "count") for part in parts] == [6] * 4
    queue, prefill, inference, decode = map(total, parts)
    assert min(queue, prefill, decode) > 0
    assert queue + prefill == pytest.approx(total("time_to_first_token"))
    assert prefill + decode == pytest.approx(inference)
    assert queue + inference == pytest.approx(total("e2e_request_latency"))


def test_a_full_batch_shows_as_time_in_the_queue(serve, scripted):
    server = serve(scripted(seconds=0.02, max_sequences=1))
    with server.client() as client:
        client.post(CHAT, json=server.chat(n=2))
        lines = samples(client.get("/metrics").text)
    # The second answer waits for the four steps of the first.
    assert lines[f"lmwright:request_queue_time_seconds_sum{LABEL}"] >= 4 * 0.02


def test_what_was_refused_or_withdrawn_has_no_time(serve, scripted):
    server = serve(scripted(script=["ERROR"]))
    with server.client() as client:
        client.post(CHAT, json=server.chat())
        client.post(CHAT, json=server.chat(seed=666))
        lines = samples(client.get("/metrics").text)
    for part in ("queue", "prefill"):
        assert lines[f"lmwright:request_{part}_time_seconds_count{LABEL}"] == 0


def test_calls_of_a_readers_part_are_counted_in_both_processes(monkeypatch):
    """The engine's arrive with its counts, after a restart from 0 again; our own are read here."""
    part = Part("mine", "lmwright.a:b", "/nowhere/mine/mine.py", "", checked=True, module="mine.b")
    own = Calls()
    monkeypatch.setattr(parts, "_use", parts._Use(parts=(part,)))
    monkeypatch.setitem(parts._placing().calls, "mine", own)
    telemetry = Telemetry("tiny")
    zeros = dict.fromkeys(
        ("prefix_queries_tokens", "prefix_hit_tokens", "preemptions", "drafts", "draft_tokens",
         "accepted_tokens", "kv_blocks_total", "kv_blocks_used"), 0
    )  # fmt: skip

    def counted() -> float:
        return samples(telemetry.text().decode())[
            'lmwright:part_calls_total{model_name="tiny",part="mine"}'
        ]

    assert counted() == 0
    telemetry.engine(zeros | {"calls_mine": 5}, {})
    telemetry.engine(zeros | {"calls_mine": 7}, {"calls_mine": 5})
    assert counted() == 7
    own.eager = 2
    assert counted() == counted() == 9
    telemetry.engine(zeros | {"calls_mine": 1}, {})
    assert counted() == 10


def test_without_parts_there_is_no_such_metric():
    assert "part_calls" not in Telemetry("tiny").text().decode()
