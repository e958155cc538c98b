"""Chat templates: Jinja as Hugging Face writes it, rendered in a sandbox, contents kept apart.

A rendered conversation mixes markup, which the template wrote, with contents, which people wrote.
Only markup may become special tokens: a user who types `<|im_end|>` must not end the turn. So a
rendering here also says where the contents lie.
"""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any, NoReturn, TypeAlias

import jinja2
from jinja2.ext import Extension
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lmwright.core.errors import LmwrightError

Message: TypeAlias = Mapping[str, Any]
"""One turn: `role` ("system", "user", "assistant", ...) and `content`, both strings."""

Span: TypeAlias = tuple[int, int]
"""Start and stop, in characters."""

# The role is written into the markup, so it may hold nothing that could be markup itself.
_ROLE = re.compile(r"[A-Za-z0-9_-]+")
# Marks are private-use characters, which Unicode leaves without meaning: U+E000 to U+F8FF.
_PRIVATE_USE = range(0xE000, 0xF900)


class ChatTemplate:
    """A chat template and the special tokens its markup may use.

    Args:
        source: the Jinja text.
        special_tokens: the texts that are special tokens when markup holds them.
        variables: what templates may name besides messages, such as `eos_token`.

    Raises:
        LmwrightError: if the source is not valid Jinja.
    """

    def __init__(
        self, source: str, *, special_tokens: Sequence[str], variables: Mapping[str, str]
    ) -> None:
        self.source = source
        self.special_tokens = tuple(special_tokens)
        self._variables: dict[str, Any] = dict(variables)
        # Longest first, so that a token which begins like another is seen whole.
        ordered = sorted(special_tokens, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, ordered)) or r"(?!)")
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise LmwrightError(
                f"the chat template is not valid Jinja, line {error.lineno}: {error.message}"
            ) from error

    def with_tools(self, tools: Sequence[Mapping[str, Any]]) -> "ChatTemplate":
        """The template as it writes conversations in which the assistant may call tools.

        Args:
            tools: as Hugging Face's templates read them, `{"type": "function", "function": {...}}`.

        Raises:
            LmwrightError: if a tool holds the text of a special token; none can be told from
                markup there.
        """
        if self._special.search(_to_json(tools)):
            raise LmwrightError("a tool's description holds the text of a special token")
        template = copy.copy(self)
        template._variables = {**self._variables, "tools": list(tools)}
        return template

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """The conversation as text.

        Args:
            messages: the turns, oldest first.
            add_generation_prompt: end with the markup that opens the assistant's next turn.

        Raises:
            LmwrightError: if the template refuses these messages.
        """
        try:
            return self._template.render(
                messages=messages, add_generation_prompt=add_generation_prompt, **self._variables
            )
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
            raise LmwrightError(f"the chat template refuses these messages: {error}") from error

    def render_spans(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = False
    ) -> tuple[str, list[Span]]:
        """The conversation as text, and where the messages' contents lie in it.

        The contents are marked, rendered, and the marks taken out again; the result must equal
        the plain rendering, else the template rewrites contents and they cannot be found.

        Raises:
            LmwrightError: if the template rewrites contents, and one of them holds the text of a
                special token, so that it could not be told from markup; or another field does.
        """
        plain = self.render(messages, add_generation_prompt=add_generation_prompt)
        contents = [message["content"] for message in messages]
        self._refuse_special_fields(messages)
        marks = _unused_characters(contents, count=2)
        marked = self.render(
            [{**message, "content": _mark(message["content"], *marks)} for message in messages],
            add_generation_prompt=add_generation_prompt,
        )
        found = _unmark(marked, *marks)
        if found is not None and found[0] == plain:
            return found
        if any(self._special.search(content) for content in contents):
            raise LmwrightError(
                "a message holds the text of a special token, and this chat template rewrites "
                "messages, so that the text could not be told from markup",
                hint="remove the special token's text from the message",
            )
        return plain, []

    def _refuse_special_fields(self, messages: Sequence[Message]) -> None:
        # Templates may write other fields (a name, the arguments of a tool) into the markup.
        for message in messages:
            for name, value in message.items():
                if name != "content" and self._special.search(_to_json(value)):
                    raise LmwrightError(f"a message's {name} holds the text of a special token")

    def special_spans(self, text: str, contents: Sequence[Span]) -> list[Span]:
        """Where markup, outside the spans of the contents, holds special tokens."""
        edges = [0, *(edge for span in contents for edge in span), len(text)]
        return [
            match.span()
            for start, stop in zip(edges[::2], edges[1::2], strict=True)
            for match in self._special.finditer(text, start, stop)
        ]


def check_messages(messages: Sequence[Message]) -> None:
    """Raise an LmwrightError unless `messages` are turns with a role and a text."""
    if not messages:
        raise LmwrightError("a conversation without messages")
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, Mapping):
            raise LmwrightError(f"message {number} is {type(message).__name__}, not an object")
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not _ROLE.fullmatch(role):
            raise LmwrightError(
                f"message {number} has the role {role!r}",
                hint="a role is a word such as system, user or assistant",
            )
        if not isinstance(content, str):
            raise LmwrightError(
                f"message {number} has {type(content).__name__} as its content, not a text"
            )


def _mark(content: str, opening: str, closing: str) -> str:
    # Inside the outer white space: templates that trim contents then still render the same.
    core = content.strip()
    if not core:
        return content
    start = content.index(core)
    stop = start + len(core)
    return f"{content[:start]}{opening}{core}{closing}{content[stop:]}"


def _unmark(marked: str, opening: str, closing: str) -> tuple[str, list[Span]] | None:
    """The text without marks and the spans they enclosed; None unless they alternate."""
    pieces: list[str] = []
    spans: list[Span] = []
    length = 0
    outside, *enclosed = marked.split(opening)
    if closing in outside:
        return None
    pieces.append(outside)
    length += len(outside)
    for part in enclosed:
        content, *after = part.split(closing)
        if len(after) != 1:
            return None
        spans.append((length, length + len(content)))
        pieces += [content, after[0]]
        length += len(content) + len(after[0])
    return "".join(pieces), spans


def _unused_characters(texts: Sequence[str], count: int) -> list[str]:
    candidates = (chr(code) for code in _PRIVATE_USE)
    unused = (mark for mark in candidates if not any(mark in text for text in texts))
    marks = list(islice(unused, count))
    if len(marks) < count:
        raise LmwrightError("a conversation uses every private-use character of Unicode")
    return marks


class _Generation(Extension):
    """`{% generation %}`, by which some templates enclose the assistant's words; has no effect.

    Masks are found by rendering prefixes, which works for every template alike.
    """

    tags = {"generation"}  # noqa: RUF012  the base class declares it so

    def parse(self, parser: Parser) -> list[Node]:
        """The enclosed statements as they stand."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    # The options, filters and functions that published templates expect of Hugging Face.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _now
    return environment


def _to_json(value: Any, indent: int | None = None) -> str:
    # Jinja's own filter escapes <, > and & for web pages, which are not meant here.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
