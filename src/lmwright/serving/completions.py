"""The two generation endpoints: from a typed request to tokens, and back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from lmwright.core.errors import LmwrightError
from lmwright.engine.params import SamplingParams
from lmwright.serving import requested, responses
from lmwright.serving.answers import Reply
from lmwright.serving.chat_format import ChatFormat, ToolCalls
from lmwright.serving.errors import ApiError
from lmwright.serving.formats import CompletionFormat, Format
from lmwright.serving.limits import Limits
from lmwright.serving.logs import note
from lmwright.serving.messages import NamedToolChoice
from lmwright.serving.model import Served
from lmwright.serving.protocol import (
    ChatCompletionRequest,
    CompletionRequest,
    GenerationRequest,
)
from lmwright.serving.streaming import PATIENCE_SECONDS, ClientGone, EventStream, unless_gone
from lmwright.serving.worker import Worker

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": responses.ErrorResponse, "description": "Refused; `param` names the field."},
    429: {"model": responses.ErrorResponse, "description": "Too much at once; see Retry-After."},
    500: {"model": responses.ErrorResponse, "description": "The engine failed."},
    503: {"model": responses.ErrorResponse, "description": "Loading or shutting down."},
}


def _responses(chunk: str) -> dict[int | str, dict[str, Any]]:
    # Without a type: readers of such documents differ on whether that is the whole or an event.
    stream = {"schema": {"description": f"`data:` lines, each a {chunk}"}}
    ok = {"description": "The answer, or its events.", "content": {"text/event-stream": stream}}
    return {200: ok, **ERRORS}


@dataclass(frozen=True)
class Completions:
    """The endpoints of one served model.

    Args:
        name: of the model.
        worker: drives the engine.
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
        # Long conversations take milliseconds that other streams should not wait for.
        prompt = await run_in_threadpool(chat_prompt, served.tokenizer, body)
        calls = None
        if body.may_call():
            bare = body.tool_choice == "required" or isinstance(body.tool_choice, NamedToolChoice)
            calls = ToolCalls(bare=bare, several=body.parallel_tool_calls is not False)
        write = ChatFormat(body.model, served.tokenizer, logprobs=bool(body.logprobs), calls=calls)
        note(request, operation="chat", model=body.model, **requested.noted(body))
        reply = self._submit(served, body, [prompt], requested.of_chat, "messages")
        return await self._answer(body, request, reply, write)

    async def complete(self, body: CompletionRequest, request: Request) -> Response:
        """Go on from one or several texts, whole or as server-sent events."""
        served = self._served(body)
        tokenizer = served.tokenizer
        prompts: list[str | list[int]] = []
        echo: list[str] | None = [] if body.echo else None
        for prompt in body.prompts():
            if isinstance(prompt, str):
                # The empty text stays a text: the engine knows what it begins from.
                prompts.append(await run_in_threadpool(tokenizer.encode_prompt, prompt) or "")
            else:
                prompts.append(prompt)
            if echo is not None:
                echo.append(prompt if isinstance(prompt, str) else tokenizer.decode(prompt))
        write = CompletionFormat(
            body.model, tokenizer, logprobs=body.logprobs, echo=echo, each=body.n or 1
        )
        note(request, operation="text_completion", model=body.model, **requested.noted(body))
        reply = self._submit(served, body, prompts, requested.of_completion, "prompt")
        return await self._answer(body, request, reply, write)

    def _served(self, body: GenerationRequest) -> Served:
        served = self.worker.served
        known = (self.name, *(() if served is None else served.adapters))
        if body.model not in known:
            raise unknown_model(body.model, known)
        served = self.worker.ready()
        if served.kind != "generation":
            raise ApiError(
                400,
                "This model gives vectors, at /v1/embeddings; it generates no text",
                param="model",
                code="unsupported_model",
            )
        return served

    def _submit(
        self,
        served: Served,
        body: Any,
        prompts: Sequence[str | list[int]],
        params_of: Callable[..., SamplingParams],
        param: str,
    ) -> Reply:
        longest = max(map(len, prompts))
        check_length(longest, served.context_length - (body.max_tokens != 0), param)
        each = body.n or 1
        answers = each * len(prompts)
        if answers > self.limits.answers:
            raise ApiError(
                400,
                f"{answers} answers asked for; this server gives {self.limits.answers} at a time",
                param="n" if body.n else param,
            )
        adapter = None if body.model == self.name else body.model
        requested.check_tokens(body, served.tokenizer)
        try:
            params = [params_of(body, index, served, adapter) for index in range(answers)]
        except LmwrightError as error:
            raise ApiError(400, error.what, param=requested.param_of(error, body)) from error
        grouped = [params[start : start + each] for start in range(0, answers, each)]
        return self.worker.submit(prompts, grouped, served)

    async def _answer(
        self, body: GenerationRequest, request: Request, reply: Reply, write: Format
    ) -> Response:
        streams = bool(body.stream)
        try:
            # Before the status line: what the engine refuses is still a 400.
            await unless_gone(request, reply.admitted())
            if not streams:
                await unless_gone(request, _all(reply))
                _note(request, reply, write, None)
                return JSONResponse(write.whole(reply).model_dump())
        except ClientGone:
            reply.close()
            error = ApiError(499, "The client hung up")
            _note(request, reply, write, error)
            return Response(status_code=499)  # nobody reads it; it is for the log and the counts
        except BaseException as error:
            reply.close()
            _note(request, reply, write, error)
            raise
        return EventStream(
            reply,
            write,
            include_usage=body.includes_usage(),
            done=lambda error: _note(request, reply, write, error),
        )


