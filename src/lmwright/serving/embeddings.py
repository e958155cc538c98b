"""`/v1/embeddings`: texts to vectors.

Source: OpenAI's API reference, "Embeddings". A text that the model cannot read whole is refused,
never cut.
"""

import base64
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field, JsonValue, model_validator
from starlette.concurrency import run_in_threadpool

from lmwright.core.errors import LmwrightError
from lmwright.serving import responses
from lmwright.serving.completions import ERRORS, check_length, unknown_model
from lmwright.serving.errors import ApiError
from lmwright.serving.logs import note
from lmwright.serving.model import Served
from lmwright.serving.streaming import ClientGone, unless_gone
from lmwright.serving.wire import Text, TokenId, Wire, one_of, without_neutral
from lmwright.serving.worker import Worker

# Most inputs of a request, OpenAI's number.
INPUTS = 2048

Ids = Annotated[list[TokenId], Field(min_length=1)]
Input = Annotated[
    Annotated[Text, Field(min_length=1)]
    | Annotated[list[Annotated[Text, Field(min_length=1)]], Field(min_length=1, max_length=INPUTS)]
    | Ids
    | Annotated[list[Ids], Field(min_length=1, max_length=INPUTS)],
    one_of(
        "a string, a list of strings, a list of token ids, or a list of such lists, "
        f"none of them empty and at most {INPUTS} of them"
    ),
]


class EmbeddingRequest(Wire):
    """Body of `POST /v1/embeddings`."""

    model: Annotated[Text, Field(min_length=1)]
    """Name of the served model."""
    input: Input
    """The texts, or their token ids, which are taken as they are."""
    encoding_format: Literal["float", "base64"] | None = None
    """base64: the little-endian float32 bytes of each vector, which is what clients ask for."""
    user: Text | None = None
    """Accepted; changes nothing."""

    @model_validator(mode="before")
    @classmethod
    def _drop_neutral(cls, body: Any) -> Any:
        # Cutting a vector short only makes sense for models that were trained for it.
        neutral: Mapping[str, tuple[JsonValue, ...]] = {"dimensions": ()}
        return without_neutral(body, neutral)

    def inputs(self) -> list[str | list[int]]:
        """The inputs, one by one."""
        given: Any = self.input
        return [given] if isinstance(given, str) or isinstance(given[0], int) else list(given)


@dataclass(frozen=True)
class Embeddings:
    """The endpoint of one served model.

    Args:
        name: of the model.
        worker: drives the engine.
    """

    name: str
    worker: Worker

    def router(self) -> APIRouter:
        """The route."""
        router = APIRouter(tags=["embeddings"])
        router.add_api_route(
            "/v1/embeddings",
            self.embed,
            methods=["POST"],
            response_model=responses.EmbeddingList,
            responses=ERRORS,
            summary="Give a vector for each text",
        )
        return router

    async def embed(self, body: EmbeddingRequest, request: Request) -> Response:
        """Give a vector for each text, in their order."""
        served = self._served(body)
        ids = await run_in_threadpool(_encoded, served, body.inputs())
        check_length(max(map(len, ids)), served.context_length, "input")
        tokens = sum(map(len, ids))
        note(request, operation="embeddings", model=body.model, n=len(ids), prompt_tokens=tokens)
        try:
            vectors = await unless_gone(request, self._vectors(served, ids))
        except ClientGone:
            note(request, error="The client hung up")
            return Response(status_code=499)  # nobody reads it; it is for the log and the counts
        data = [
            responses.Embedding(index=index, embedding=_written(vector, body.encoding_format))
            for index, vector in enumerate(vectors)
        ]
        usage = responses.EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens)
        answer = responses.EmbeddingList(data=data, model=body.model, usage=usage)
        return JSONResponse(answer.model_dump())

    async def _vectors(self, served: Served, ids: Sequence[list[int]]) -> list[list[float]]:
        """A pass's worth at a time, so that one large request does not fill the queue."""
        vectors: list[list[float]] = []
        for start in range(0, len(ids), served.max_sequences):
            vectors += await self.worker.embed(ids[start : start + served.max_sequences], served)
        return vectors

    def _served(self, body: EmbeddingRequest) -> Served:
        if body.model != self.name:
            raise unknown_model(body.model, (self.name,))
        served = self.worker.ready()
        if served.kind != "embedding":
            raise ApiError(
                400,
                "This model generates text; it was not trained to give vectors of texts",
                param="model",
                code="unsupported_model",
            )
        return served


def _encoded(served: Served, inputs: Sequence[str | list[int]]) -> list[list[int]]:
    try:
        return [served.embedding_ids(text) if isinstance(text, str) else text for text in inputs]
    except LmwrightError as error:
        raise ApiError(400, error.what, param="input") from error


def _written(vector: Sequence[float], encoding: str | None) -> list[float] | str:
    if encoding != "base64":
        return list(vector)
    numbers = array("f", vector)
    if array("H", [1]).tobytes() == b"\0\1":
        numbers.byteswap()  # on a big-endian machine
    return base64.b64encode(numbers.tobytes()).decode("ascii")
