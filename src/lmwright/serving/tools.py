"""Tool calls: what the model may write, and what it wrote.

A model that may call tools writes them as Hermes and Qwen were taught to, JSON between tags:
`<tool_call>{"name": "f", "arguments": {...}}</tool_call>`. One that has to call a tool is let write
nothing but that JSON, without the tags, so that the call always parses.
"""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lmwright.engine.params import Constraint
from lmwright.engine.stopping import held_back
from lmwright.serving.messages import NamedToolChoice, Tool
from lmwright.serving.protocol import ChatCompletionRequest
from lmwright.serving.wire import json_text

OPEN, CLOSE = "<tool_call>", "</tool_call>"

# Lark as llguidance reads it: text and calls in turn; text runs up to a tag, and holds none.
_GRAMMAR = r"""start: call%s TEXT?
call: head "\n"? json "\n"? "</tool_call>"
head[suffix="<tool_call>"]: /(.|\n)*/
TEXT: /(.|\n)+/ & ~/(.|\n)*<tool_call>(.|\n)*/
json: %%json %s
"""
_NAME = r"[^\"\\\x00-\x1f\ud800-\udfff]+"
# What stands before the arguments, in the order that models are taught.
_HEAD = re.compile(rf'\s*\{{\s*"name"\s*:\s*"({_NAME})"\s*,\s*"arguments"\s*:\s*(?=\{{)')


@dataclass(frozen=True)
class CallPart:
    """A part of a call: the first has the name, every one more of the arguments.

    Args:
        index: which call of the answer, from 0.
        id: of the call.
        name: the function; None in all parts but the first.
        arguments: more of the text of a JSON object.
    """

    index: int
    id: str
    name: str | None
    arguments: str


Part = str | CallPart
"""What a reader learns: text that is no call, or a part of a call."""


def constraint(body: ChatCompletionRequest) -> Constraint | None:
    """What an answer may consist of, as far as tools say so; None: the model writes what it likes.

    An answer that has to call is one call. One that may call is text and calls in tags, of which
    those of strict functions fit their schemas; without strict functions nothing is in its way.
    """
    tools, choice = body.tools or (), body.tool_choice
    if not body.may_call():
        return None
    if isinstance(choice, NamedToolChoice):
        tools = [tool for tool in tools if tool.function.name == choice.function.name]
    if choice == "required" or isinstance(choice, NamedToolChoice):
        return Constraint("json_schema", json_text(_calls(tools)))
    if not any(tool.function.strict for tool in tools):
        return None
    loose = [tool if tool.function.strict else _any_arguments(tool) for tool in tools]
    many = "?" if body.parallel_tool_calls is False else "*"
    return Constraint("grammar", _GRAMMAR % (many, json_text(_calls(loose))))


def _any_arguments(tool: Tool) -> Tool:
    function = tool.function.model_copy(update={"parameters": {"type": "object"}})
    return tool.model_copy(update={"function": function})


def _calls(tools: Sequence[Tool]) -> dict[str, Any]:
    """The schema of a call; the name comes first, since the arguments depend on it."""
    calls: list[dict[str, Any]] = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool.function.name},
                "arguments": {"$ref": f"#/$defs/tool{number}"},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for number, tool in enumerate(tools)
    ]
    schemas = {f"tool{number}": _arguments(tool, number) for number, tool in enumerate(tools)}
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {**schema, "$defs": schemas}


def _arguments(tool: Tool, number: int) -> Any:
    """The schema of a tool's arguments, with its references bent to where it now stands."""
    schema = tool.function.parameters
    if schema is None:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    # Arguments are an object, whatever a schema forgets to say.
    return _moved({"type": "object", **schema}, f"#/$defs/tool{number}")


