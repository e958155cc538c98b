"""One HTTP/1.1 exchange over asyncio streams, parsed by `h11`, its body given as it arrives.

A load generator shares the machine with the server that it measures: a full client costs about
as much per streamed token as a small model does. `h11` is what uvicorn brings along already.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import h11

from lmwright.core.errors import LmwrightError

_READ_BYTES = 65_536


@dataclass(frozen=True)
class Endpoint:
    """Where an OpenAI-compatible API is.

    Args:
        secure: HTTPS.
        host, port: of the server.
        base: path that stands before `/chat/completions`.
        headers: sent with every request, such as the API key.
    """

    secure: bool
    host: str
    port: int
    base: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, url: str, *, api_key: str | None = None) -> "Endpoint":
        """Read `http://host:port`, with or without a path; without one, `/v1` is meant.

        Raises:
            LmwrightError: if it is not such a URL.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise LmwrightError(f"{url!r} is not a URL: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise LmwrightError(
                f"{url!r} is not the URL of a server", hint="write it like http://127.0.0.1:8000"
            )
        secure = parts.scheme == "https"
        headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        base = parts.path.rstrip("/") or "/v1"
        return cls(secure, parts.hostname, port or (443 if secure else 80), base, headers)

    @property
    def host_header(self) -> str:
        """Value of the header `Host`."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.secure else 80) else f"{name}:{self.port}"


@dataclass(frozen=True)
class Response:
    """A response whose body is still arriving."""

    status: int
    headers: Mapping[str, str]
    body: AsyncIterator[bytes]


@contextlib.asynccontextmanager
async def exchange(
    endpoint: Endpoint, method: str, path: str, body: bytes = b""
) -> AsyncIterator[Response]:
    """Send one request on a connection of its own, as separate users do; close it afterwards.

    Args:
        endpoint: the server.
        method: such as POST.
        path: after the endpoint's base.
        body: JSON.

    Raises:
        OSError: if the server cannot be reached, or resets the connection.
        h11.RemoteProtocolError: if what it sends is not HTTP, or ends too early; reading the
            body may raise these two as well.
    """
    secured = ssl.create_default_context() if endpoint.secure else None
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=secured)
    try:
        connection = h11.Connection(h11.CLIENT)
        writer.write(_request(connection, endpoint, method, path, body))
        await writer.drain()
        head = await _next_event(connection, reader)
        while isinstance(head, h11.InformationalResponse):
            head = await _next_event(connection, reader)
        if not isinstance(head, h11.Response):
            raise h11.RemoteProtocolError("the server closed the connection without an answer")
        headers = {name.decode("latin-1"): text.decode("latin-1") for name, text in head.headers}
        yield Response(head.status_code, headers, _body(connection, reader))
    finally:
        writer.close()
        # A server that went away cannot be waited for, and nothing more is wanted of it.
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _request(
    connection: h11.Connection, endpoint: Endpoint, method: str, path: str, body: bytes
) -> bytes:
    headers = {
        "host": endpoint.host_header,
        "content-type": "application/json",
        "content-length": str(len(body)),
        "accept": "text/event-stream, application/json",
        "connection": "close",
        **endpoint.headers,
    }
    head = h11.Request(method=method, target=endpoint.base + path, headers=list(headers.items()))
    parts = [connection.send(head), connection.send(h11.Data(body))]
    parts.append(connection.send(h11.EndOfMessage()))
    return b"".join(part or b"" for part in parts)


async def _next_event(connection: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(_READ_BYTES))
    return event


async def _body(connection: h11.Connection, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while isinstance(event := await _next_event(connection, reader), h11.Data):
        yield bytes(event.data)
