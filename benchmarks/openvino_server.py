"""A minimal OpenAI-compatible server over openvino-genai's continuous batching.

What a user of that library would write. The pipeline is stepped in a process of its own, since
`step` holds the interpreter's lock and would starve the event loop, which tokenises, decodes and
streams. Started by `serving_servers.py`.
"""

import asyncio
import itertools
import json
import multiprocessing
import sys
import threading
import time
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from inference_contenders import open_openvino

Pieces = list[tuple[int, list[int], bool]]
"""Of one step: request, its new tokens, and whether it has ended."""


def step_forever(pipe: Connection, path: Path, threads: int) -> None:
    """Generate for whoever asks: `(id, ids, max_tokens)`; `(id, None, 0)` withdraws a request."""
    import numpy as np
    import openvino
    import openvino_genai
    from openvino_genai.py_openvino_genai import GenerationStatus

    pipeline = open_openvino(path, threads, {})
    pipe.send([])
    live: dict[int, Any] = {}
    while True:
        while not live or pipe.poll():
            request, ids, most = pipe.recv()
            if ids is None:
                if request in live:
                    live.pop(request).cancel()
                continue
            config = openvino_genai.GenerationConfig(max_new_tokens=most, do_sample=False)
            tensor = openvino.Tensor(np.array([ids], np.int64))
            live[request] = pipeline.add_request(request, tensor, config)
        pipeline.step()
        pieces: Pieces = []
        for request, handle in list(live.items()):
            new: list[int] = []
            while handle.can_read():
                for output in handle.read().values():
                    new += output.generated_ids
            over = handle.get_status() != GenerationStatus.RUNNING
            if over:
                del live[request]
            if new or over:
                pieces.append((request, new, over))
        pipe.send(pieces)


class Engine:
    """The process that generates, and who waits for what it says."""

    def __init__(self, path: Path, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        context.Process(target=step_forever, args=(theirs, path, threads), daemon=True).start()
        self._pipe.recv()  # the model is loaded
        self._ids = itertools.count()
        self._waiting: dict[int, asyncio.Queue[tuple[list[int], bool]]] = {}
        self._reader: threading.Thread | None = None

    async def generate(self, ids: list[int], max_tokens: int) -> AsyncIterator[list[int]]:
        """New tokens, as they come."""
        if self._reader is None:
            loop = asyncio.get_running_loop()
            self._reader = threading.Thread(target=self._read, args=(loop,), daemon=True)
            self._reader.start()
        request, over = next(self._ids), False
        waiting = self._waiting[request] = asyncio.Queue()
        self._pipe.send((request, ids, max_tokens))
        try:
            while not over:
                new, over = await waiting.get()
                yield new
        finally:
            del self._waiting[request]
            if not over:
                self._pipe.send((request, None, 0))

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            loop.call_soon_threadsafe(self._give, self._pipe.recv())

    def _give(self, pieces: Pieces) -> None:
        for request, new, over in pieces:
            if request in self._waiting:
                self._waiting[request].put_nowait((new, over))


def create_app(engine: Engine, folder: Path, name: str) -> Any:
    """The two routes that the load generator asks."""
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse

    from lmwright import tokens

    words, app = tokens.load(folder), FastAPI()

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": name, "object": "model"}]}

    @app.post("/v1/chat/completions")
    async def chat(body: dict[str, Any]) -> StreamingResponse:
        ids = words.encode_chat(body["messages"])
        answers = answer(ids, int(body["max_tokens"]))
        return StreamingResponse(answers, media_type="text/event-stream")

    async def answer(ids: list[int], max_tokens: int) -> AsyncIterator[str]:
        decoder, count = words.stream_decoder(), 0
        head = {"id": "x", "object": "chat.completion.chunk", "created": int(time.time())}
        async for new in engine.generate(ids, max_tokens):
            count += len(new)
            text = "".join(decoder.push(token) for token in new)
            choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
            yield f"data: {json.dumps({**head, 'model': name, 'choices': [choice]})}\n\n"
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
        usage = {"prompt_tokens": len(ids), "completion_tokens": count}
        chunk = {**head, "model": name, "choices": [last], "usage": usage}
        yield f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"

    return app


def main() -> None:
    """Serve `GGUF FOLDER PORT THREADS`."""
    import uvicorn

    path, folder, port, threads = sys.argv[1:5]
    app = create_app(Engine(Path(path), int(threads)), Path(folder), "openvino")
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")
