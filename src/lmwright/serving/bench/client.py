"""One streamed request to an OpenAI-compatible API, timed piece by piece.

Source: OpenAI's API reference, "Streaming" of Chat Completions and of Completions.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import h11

from lmwright.core.errors import LmwrightError
from lmwright.serving.bench.http import Endpoint, exchange
from lmwright.serving.bench.outcomes import Outcome
from lmwright.serving.bench.prompts import Prompt
from lmwright.serving.bench.sse import EventParser

Api = Literal["chat", "completions"]
_PATHS: Mapping[Api, str] = {"chat": "/chat/completions", "completions": "/completions"}
_SAYING = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls")
"""What a chat chunk may bring of an answer; a role alone, or empty text, is not a first token."""
_SHOWN = 200  # characters of a refusal that an error shows


class _Failed(Exception):
    """The request failed; its text is the kind of failure."""


@dataclass(frozen=True)
class Client:
    """Sends prompts to one model of one server.

    Args:
        endpoint: the server.
        model: its name there.
        api: chat completions, or plain completions.
        timeout: seconds that a request may take.
        fields: further fields of every request, such as `temperature`.
        usage: ask for the token counts at the end of the stream.
    """

    endpoint: Endpoint
    model: str
    api: Api = "chat"
    timeout: float = 300.0
    fields: Mapping[str, Any] = field(default_factory=dict)
    usage: bool = True

    async def send(self, prompt: Prompt, outcome: Outcome, clock: Callable[[], float]) -> None:
        """Send a prompt and write into `outcome` what happens, as it happens.

        Args:
            prompt: what to ask.
            outcome: filled in; if this call is cancelled, it holds what was seen until then.
            clock: seconds since the test began.
        """
        try:
            async with asyncio.timeout(self.timeout):
                await self._send(prompt, outcome, clock)
            outcome.finished = clock()
            # Of a server that counts no tokens every piece is taken for one.
            outcome.completion_tokens = outcome.completion_tokens or len(outcome.arrivals)
        except TimeoutError:
            outcome.error = "timed out"
        except _Failed as failure:
            outcome.error = str(failure)
        except h11.RemoteProtocolError:
            outcome.error = "answer broken off" if outcome.arrivals else "connection broken off"
        except ConnectionRefusedError:
            outcome.error = "connection refused"
        except OSError as error:
            outcome.error = f"connection: {error.strerror or type(error).__name__}"

    async def _send(self, prompt: Prompt, outcome: Outcome, clock: Callable[[], float]) -> None:
        path, body = _PATHS[self.api], json.dumps(self.body(prompt)).encode()
        async with exchange(self.endpoint, "POST", path, body) as response:
            if response.status != 200:
                text = await _text(response.body)
                raise _Failed(f"HTTP {response.status}: {_message(text)}")
            if "text/event-stream" not in response.headers.get("content-type", ""):
                raise _Failed("the answer is no event stream")
            ended, parser = False, EventParser()
            async for chunk in response.body:
                now = clock()
                for event in parser.feed(chunk):
                    ended = _take(event, outcome, now) or ended
            if not ended:
                raise _Failed("answer broken off")

    def body(self, prompt: Prompt) -> dict[str, Any]:
        """The request's JSON."""
        body: dict[str, Any] = {"model": self.model, "max_tokens": prompt.max_tokens}
        body |= {"stream": True, **self.fields}
        if self.usage:
            body["stream_options"] = {"include_usage": True}
        if self.api == "chat":
            return body | {"messages": prompt.messages()}
        return body | {"prompt": prompt.text()}


async def first_model(endpoint: Endpoint, *, timeout: float = 10.0) -> str:
    """The name of the first model that the server lists.

    Raises:
        LmwrightError: if the server cannot be reached, or lists none.
    """
    try:
        async with (
            asyncio.timeout(timeout),
            exchange(endpoint, "GET", "/models") as response,
        ):
            text, status = await _text(response.body), response.status
    except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
        raise LmwrightError(
            f"no answer from {endpoint.host_header}: {error or type(error).__name__}",
            hint="is the server running? lmwright serve RUN starts one",
        ) from error
    try:
        name: str = json.loads(text)["data"][0]["id"]
    except (ValueError, LookupError, TypeError) as error:
        raise LmwrightError(
            f"{endpoint.host_header} lists no model: HTTP {status}: {_message(text)}",
            hint="name the model with --model, and the path before /chat/completions in the URL",
        ) from error
    return name


def _take(event: str, outcome: Outcome, now: float) -> bool:
    """Write down what an event brings; whether it ends the answer."""
    if event == "[DONE]":
        return True
    try:
        chunk = json.loads(event)
    except ValueError:
        raise _Failed("an event is no JSON") from None
    if not isinstance(chunk, dict) or "error" in chunk:
        raise _Failed(f"error event: {_message(event)}")
    choices = chunk.get("choices") or [{}]
    if _says_something(choices[0]):
        outcome.arrivals.append(now)
    if usage := chunk.get("usage"):
        outcome.completion_tokens = usage.get("completion_tokens") or 0
        outcome.prompt_tokens = usage.get("prompt_tokens") or 0
    return choices[0].get("finish_reason") is not None


def _says_something(choice: Mapping[str, Any]) -> bool:
    if choice.get("text"):
        return True
    delta = choice.get("delta") or {}
    return any(delta.get(name) for name in _SAYING)


async def _text(body: AsyncIterator[bytes]) -> str:
    return b"".join([chunk async for chunk in body]).decode("utf-8", errors="replace")


def _message(text: str) -> str:
    """The words of an error in OpenAI's form, or the text itself, shortened."""
    try:
        found = json.loads(text)
        found = found.get("error", found) if isinstance(found, dict) else found
        words = found["message"] if isinstance(found, dict) and "message" in found else found
    except ValueError:
        words = text
    return " ".join(str(words).split())[:_SHOWN]
