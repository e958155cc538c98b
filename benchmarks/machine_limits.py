"""What this machine can do at most, measured: reading memory, multiplying, and its caches."""

import multiprocessing
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_READ_BYTES = 1 << 30
"""Many times the largest cache."""
_MOMENT = 0.03
"""Seconds for each way to read it."""


@dataclass(frozen=True)
class Limits:
    """Of the cores in use, together.

    Args:
        read_bytes_per_second: of memory that lies in no cache, read once in order.
        float32_per_second, int8_per_second: operations of the fastest matrix product found, a
            multiplication and an addition counted as two.
        cache_bytes: of the last-level cache.
        vnni: whether the processor multiplies int8 in fours.
    """

    read_bytes_per_second: float
    float32_per_second: float
    int8_per_second: float
    cache_bytes: int
    vnni: bool

    def __str__(self) -> str:
        return (
            f"memory read {self.read_bytes_per_second / 1e9:.1f} GB/s, fp32 "
            f"{self.float32_per_second / 1e9:.0f} GFLOP/s, int8 "
            f"{self.int8_per_second / 1e9:.0f} GOP/s, last-level cache "
            f"{self.cache_bytes / 2**20:.0f} MiB, VNNI {'yes' if self.vnni else 'no'}"
        )


def measure(threads: int, *, seconds: float = 0.5) -> Limits:
    """Measure with so many threads; a few seconds, 1 GiB."""
    import torch

    from lmwright.core.device import matmul_peak

    torch.set_num_threads(threads)
    return Limits(
        read_bytes_per_second=read_speed(seconds),
        float32_per_second=max(
            matmul_peak("float32", shape, seconds)
            for shape in ((1024, 1024, 1024), (512, 768, 2048))
        ),
        int8_per_second=_int8_peak(seconds),
        cache_bytes=cache_bytes(),
        vnni=has_vnni(),
    )


def cache_bytes() -> int:
    """Size of the largest cache that the first core sees; 0 where the system does not say."""
    sizes = []
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        if match := re.fullmatch(r"(\d+)([KMG]?)", file.read_text().strip()):
            unit = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[match[2]]
            sizes.append(int(match[1]) * unit)
    return max(sizes, default=0)


def has_vnni() -> bool:
    """Whether /proc/cpuinfo names one of the VNNI instruction sets."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return bool(re.search(r"\b(avx512_vnni|avx_vnni)\b", flags))


@contextmanager
def reading_memory(threads: int) -> Iterator[Callable[[], float]]:
    """A function that says how many bytes a second memory is read at that moment.

    A process of its own reads 1 GiB by each way, once or twice: where other machines share the
    memory, its speed may change by half within minutes.
    """
    with multiprocessing.get_context("spawn").Pool(1, _use_threads, (threads,)) as pool:
        yield lambda: pool.apply(read_speed, (_MOMENT,))


def _use_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


@cache
def _memory() -> Any:
    import torch

    return torch.ones(_READ_BYTES // 4)


def read_speed(seconds: float) -> float:
    """Bytes per second by the fastest of several ways to read a large array, `seconds` of each: a
    sum, a maximum, a dot product."""
    import torch

    values = _memory()
    ways: tuple[Callable[[], object], ...] = (
        values.sum,
        values.amax,
        lambda: torch.dot(values, values),
    )
    return _READ_BYTES / min(_fastest(way, seconds) for way in ways)


def _int8_peak(seconds: float) -> float:
    import torch

    best = 0.0
    for m, n, k in ((1024, 1024, 1024), (512, 2048, 768)):
        left = torch.randint(-127, 127, (m, k), dtype=torch.int8)
        right = torch.randint(-127, 127, (k, n), dtype=torch.int8)
        taken = _fastest(lambda a=left, b=right: torch._int_mm(a, b), seconds)  # type: ignore[misc]
        best = max(best, 2 * m * n * k / taken)
    return best


def _fastest(work: Callable[[], object], seconds: float) -> float:
    work()
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best
