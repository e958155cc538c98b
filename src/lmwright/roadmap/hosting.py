"""Running a learner's code: in a child process, with limits, and with production out of reach.

Nothing here keeps a determined person out, and nothing must: the answer lies on the same disk. It
keeps a loop, a flood or a crash away from the learner's session, and a shortcut from being taken
unawares.
"""

import contextlib
import hashlib
import importlib
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import lmwright
from lmwright.core import parts
from lmwright.core.errors import LmwrightError
from lmwright.roadmap.checking import Bench, check
from lmwright.roadmap.lab import Lab
from lmwright.roadmap.properties import Forbidden, Subject

SECONDS = 30.0
"""Of wall time that a check may take; the longest takes 20 on two cores."""
_SHOWN = 2_000  # characters of what it printed
_GRACE = 1.0  # seconds in which a child whose time is over may say where it is


@dataclass(frozen=True)
class Limits:
    """What a learner's code may take.

    Args:
        seconds: of wall time.
        memory_bytes: beyond what the process had before.
        output_bytes: that it may print, or write into any one file.
    """

    seconds: float = SECONDS
    memory_bytes: int = 2_000_000_000
    output_bytes: int = 1_000_000


@dataclass(frozen=True)
class LearnerFile:
    """A learner's file as it was when it was read: what is checked is what is recorded.

    Args:
        path: of the file.
        source: its bytes.
    """

    path: Path
    source: bytes

    @property
    def sha256(self) -> str:
        """Of the bytes."""
        return hashlib.sha256(self.source).hexdigest()

    @classmethod
    def read(cls, path: Path) -> "LearnerFile":
        """Read it.

        Raises:
            LmwrightError: if it is not there, or no readable file.
        """
        try:
            return cls(path, path.read_bytes())
        except OSError as error:
            raise LmwrightError(
                f"{path}: {error.strerror}", hint=f"`lmwright lab start {path.stem}` writes it"
            ) from error


@dataclass(frozen=True)
class Hosted:
    """What a child process gave back.

    Args:
        value: the work's result, as JSON values; None where it failed.
        problem: why there is none, in one line.
        printed: the beginning of what the code printed.
    """

    value: Any = None
    problem: str = ""
    printed: str = ""


def hosted(
    work: Callable[[], Any], *, seconds: float = SECONDS, limits: Limits | None = None
) -> Hosted:
    """Do `work` in a child process and give back its result, whatever becomes of the child.

    The child is a fork, so that what was imported here need not be imported again; nothing may have
    run on several threads before.

    Args:
        work: returns JSON values; `LmwrightError`s it raises are told as they are.
        seconds: of wall time it may take.
        limits: in place of `seconds`, where memory or printing are limited otherwise than usual.
    """
    limits = limits or Limits(seconds)
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    with tempfile.TemporaryFile() as output:
        process = context.Process(target=_child, args=(work, sending, output.fileno(), limits))
        process.start()
        sending.close()
        try:
            answer = _answer(receiving, limits.seconds + _GRACE)
            if answer is not None:
                wait([process.sentinel], 5.0)
        finally:  # also when the person presses Ctrl-C
            _kill(process)
        output.seek(0)
        printed = output.read(_SHOWN).decode("utf-8", "replace")
    if answer is None:
        return Hosted(problem=_death(process.exitcode, limits.seconds), printed=printed)
    return Hosted(answer.get("value"), answer.get("problem", ""), printed)


def check_file(lab: Lab, file: LearnerFile, seed: int, *, limits: Limits | None = None) -> Hosted:
    """Check a learner's file in a child process.

    Args:
        lab: that it answers.
        file: as it was read.
        seed: of the cases.
        limits: of the child; None: the usual ones.

    Returns:
        what the child gave; `value` is a `Verdict` as JSON.
    """
    prepare(lab)

    def work() -> Any:
        bench = learner_bench(lab, file)
        with forbidden(lab):
            subject = subject_in(load(file), lab.name, file)
        return check(subject, bench, seed).to_json()

    return hosted(work, limits=limits)


def prepare(lab: Lab) -> None:
    """Import, before the fork, all that a check of the lab needs.

    Raises:
        LmwrightError: if `--use` has put another part in production's place: the learner's would be
            compared with itself.
    """
    if parts.active():
        raise LmwrightError(
            "a check compares with production's own, and --use has put other parts in its place",
            hint=f"lmwright lab check {lab.id}, without --use",
        )
    with contextlib.suppress(ImportError):
        import torch

        # A fork of a process whose threads have worked would wait for them for ever.
        torch.set_num_threads(1)
    lab.production()
    lab.properties()
    lab.mutants()


def learner_bench(lab: Lab, file: LearnerFile) -> Bench:
    """The bench on which the learner's code runs with production forbidden."""

    def run(work: Callable[[], Any]) -> Any:
        with forbidden(lab):
            return work()

    path = str(file.path)
    return Bench(lab.production(), lab.properties(), lab.mutants(), run=run, file=path)


def load(file: LearnerFile) -> ModuleType:
    """The module that a learner's file makes, under the name `FOLDER.STEM`.

    Raises:
        LmwrightError: naming the line, if it cannot be imported.
    """
    path = file.path.resolve()
    name = f"{path.parent.name}.{path.stem}"
    module = ModuleType(name)
    module.__file__ = str(file.path)
    sys.path[:0] = [folder for folder in (str(path.parent.parent),) if folder not in sys.path]
    sys.modules[name] = module
    try:
        exec(compile(file.source, str(file.path), "exec"), module.__dict__)
    except SyntaxError as error:
        raise LmwrightError(f"{file.path}, line {error.lineno}: {error.msg}") from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f.lineno for f in frames if f.filename == str(file.path)]
        where = f", line {lines[-1]}" if lines else ""
        said = (str(error).splitlines() or [""])[0]
        raise LmwrightError(f"{file.path}{where}: {type(error).__name__}: {said}") from error
    return module


