"""A scripted engine for what must happen on cue, and a real server on a free port."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import httpx
import pytest

from lmwright.core.errors import LmwrightError
from lmwright.serving import launch
from lmwright.serving.app import Settings, create_app
from lmwright.serving.guard import Hosts
from lmwright.serving.limits import Limits
from lmwright.serving.model import Served

END = 0


class WordTokenizer:
    """Every word is a token, numbered as it comes."""

    chat_template = "words"
    end_of_turn_id = END

    def __init__(self):
        self.words = ["<end>"]

    def encode(self, text):
        return [self._id(word) for word in text.split()]

    def encode_prompt(self, text):
        return self.encode(text)

    def encode_chat(self, messages):
        if messages[-1]["content"] == "refuse me":
            raise LmwrightError("the chat template refuses these messages")
        return [self._id("<turn>")] + [
            i for message in messages for i in self.encode(message["content"])
        ]

    def decode(self, ids):
        return " ".join(f"w{i}" for i in ids if i != END)

    def _id(self, word):
        if word not in self.words:
            self.words.append(word)
        return self.words.index(word)


@dataclass
class ScriptedEngine:
    """Says its script word by word, as fast as it is let.

    Args:
        script: what every answer says; a str per token.
        hold: if given, each step waits until the test releases it.
        seconds: how long a step takes.
    """

    script: list[str] = field(default_factory=lambda: ["Hello", " there", "."])
    hold: threading.Semaphore | None = None
    seconds: float = 0.0
    max_sequences: int = 2
    context_length: int = 64
    failing_steps: int = 0
    tokenizer: WordTokenizer = field(default_factory=WordTokenizer)
    steps: int = 0
    requests: dict[int, SimpleNamespace] = field(default_factory=dict)
    seen: list[SimpleNamespace] = field(default_factory=list)
    aborted: list[int] = field(default_factory=list)

    @property
    def running(self):
        return min(len(self.requests), self.max_sequences)

    def add(self, prompt, params):
        if params.seed == 666:
            raise LmwrightError("the engine refuses this request")
        request = SimpleNamespace(id=len(self.seen), prompt=prompt, params=params, said=0)
        self.requests[request.id] = request
        self.seen.append(request)
        return request.id

    def abort(self, request_id):
        if self.requests.pop(request_id, None):
            self.aborted.append(request_id)

    def has_work(self):
        return bool(self.requests)

    def step(self):
        if self.hold is not None:
            self.hold.acquire()
        time.sleep(self.seconds)
        self.steps += 1
        if self.failing_steps:
            self.failing_steps -= 1
            raise RuntimeError("the scripted failure")
        return [self._next(r) for r in list(self.requests.values())[: self.max_sequences]]

    def _next(self, request):
        limit = min(request.params.max_tokens, self.context_length - len(request.prompt))
        text = self.script[request.said] if request.said < len(self.script) else ""
        request.said += 1
        over = request.said > len(self.script)
        reason = "stop" if over else "length" if request.said == limit else None
        error = "scripted" if text == "ERROR" else None
        if error:
            reason = "error"
        if reason:
            del self.requests[request.id]
        token = END if over else request.said
        logprob = -0.5 if request.params.logprobs else None
        return SimpleNamespace(
            request_id=request.id,
            text="" if error else text,
            token_id=None if error else token,
            finish_reason=reason,
            logprob=logprob,
            error=error,
        )


@dataclass
class LiveServer:
    """A server in a thread."""

    url: str
    port: int
    server: launch.Server
    engine: ScriptedEngine | None
    failures: list[BaseException]

    @property
    def worker(self):
        return self.server.worker

    def client(self, **options) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20, **options)

    def chat(self, **fields) -> dict:
        return {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], **fields}


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until a condition holds; fail if it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


@pytest.fixture(name="eventually", scope="session")
def _eventually():
    return eventually


@contextlib.contextmanager
def run_server(load, *, wait=True, limits=None, hosts=None, engine=None, **settings):
    listener = launch.bind("127.0.0.1", 0)
    failures: list[BaseException] = []
    name = settings.pop("name", "tiny")
    app = create_app(
        load,
        Settings(
            name=name,
            limits=limits or Limits(),
            hosts=hosts or Hosts("127.0.0.1"),
            **settings,
        ),
        failed=failures.append,
    )
    server = launch.Server(app, drain_seconds=5)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    port = listener.getsockname()[1]
    thread.start()
    live = LiveServer(f"http://127.0.0.1:{port}", port, server, engine, failures)
    try:
        eventually(lambda: server.started)
        if wait:
            eventually(lambda: live.worker.state == "ready")
        yield live
    finally:
        if engine is not None and engine.hold is not None:
            engine.hold.release(1000)
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def serve() -> Iterator[Callable[..., LiveServer]]:
    """`serve(engine)` gives a running server; it ends with the test."""
    with contextlib.ExitStack() as stack:

        def start(engine: ScriptedEngine | None = None, **options) -> LiveServer:
            engine = engine or ScriptedEngine()
            served = Served(
                engine,
                chats=options.pop("chats", True),
                parameters=4_000_000,
                questions=options.pop("questions", ()),
            )
            return stack.enter_context(
                run_server(options.pop("load", lambda: served), engine=engine, **options)
            )

        yield start


@pytest.fixture(scope="session")
def scripted():
    return ScriptedEngine


@pytest.fixture(scope="session")
def server_context():
    return run_server
