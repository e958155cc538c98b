"""One structured line per event; numbers and names, never prompts, answers or addresses."""

import json
import logging
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import Any, TextIO

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lmwright.serving.telemetry import Telemetry

logger = logging.getLogger("lmwright.serving")

_NOTES = "lmwright.notes"
# Paths that a probe, a scraper or a browser asks for by itself: worth a line only on failure; not
# being ready yet is none.
_QUIET = ("/health/", "/metrics", "/page/", "/favicon.ico", "/v1/models")


class JsonLines(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's time, level, event and fields."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class PlainLines(logging.Formatter):
    """The same for a person at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """`12:34:56 request status=200 ...`."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        shown = " ".join(f"{k}={v}" for k, v in fields.items() if v is not None)
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {record.getMessage()} {shown}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(stream: TextIO = sys.stderr) -> None:
    """Send the server's and uvicorn's log lines to `stream`: plain at a terminal, else JSON."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PlainLines() if stream.isatty() else JsonLines())
    for name, level in (("lmwright", logging.INFO), ("uvicorn", logging.WARNING)):
        log = logging.getLogger(name)
        log.handlers = [handler]
        log.propagate = False
        log.setLevel(level)


def write(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event with its fields."""
    logger.log(level, event, extra={"fields": fields})


def note(request: Request, **fields: Any) -> None:
    """Add fields to the line that is written when this request has been answered."""
    request.scope[_NOTES].update(fields)


class RequestLog:
    """ASGI middleware: a line, a count and an `X-Request-Id` for every request."""

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry) -> None:
        self.app = app
        self.telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and write down how it went."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        scope[_NOTES] = {}
        request_id = uuid.uuid4().hex
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
            route = getattr(scope.get("route"), "path", "none")
            self.telemetry.response(scope["method"], route, status)
            automatic = route == "/" or scope["path"].startswith(_QUIET)
            quiet = automatic and (status < 400 or status == 503)
            write(
                "request",
                logging.DEBUG if quiet else logging.INFO,
                id=request_id,
                method=scope["method"],
                route=route,
                status=status,
                seconds=round(time.monotonic() - start, 4),
                **scope[_NOTES],
            )