def subject_in(module: ModuleType, name: str, file: LearnerFile) -> Subject:
    """The function or class that the lab asks for.

    Raises:
        LmwrightError: if the file does not define it.
    """
    found: Subject | None = getattr(module, name, None)
    if found is None:
        raise LmwrightError(
            f"{file.path} defines no {name}", hint=f"the lab wants `{name}`, spelled so"
        )
    return found


@contextlib.contextmanager
def forbidden(lab: Lab) -> Iterator[None]:
    """Let production's part and the lab's shortcuts raise inside the block."""
    with contextlib.ExitStack() as stack:
        for target in (lab.target, *lab.banned):
            stack.enter_context(_raising(target))
        yield


@contextlib.contextmanager
def _raising(target: str) -> Iterator[None]:
    module_name, _, path = target.partition(":")
    holder: Any = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        holder = getattr(holder, parent)
    before = getattr(holder, name)
    known = vars(holder).get(name)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise Forbidden(f"{module_name.rpartition('.')[2]}.{path}")

    # In a class's place stands a class: others ask `isinstance`.
    asked = isinstance(before, type)
    setattr(holder, name, type(name, (), {"__new__": refuse}) if asked else refuse)
    try:
        yield
    finally:
        if known is None:
            delattr(holder, name)  # it was inherited
        else:
            setattr(holder, name, before)


def _child(work: Callable[[], Any], sending: Connection, output: int, limits: Limits) -> None:
    """The child's whole life."""
    os.setsid()
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.stdout = sys.stderr = os.fdopen(os.dup(1), "w", buffering=1, errors="replace")
    limit_this_process(limits)
    _tell_overtime(sending, limits.seconds)
    try:
        answer = {"value": work()}
    except LmwrightError as error:
        answer = {"problem": str(error)}
    except MemoryError:
        answer = {"problem": f"it took more than {limits.memory_bytes / 1e9:g} GB of memory"}
    except SystemExit:
        answer = {"problem": "it called exit(); return instead"}
    except KeyboardInterrupt:
        answer = {"problem": "it raised KeyboardInterrupt, which is for Ctrl-C alone"}
    except BaseException:  # noqa: BLE001  a bug of a lab must reach its author
        answer = {"problem": traceback.format_exc(limit=-6)}
    signal.setitimer(signal.ITIMER_REAL, 0)
    # The learner's code may have left anything behind; nothing of it runs again.
    with contextlib.suppress(OSError):
        sending.send_bytes(json.dumps(answer).encode())
        sending.close()
    os._exit(0)


def _tell_overtime(sending: Connection, seconds: float) -> None:
    """When the time is over, say at which line, and leave; the parent kills what cannot do that."""

    def tell(number: int, frame: FrameType | None) -> None:
        problem = f"it did not end within {seconds:.0f} seconds{_place(frame)}"
        answer = {"problem": f"{problem}; is there a loop without an end?"}
        sending.send_bytes(json.dumps(answer).encode())
        os._exit(0)

    signal.signal(signal.SIGALRM, tell)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _place(frame: FrameType | None) -> str:
    """The innermost line that is neither ours nor a library's."""
    ours, libraries = Path(lmwright.__path__[0]), Path(os.__file__).parent
    while frame is not None:
        name = frame.f_code.co_filename
        path = Path(name).resolve()
        known = path.is_relative_to(ours) or path.is_relative_to(libraries)
        if not known and "site-packages" not in path.parts and not name.startswith("<"):
            return f", at {name}, line {frame.f_lineno}"
        frame = frame.f_back
    return ""


def _kill(process: BaseProcess) -> None:
    """End the child and whatever it started; it leads a process group of its own."""
    if process.pid is not None:
        # Before it is waited for: until then nobody else can have its number.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()  # it may not have come to `setsid` yet
    process.join()


def limit_this_process(limits: Limits) -> None:
    """Let this process take no more, for the rest of its life."""
    used = _virtual_bytes()
    most_of = {
        resource.RLIMIT_CPU: int(limits.seconds) + 5,
        resource.RLIMIT_FSIZE: limits.output_bytes,
        resource.RLIMIT_CORE: 0,
    }
    if used:
        most_of[resource.RLIMIT_AS] = used + limits.memory_bytes
    for kind, most in most_of.items():
        with contextlib.suppress(ValueError, OSError):  # never above what this process may
            resource.setrlimit(kind, (most, most))


def _virtual_bytes() -> int:
    """Address space of this process; 0 where the system does not say (macOS)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def _answer(receiving: Connection, seconds: float) -> dict[str, Any] | None:
    """What the child sends within the time; None if it dies or is too slow."""
    with receiving:
        try:
            if receiving.poll(seconds):
                found: dict[str, Any] = json.loads(receiving.recv_bytes(16_000_000))
                return found
        except (EOFError, OSError, ValueError):
            pass
    return None


def _death(code: int | None, seconds: float) -> str:
    if code is not None and code < 0 and -code != 9:
        return f"the process that ran it died of signal {-code}"
    if code == -9:
        return f"it did not end within {seconds:.0f} seconds; is there a loop without an end?"
    return "it ended the process that ran it; return instead of leaving"
