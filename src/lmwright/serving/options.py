"""What the command line says, checked before anything expensive: no torch, no web framework."""

import errno
import importlib.util
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

from lmwright.core.duration import Duration
from lmwright.core.errors import LmwrightError
from lmwright.engine.native import KeyValues, Weights

if TYPE_CHECKING:
    from lmwright.engine.opening import RunnerKind

Word = TypeVar("Word", bound=str)

# What a bind to every address is called, in either version of IP.
ANY_ADDRESS = ("0.0.0.0", "::", "")
WEIGHTS: tuple[Weights, ...] = get_args(Weights)
KV_TYPES: tuple[KeyValues, ...] = get_args(KeyValues)
# Written out: the module that has them loads torch.
RUNNERS: "tuple[RunnerKind, ...]" = ("auto", "native", "portable")
# A client that takes nothing from a full connection for so long is cut off by the system.
UNREAD_SECONDS = 60


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address, before anything expensive is loaded.

    Args:
        host: an address or a name of this machine.
        port: 0 takes any that is free.

    Raises:
        LmwrightError: if the address is in use, not ours, or not permitted.
    """
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if not 0 <= port <= 65535:
        raise LmwrightError(f"--port {port} is not a port", hint="choose one from 1024 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise LmwrightError(f"--host {host} is not an address of this machine") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sys.platform == "linux":  # accepted connections inherit it (tcp(7), TCP_USER_TIMEOUT)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
    try:
        listener.bind(address)
        # Listening as well: two servers may bind one address, but only one of them may listen.
        listener.listen()
    except OSError as error:
        listener.close()
        raise _bind_error(error, place) from error
    return listener


def _bind_error(error: OSError, place: str) -> LmwrightError:
    if error.errno == errno.EADDRINUSE:
        return LmwrightError(
            f"{place} is in use by another program",
            hint="choose another with --port, or stop the server that runs there",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return LmwrightError(f"{place} is not permitted", hint="choose a port above 1023")
    return LmwrightError(f"cannot listen on {place}: {error.strerror}")


def address(listener: socket.socket) -> str:
    """The URL a person on this machine opens."""
    host, port = listener.getsockname()[:2]
    if host in ANY_ADDRESS:
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def public_name(name: str) -> str:
    """What API users call the model: the run's name, or the folder's or hub id's own."""
    if not Path(name).exists():
        return name
    path = Path(name).resolve()
    inside_run = path.name == "model" and (path.parent / "recipe.yaml").is_file()
    return path.parent.name if inside_run else path.name


def adapters(texts: Sequence[str], model: str) -> dict[str, str]:
    """Names and folders of adapters that are given as NAME=FOLDER.

    Args:
        texts: as they were given.
        model: what API users call the model itself.

    Raises:
        LmwrightError: if one is not NAME=FOLDER, a name is taken, or a folder is not an adapter's.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, _, folder = text.partition("=")
        if not name or not folder:
            raise LmwrightError(f"--adapter {text}: it must be NAME=FOLDER")
        if name == model or name in found:
            raise LmwrightError(
                f"--adapter {text}: {name} is the name of something else already",
                hint="requests choose by name: give each a name of its own",
            )
        if not (Path(folder) / "adapter_config.json").is_file():
            raise LmwrightError(f"--adapter {text}: the folder has no adapter_config.json")
        found[name] = folder
    return found


def seconds(option: str, text: str) -> float:
    """A length of time given on the command line.

    Raises:
        LmwrightError: if it is none, or a number of steps or tokens.
    """
    try:
        duration = Duration.parse(text)
    except ValueError as error:
        raise LmwrightError(f"{option}: {error}") from error
    if duration.unit != "seconds":
        raise LmwrightError(f"{option} {text}: give a time, such as 30s or 500ms")
    return duration.amount


def metrics_prefix(text: str) -> str:
    """A prefix that Prometheus accepts.

    Raises:
        LmwrightError: if it would not.
    """
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", text):
        raise LmwrightError(f"--metrics-prefix {text!r}: letters, digits and _ only")
    return text


def otlp_endpoint(text: str) -> str:
    """Where spans are sent, once it is known that they can be.

    Args:
        text: the address of a collector that takes OTLP over HTTP, such as `http://localhost:4318`.

    Raises:
        LmwrightError: if it is no address, or OpenTelemetry is not installed.
    """
    if not text.startswith(("http://", "https://")):
        raise LmwrightError(
            f"--otlp-endpoint {text} is not an address",
            hint="such as http://localhost:4318, where a collector takes OTLP over HTTP",
        )
    # Looked for and not imported, which takes half a second.
    if not all(map(_installed, ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"))):
        raise LmwrightError(
            "--otlp-endpoint needs OpenTelemetry", hint='pip install "lmwright[tracing]"'
        )
    return text


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # not even the package that it would be in
        return False


def choice(option: str, text: str | None, allowed: Sequence[Word]) -> Word | None:
    """One of the words that an option takes, or None where it was not given.

    Raises:
        LmwrightError: if it is another one.
    """
    if text is None:
        return None
    found = next((word for word in allowed if word == text), None)
    if found is None:
        raise LmwrightError(f"{option} {text}: it must be one of {', '.join(allowed)}")
    return found
