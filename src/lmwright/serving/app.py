"""The whole HTTP application: API, health, metrics and the chat page, behind one guard."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from lmwright.serving import errors, responses
from lmwright.serving.completions import Completions
from lmwright.serving.errors import ApiError
from lmwright.serving.guard import Guard, Hosts
from lmwright.serving.limits import Limits
from lmwright.serving.logs import RequestLog
from lmwright.serving.model import Served
from lmwright.serving.telemetry import CONTENT_TYPE, Telemetry
from lmwright.serving.worker import Worker

# A step of the engine is milliseconds to seconds; a thread that takes longer is left behind.
STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Settings:
    """What one server is.

    Args:
        name: what API users call the model.
        hosts: the Host names it answers to.
        limits: how much it takes on.
        metrics_prefix: before the colon of every generation metric.
    """

    name: str
    hosts: Hosts = field(default_factory=lambda: Hosts("127.0.0.1"))
    limits: Limits = field(default_factory=Limits)
    metrics_prefix: str = "lmwright"


def create_app(
    load: Callable[[], Served],
    settings: Settings,
    *,
    loaded: Callable[[], None] = lambda: None,
    failed: Callable[[BaseException], None] = lambda error: None,
) -> FastAPI:
    """The application; it starts loading the model when it starts.

    Args:
        load: opens the model, in the engine's thread.
        settings: everything else.
        loaded: told when requests are taken.
        failed: told when the model cannot be loaded or the engine is beyond repair.

    Returns:
        The application; `app.state.worker` is its engine's thread.
    """
    telemetry = Telemetry(settings.name, settings.metrics_prefix)
    limits = settings.limits
    worker = Worker(load, limits=limits, telemetry=telemetry, loaded=loaded, failed=failed)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker.start()
        try:
            yield
        finally:
            worker.stop()
            worker.join(STOP_SECONDS)

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
    app.include_router(Completions(settings.name, worker, settings.limits).router())
    app.include_router(_about(settings, worker, telemetry))
    app.include_router(_page(settings, worker))
    app.mount("/page", Files(directory=str(files("lmwright.serving") / "page")))
    app.add_middleware(Guard, hosts=settings.hosts, body_bytes=settings.limits.body_bytes)
    app.add_middleware(RequestLog, telemetry=telemetry)
    return app


def _about(settings: Settings, worker: Worker, telemetry: Telemetry) -> APIRouter:
    """Models, health and metrics."""
    router = APIRouter()
    created = int(time.time())
    refused: dict[int | str, dict[str, Any]] = {"4XX": {"model": responses.ErrorResponse}}
    unready: dict[int | str, dict[str, Any]] = {503: {"model": responses.ErrorResponse}}

    def card() -> responses.ModelCard:
        context = worker.ready().engine.context_length
        return responses.ModelCard(id=settings.name, created=created, max_model_len=context)

    @router.get("/v1/models", responses={**refused, **unready}, tags=["models"])
    async def models() -> responses.ModelList:
        """List the one model that is served."""
        return responses.ModelList(data=[card()])

    @router.get("/v1/models/{model:path}", responses={**refused, **unready}, tags=["models"])
    async def model(model: str) -> responses.ModelCard:
        """Describe a model."""
        if model != settings.name:
            raise ApiError(
                404, "There is no such model here", param="model", code="model_not_found"
            )
        return card()

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
        served = worker.served
        if served is not None:
            facts["mode"] = "chat" if served.chats else "completion"
            facts["context_length"] = served.engine.context_length
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
