"""This machine as it is: its processor, memory and compiler, and speeds measured, not assumed.

Torch is imported only inside the functions that need it. Linux is read from `/proc` and `/sys`;
where those are missing (macOS), each function says what it falls back to.
"""

import ctypes
import functools
import math
import os
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

# What Inductor's generated kernels include: OpenMP, Python's headers, and torch's own prefix.
# A compiler that builds and loads this file builds the kernels of `torch.compile` too.
_PROBE = """\
#include <omp.h>
#include <Python.h>
#include <torch/csrc/inductor/cpp_prefix.h>
extern "C" int probe() { return omp_get_max_threads(); }
"""
_UNLIMITED = 1 << 60  # cgroup v1 writes "no limit" as a number near 2^63
_COPY_BYTES = 128 << 20  # several times the last-level cache of one socket's share of cores


def processor_name() -> str:
    """The processor's name as its maker spells it, for example `AMD EPYC 9B14`."""
    for line in _lines(Path("/proc/cpuinfo")):
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Hardware") and value.strip():
            return value.strip()
    if sys.platform == "darwin":
        query = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()


def physical_cores() -> int:
    """Physical cores this process may use: its affinity and its container's quota respected.

    Two hardware threads of one core count once, since matrix products gain nothing from the second.
    """
    if not hasattr(os, "sched_getaffinity"):  # macOS: no affinity, and no quota either
        query = ["sysctl", "-n", "hw.physicalcpu"]
        return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout)
    allowed = os.sched_getaffinity(0)
    topology = Path("/sys/devices/system/cpu")
    siblings = {
        next(iter(_lines(topology / f"cpu{cpu}/topology/thread_siblings_list")), str(cpu))
        for cpu in allowed
    }
    return max(1, min(len(siblings), _quota_cores()))


def available_memory_bytes() -> int:
    """Memory that can still be taken before the system, or this container, runs out."""
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
            break
    else:
        # Without /proc/meminfo: all of the memory, since macOS gives no such estimate cheaply.
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([free, *(_headroom(folder) for folder in _cgroup_folders("memory"))])


def compiler_works() -> str | None:
    """Whether `torch.compile` has a C++ compiler here: None if so, else the reason in words.

    Builds and loads a tiny library with the compiler and flags that Inductor itself would use
    (`CXX` is honoured, as it stood when torch was first imported), in Inductor's cache folder.
    Takes 1 to 3 seconds the first time, nothing afterwards.
    """
    from torch._inductor import config

    return _compile_probe(config.cpp.cxx)


@functools.cache
def _compile_probe(candidates: tuple[str | None, ...]) -> str | None:
    from torch._inductor import cpp_builder, cpu_vec_isa, exc
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    try:
        with tempfile.TemporaryDirectory(dir=cache_dir()) as folder:
            source = Path(folder, "probe.cpp")
            source.write_text(_PROBE)
            builder = cpp_builder.CppBuilder(
                name="probe",
                sources=str(source),
                output_dir=folder,
                # Without vector instructions: finding the right ones takes Inductor 5 s more.
                BuildOption=cpp_builder.CppTorchOptions(vec_isa=cpu_vec_isa.invalid_vec_isa),
            )
            command = shlex.split(builder.get_command_line())
            built = subprocess.run(command, capture_output=True, text=True, cwd=folder)
            if built.returncode != 0:
                return f"{command[0]} cannot build torch's kernels: {_first_error(built.stderr)}"
            if ctypes.CDLL(builder.get_target_file_path()).probe() < 1:
                return f"{command[0]} builds a library whose OpenMP has no threads"
    except exc.InvalidCxxCompiler:
        names = ", ".join(name for name in candidates if name)
        return f"no C++ compiler: {names} does not run (CXX names another one)"
    except OSError as error:
        return f"a compiled library cannot be written or loaded: {error}"
    return None


