"""What the API answers when it cannot do what was asked: one error object, on every route."""

import difflib
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lmwright.serving.protocol import FIELDS
from lmwright.serving.responses import ErrorDetail, ErrorResponse
from lmwright.serving.wording import complaint

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_CODES = {
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
    429: "overloaded",
    500: "internal_error",
    503: "unavailable",
}


class ApiError(HTTPException):
    """A refusal that becomes the API's error object.

    Args:
        status: HTTP status, 4xx or 5xx.
        message: what is wrong, for the person who wrote the request.
        param: the field that is wrong, such as `messages[0].content`.
        code: a short word that programs may compare.
        retry_after: seconds after which trying again makes sense.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        super().__init__(status, message, headers)
        self.param = param
        self.code = code or _CODES.get(status)

    def body(self) -> ErrorResponse:
        """The error object."""
        return error_body(self.status_code, self.detail, self.param, self.code)


def error_body(status: int, message: str, param: str | None, code: str | None) -> ErrorResponse:
    """The API's error object for a status."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return ErrorResponse(error=ErrorDetail(message=message, type=kind, param=param, code=code))


def error_response(error: HTTPException) -> JSONResponse:
    """The whole response for any refusal, the framework's own (404, 405) included."""
    if isinstance(error, ApiError):
        body = error.body()
    else:
        status = error.status_code
        # The framework's own 400 is a body that its JSON parser gave up on.
        code = "invalid_json" if status == 400 else _CODES.get(status)
        body = error_body(status, str(error.detail), None, code)
    return JSONResponse(body.model_dump(), error.status_code, headers=dict(error.headers or {}))


def from_validation(errors: Sequence[Any], known: Sequence[str] = ()) -> ApiError:
    """The first of pydantic's complaints about a body, as a refusal that names the field.

    Args:
        errors: pydantic's error records.
        known: names a misspelt key may have meant.
    """
    first = errors[0]
    # "[key]" is pydantic's mark of a complaint about a name in an object, which stands before it.
    kind = str(first["type"])
    where = [part for part in first["loc"] if part not in ("body", "[key]")]
    if kind == "json_invalid":
        reason = first.get("ctx", {}).get("error", "it cannot be parsed")
        return ApiError(400, f"The body is not valid JSON: {reason}", code="invalid_json")
    if kind in ("unsupported", "beside", "absent"):
        where.append(first["ctx"]["field"])
    if not where:
        return ApiError(
            400,
            "The body must be a JSON object, sent with the header Content-Type: application/json",
            code="invalid_body",
        )
    param = _path(where)
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(where[-1]), known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return ApiError(
            400, f"{param} is not a field of this request{hint}", param=param, code="unknown_field"
        )
    if kind in ("missing", "absent"):
        return ApiError(400, f"{param} is required", param=param, code="missing_field")
    code = "unsupported_field" if kind == "unsupported" else "invalid_value"
    return ApiError(400, complaint(param, first), param=param, code=code)


def _path(where: Sequence[str | int]) -> str:
    """`messages[0].content`, with nothing in it that JSON could not carry back."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text.encode("utf-8", "replace").decode("utf-8")[:200]


def install(app: FastAPI) -> None:
    """Make every failure of `app` answer with the error object."""

    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return error_response(error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return error_response(from_validation(error.errors(), FIELDS))

    async def crashed(request: Request, error: Exception) -> JSONResponse:
        # Starlette raises the error again after this answer, so that it is logged in full.
        return error_response(ApiError(500, "The server failed to answer; its log says why"))

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, crashed)
