"""One process at a time on a run folder; the second is told who holds it."""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from lmwright.core.errors import LmwrightError
from lmwright.core.files import disk_errors

_held: set[int] = set()


def _close_in_child() -> None:
    # flock belongs to the open file, which a fork shares: a worker that outlives a killed run
    # would hold the run for ever.
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_close_in_child)


@contextlib.contextmanager
def locked(folder: Path, command: str) -> Iterator[None]:
    """Hold `folder/.lock` while the block runs; the kernel lets it go if the process dies.

    Args:
        folder: the run's folder, made if absent.
        command: what the holder runs, to tell others.

    Raises:
        LmwrightError: if another process holds it, naming process, host, time and command.
    """
    path = folder / ".lock"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(folder, path) from None
        _held.add(descriptor)
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": command,
        }
        with disk_errors(path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def _in_use(folder: Path, path: Path) -> LmwrightError:
    try:
        holder = json.loads(path.read_text())
        who = "process {pid} on {host} since {since}: {command}".format(**holder)
        stop = f"stop it with kill {holder['pid']}, "
    except (json.JSONDecodeError, KeyError):
        who, stop = "another process that has just started", ""  # it has not written its name yet
    return LmwrightError(
        f"{folder} is in use by {who}",
        hint=f"wait for it, {stop}or give this run another name with --run NAME",
    )
