"""Who waits for which request: callers of whole answers, of streams, and of single steps.

All of them may be under way at once in one generation: whoever makes it step keeps for the others
what concerns them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lmwright.engine.generation import Generation
from lmwright.engine.requests import raise_if_failed
from lmwright.engine.sequence import Event, FinishReason, Sequence


@dataclass(frozen=True)
class Delta:
    """A piece of an answer that is being generated."""

    text: str
    token_ids: list[int]
    finish_reason: FinishReason | None


class Callers:
    """Hands events to those who wait for them."""

    def __init__(self) -> None:
        self._events: list[Event] = []  # of requests that nobody waits for: `step` tells them
        self._boxes: dict[int, list[Event]] = {}  # of requests whose callers wait for them

    @property
    def unread(self) -> bool:
        """Whether `step` has something to tell that has happened already."""
        return bool(self._events)

    def step(self, generation: Generation, *, paced: bool) -> list[Event]:
        """What happened to requests that nobody else waits for, in a new pass if in none yet."""
        if not self._events:
            self._advance(generation, paced=paced)
        events, self._events = self._events, []
        return events

    def finish(self, generation: Generation, sequences: list[Sequence]) -> None:
        """Run until all of these are finished; others that are under way go on beside them."""
        unread: list[Event] = []  # the sequences themselves remember all that is needed
        self._boxes |= dict.fromkeys([s.request_id for s in sequences], unread)
        for sequence in sequences:
            generation.add(sequence)
        try:
            left = len(sequences)
            while left:
                self._advance(generation, paced=False)
                left -= sum(event.finish_reason is not None for event in unread)
                unread.clear()
        finally:
            for sequence in sequences:
                generation.abort(sequence.request_id, report=False)
                del self._boxes[sequence.request_id]

    def stream(self, generation: Generation, sequence: Sequence) -> Iterator[Delta]:
        """The pieces of an answer as they come; closing the iterator ends it.

        Raises:
            LmwrightError: if the request fails on its way.
        """
        box = self._boxes[sequence.request_id] = []
        generation.add(sequence)
        try:
            while box or sequence.finish_reason is None:
                if not box:
                    self._advance(generation, paced=True)
                events, box[:] = list(box), []
                for event in events:
                    raise_if_failed(event.error)
                    ids = [] if event.token_id is None else [event.token_id]
                    yield Delta(event.text, ids, event.finish_reason)
        finally:
            generation.abort(sequence.request_id, report=False)
            del self._boxes[sequence.request_id]

    def _advance(self, generation: Generation, *, paced: bool) -> None:
        for event in generation.step(paced=paced):
            self._boxes.get(event.request_id, self._events).append(event)
