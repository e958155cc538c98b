"""Spans: what they say, whose children they are, and what they never hold."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from lmwright.core.errors import LmwrightError
from lmwright.serving import commands, options
from lmwright.serving.processes import Starter
from lmwright.serving.tracing import Tracing

CHAT = "/v1/chat/completions"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "pelican-brief"


@pytest.fixture
def spans():
    exporter = InMemorySpanExporter()
    exporter.provider = TracerProvider(shutdown_on_exit=False)
    exporter.provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


@pytest.fixture
def server(serve, spans):
    return serve(tracing=Tracing(spans.provider))


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_a_span_of_its_clients_trace(server, spans, stream, eventually):
    fields = server.chat(stream=stream, temperature=0.5, max_tokens=3, seed=4)
    with server.client() as client:
        client.post(CHAT, json=fields, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    eventually(spans.get_finished_spans)

    (span,) = spans.get_finished_spans()
    assert format(span.context.trace_id, "032x") == TRACE
    assert format(span.parent.span_id, "016x") == PARENT
    assert span.kind.name == "SERVER"
    assert span.name == "chat tiny"
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "lmwright",
        "gen_ai.request.model": "tiny",
        "gen_ai.response.model": "tiny",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 3,
        "gen_ai.request.seed": 4,
        "gen_ai.usage.input_tokens": 2,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.response.finish_reasons": ("length",),
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": CHAT,
    }
    assert {name: span.attributes.get(name) for name in expected} == expected
    assert span.attributes["gen_ai.response.id"].startswith("chatcmpl-")
    assert span.status.status_code is StatusCode.UNSET


def test_failures_are_marked_and_refusals_are_not(serve, scripted, spans, eventually):
    server = serve(scripted(script=["ERROR"]), tracing=Tracing(spans.provider))
    with server.client() as client:
        client.post(CHAT, json=server.chat())
        client.post(CHAT, json=server.chat(temperature=9))
        client.get("/v1/models")
    # A span ends when its answer has been sent: a little after the client has it.
    eventually(lambda: len(spans.get_finished_spans()) == 3)
    failed, refused, listed = spans.get_finished_spans()
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes["error.type"] == "engine_error"
    assert refused.status.status_code is StatusCode.UNSET
    assert refused.attributes["http.response.status_code"] == 400
    assert listed.name == "GET /v1/models"


def test_probes_and_the_page_are_no_spans(server, spans):
    with server.client() as client:
        for path in ("/", "/page/app.js", "/health/live", "/metrics", "/favicon.ico"):
            client.get(path)
    assert spans.get_finished_spans() == ()


def test_no_text_of_a_request_is_in_spans_or_logs(serve, spans, logged, eventually):
    """Prompts, stop strings and tools, in answers as in every way of failing."""
    server = serve(tracing=Tracing(spans.provider))
    hostile = [{"role": "user", "content": SECRET}]
    tool = {"type": "function", "function": {"name": "f", "description": SECRET}}
    bodies = [
        {"messages": hostile, "stop": [SECRET], "tools": [tool], "user": SECRET},
        {"messages": hostile, SECRET: 1},
        {"messages": hostile, "seed": 666},
        {"messages": [{"role": SECRET, "content": "x"}]},
        {"messages": hostile, "response_format": {"type": SECRET}},
        {"messages": [*hostile, {"role": "user", "content": "refuse me"}]},
        {"messages": hostile, "model": SECRET},
    ]
    with server.client() as client:
        for body in bodies:
            client.post(CHAT, json=server.chat(**body))
            client.post(f"/{SECRET}", content=SECRET)
    eventually(lambda: len(spans.get_finished_spans()) == 2 * len(bodies))
    eventually(lambda: sum('"event": "request"' in line for line in logged) == 2 * len(bodies))
    for span in spans.get_finished_spans():
        assert SECRET not in span.to_json()
    assert SECRET not in "".join(logged)


class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers["content-length"])
        self.server.received.append((self.path, self.rfile.read(length)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


def test_spans_reach_a_collector_before_the_server_ends(server_context, scripted):
    from lmwright.serving.model import Loaded

    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    collector.received = []
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{collector.server_port}/"
    tracing = Tracing.to(endpoint)
    with (
        server_context(lambda: Loaded(scripted()), tracing=tracing) as server,
        server.client() as client,
    ):
        client.post(CHAT, json=server.chat())
    collector.shutdown()
    path, body = collector.received[0]
    assert path == "/v1/traces"
    resource = ExportTraceServiceRequest.FromString(body).resource_spans[0]
    assert resource.scope_spans[0].spans[0].name == "chat tiny"
    names = {item.key: item.value.string_value for item in resource.resource.attributes}
    assert names["service.name"] == "lmwright"


def test_an_endpoint_that_is_none_is_refused():
    with pytest.raises(LmwrightError, match="--otlp-endpoint"):
        options.otlp_endpoint("localhost:4318")


@pytest.mark.parametrize("absent", ["opentelemetry", "opentelemetry.exporter.otlp.proto.http"])
def test_traces_without_their_extra_are_refused_before_an_engine_starts(monkeypatch, absent):
    for name in [name for name in sys.modules if name.startswith(absent)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, absent, None)
    monkeypatch.setattr(Starter, "start_early", lambda self: pytest.fail("an engine was started"))
    with pytest.raises(LmwrightError, match="--otlp-endpoint needs OpenTelemetry") as refused:
        commands.serve("anything", port=0, otlp_endpoint="http://localhost:4318")
    assert "lmwright[tracing]" in refused.value.hint


def test_a_clients_request_id_is_given_back(server):
    with server.client() as client:
        given = client.get("/v1/models", headers={"x-request-id": "abc-1.2_3"})
        forged = client.get("/v1/models", headers={"x-request-id": 'a" event="b'})
    assert given.headers["x-request-id"] == "abc-1.2_3"
    assert forged.headers["x-request-id"].isalnum()