def chat_prompt(tokenizer: Any, body: ChatCompletionRequest) -> list[int]:
    """The ids of a conversation, with what may be called in it.

    Raises:
        ApiError: if the chat template refuses them, or tells the model nothing of tools.
    """
    turns = [message.rendered() for message in body.messages]
    # A model that must not call is not told of anything to call.
    tools = [tool.rendered() for tool in body.tools or ()] if body.may_call() else []
    plain = _encoded(tokenizer, turns, "messages")
    if not tools:
        return plain
    prompt = _encoded(tokenizer, turns, "tools", tools=tools)
    if prompt == plain:
        raise ApiError(
            400,
            "This model's chat template tells it nothing of tools, so it could call none; "
            'leave them out, or give tool_choice: "none"',
            param="tools",
            code="unsupported_field",
        )
    return prompt


def _encoded(tokenizer: Any, turns: Sequence[Any], param: str, **options: Any) -> list[int]:
    try:
        ids: list[int] = tokenizer.encode_chat(turns, **options)
    except LmwrightError as error:
        raise ApiError(400, error.what, param=param) from error
    return ids


def check_length(tokens: int, most: int, param: str) -> None:
    """Refuse a prompt of more tokens than there is room for.

    Raises:
        ApiError: 400 if it is.
    """
    if tokens > most:
        raise ApiError(
            400,
            f"The prompt has {tokens} tokens; this model reads at most {most}, "
            "with room for an answer",
            param=param,
            code="context_length_exceeded",
        )


def unknown_model(name: str, known: Sequence[str]) -> ApiError:
    """The refusal of a model that is not served."""
    has = ", ".join(map(repr, known))
    return ApiError(
        404,
        f"There is no model {name!r} here; this server has {has}",
        param="model",
        code="model_not_found",
    )


async def _all(reply: Reply) -> None:
    async for _ in reply.pieces(PATIENCE_SECONDS):
        pass


def _note(request: Request, reply: Reply, write: Format, error: BaseException | None) -> None:
    """Put the numbers of a reply, never its text, into the request's log line."""
    first = reply.answers[0].first_token_seconds
    note(
        request,
        response=write.id,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        first_token_seconds=None if first is None else round(first, 4),
        finish_reason=",".join(str(answer.ending) for answer in reply.answers),
        # Never its message, which may quote the request.
        error=None if error is None else getattr(error, "code", None) or type(error).__name__,
    )