def _first_error(messages: str) -> str:
    """The line of a compiler's output that tells the most: the first with an error in it."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), (lines or ["no message"])[0])


def matmul_peak(
    dtype: Literal["float32", "bfloat16"],
    shape: tuple[int, int, int] = (1024, 1024, 1024),
    seconds: float = 0.3,
) -> float:
    """The fastest (M, N) x (N, K) product that this processor gives, measured.

    Runs with the process's present number of threads and leaves torch's random state alone.

    Args:
        dtype: of both factors and of the product.
        shape: M, N, K.
        seconds: how long to repeat; at least one product is timed.

    Returns:
        Floating-point operations per second, 2·M·N·K of them in a product; best of the repeats.
    """
    import torch

    m, n, k = shape
    generator = torch.Generator().manual_seed(0)
    kind = getattr(torch, dtype)
    left = torch.randn(m, n, generator=generator).to(kind)
    right = torch.randn(n, k, generator=generator).to(kind)
    product = torch.empty(m, k, dtype=kind)
    with torch.inference_mode():
        return 2 * m * n * k / _best_time(lambda: torch.mm(left, right, out=product), seconds)


def memory_bandwidth(seconds: float = 0.2) -> float:
    """Bytes per second, read and written together, of copying memory too large for the caches."""
    import torch

    source = torch.ones(_COPY_BYTES, dtype=torch.uint8)
    target = torch.empty_like(source)
    with torch.inference_mode():
        return 2 * _COPY_BYTES / _best_time(lambda: target.copy_(source), seconds)


def _best_time(work: Callable[[], object], seconds: float) -> float:
    """Seconds of the fastest call of `work`, after one call that warms caches and threads."""
    started = time.perf_counter()
    work()
    best = time.perf_counter() - started  # stands only if this one call fills the time
    while time.perf_counter() - started < seconds:
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return best


_peak_rss = 0
_peak_lock = threading.Lock()


def peak_rss_bytes() -> int:
    """The most resident memory this process and its living children held together, so far.

    Each call is a sample, so call it now and then while work goes on; the result covers all calls
    so far, and this process's own peak in between too. Pages shared by two processes count twice:
    the figure is never too small. Without `/proc` (macOS) it is this process's own peak alone.
    """
    global _peak_rss
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    own *= 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere
    tree = _tree_rss_bytes(os.getpid())
    with _peak_lock:
        _peak_rss = max(_peak_rss, own, tree)
        return _peak_rss


def _tree_rss_bytes(root: int) -> int:
    """Resident bytes of a process and its descendants now; 0 without `/proc`."""
    resident: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        stat = next(iter(_lines(folder / "stat")), None)
        if stat is None:  # it ended meanwhile
            continue
        fields = stat.rpartition(")")[2].split()  # the name in brackets may hold spaces
        resident[int(folder.name)] = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        children.setdefault(int(fields[1]), []).append(int(folder.name))
    total, pending = 0, [root]
    while pending:
        process = pending.pop()
        total += resident.get(process, 0)
        pending += children.get(process, [])
    return total


def _cgroup_folders(controller: str) -> list[Path]:
    """Folders of this process's control groups for `controller`, innermost first, v1 and v2."""
    folders: list[Path] = []
    for line in _lines(Path("/proc/self/cgroup")):
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        mount = Path("/sys/fs/cgroup", controller) if names else Path("/sys/fs/cgroup")
        # Inside a container the path may be the host's and not exist here; its own limits then
        # stand at the mount itself, which is the last of the parents.
        inner = mount / path.lstrip("/")
        folders += [
            folder
            for folder in (inner, *inner.parents)
            if folder.is_relative_to(mount) and folder.is_dir()
        ]
    return folders


def _headroom(folder: Path) -> int:
    """Bytes that one memory control group may still take, its reclaimable file cache included."""
    v2 = (folder / "memory.max").exists()
    limit = _number(folder / ("memory.max" if v2 else "memory.limit_in_bytes"))
    used = _number(folder / ("memory.current" if v2 else "memory.usage_in_bytes"))
    if limit is None or used is None or limit >= _UNLIMITED:
        return sys.maxsize
    counters = (line.split() for line in _lines(folder / "memory.stat"))
    statistics = {fields[0]: int(fields[1]) for fields in counters if len(fields) == 2}
    cache = statistics.get("inactive_file" if v2 else "total_inactive_file", 0)
    return max(0, limit - used + cache)


def _quota_cores() -> int:
    """Whole cores that the container's processor quota allows; a very large number without one."""
    allowed = [sys.maxsize]
    for folder in _cgroup_folders("cpu"):
        fields = next(iter(_lines(folder / "cpu.max")), "max 100000").split()
        quota, period = (int(fields[0]) if fields[0] != "max" else None), int(fields[1])
        if (folder / "cpu.cfs_quota_us").exists():
            quota, period = _number(folder / "cpu.cfs_quota_us"), 100_000
            period = _number(folder / "cpu.cfs_period_us") or period
        if quota is not None and quota > 0:  # v1 writes "no quota" as -1
            allowed.append(math.ceil(quota / period))
    return min(allowed)


def _number(file: Path) -> int | None:
    """The whole number a kernel file holds; None if it is absent or says "max"."""
    text = next(iter(_lines(file)), "max")
    return None if text == "max" else int(text)


def _lines(file: Path) -> list[str]:
    """Lines of a kernel file; none where the system has no such file or keeps it to itself."""
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
