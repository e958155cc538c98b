"""Straight down the specification."""

from lmwright.serving.errors import ApiError
from lmwright.serving.streaming import PATIENCE_SECONDS

REPLACES = "lmwright.serving.streaming:events"


def framed(model):
    return b"data: " + model.model_dump_json().encode("utf-8") + b"\n\n"


async def events(reply, write, *, include_usage, ended):
    try:
        for model in write.opening(reply):
            yield framed(model)
        async for item in reply.pieces(PATIENCE_SECONDS):
            if item is None:
                yield b": waiting\n\n"
                continue
            answer, piece = item
            model = write.chunk(answer, piece)
            if model is not None:
                yield framed(model)
        if include_usage:
            yield framed(write.counts(reply))
        yield b"data: [DONE]\n\n"
        ended(None)
    except ApiError as error:
        ended(error)
        yield framed(error.body())
    finally:
        reply.close()


async def numbered_events(reply, write, *, include_usage, ended):
    n = 0
    async for line in events(reply, write, include_usage=include_usage, ended=ended):
        if not line.startswith(b":"):
            n += 1
            line = f"id: {n}\n".encode() + line
        yield line


async def named_events(reply, write, *, include_usage, ended):
    broken = False

    def note(error):
        nonlocal broken
        broken = error is not None
        ended(error)

    async for line in events(reply, write, include_usage=include_usage, ended=note):
        yield b"event: error\n" + line if broken else line


async def retried_events(reply, write, milliseconds, *, include_usage, ended):
    yield f"retry: {milliseconds}\n\n".encode()
    async for line in events(reply, write, include_usage=include_usage, ended=ended):
        yield line
