"""From the sources in `src/` to shared objects, one for each instruction set.

Imports nothing of ours, since the wheel's build hook loads it by its path.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

log = logging.getLogger(__name__)

SOURCES = Path(__file__).with_name("src")
SHIPPED = Path(__file__).with_name("objects")
"""Where a wheel that was built beside a compiler has its objects."""

_AVX512_VNNI = "-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c"
INSTRUCTION_SETS = {
    "amx_int8": f"{_AVX512_VNNI} -mamx-tile -mamx-int8",  # GCC 11, Clang 12
    "avx512_vnni": _AVX512_VNNI,
    "avx2": "-mavx2 -mfma -mf16c",
}
"""Best first: what the compiler is told. A processor must have all of it."""

# Never -march=native: the object runs on other machines. Never -ffast-math: sums keep their order.
_FLAGS = "-std=c++17 -O3 -fPIC -pthread -fno-math-errno"
_LINK_FLAGS = ("-shared", "-Wl,-Bsymbolic")
# As Linux spells what compilers spell otherwise.
_CPU_NAMES = {"avx512vnni": "avx512_vnni", "amx-tile": "amx_tile", "amx-int8": "amx_int8"}
_COMPILERS = ("c++", "g++", "clang++")
_LONGEST_BUILD = 300  # seconds a file; the slowest takes 6
_KEPT_BUILDS = 3
"""Of one instruction set: versions that are used side by side do not remove each other's."""
_UNUSED = 86_400  # seconds after which a folder without an object is no build that still runs


class CannotBuild(Exception):
    """Why there is no object, in one phrase."""


def usable_sets(cpu_flags: frozenset[str] | None = None) -> list[str]:
    """The instruction sets that this processor has, best first.

    Args:
        cpu_flags: as Linux lists them; None: this processor's.
    """
    given = _cpu_flags() if cpu_flags is None else cpu_flags
    needed = {
        name: {flag.removeprefix("-m") for flag in flags.split()}
        for name, flags in INSTRUCTION_SETS.items()
    }
    return [
        name for name, all_of in needed.items() if {_CPU_NAMES.get(f, f) for f in all_of} <= given
    ]


def find_object(instruction_set: str) -> Path:
    """The shared object: the wheel's, or an earlier build's, or built now.

    Raises:
        CannotBuild: if there is none, and no compiler, or it fails.
    """
    shipped = SHIPPED / object_name(instruction_set)
    if shipped.exists():
        return shipped
    compiler = find_compiler()
    if compiler is None:
        raise CannotBuild("there is no C++ compiler (install g++, or set CXX)")
    folder = cache_folder("native") / _digest(instruction_set, _version(compiler))
    target = folder / object_name(instruction_set)
    if target.exists():
        with contextlib.suppress(OSError):
            os.utime(folder)  # when it was used last
        return target
    if not _knows(compiler, instruction_set):
        raise CannotBuild(f"{compiler} does not know all of {INSTRUCTION_SETS[instruction_set]}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / "lock"):
            if not target.exists():  # another process may have built it while this one waited
                # A warning, so that whoever waits sees it also where nothing sets up logging.
                log.warning(
                    "building native kernels for %s by %s: half a minute of processor time, once",
                    instruction_set,
                    compiler,
                )
                compile_object(compiler, instruction_set, target)
        _remove_old_builds(folder, instruction_set)
    except OSError as error:
        raise CannotBuild(f"{folder} cannot be written: {error.strerror}") from error
    return target


def cache_folder(what: str) -> Path:
    """Where lmwright keeps what can be made again: `what` of it; may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lmwright" / what


def object_name(instruction_set: str) -> str:
    """File name of the object for the sources as they are."""
    return f"lmwright-{instruction_set}-{_digest(instruction_set, '')}.so"


def find_compiler() -> str | None:
    """CXX of the environment, or the first of the usual names that there is."""
    names = (os.environ["CXX"],) if os.environ.get("CXX") else _COMPILERS
    return next((found for name in names if (found := shutil.which(name))), None)


def compile_object(compiler: str, instruction_set: str, target: Path) -> None:
    """Build `target`, which appears when it is whole; files are compiled side by side.

    Raises:
        CannotBuild: if the compiler fails, with its first error.
    """
    flags = f"{_FLAGS} {INSTRUCTION_SETS[instruction_set]}".split()
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as folder:
        sources = sorted(SOURCES.glob("*.cpp"))
        objects = [str(Path(folder) / f"{source.stem}.o") for source in sources]
        with ThreadPoolExecutor(_usable_cores()) as pool:
            jobs = [
                pool.submit(_run, [compiler, *flags, "-c", str(source), "-o", made])
                for source, made in zip(sources, objects, strict=True)
            ]
            for job in jobs:
                job.result()
        whole = Path(folder) / target.name
        _run([compiler, *flags, *_LINK_FLAGS, *objects, "-o", str(whole)])
        os.replace(whole, target)


def _remove_old_builds(newest: Path, instruction_set: str) -> None:
    """Keep those of an instruction set that were used last, and the newest in any case."""
    builds, now = [], time.time()
    for folder in set(newest.parent.iterdir()) - {newest}:
        used = folder.stat().st_mtime
        if any(folder.glob(f"lmwright-{instruction_set}-*.so")):
            builds.append((used, folder))
        elif not any(folder.glob("*.so")) and now - used > _UNUSED:
            shutil.rmtree(folder, ignore_errors=True)
    for _, folder in sorted(builds, reverse=True)[_KEPT_BUILDS - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_LONGEST_BUILD)
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if "error" in line]
        reason = lines[0] if lines else f"it ended with {error.returncode}"
        raise CannotBuild(f"{command[0]} cannot build the kernels: {reason}") from error
    except subprocess.TimeoutExpired as error:
        raise CannotBuild(f"{command[0]} did not end in {_LONGEST_BUILD} s") from error


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _cpu_flags() -> frozenset[str]:
    if platform.machine() not in ("x86_64", "AMD64"):
        return frozenset()
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("flags"):
                return frozenset(line.partition(":")[2].split())
    return frozenset()


def _version(compiler: str) -> str:
    return _asked(compiler, "--version").stdout


def _knows(compiler: str, instruction_set: str) -> bool:
    flags = INSTRUCTION_SETS[instruction_set].split()
    return _asked(compiler, *flags, "-fsyntax-only", "-x", "c++", os.devnull).returncode == 0


def _asked(compiler: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        command = [compiler, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotBuild(f"{compiler} does not run: {error}") from error


def _digest(instruction_set: str, compiler: str) -> str:
    """Of everything that the object depends on."""
    digest = hashlib.sha256(f"{_FLAGS} {INSTRUCTION_SETS[instruction_set]} {compiler}".encode())
    for path in sorted([*SOURCES.glob("*.cpp"), *SOURCES.glob("*.h")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait until no other process builds; the kernel lets go if this one dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
