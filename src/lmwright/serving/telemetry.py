"""Numbers about the server in Prometheus' text format.

Each name after the prefix is vLLM's and means what it means there, so that its dashboards and
autoscalers read this server too (`--metrics-prefix vllm`); what we cannot measure is not there.
"""

from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from lmwright.core import parts

# Seconds. A small model answers in milliseconds, a large one on a busy CPU in minutes; vLLM's
# buckets start at 1 ms (first token) and 10 ms (between tokens), which would hide our range.
_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_BETWEEN_TOKENS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_LENGTHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)

CONTENT_TYPE = CONTENT_TYPE_LATEST

# The engine's counts, by their names in `engine.EngineStats`, and what vLLM calls them.
_ENGINE_COUNTS = {
    "prefix_queries_tokens": ("prefix_cache_queries", "Tokens looked up in the prefix cache."),
    "prefix_hit_tokens": ("prefix_cache_hits", "Tokens found in the prefix cache."),
    "preemptions": ("num_preemptions", "Answers set back to let others go on."),
    "drafts": ("spec_decode_num_drafts", "Times that tokens were proposed."),
    "draft_tokens": ("spec_decode_num_draft_tokens", "Tokens proposed."),
    "accepted_tokens": ("spec_decode_num_accepted_tokens", "Proposed tokens that were right."),
}


class Telemetry:
    """All metrics of one server, in a registry of its own; used from the event loop only.

    Args:
        model: name of the served model, the label `model_name` of every generation metric.
        prefix: comes before the colon of every generation metric.

    Attributes:
        engine_pid: of the engine process, whose memory and time are shown beside ours.
    """

    def __init__(self, model: str, prefix: str = "lmwright") -> None:
        self.registry = CollectorRegistry()
        self.engine_pid: int | None = None
        ProcessCollector(registry=self.registry)
        # No such process, no such metrics.
        ProcessCollector("engine", lambda: self.engine_pid or "none", registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._prefix = prefix
        self._model = model
        self.running = self._gauge("num_requests_running", "Answers being generated.")
        self.waiting = self._gauge("num_requests_waiting", "Answers waiting for a place.")
        self._kv_usage = self._gauge("kv_cache_usage_perc", "Part of the KV blocks held, 0 to 1.")
        self._engine = {name: self._counter(*shown) for name, shown in _ENGINE_COUNTS.items()}
        self._part_calls = self._part_counters()
        self._own_calls: Mapping[str, int] = {}  # of parts, in this process, as counted last
        self.engine_deaths = self._counter("engine_deaths", "Engine processes that died.")
        self.prompt_tokens = self._counter("prompt_tokens", "Prompt tokens taken in.")
        self.generation_tokens = self._counter("generation_tokens", "Tokens generated.")
        self._finished = self._labelled("request_success", "Finished answers.", "finished_reason")
        self._rejected = self._labelled("admission_rejections", "Refused requests.", "reason")
        self.first_token = self._histogram(
            "time_to_first_token_seconds", "From arrival to the first token.", _LATENCY
        )
        self.between_tokens = self._histogram(
            "inter_token_latency_seconds", "From one token to the next.", _BETWEEN_TOKENS
        )
        self.per_token = self._histogram(
            "request_time_per_output_token_seconds",
            "Mean time per token after the first, per answer.",
            _BETWEEN_TOKENS,
        )
        self.whole = self._histogram(
            "e2e_request_latency_seconds", "From arrival to the last token.", _LATENCY
        )
        self.queue = self._histogram(
            "request_queue_time_seconds",
            "From arrival to the first pass over the prompt.",
            _LATENCY,
        )
        self.prefill = self._histogram(
            "request_prefill_time_seconds", "From that pass to the first token.", _LATENCY
        )
        self.inference = self._histogram(
            "request_inference_time_seconds", "From that pass to the last token.", _LATENCY
        )
        self.decode = self._histogram(
            "request_decode_time_seconds", "From the first token to the last.", _LATENCY
        )
        self.prompt_length = self._histogram(
            "request_prompt_tokens", "Prompt tokens per answer.", _LENGTHS
        )
        self.answer_length = self._histogram(
            "request_generation_tokens", "Generated tokens per answer.", _LENGTHS
        )
        self._responses = Counter(
            "http_requests",
            "Answered HTTP requests.",
            ("method", "handler", "status"),
            registry=self.registry,
        )

    def _gauge(self, name: str, text: str) -> Gauge:
        gauge = Gauge(f"{self._prefix}:{name}", text, ("model_name",), registry=self.registry)
        return gauge.labels(self._model)

    def _counter(self, name: str, text: str) -> Counter:
        counter = Counter(f"{self._prefix}:{name}", text, ("model_name",), registry=self.registry)
        return counter.labels(self._model)

    def _labelled(self, name: str, text: str, label: str) -> Counter:
        return Counter(
            f"{self._prefix}:{name}", text, ("model_name", label), registry=self.registry
        )

    def _part_counters(self) -> dict[str, Counter]:
        """One for each part that `--use` names; without any there is no such metric."""
        names = [part.name for part in parts.active()]
        if not names:
            return {}
        counter = self._labelled("part_calls", "Calls of a part of the reader's own.", "part")
        return {name: counter.labels(self._model, name) for name in names}

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        histogram = Histogram(
            f"{self._prefix}:{name}",
            text,
            ("model_name",),
            buckets=buckets,
            registry=self.registry,
        )
        return histogram.labels(self._model)

    def finished(self, reason: str) -> None:
        """Count an answer that ended as "stop", "length", "abort" or "error"."""
        self._finished.labels(self._model, reason).inc()

    def rejected(self, reason: str) -> None:
        """Count a request refused for want of room, or because the server is not ready."""
        self._rejected.labels(self._model, reason).inc()

    def engine(self, now: Mapping[str, int], before: Mapping[str, int]) -> None:
        """Take in an engine's counts; `before` is what the same engine said last, or empty."""
        for name, counter in self._engine.items():
            counter.inc(now[name] - before.get(name, 0))
        for name, counter in self._part_calls.items():
            key = f"calls_{name}"
            counter.inc(now.get(key, 0) - before.get(key, 0))
        total = now["kv_blocks_total"]
        self._kv_usage.set(now["kv_blocks_used"] / total if total else 0.0)

    def response(self, method: str, handler: str, status: int) -> None:
        """Count an HTTP response; `handler` is the route's pattern, never the path as sent."""
        self._responses.labels(method, handler, str(status)).inc()

    def text(self) -> bytes:
        """The exposition that a scraper reads."""
        # Parts of the API itself are called in this process, not in the engine's.
        calls = parts.calls()
        for name, counter in self._part_calls.items():
            counter.inc(calls[name] - self._own_calls.get(name, 0))
        self._own_calls = calls
        return generate_latest(self.registry)
