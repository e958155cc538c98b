"""The road's page: a few files and two questions, answered anew each time, on this machine only."""

from importlib.resources import files

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from lmwright.core.errors import LmwrightError
from lmwright.roadmap import states, view
from lmwright.roadmap.lab import find_lab
from lmwright.roadmap.record import Record
from lmwright.roadmap.verdicts import last_verdict
from lmwright.serving import options
from lmwright.serving.app import Files
from lmwright.serving.guard import Guard, Hosts

HOST = "127.0.0.1"
_BODY_BYTES = 4096  # nobody has anything to send
_FRESH = {"Cache-Control": "no-store"}


def create_app() -> Guard:
    """The page as an ASGI application; it refuses foreign Hosts and Origins."""
    folder = files("lmwright.roadmap") / "page"
    chat = files("lmwright.serving") / "page"

    async def index(request: Request) -> Response:
        return FileResponse(str(folder / "index.html"), headers={"Cache-Control": "no-cache"})

    async def icon(request: Request) -> Response:
        return FileResponse(str(chat / "favicon.svg"), headers={"Cache-Control": "no-cache"})

    app = Starlette(
        routes=[
            Route("/", index),
            Route("/favicon.svg", icon),
            Route("/road.json", road),
            Route("/labs/{lab}.json", lab),
            Mount("/page", Files(directory=str(folder))),
        ],
        exception_handlers={LmwrightError: _told},
    )
    return Guard(app, hosts=Hosts(HOST), body_bytes=_BODY_BYTES)


# Not `async`: they read files, and are given a thread to do it in.


def road(request: Request) -> Response:
    """The whole road and where the learner stands, as the files say at this moment."""
    return JSONResponse(view.road_view(states.here()), headers=_FRESH)


def lab(request: Request) -> Response:
    """One lab: its specification and its last check."""
    try:
        found = find_lab(request.path_params["lab"])
    except LmwrightError as error:
        return JSONResponse({"error": str(error)}, status_code=404, headers=_FRESH)
    here, events = states.here(), Record.open().events
    shown = view.lab_page(found, here.states[found.id], events, last_verdict(found.id))
    return JSONResponse(shown, headers=_FRESH)


async def _told(request: Request, error: Exception) -> Response:
    """What is wrong with the user's files, in words."""
    return JSONResponse({"error": str(error)}, status_code=500, headers=_FRESH)


def serve(port: int, topic: str = "") -> None:
    """Serve the page until Ctrl-C.

    Args:
        port: 0 takes any that is free.
        topic: id of one that the address opens; empty: the map.

    Raises:
        LmwrightError: if the port is not free.
    """
    listener = options.bind(HOST, port)
    where = options.address(listener) + (f"/#{topic}" if topic else "")
    print(f"The road is at {where} · Ctrl-C stops", flush=True)
    make_server().run(sockets=[listener])


def make_server() -> uvicorn.Server:
    """The server, still to be run."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(), log_config=None, access_log=False, server_header=False, lifespan="off"
        )
    )
