"""API keys: who may ask, and how much.

A server without keys asks for none. One with keys answers health probes and the chat page's files
without, and nothing else; the page then asks the person for a key.
"""

import hashlib
import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from lmwright.serving.access import check_key
from lmwright.serving.errors import ApiError, error_response
from lmwright.serving.logs import notes
from lmwright.serving.rates import Allowance

# The page, its files and the probes; what administers the server has a key of its own.
_OPEN = ("/health/", "/page/", "/admin/")
_OPEN_EXACTLY = ("/", "/favicon.ico")


class Keys:
    """The keys of one server; only their hashes are kept.

    A plain hash will do: unlike passwords, keys are long and random, so that hashing them slowly
    would cost each request time and protect nothing.

    Args:
        keys: as clients send them.
        per_minute: requests that each key may make in a minute; None: as many as it likes.
        at_once: requests of each key that are answered at once; None: as many as it likes.

    Raises:
        LmwrightError: if a key is too short, or could not be sent in a header.
    """

    def __init__(
        self,
        keys: Iterable[str] = (),
        *,
        per_minute: int | None = None,
        at_once: int | None = None,
    ) -> None:
        self._allowances: dict[bytes, Allowance] = {}
        for key in keys:
            check_key(key)
            digest = _hash(key)
            # The beginning of its hash tells keys apart in the log, and tells nothing else.
            self._allowances[digest] = Allowance(digest.hex()[:8], per_minute, at_once)

    def __bool__(self) -> bool:
        return bool(self._allowances)

    def allowance(self, authorization: str) -> Allowance | None:
        """What the key in an Authorization header has left; None if it is no key of this server.

        Takes the same time whichever key it is, and however much of it is right.
        """
        scheme, _, key = authorization.partition(" ")
        given = _hash(key.strip())
        found = None
        for known, allowance in self._allowances.items():
            if hmac.compare_digest(known, given):
                found = allowance
        return found if scheme.lower() == "bearer" else None


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class KeyCheck:
    """ASGI middleware: asks for a key, and counts what is done with it.

    Args:
        app: what is behind.
        keys: of the server.
    """

    def __init__(self, app: ASGIApp, *, keys: Keys) -> None:
        self.app = app
        self.keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] != "http" or not self.keys or is_open(scope["path"]):
            return await self.app(scope, receive, send)
        allowance = self.keys.allowance(Headers(scope=scope).get("authorization", ""))
        if allowance is None:
            return await error_response(unauthorized())(scope, receive, send)
        notes(scope)["key"] = allowance.name
        if scope["method"] != "POST":
            # Lists and counts cost nothing that has to be shared out.
            return await self.app(scope, receive, send)
        wait = allowance.enter()
        if wait:
            return await error_response(too_many(wait))(scope, receive, send)
        try:
            await self.app(scope, receive, send)
        finally:
            allowance.leave()


def is_open(path: str) -> bool:
    """Whether a path is answered without a key."""
    return path in _OPEN_EXACTLY or path.startswith(_OPEN)


def unauthorized() -> ApiError:
    """The refusal of a request without a key, or with a wrong one."""
    error = ApiError(
        401,
        "This server needs one of its API keys, in the header Authorization: Bearer KEY",
        code="invalid_api_key",
    )
    error.headers = {"WWW-Authenticate": "Bearer"}
    return error


def too_many(wait: int) -> ApiError:
    """The refusal of a request beyond what its key may ask for."""
    return ApiError(
        429,
        "This API key has made as many requests as it may for now",
        code="rate_limit_exceeded",
        retry_after=wait,
    )
