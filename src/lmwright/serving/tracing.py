"""OpenTelemetry: a span for each request, joined to the client's own trace; off unless asked for.

Attributes follow the semantic conventions for HTTP servers and for generative AI ("gen_ai.*").
A span holds numbers and choices, never prompts, answers, or texts of errors, which may quote them.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lmwright.serving.logs import notes, route_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

# Of what is noted about a request, the attribute that each becomes.
_ATTRIBUTES = {
    "operation": "gen_ai.operation.name",
    "model": "gen_ai.request.model",
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "n": "gen_ai.request.choice.count",
    "response": "gen_ai.response.id",
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
    # No convention has it for servers' spans; the name is vLLM's, in seconds.
    "first_token_seconds": "gen_ai.latency.time_to_first_token",
    "error": "error.type",
}
# Asked for by probes, scrapers and browsers by themselves.
_NOT_TRACED = ("/health/", "/metrics", "/page/", "/favicon.ico")


class Tracing:
    """Makes spans, and sends them off in a thread of its own.

    Args:
        provider: of the spans.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("lmwright.serving", version("lmwright"))
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def to(cls, endpoint: str) -> "Tracing":
        """Send spans to a collector that speaks OTLP over HTTP.

        Args:
            endpoint: its address, from `options.otlp_endpoint`.
        """
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        names = {SERVICE_NAME: "lmwright", SERVICE_VERSION: version("lmwright")}
        provider = TracerProvider(resource=Resource.create(names), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider)

    def start(self, scope: Scope) -> "Span":
        """The span of a request, a child of the one that its `traceparent` header names."""
        from opentelemetry.trace import SpanKind

        context = self._propagator.extract(Headers(scope=scope))
        return self._tracer.start_span(
            f"{scope['method']} {scope['path']}"[:100], context, kind=SpanKind.SERVER
        )

    def close(self) -> None:
        """Send what has not been sent, and stop; takes as long as the collector does."""
        self._provider.shutdown()


class Spans:
    """ASGI middleware: a span around each request, its stream included.

    Args:
        app: what is behind.
        tracing: makes the spans.
    """

    def __init__(self, app: ASGIApp, *, tracing: Tracing) -> None:
        self.app = app
        self.tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and say in the span how it went."""
        if scope["type"] != "http" or scope["path"] == "/" or scope["path"].startswith(_NOT_TRACED):
            return await self.app(scope, receive, send)
        span = self.tracing.start(scope)
        noted = notes(scope)
        noted["trace"] = format(span.get_span_context().trace_id, "032x")
        status = 500

        async def send_watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_watched)
        except BaseException as error:
            noted.setdefault("error", type(error).__name__)
            raise
        finally:
            _describe(span, scope, status, noted)
            span.end()


def _describe(span: "Span", scope: Scope, status: int, noted: Mapping[str, Any]) -> None:
    from opentelemetry.trace import StatusCode

    route = route_of(scope)
    span.update_name(
        f"{noted['operation']} {noted['model']}"
        if "operation" in noted
        else f"{scope['method']} {route or 'unknown'}"
    )
    attributes = {
        "http.request.method": scope["method"],
        "http.response.status_code": status,
        "url.scheme": scope.get("scheme", "http"),
        "gen_ai.provider.name": "lmwright",
        **{_ATTRIBUTES[name]: value for name, value in noted.items() if name in _ATTRIBUTES},
    }
    if route is not None:
        attributes["http.route"] = route
    if "model" in noted:
        attributes["gen_ai.response.model"] = noted["model"]
    if noted.get("finish_reason"):
        attributes["gen_ai.response.finish_reasons"] = noted["finish_reason"].split(",")
    if status >= 500 or (status < 400 and noted.get("error")):
        span.set_status(StatusCode.ERROR)
        attributes["error.type"] = noted.get("error") or str(status)
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})
