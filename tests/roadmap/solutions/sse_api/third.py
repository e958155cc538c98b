"""A class that is an asynchronous iterator's factory, driven by hand."""

from lmwright.serving.errors import ApiError
from lmwright.serving.streaming import PATIENCE_SECONDS

REPLACES = "lmwright.serving.streaming:events"


class Stream:
    def __init__(self, reply, write, include_usage):
        self.reply, self.write, self.include_usage = reply, write, include_usage
        self.pieces = reply.pieces(PATIENCE_SECONDS)

    async def next_chunk(self):
        """Bytes to send, b"" for nothing; None at the end."""
        try:
            item = await anext(self.pieces)
        except StopAsyncIteration:
            return None
        if not item:
            return b":\n\n"
        return self.data(self.write.chunk(*item))

    def data(self, model):
        return b"" if model is None else f"data: {model.model_dump_json()}\n\n".encode()


async def events(reply, write, *, include_usage, ended):
    stream = Stream(reply, write, include_usage)
    failed = None
    try:
        for model in write.opening(reply):
            yield stream.data(model)
        while failed is None:
            try:
                chunk = await stream.next_chunk()
            except ApiError as error:
                failed = error
                break
            if chunk is None:
                break
            if chunk:
                yield chunk
        if failed is not None:
            ended(failed)
            yield stream.data(failed.body())
            return
        if include_usage:
            yield stream.data(write.counts(reply))
        yield b"data: [DONE]\n\n"
        ended(failed)
    finally:
        reply.close()
