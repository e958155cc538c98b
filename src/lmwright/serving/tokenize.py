"""`/tokenize` and `/detokenize`, in vLLM's shape: what a text is to the model, and back."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, model_validator
from starlette.concurrency import run_in_threadpool

from lmwright.core.errors import LmwrightError
from lmwright.serving import responses
from lmwright.serving.completions import ERRORS, unknown_model
from lmwright.serving.errors import ApiError
from lmwright.serving.messages import Message, Tool
from lmwright.serving.model import Served
from lmwright.serving.spelling import Speller
from lmwright.serving.wire import Text, TokenId, Wire, refuse_beside
from lmwright.serving.worker import Worker


class TokenizeRequest(Wire):
    """Body of `POST /tokenize`: a text or a conversation."""

    model: Annotated[Text, Field(min_length=1)] | None = None
    """Name of the served model or of one of its adapters."""
    prompt: Text | None = None
    """A text."""
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    """A conversation, in place of a text."""
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    """What may be called in the conversation."""
    add_special_tokens: bool | None = None
    """Put the tokens before a text that the model expects there (the default); a conversation has
    those that its template writes, and no others."""
    add_generation_prompt: bool | None = None
    """End a conversation with the markup that opens the answer (the default)."""
    return_token_strs: bool | None = None
    """Also give the name of each token."""

    @model_validator(mode="after")
    def _one_of_two(self) -> "TokenizeRequest":
        if (self.prompt is None) == (self.messages is None):
            raise refuse_beside("prompt", "give either prompt or messages")
        if self.messages is None:
            for name in ("tools", "add_generation_prompt"):
                if getattr(self, name) is not None:
                    raise refuse_beside(name, "is only for messages")
        elif self.add_special_tokens:
            raise refuse_beside("add_special_tokens", "is only for prompt")
        return self


class DetokenizeRequest(Wire):
    """Body of `POST /detokenize`."""

    model: Annotated[Text, Field(min_length=1)] | None = None
    """Name of the served model or of one of its adapters."""
    tokens: list[TokenId]
    """Token ids; special tokens are written by their names."""


@dataclass(frozen=True)
class Tokenization:
    """The endpoints of one served model.

    Args:
        name: of the model.
        worker: knows the tokenizer.
    """

    name: str
    worker: Worker

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["tokens"], responses=ERRORS)
        router.add_api_route(
            "/tokenize",
            self.tokenize,
            methods=["POST"],
            response_model=responses.Tokens,
            summary="Cut a text or a conversation into tokens",
        )
        router.add_api_route(
            "/detokenize",
            self.detokenize,
            methods=["POST"],
            response_model=responses.Detokenized,
            summary="Join tokens to a text",
        )
        return router

    async def tokenize(self, body: TokenizeRequest) -> responses.Tokens:
        """Cut a text or a conversation into tokens."""
        served = self._served(body.model)
        ids = await run_in_threadpool(_ids, served.tokenizer, body)
        speller = Speller(served.tokenizer)
        return responses.Tokens(
            count=len(ids),
            max_model_len=served.context_length,
            tokens=ids,
            token_strs=[speller.name(i) for i in ids] if body.return_token_strs else None,
        )

    async def detokenize(self, body: DetokenizeRequest) -> responses.Detokenized:
        """Join tokens to a text."""
        tokenizer: Any = self._served(body.model).tokenizer
        if any(token_id >= tokenizer.vocab_size for token_id in body.tokens):
            last = tokenizer.vocab_size - 1
            raise ApiError(400, f"tokens: this model's tokens are 0 .. {last}", param="tokens")
        text = await run_in_threadpool(tokenizer.decode, body.tokens, skip_special_tokens=False)
        return responses.Detokenized(prompt=text)

    def _served(self, name: str | None) -> Served:
        served = self.worker.ready()
        known = (self.name, *served.adapters)
        if name is not None and name not in known:
            raise unknown_model(name, known)
        return served


def _ids(tokenizer: Any, body: TokenizeRequest) -> list[int]:
    try:
        if body.messages is None:
            whole = body.add_special_tokens is not False
            encode = tokenizer.encode_prompt if whole else tokenizer.encode
            ids: list[int] = encode(body.prompt)
            return ids
        ids = tokenizer.encode_chat(
            [message.rendered() for message in body.messages],
            add_generation_prompt=body.add_generation_prompt is not False,
            tools=[tool.rendered() for tool in body.tools or ()],
        )
    except LmwrightError as error:
        param = "prompt" if body.messages is None else "messages"
        raise ApiError(400, error.what, param=param) from error
    return ids
