"""Requests that come to a server whose passes somebody shares out."""

from dataclasses import dataclass
from typing import Any

from lmwright.engine.planning import Load, Shares
from lmwright.roadmap.properties import Case, Subject

SIZE = 4  # positions of a block


@dataclass(frozen=True)
class Request:
    """One that comes to a server.

    Args:
        arrives: at this pass.
        prompt, answer: tokens of it.
    """

    arrives: int
    prompt: int
    answer: int


@dataclass
class Guest:
    """A request on its way."""

    request: Request
    known: int
    computed: int = 0
    blocks: tuple[int, ...] = ()


def served(subject: Subject, case: Case) -> list[Any]:
    """What each pass computed, until every request has its answer; None where one never does."""
    coming = list(case.args[0])
    total = sum(request.prompt + request.answer for request in coming)
    running: list[Guest] = []
    waiting: list[Guest] = []
    trace: list[Any] = []
    while coming or running or waiting:
        while coming and coming[0].arrives <= len(trace):
            waiting.append(Guest(coming[0], coming.pop(0).prompt))
        if len(trace) > 4 * total + 50:
            return [*trace, None]
        row, lost = _one_pass(subject, case, running)
        joining = row[2] if isinstance(row, Shares) else 0
        waiting[:0] = lost
        while waiting and joining and not lost:
            if (
                len(running)
                and sum(map(_blocks_of, running)) + _blocks_of(waiting[0]) > (case.kwargs["blocks"])
            ):
                break
            guest = waiting.pop(0)
            _compute(guest, min(joining, guest.known), running, case)
            joining -= guest.computed
            running.append(guest)
        trace.append(row)
        running = [g for g in running if g.known < g.request.prompt + g.request.answer]
    return trace


def _one_pass(subject: Subject, case: Case, running: list[Guest]) -> tuple[Any, list[Guest]]:
    """Share one pass out and compute it; the shares, and who lost his blocks."""
    held = sum(len(guest.blocks) for guest in running)
    found = subject(
        [Load(g.known - g.computed, g.computed, g.blocks) for g in running],
        budget=case.kwargs["budget"],
        free=case.kwargs["blocks"] - held,
        block_size=SIZE,
        paced=case.kwargs["paced"],
    )
    found = Shares(list(found[0]), *found[1:])
    lost = running[found.kept :]
    del running[found.kept :]
    for guest in lost:
        guest.computed, guest.blocks = 0, ()
    for guest, tokens in zip(running, found.tokens, strict=False):
        if tokens:
            _compute(guest, tokens, running, case)
    return found, lost


def _compute(guest: Guest, tokens: int, running: list[Guest], case: Case) -> None:
    guest.computed += tokens
    held = {block for other in running for block in other.blocks}
    fresh = [block for block in range(case.kwargs["blocks"]) if block not in held]
    wanted = -(-guest.computed // SIZE) - len(guest.blocks)
    guest.blocks += tuple([block for block in fresh if block not in guest.blocks][:wanted])
    if guest.computed == guest.known:
        guest.known += 1  # its next token


def _blocks_of(guest: Guest) -> int:
    return -(-(guest.known + 1) // SIZE)
