"""A fast way through simple chat templates, used only where it is shown equal to rendering.

Most templates write each message as `before(role) + content + after(role)`. For those, pieces are
put together from parts learned once, many times faster than rendering every prefix.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from lmwright.core.errors import LmwrightError
from lmwright.tokens.pieces import Piece, assistant_turns, split
from lmwright.tokens.template import ChatTemplate, Message

# Contents that templates are known to treat specially: trimmed, empty, thinking, like Jinja.
_PROBES = ("one", " two ", "\nthree\n", "", "4\n\n5", "<think>\nsix\n</think>\n\n7", "{{ 8 }}")
# Orders of roles that templates are known to treat specially: s(ystem), u(ser), a(ssistant).
_ORDERS = ("u", "ua", "sua", "suaua", "uaua", "s", "a", "uu", "uaa", "us")
_ROLES = {"s": "system", "u": "user", "a": "assistant"}


@dataclass(frozen=True)
class Frames:
    """What a template writes around contents.

    Args:
        head: pieces at the start of every conversation.
        before, after: pieces around a message of each role.
    """

    head: tuple[Piece, ...]
    before: Mapping[str, tuple[Piece, ...]]
    after: Mapping[str, tuple[Piece, ...]]

    def fits(self, messages: Sequence[Message]) -> bool:
        """Whether every message is a known role and a content, and nothing else."""
        return all(len(message) == 2 and message["role"] in self.before for message in messages)

    def split(self, messages: Sequence[Message]) -> list[Piece]:
        """What `pieces.split` gives for the conversation with all of its assistant's turns."""
        pieces: list[Piece] = []
        text, text_trained = "", False  # plain text that may still grow
        for part in self._parts(messages):
            if text and (part.special or part.trained != text_trained):
                pieces.append(Piece(text, False, text_trained))
                text = ""
            if part.special:
                pieces.append(part)
            elif part.text:
                text, text_trained = text + part.text, part.trained
        if text:
            pieces.append(Piece(text, False, text_trained))
        return pieces

    def _parts(self, messages: Sequence[Message]) -> Iterator[Piece]:
        yield from self.head
        for message in messages:
            role = message["role"]
            yield from self.before[role]
            yield Piece(message["content"], False, role == "assistant")
            yield from self.after[role]


@lru_cache(maxsize=8)
def learn_frames(template: ChatTemplate) -> Frames | None:
    """The template's frames, or None unless they reproduce it on every probe."""
    try:
        frames = _guess(template)
        if frames and all(agrees(frames, template, probe) for probe in _conversations()):
            return frames
    except LmwrightError:
        # The template refuses some orders of roles, which frames could not.
        pass
    return None


def agrees(frames: Frames, template: ChatTemplate, messages: Sequence[Message]) -> bool:
    """Whether frames and prefix rendering cut this conversation into the same pieces."""
    turns = assistant_turns(template, messages)
    stable = [turn for turn in turns if turn is not None]
    return len(stable) == len(turns) and frames.split(messages) == split(template, messages, stable)


def _conversations() -> Iterator[list[Message]]:
    for order in _ORDERS:
        for shift in range(len(_PROBES)):
            yield [
                {"role": _ROLES[letter], "content": _PROBES[(shift + place) % len(_PROBES)]}
                for place, letter in enumerate(order)
            ]


def _guess(template: ChatTemplate) -> Frames | None:
    """Solve for the frames from the text between the contents of two conversations."""
    long, short = _gaps(template, "suau"), _gaps(template, "ua")
    if long is None or short is None:
        return None
    after = {"user": long[4], "assistant": short[2]}
    before = {
        "assistant": long[2].removeprefix(after["user"]),
        "user": long[3].removeprefix(after["assistant"]),
    }
    head = short[0].removesuffix(before["user"])
    before["system"] = long[0].removeprefix(head)
    after["system"] = long[1].removesuffix(before["user"])
    return Frames(
        head=_pieces(template, head),
        before={role: _pieces(template, text) for role, text in before.items()},
        after={
            role: _pieces(template, text, turn=role == "assistant") for role, text in after.items()
        },
    )


def _gaps(template: ChatTemplate, order: str) -> list[str] | None:
    """The markup before, between and after the contents; None if a content was not found."""
    text, spans = template.render_spans(
        [{"role": _ROLES[letter], "content": "probe"} for letter in order]
    )
    if len(spans) != len(order):
        return None
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    return [text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _pieces(template: ChatTemplate, markup: str, *, turn: bool = False) -> tuple[Piece, ...]:
    """Markup cut at its special tokens; at a turn's end, trained up to the last of them."""
    specials = template.special_spans(markup, [])
    last = max((stop for _, stop in specials), default=len(markup))
    edges = sorted({0, len(markup)}.union(*specials))
    return tuple(
        Piece(markup[a:b], special=(a, b) in specials, trained=turn and b <= last)
        for a, b in pairwise(edges)
    )
