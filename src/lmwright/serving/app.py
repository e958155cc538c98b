"""The whole HTTP application: API, health, metrics and the chat page, behind one guard."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from lmwright.serving import errors, responses
from lmwright.serving.admin import Admin
from lmwright.serving.completions import Completions, unknown_model
from lmwright.serving.embeddings import Embeddings
from lmwright.serving.guard import Guard, Hosts
from lmwright.serving.keys import KeyCheck, Keys
from lmwright.serving.limits import Limits
from lmwright.serving.logs import RequestLog
from lmwright.serving.supervisor import Start
from lmwright.serving.telemetry import CONTENT_TYPE, Telemetry
from lmwright.serving.tokenize import Tokenization
from lmwright.serving.tracing import Spans, Tracing
from lmwright.serving.worker import Worker


@dataclass(frozen=True)
class Settings:
    """What one server is.

    Args:
        name: what API users call the model.
        hosts: the Host names it answers to.
        limits: how much it takes on.
        metrics_prefix: before the colon of every generation metric.
        keys: who may ask; none: everybody.
        admin: who may swap the model; none: nobody, and the endpoint is not there.
        origins: other pages that may ask, from `access.allowed_origins`.
        tracing: where spans go; None: there are none.
    """

    name: str
    hosts: Hosts = field(default_factory=lambda: Hosts("127.0.0.1"))
    limits: Limits = field(default_factory=Limits)
    metrics_prefix: str = "lmwright"
    keys: Keys = field(default_factory=Keys)
    admin: Keys = field(default_factory=Keys)
    origins: frozenset[str] = frozenset()
    tracing: Tracing | None = None


def create_app(
    start: Start,
    settings: Settings,
    *,
    loaded: Callable[[], None] = lambda: None,
    failed: Callable[[BaseException], None] = lambda error: None,
) -> FastAPI:
    """The application; it starts loading the model when it starts.

    Args:
        start: starts an engine process.
        settings: everything else.
        loaded: told when requests are taken; again after each restart and swap of the engine.
        failed: told when the model cannot be loaded or the engine is beyond repair.

    Returns:
        The application; `app.state.worker` is the door to its engine process.
    """
    telemetry = Telemetry(settings.name, settings.metrics_prefix)
    limits = settings.limits
    worker = Worker(start, limits=limits, telemetry=telemetry, loaded=loaded, failed=failed)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker.start()
        try:
            yield
        finally:
            worker.stop()
            await worker.close()
            if settings.tracing is not None:
                await asyncio.to_thread(settings.tracing.close)

    app = FastAPI(
        title="lmwright",
        version=version("lmwright"),
        description="OpenAI-compatible API of one language model.",
        lifespan=lifespan,
        # The interactive pages load their scripts from another host.
        docs_url=None,
        redoc_url=None,
    )
    app.state.worker = worker
    errors.install(app)
    routers = [
        Completions(settings.name, worker, settings.limits).router(),
        Embeddings(settings.name, worker).router(),
        Tokenization(settings.name, worker).router(),
        *([Admin(worker, settings.admin).router()] if settings.admin else []),
        _about(settings, worker, telemetry),
        _page(settings, worker),
    ]
    for router in routers:
        app.include_router(router)
    app.mount("/page", Files(directory=str(files("lmwright.serving") / "page")))
    # The last one added is the first that a request meets.
    app.add_middleware(KeyCheck, keys=settings.keys)
    app.add_middleware(
        Guard, hosts=settings.hosts, body_bytes=limits.body_bytes, origins=settings.origins
    )
    if settings.tracing is not None:
        app.add_middleware(Spans, tracing=settings.tracing)
    # The routers' own: what the framework makes of them when they are included differs by version.
    routes = itertools.chain(app.routes, *(router.routes for router in routers))
    named = [route for route in routes if isinstance(route, (Route, Mount))]
    app.add_middleware(RequestLog, routes=named, telemetry=telemetry)
    return app


def _about(settings: Settings, worker: Worker, telemetry: Telemetry) -> APIRouter:
    """Models, health and metrics."""
    router = APIRouter()
    created = int(time.time())
    refused: dict[int | str, dict[str, Any]] = {"4XX": {"model": responses.ErrorResponse}}
    unready: dict[int | str, dict[str, Any]] = {503: {"model": responses.ErrorResponse}}

    def cards() -> dict[str, responses.ModelCard]:
        served = worker.ready()
        parents = {settings.name: None, **dict.fromkeys(served.adapters, settings.name)}
        return {
            name: responses.ModelCard(
                id=name, created=created, max_model_len=served.context_length, parent=parent
            )
            for name, parent in parents.items()
        }

    @router.get("/v1/models", responses={**refused, **unready}, tags=["models"])
    async def models() -> responses.ModelList:
        """List the model that is served, and its adapters, which are chosen like models."""
        return responses.ModelList(data=list(cards().values()))

    @router.get("/v1/models/{model:path}", responses={**refused, **unready}, tags=["models"])
    async def model(model: str) -> responses.ModelCard:
        """Describe a model."""
        known = cards()
        if model not in known:
            raise unknown_model(model, list(known))
        return known[model]

    @router.get("/health/live", tags=["health"])
    async def live() -> dict[str, str]:
        """200 as long as the process can answer; restart it when it cannot."""
        return {"status": "alive"}

    @router.get("/health/ready", responses=unready, tags=["health"])
    async def ready() -> dict[str, str]:
        """200 while requests are taken; 503 with Retry-After while loading or draining."""
        worker.ready()
        return {"status": "ready"}

    @router.get("/metrics", response_class=PlainTextResponse, tags=["health"])
    async def metrics() -> Response:
        """Prometheus' text format."""
        worker.measure()
        return Response(telemetry.text(), media_type=CONTENT_TYPE)

    return router


def _page(settings: Settings, worker: Worker) -> APIRouter:
    """The chat page and what it asks first; not part of the API's document."""
    router = APIRouter(include_in_schema=False)
    folder = files("lmwright.serving") / "page"
    revalidate = {"Cache-Control": "no-cache"}

    @router.get("/")
    async def index() -> FileResponse:
        return FileResponse(str(folder / "index.html"), headers=revalidate)

    @router.get("/favicon.ico")
    async def favicon() -> FileResponse:
        return FileResponse(str(folder / "favicon.svg"), headers=revalidate)

    @router.get("/page/config.json")
    async def config() -> JSONResponse:
        facts: dict[str, Any] = {"model": settings.name, "state": worker.state}
        facts["needs_key"] = bool(settings.keys)
        served = worker.served
        if served is not None:
            facts["mode"] = "chat" if served.chats else "completion"
            facts["context_length"] = served.context_length
            facts["parameters"] = served.parameters
            facts["questions"] = list(served.questions)
            facts["sampling"] = {
                "temperature": served.sampling.temperature,
                "top_p": served.sampling.top_p,
                "top_k": served.sampling.top_k,
            }
        return JSONResponse(facts, headers={"Cache-Control": "no-store"})

    return router


class Files(StaticFiles):
    """The page's files; browsers ask each time whether they changed, so versions never mix."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, 304 if the browser has it, or the API's error object."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response