def _moved(schema: Any, place: str) -> Any:
    if isinstance(schema, list):
        return [_moved(item, place) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    moved = {name: _moved(value, place) for name, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = place + reference[1:]
    return moved


class ToolText:
    """Tells calls from text while an answer grows; the same however the answer is cut into pieces.

    What stands between tags and is no call stays text, tags included. White space around calls is
    dropped.

    Args:
        bare: the whole answer is one call without tags.
        several: whether more than one call counts; those after the first are dropped otherwise.
    """

    def __init__(self, *, bare: bool = False, several: bool = True) -> None:
        self._bare = bare
        self._several = several
        self._state: Literal["text", "head", "arguments", "tail"] = "head" if bare else "text"
        self._buffer = ""
        self._space = ""  # white space that is shown only if text follows
        self._braces = _Braces()
        self._id = ""
        self.calls = 0

    def push(self, text: str) -> list[Part]:
        """What more of the answer says."""
        self._buffer += text
        parts: list[Part] = []
        while (more := self._step()) is not None:
            parts += more
        return [part for part in parts if self._counts(part)]

    def finish(self) -> list[Part]:
        """What is left to say at the end of the answer."""
        parts: list[Part] = []
        if self._state == "head":
            parts = self._whole_call(self._buffer) or self._text(
                self._buffer if self._bare else OPEN + self._buffer
            )
        elif self._state == "text":
            parts = self._text(self._buffer)
        if self._space and not self.calls:
            parts.append(self._space)
        self._buffer = self._space = ""
        return [part for part in parts if self._counts(part)]

    def _counts(self, part: Part) -> bool:
        return self._several or isinstance(part, str) or part.index == 0

    def _step(self) -> list[Part] | None:
        """Read on as far as the buffer tells; None if it tells no more."""
        step = {
            "text": self._read_text,
            "head": self._read_head,
            "arguments": self._read_arguments,
            "tail": self._read_tail,
        }
        return step[self._state]()

    def _read_text(self) -> list[Part] | None:
        start = self._buffer.find(OPEN)
        if start >= 0:
            shown, self._buffer = self._buffer[:start], self._buffer[start + len(OPEN) :]
            self._state = "head"
            return self._text(shown)
        length = len(self._buffer) - held_back(self._buffer, (OPEN,))
        if not length:
            return None
        shown, self._buffer = self._buffer[:length], self._buffer[length:]
        return self._text(shown)

    def _read_head(self) -> list[Part] | None:
        head = _HEAD.match(self._buffer)
        end = -1 if self._bare else self._buffer.find(CLOSE)
        if head is not None and not 0 <= end < head.end():
            self._buffer = self._buffer[head.end() :]
            self._state = "arguments"
            self._braces = _Braces()
            return self._begin(head[1], "")
        if end < 0:
            return None
        body, self._buffer = self._buffer[:end], self._buffer[end + len(CLOSE) :]
        self._state = "text"
        return self._whole_call(body) or self._text(OPEN + body + CLOSE)

    def _read_arguments(self) -> list[Part] | None:
        if not self._buffer:
            return None
        length = self._braces.read(self._buffer)
        shown, self._buffer = self._buffer[:length], self._buffer[length:]
        if self._braces.closed:
            self._state = "tail"
        return [CallPart(self.calls - 1, self._id, None, shown)]

    def _read_tail(self) -> list[Part] | None:
        """Skip what follows the arguments, up to the closing tag."""
        end = -1 if self._bare else self._buffer.find(CLOSE)
        if end < 0:
            return None
        self._buffer = self._buffer[end + len(CLOSE) :]
        self._state = "text"
        return []

    def _begin(self, name: str, arguments: str) -> list[Part]:
        self._space = ""
        self._id = f"call_{uuid.uuid4().hex[:24]}"
        self.calls += 1
        return [CallPart(self.calls - 1, self._id, name, arguments)]

    def _whole_call(self, body: str) -> list[Part]:
        """A call whose fields come in another order, or lack; empty if it is none."""
        try:
            call = json.loads(body)
        except (ValueError, RecursionError):
            return []
        name, arguments = (
            (call.get("name"), call.get("arguments", {}))
            if isinstance(call, dict)
            else (None, None)
        )
        if not isinstance(name, str) or not re.fullmatch(_NAME, name):
            return []
        # In ASCII: an escaped half of a surrogate pair has to stay escaped.
        return self._begin(name, json.dumps(arguments)) if isinstance(arguments, dict) else []

    def _text(self, text: str) -> list[Part]:
        """Text to show, but for the white space at its end, which a call may follow."""
        text = self._space + text
        shown = text.rstrip()
        self._space = text[len(shown) :]
        return [shown] if shown else []


class _Braces:
    """Finds the end of a JSON object, character by character."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = self._escaped = False
        self.closed = False

    def read(self, text: str) -> int:
        """How many characters of `text` belong to the object."""
        for place, character in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif self._quoted:
                self._escaped = character == "\\"
                self._quoted = character != '"'
            elif character == '"':
                self._quoted = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self.closed = True
                    return place + 1
        return len(text)
