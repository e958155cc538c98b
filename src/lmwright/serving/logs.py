"""One structured line per event; numbers and names, never prompts, answers or addresses."""

import logging
import re
import time
import uuid
from collections.abc import Sequence
from typing import Any

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lmwright.serving.lines import write
from lmwright.serving.telemetry import Telemetry

_NOTES, _ROUTES = "lmwright.notes", "lmwright.routes"
# Paths that a probe, a scraper or a browser asks for by itself: worth a line only on failure; not
# being ready yet is none.
_QUIET = ("/health/", "/metrics", "/page/", "/favicon.ico", "/v1/models")


_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
# What a client may call its request: nothing that could be mistaken for more of the line.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def note(request: Request, **fields: Any) -> None:
    """Add fields to the line that is written when this request has been answered."""
    notes(request.scope).update(fields)


def notes(scope: Scope) -> dict[str, Any]:
    """What has been noted about a request so far; its span says it too."""
    found: dict[str, Any] = scope.setdefault(_NOTES, {})
    return found


def route_of(scope: Scope) -> str | None:
    """The pattern of the route that a request is for, also where it was refused on its way there.

    None where there is no such route; the path as sent may be anything, and is not for a log.
    """
    reached = scope.get("route")
    if reached is not None:
        path: str | None = getattr(reached, "path", None)
        return path
    routes: Sequence[Route | Mount] = scope[_ROUTES]
    return next((each.path for each in routes if each.path_regex.match(scope["path"])), None)


class RequestLog:
    """ASGI middleware: a line, a count and an `X-Request-Id` for every request.

    A client that sends an `X-Request-Id` gets it back, and finds it in the log.

    Args:
        app: what is behind.
        routes: all that it has.
        telemetry: counts the answers.
    """

    def __init__(
        self, app: ASGIApp, *, routes: Sequence[Route | Mount], telemetry: Telemetry
    ) -> None:
        self.app = app
        self.routes = routes
        self.telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and write down how it went."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        scope[_NOTES] = {}
        scope[_ROUTES] = self.routes
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        start, status = time.monotonic(), 500

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_counted)
        finally:
            route = route_of(scope) or "none"
            # Anybody may invent methods, and each would be a series of its own.
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self.telemetry.response(method, route, status)
            automatic = route == "/" or scope["path"].startswith(_QUIET)
            quiet = automatic and (status < 400 or status == 503)
            write(
                "request",
                logging.DEBUG if quiet else logging.INFO,
                id=request_id,
                method=method,
                route=route,
                status=status,
                seconds=round(time.monotonic() - start, 4),
                **notes(scope),
            )
