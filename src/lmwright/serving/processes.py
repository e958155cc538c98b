"""Starting engine processes."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from lmwright.serving import channel
from lmwright.serving.opening import EngineOptions


class Handle(Protocol):
    """An engine that runs somewhere, and the end of the channel that leads to it."""

    socket: socket.socket
    pid: int

    def open_tokenizer(self, folder: Path | None) -> Any:
        """The model's tokenizer; `folder` is None where the engine named none. May take seconds.

        Raises:
            LmwrightError: if it cannot be read.
        """

    def kill(self) -> None:
        """End it at once."""

    def wait(self, seconds: float) -> int | None:
        """Its exit status, negative for a signal; None if it still runs after `seconds`."""


class EngineProcess:
    """A process that serves one model; see `engine_process`.

    Args:
        options: what it opens, and how.
    """

    def __init__(self, options: EngineOptions) -> None:
        self.socket, theirs = channel.pair()
        environment = dict(os.environ)
        if options.threads is not None:
            environment["OMP_NUM_THREADS"] = str(options.threads)
        command = [sys.executable, "-m", "lmwright.serving.engine_process"]
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), options.to_json()],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self.pid = self._process.pid

    def open_tokenizer(self, folder: Path | None) -> Any:
        """The tokenizer that lies in the model's folder."""
        from lmwright import tokens

        assert folder is not None, "the engine process names the folder before it says hello"
        return tokens.load(folder)

    def kill(self) -> None:
        """End it at once; what it had sent can still be read."""
        self._process.kill()

    def wait(self, seconds: float) -> int | None:
        """Its exit status, negative for a signal; None if it still runs after `seconds`."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


class Starter:
    """Starts engine processes of one configuration.

    Args:
        options: of all of them; another model may be named for each.
    """

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._early: EngineProcess | None = None

    def start_early(self) -> None:
        """Start the first one now, so that it loads while this process imports what it needs."""
        self._early = EngineProcess(self._options)

    def __call__(self, model: str | None) -> EngineProcess:
        """A new engine process, or the one that was started early.

        Args:
            model: a run, a run folder, a model folder or a hub id; None: as configured.
        """
        early, self._early = self._early, None
        if early is not None and model is None:
            return early
        return EngineProcess(
            self._options if model is None else replace(self._options, model=model)
        )
