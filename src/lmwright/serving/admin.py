"""What administers a running server; there only where an admin key is set."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Header

from lmwright.core.errors import LmwrightError
from lmwright.serving import responses
from lmwright.serving.errors import ApiError
from lmwright.serving.keys import Keys, unauthorized
from lmwright.serving.wire import Text, Wire
from lmwright.serving.worker import Worker

_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": responses.ErrorResponse, "description": "Refused; the old model goes on."},
    503: {"model": responses.ErrorResponse, "description": "Loading or shutting down."},
}


class ReloadRequest(Wire):
    """Body of `POST /admin/reload`."""

    model: Text | None = None
    """A run, a run folder, a model folder or a hub id; null: the one served now, as it is now."""


class Reloaded(Wire):
    """Response of `POST /admin/reload`, once requests are answered by the new model."""

    max_model_len: int
    """The longest prompt and answer together, in tokens."""
    parameters: int | None
    runner: str
    """What computes."""


@dataclass(frozen=True)
class Admin:
    """The endpoints.

    Args:
        worker: whose model is swapped.
        keys: of those who may.
    """

    worker: Worker
    keys: Keys

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["admin"])
        router.add_api_route(
            "/admin/reload",
            self.reload,
            methods=["POST"],
            responses=_ERRORS,
            summary="Swap the model without dropping a request",
        )
        return router

    async def reload(
        self, body: ReloadRequest, authorization: Annotated[str, Header()] = ""
    ) -> Reloaded:
        """Load a model beside the one that is served, and let it take over when it is ready."""
        if self.keys.allowance(authorization) is None:
            raise unauthorized()
        try:
            served = await self.worker.swap(body.model)
        except LmwrightError as error:
            raise ApiError(400, error.what, param="model", code="model_not_loaded") from error
        return Reloaded(
            max_model_len=served.context_length,
            parameters=served.parameters,
            runner=served.runner,
        )
