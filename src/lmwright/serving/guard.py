"""Who may talk to the server: Host, Origin and body size, and headers that bind browsers.

A server on 127.0.0.1 is reachable from every web page the person has open. Two checks close that
door: the Host header must be a name we answer to (a page that rebinds its own DNS name to 127.0.0.1
still sends its own name), and an Origin header, which browsers add to every cross-site request that
could have an effect, must be our own, or one that whoever started the server allowed by name; only
those get answers to CORS (Fetch standard, section 3.2).
"""

import ipaddress
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lmwright.serving.access import DEFAULT_PORTS, place
from lmwright.serving.errors import ApiError, error_response
from lmwright.serving.options import ANY_ADDRESS

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

_HEADERS = {
    # The page needs its own files and its own API, nothing else; model text can never run.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Hosts:
    """The Host names that are answered.

    Args:
        bound: the address the server listens on. Where it is every address, any IP address is
            answered too: only a name can be rebound, an address cannot.
        allowed: further names; `*` switches the check off.
    """

    def __init__(self, bound: str, allowed: Iterable[str] = ()) -> None:
        names = {*LOCAL_NAMES, *(name.strip("[]").lower() for name in allowed)}
        self.any_address = bound in ANY_ADDRESS
        self.everything = "*" in names
        self.names = names if self.any_address else {*names, bound.strip("[]").lower()}

    def accept(self, header: str) -> bool:
        """Whether a Host header (`name`, `name:port`, `[::1]:port`) is one of ours."""
        found = place("http", header)
        if found is None:
            return False
        name = found[0]
        return self.everything or name in self.names or (self.any_address and _is_address(name))


def same_origin(origin: str, host: str) -> bool:
    """Whether an Origin header names the place that the Host header names.

    The scheme may differ (a proxy in front may speak TLS), name and port may not; `null`, which
    sandboxed pages and files send, is nobody's.
    """
    scheme, separator, rest = origin.partition("://")
    if not separator or scheme not in DEFAULT_PORTS:
        return False
    found = place(scheme, rest)
    return found is not None and found == place(scheme, host)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: what is behind.
        hosts: the Host names that are answered.
        body_bytes: the largest body.
        origins: other pages' origins that may ask, from `access.allowed_origins`.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: Hosts, body_bytes: int, origins: Iterable[str] = ()
    ) -> None:
        self.app = app
        self.hosts = hosts
        self.body_bytes = body_bytes
        self.origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with the body counted and the security headers added."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        asked = Headers(scope=scope)
        added = {**_HEADERS, **self.cors(asked)}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in added.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self.refusal(asked)
        if refusal is not None:
            return await error_response(refusal)(scope, receive, send_with_headers)
        if scope["method"] == "OPTIONS" and "access-control-request-method" in asked:
            # Answered here: a browser asks whether it may without the key that it would send.
            return await Response(status_code=204)(scope, receive, send_with_headers)
        return await self.app(scope, self.counted(receive), send_with_headers)

    def allows(self, origin: str) -> bool:
        """Whether pages of another origin may ask."""
        return origin in self.origins or "*" in self.origins

    def cors(self, headers: Headers) -> dict[str, str]:
        """What the browser of a page that may ask has to be told."""
        origin = headers.get("origin")
        if origin is None or not self.allows(origin):
            return {"Vary": "Origin"} if self.origins else {}
        told = {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": "X-Request-Id, Retry-After",
            "Vary": "Origin",
        }
        if "access-control-request-method" in headers:
            told["Access-Control-Allow-Methods"] = "GET, POST"
            told["Access-Control-Allow-Headers"] = "Authorization, Content-Type, X-Request-Id"
            told["Access-Control-Max-Age"] = "600"
        return told

    def refusal(self, headers: Headers) -> ApiError | None:
        """Why a request with these headers is not answered; None if it is."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.hosts.accept(hosts[0]):
            return ApiError(
                403,
                "This server does not answer to that Host; "
                "start it with --allow-host NAME if it should",
                code="foreign_host",
            )
        origin = headers.get("origin")
        if origin is not None and not (same_origin(origin, hosts[0]) or self.allows(origin)):
            return ApiError(
                403, "Requests from pages of another origin are refused", code="foreign_origin"
            )
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.body_bytes:
            return self.too_large()
        return None

    def counted(self, receive: Receive) -> Receive:
        """`receive` that refuses a body which turns out too large, whatever its headers said."""
        read = 0

        async def receive_counted() -> Message:
            nonlocal read
            message = await receive()
            if message["type"] == "http.request":
                read += len(message.get("body", b""))
                if read > self.body_bytes:
                    raise self.too_large()
            return message

        return receive_counted

    def too_large(self) -> ApiError:
        """The refusal of a large body."""
        return ApiError(413, f"The body is larger than {self.body_bytes:,} bytes")
