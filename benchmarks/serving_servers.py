"""The servers of `serving_load`: how each is started, watched and ended."""

import contextlib
import importlib.metadata
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from inference_models import Formats

START_SECONDS = 180.0
HERE = Path(__file__).parent
KV_BLOCKS = 3_072
"""Of 16 tokens, 0.6 GB: 64 clients' questions and answers, and eight beside a prompt of 4,000."""


@dataclass(frozen=True)
class Server:
    """A server and how it is started.

    Args:
        package: its distribution, or the program's name.
        label: what the table calls it, with the setting.
        command: to run; `{port}` stands for the port.
        model: what requests call the model; None: what the server lists first.
    """

    package: str
    label: str
    command: tuple[str, ...]
    model: str | None = None

    @property
    def absent(self) -> str | None:
        """Why it cannot be started; None if its package is there."""
        if self.package in ("lmwright", "llama-server"):
            return None
        try:
            importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return f"{self.package} is not installed"
        return None


def ours(folder: Path, threads: int, clients: int) -> list[Server]:
    """Our server, with batches of different sizes, and keys and values in bf16 and in int8."""
    found = []
    sizes = dict.fromkeys((clients, max(1, clients // 2)))
    for batch, kv in itertools.product(sizes, ("bf16", "int8")):
        # So small a cache is full within a minute: from then on memory must not grow.
        options = ["--kv-blocks", str(KV_BLOCKS), "--kv-type", kv]
        options += ["--batch", str(batch), "--queue", str(4 * clients), "--weights", "int8"]
        options += ["--threads", str(threads), "--queue-tokens", "1000000"]
        command = (sys.executable, "-m", "lmwright", "serve", str(folder), "--port", "{port}")
        found.append(Server("lmwright", f"lmwright, batch {batch}, kv {kv}", (*command, *options)))
    return found


def peers(formats: Formats, threads: int, clients: int) -> list[list[Server]]:
    """Each peer with the settings that are worth trying."""
    python, plain = sys.executable, str(formats.folder)
    gguf = str(formats.gguf("q8_0"))
    llama = [
        Server(
            "llama-cpp-python",
            f"llama-cpp-python {_version('llama-cpp-python')} (q8_0, flash attention {flash})",
            (
                *(python, "-m", "llama_cpp.server", "--model", gguf, "--port", "{port}"),
                *("--n_ctx", "2048", "--n_threads", str(threads), "--flash_attn", flash),
                *("--n_threads_batch", str(threads), "--interrupt_requests", "False"),
            ),
        )
        for flash in ("False", "True")
    ]
    openvino = [
        Server(
            "openvino-genai",
            f"openvino-genai {_version('openvino-genai')} (q8_0)",
            (
                *(python, "-c", "import openvino_server; openvino_server.main()"),
                *(gguf, plain, "{port}", str(threads)),
            ),
        )
    ]
    transformers = [
        Server(
            "transformers",
            f"transformers {_version('transformers')} serve (fp32{', ' + name if name else ''})",
            (
                *(python, "-c", "from transformers.cli.transformers import main; main()"),
                *("serve", plain, "--port", "{port}", "--device", "cpu", "--dtype", "float32"),
                *more,
            ),
            model=plain,
        )
        for name, more in (("continuous batching", ("--continuous-batching",)), ("", ()))
    ]
    found = [llama, openvino, transformers]
    if binary := os.environ.get("LLAMA_SERVER"):
        slots = ("--parallel", str(clients), "--ctx-size", str(1_024 * clients))
        command = (binary, "--model", gguf, "--port", "{port}", "--threads", str(threads))
        label = f"llama-server (q8_0, {clients} slots)"
        found.append([Server("llama-server", label, (*command, *slots))])
    return found


@contextlib.contextmanager
def running(server: Server, log: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Start a server; its URL and process once it answers; ended with all its children.

    Raises:
        RuntimeError: if it does not answer in time; shows the end of its log.
    """
    port = _free_port()
    command = [part.replace("{port}", str(port)) for part in server.command]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=log.parent,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process, server, log)
        yield url, psutil.Process(process.pid)
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a session of processes: politely, then not."""
    for number, seconds in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            # What the leader left behind goes with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return


def _wait(url: str, process: "subprocess.Popen[bytes]", server: Server, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/v1/models", timeout=5):
            return
        time.sleep(0.02)
    tail = log.read_text(errors="replace").strip().splitlines()[-3:]
    raise RuntimeError(f"{server.label} did not start: {' / '.join(tail)}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


class MemoryWatch:
    """Resident memory of a process and all below it, sampled each second.

    Attributes:
        samples: (seconds since the start, bytes).
    """

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self.samples: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        started = time.monotonic()
        while not self._stop.wait(1.0):
            self.samples.append((time.monotonic() - started, resident(self._process)))


def resident(process: psutil.Process) -> int:
    """Bytes resident in a process and its descendants."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += one.memory_info().rss
    return total


def growth(samples: Sequence[tuple[float, int]], start: float, end: float) -> float:
    """By what share memory grew between two moments, along the least-squares line through them.

    Args:
        samples: of `MemoryWatch`.
        start, end: seconds.

    Returns:
        The line's rise from `start` to `end` over its value at `start`; 0 below two samples.
    """
    inside = [(t, size) for t, size in samples if start <= t <= end]
    if len(inside) < 2:
        return 0.0
    mean_time = sum(t for t, _ in inside) / len(inside)
    mean_size = sum(size for _, size in inside) / len(inside)
    spread = sum((t - mean_time) ** 2 for t, _ in inside)
    slope = sum((t - mean_time) * (size - mean_size) for t, size in inside) / spread
    return slope * (end - start) / (mean_size + slope * (start - mean_time))
