"""A scripted engine for what must happen on cue, and a real server on a free port.

The engine runs in a thread at the other end of the channel: all is as in production but the start
of a process. What only a process shows is in test_processes and test_command.
"""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import httpx
import pytest

from lmwright.core.errors import LmwrightError
from lmwright.engine.stats import EngineStats
from lmwright.serving import channel, engine_process, launch, lines, options
from lmwright.serving.app import Settings, create_app
from lmwright.serving.guard import Hosts
from lmwright.serving.limits import Limits
from lmwright.serving.model import Loaded

END = 0


class WordTokenizer:
    """Every word is a token, numbered as it comes."""

    chat_template = "words"
    end_of_turn_id = END
    vocab_size = 1000

    def __init__(self):
        self.words = ["<end>"]
        self.token_bytes = {i: f"w{i}".encode() for i in range(1, self.vocab_size)}

    def encode(self, text):
        return [self._id(word) for word in text.split()]

    def encode_prompt(self, text):
        return self.encode(text)

    def encode_chat(self, messages, tools=(), add_generation_prompt=True):
        if messages[-1]["content"] == "refuse me":
            raise LmwrightError("the chat template refuses these messages")
        names = [tool["function"]["name"] for tool in tools]
        return [self._id(word) for word in ["<turn>", *names]] + [
            i for message in messages for i in self.encode(message["content"])
        ]

    def decode(self, ids, skip_special_tokens=True):
        return " ".join(
            "<end>" if i == END else f"w{i}" for i in ids if i or not skip_special_tokens
        )

    def stream_decoder(self):
        return SimpleNamespace(push=lambda i: "" if i == END else f"w{i}")

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

    def stats(self):
        waiting = len(self.requests) - self.running
        return EngineStats(self.running, waiting, 100, len(self.requests), 0, 0, 0, 0, 0, 0, 0, 0)

    def step(self):
        started = time.monotonic()
        if self.hold is not None:
            self.hold.acquire()
        time.sleep(self.seconds)
        self.steps += 1
        if self.failing_steps:
            self.failing_steps -= 1
            raise RuntimeError("the scripted failure")
        chosen = list(self.requests.values())[: self.max_sequences]
        return [self._next(request, None if request.said else started) for request in chosen]

    def _next(self, request, joined):
        params = request.params
        prompt_logprobs = None
        if params.prompt_logprobs and not request.said:
            top = [(7, -0.25)][: params.top_logprobs]
            prompt_logprobs = [(token_id, -1.5, top) for token_id in request.prompt[1:]]
        if params.max_tokens == 0:
            del self.requests[request.id]
            return _event(
                request, finish_reason="length", joined=joined, prompt_logprobs=prompt_logprobs
            )
        limit = min(params.max_tokens, self.context_length - len(request.prompt))
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
        return _event(
            request,
            text="" if error else text,
            token_id=None if error else token,
            finish_reason=reason,
            joined=joined,
            logprob=-0.5 if params.logprobs else None,
            top=[(rank + 5, -0.25 - rank) for rank in range(params.top_logprobs)],
            prompt_logprobs=prompt_logprobs,
            error=error,
        )


def _event(request, **fields):
    absent = {"text": "", "token_id": None, "logprob": None, "error": None, "top": ()}
    return SimpleNamespace(request_id=request.id, **{**absent, **fields})


class ThreadEngine:
    """An engine in a thread where production has a process; see `serving.processes.Handle`.

    Args:
        load: opens the model, in the thread.
    """

    pid = -1

    def __init__(self, load: Callable[[], Loaded]):
        self.socket, theirs = channel.pair()
        self.channel = channel.Channel(theirs)
        self._load = load
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._status: int | None = None
        self._thread.start()

    def _run(self):
        self._status = engine_process.serve(self.channel, lambda found: self._open())

    def _open(self):
        loaded = self._load()
        self._tokenizer = loaded.engine.tokenizer
        return loaded

    def open_tokenizer(self, folder):
        return self._tokenizer

    def kill(self):
        """As far as a thread can be killed: it finds nobody at the other end."""
        self.channel._socket.shutdown(socket.SHUT_RDWR)

    def wait(self, seconds):
        self._thread.join(seconds)
        return self._status


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
        # Reading certificates, for which plain HTTP has no use, would take most of a short test.
        return httpx.Client(base_url=self.url, timeout=20, verify=False, **options)

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
    listener = options.bind("127.0.0.1", 0)
    failures: list[BaseException] = []
    name = settings.pop("name", "tiny")
    start = settings.pop("start", None) or (lambda model: ThreadEngine(load))
    patience = settings.pop("patience", 10.0)
    app = create_app(
        start,
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
            eventually(lambda: live.worker.state == "ready", patience)
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
            served = Loaded(
                engine,
                chats=options.pop("chats", True),
                parameters=4_000_000,
                questions=options.pop("questions", ()),
            )
            return stack.enter_context(
                run_server(options.pop("load", lambda: served), engine=engine, **options)
            )

        yield start


@pytest.fixture
def logged():
    """The server's log lines of the test, as a collector of logs would get them."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(lines.JsonLines().format(record))
    log = logging.getLogger("lmwright.serving")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield found
    log.removeHandler(handler)
    log.setLevel(level)


@pytest.fixture(scope="session")
def thread_engine():
    return ThreadEngine


@pytest.fixture(scope="session")
def scripted():
    return ScriptedEngine


@pytest.fixture(scope="session")
def server_context():
    return run_server


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A run with a tiny random model."""
    from lmwright import models
    from lmwright.core.files import write_json
    from lmwright.models.config import TransformerConfig
    from lmwright.models.transformer import Decoder
    from lmwright.tokens.tokenizer import train

    folder = tmp_path_factory.mktemp("runs") / "tiny-run"
    tokenizer = train(["What does str.upper do? " * 3], vocab_size=270)
    decoder = Decoder(
        TransformerConfig(
            vocab_size=tokenizer.vocab_size,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
        )
    )
    decoder.initialize(0)
    folder.mkdir()
    models.save(
        decoder, folder / "model", tokenizer=tokenizer, eos_token_id=tokenizer.end_of_turn_id
    )
    (folder / "recipe.yaml").write_text("steps: []\n")
    rows = [{"question": "What does str.upper do?", "answer": "..."}, {"question": "x" * 99}]
    record = {"samples": [{"title": "Samples", "rows": rows}]}
    (folder / "steps" / "evaluation").mkdir(parents=True)
    write_json(folder / "steps" / "evaluation" / "step.json", {"record": record})
    return folder


@pytest.fixture(scope="session")
def tiny_llm(run_folder):
    """The real engine, on `run_folder`'s random model."""
    from lmwright.engine.llm import LLM

    return LLM(run_folder, max_sequences=4)
