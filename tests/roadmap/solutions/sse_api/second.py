"""Models first, bytes at one place, JSON of its own."""

import contextlib
import json

from lmwright.serving.errors import ApiError

REPLACES = "lmwright.serving.streaming:events"

DONE, SILENCE = object(), object()


def to_bytes(thing) -> bytes:
    if thing is DONE:
        text = "data:[DONE]"
    elif thing is SILENCE:
        text = ":"
    else:
        text = "data:" + json.dumps(thing.model_dump(mode="json"), ensure_ascii=False)
    return (text + "\n\n").encode()


async def events(reply, write, *, include_usage, ended):
    with contextlib.closing(reply):
        problem = None
        try:
            async for thing in things(reply, write, include_usage):
                yield to_bytes(thing)
        except ApiError as error:
            problem = error
        ended(problem)
        if problem is not None:
            yield to_bytes(problem.body())


async def things(reply, write, include_usage):
    for thing in write.opening(reply):
        yield thing
    async for item in reply.pieces(10):
        thing = SILENCE if item is None else write.chunk(*item)
        if thing is not None:
            yield thing
    if include_usage:
        yield write.counts(reply)
    yield DONE
