"""The two generation endpoints: from a typed request to tokens, and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from lmwright.core.errors import LmwrightError
from lmwright.serving import responses
from lmwright.serving.answers import Reply
from lmwright.serving.errors import ApiError
from lmwright.serving.formats import ChatFormat, CompletionFormat, Format
from lmwright.serving.limits import Limits
from lmwright.serving.logs import note
from lmwright.serving.model import Sampling, Served
from lmwright.serving.protocol import (
    ChatCompletionRequest,
    CompletionRequest,
    GenerationRequest,
)
from lmwright.serving.streaming import PATIENCE_SECONDS, ClientGone, EventStream, unless_gone
from lmwright.serving.worker import Worker

# What OpenAI's reference gives a completion that does not say; a chat may use all the room left.
COMPLETION_TOKENS = 16

_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": responses.ErrorResponse, "description": "Refused; `param` names the field."},
    429: {"model": responses.ErrorResponse, "description": "The queue is full; see Retry-After."},
    500: {"model": responses.ErrorResponse, "description": "The engine failed."},
    503: {"model": responses.ErrorResponse, "description": "Loading or shutting down."},
}


def _responses(chunk: str) -> dict[int | str, dict[str, Any]]:
    stream = {"schema": {"type": "string", "description": f"`data:` lines, each a {chunk}"}}
    ok = {"description": "The answer, or its events.", "content": {"text/event-stream": stream}}
    return {200: ok, **_ERRORS}


@dataclass(frozen=True)
class Completions:
    """The endpoints of one served model.

    Args:
        name: of the model.
        worker: the engine's thread.
        limits: what a request may ask for.
    """

    name: str
    worker: Worker
    limits: Limits

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["generation"])
        router.add_api_route(
            "/v1/chat/completions",
            self.chat,
            methods=["POST"],
            response_model=responses.ChatCompletion,
            responses=_responses("ChatCompletionChunk"),
            summary="Answer the last turn of a conversation",
        )
        router.add_api_route(
            "/v1/completions",
            self.complete,
            methods=["POST"],
            response_model=responses.Completion,
            responses=_responses("Completion"),
            summary="Go on from a text",
        )
        return router

    async def chat(self, body: ChatCompletionRequest, request: Request) -> Response:
        """Answer the last turn of a conversation, whole or as server-sent events."""
        served = self._served(body)
        if len(body.messages) > self.limits.messages:
            raise ApiError(
                400,
                f"{len(body.messages)} messages; this server takes {self.limits.messages}",
                param="messages",
            )
        tokenizer = served.engine.tokenizer
        turns = [
            {
                "role": "system" if message.role == "developer" else message.role,
                "content": message.text(),
            }
            for message in body.messages
        ]
        try:
            # Long conversations take milliseconds that other streams should not wait for.
            prompt = await run_in_threadpool(tokenizer.encode_chat, turns)
        except LmwrightError as error:
            raise ApiError(400, error.what, param="messages") from error
        limit = body.max_completion_tokens or body.max_tokens or served.engine.context_length
        wants_logprobs = bool(body.logprobs)
        write = ChatFormat(self.name, tokenizer, logprobs=wants_logprobs)
        reply = self._submit(served, body, [prompt], limit, wants_logprobs, "messages")
        return await self._answer(body, request, reply, write)

    async def complete(self, body: CompletionRequest, request: Request) -> Response:
        """Go on from one or several texts, whole or as server-sent events."""
        served = self._served(body)
        tokenizer = served.engine.tokenizer
        prompts: list[str | list[int]] = []
        for prompt in body.prompts():
            ids = prompt
            if isinstance(prompt, str):
                # The empty text stays a text: the engine knows what it begins from.
                ids = await run_in_threadpool(tokenizer.encode_prompt, prompt) or ""
            prompts.append(ids)
        limit = body.max_tokens or COMPLETION_TOKENS
        wants_logprobs = body.logprobs is not None
        write = CompletionFormat(self.name, tokenizer, logprobs=wants_logprobs)
        reply = self._submit(served, body, prompts, limit, wants_logprobs, "prompt")
        return await self._answer(body, request, reply, write)

    def _served(self, body: GenerationRequest) -> Served:
        if body.model != self.name:
            raise ApiError(
                404,
                f"There is no model {body.model!r} here; this server has {self.name!r}",
                param="model",
                code="model_not_found",
            )
        return self.worker.ready()

    def _submit(
        self,
        served: Served,
        body: GenerationRequest,
        prompts: Sequence[str | list[int]],
        max_tokens: int,
        logprobs: bool,
        param: str,
    ) -> Reply:
        context = served.engine.context_length
        longest = max(map(len, prompts))
        if longest >= context:
            raise ApiError(
                400,
                f"The prompt has {longest} tokens; this model reads at most {context}, "
                "its answer included",
                param=param,
                code="context_length_exceeded",
            )
        answers = (body.n or 1) * len(prompts)
        if answers > self.limits.answers:
            raise ApiError(
                400,
                f"{answers} answers asked for; this server gives {self.limits.answers} at a time",
                param="n" if body.n else param,
            )
        params = [
            sampling_params(body, index, served.sampling, max_tokens, logprobs)
            for index in range(answers)
        ]
        each = body.n or 1
        grouped = [params[start : start + each] for start in range(0, answers, each)]
        return self.worker.submit(prompts, grouped)

    async def _answer(
        self, body: GenerationRequest, request: Request, reply: Reply, write: Format
    ) -> Response:
        streams = bool(body.stream)
        try:
            # Before the status line: what the engine refuses is still a 400.
            await unless_gone(request, reply.admitted())
            if not streams:
                await unless_gone(request, _all(reply))
                _note(request, reply, streams, None)
                return JSONResponse(write.whole(reply).model_dump())
        except ClientGone:
            reply.close()
            error = ApiError(499, "The client hung up")
            _note(request, reply, streams, error)
            return Response(status_code=499)  # nobody reads it; it is for the log and the counts
        except BaseException as error:
            reply.close()
            _note(request, reply, streams, error)
            raise
        return EventStream(
            reply,
            write,
            include_usage=body.includes_usage(),
            done=lambda error: _note(request, reply, streams, error),
        )


def sampling_params(
    body: GenerationRequest, index: int, default: Sampling, max_tokens: int, logprobs: bool
) -> Any:
    """The engine's parameters for one answer; answers to one request get seeds of their own.

    Raises:
        ApiError: if the engine refuses a value.
    """
    from lmwright.engine.sampling import SamplingParams  # imports torch: not before the engine did

    def given(value: Any, otherwise: Any) -> Any:
        return otherwise if value is None else value

    try:
        return SamplingParams(
            max_tokens=max_tokens,
            temperature=given(body.temperature, default.temperature),
            top_p=given(body.top_p, default.top_p),
            top_k=given(body.top_k, default.top_k),
            stop=body.stops(),
            seed=None if body.seed is None else body.seed + index,
            logprobs=logprobs,
        )
    except LmwrightError as error:
        raise ApiError(400, error.what) from error


async def _all(reply: Reply) -> None:
    async for _ in reply.pieces(PATIENCE_SECONDS):
        pass


def _note(request: Request, reply: Reply, streams: bool, error: BaseException | None) -> None:
    """Put the numbers of a reply, never its text, into the request's log line."""
    first = reply.answers[0].first_token_seconds
    note(
        request,
        stream=streams,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        first_token_seconds=None if first is None else round(first, 4),
        finish_reason=",".join(str(answer.ending) for answer in reply.answers),
        error=None if error is None else str(getattr(error, "code", None) or error),
    )
