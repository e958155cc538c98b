"""`lmwright doctor` without a file: what this machine has, and what training would make of it."""

import importlib.metadata
import os
import platform
import shutil
from pathlib import Path

from lmwright.core import device


def machine_report() -> list[tuple[str, str]]:
    """(what, finding) rows about this machine, measured now; takes under 5 seconds."""
    return [
        ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("lmwright", importlib.metadata.version("lmwright")),
        ("torch", importlib.metadata.version("torch")),
        ("processor", device.processor_name()),
        ("cores", _cores()),
        ("memory", f"{_gigabytes(device.available_memory_bytes())} available"),
        ("disk", _disk(Path(os.environ.get("LMWRIGHT_RUNS") or "runs"))),
        ("compiler", _compiler()),
        *_speeds(),
        ("accelerator", _accelerator()),
    ]


def _cores() -> str:
    import torch

    return f"{device.physical_cores()} physical; torch computes with {torch.get_num_threads()}"


def _disk(runs: Path) -> str:
    existing = next(folder for folder in (runs, *runs.absolute().parents) if folder.exists())
    return f"{_gigabytes(shutil.disk_usage(existing).free)} free for runs in {runs}"


def _compiler() -> str:
    reason = device.compiler_works()
    return "works: training compiles" if reason is None else f"{reason}: training runs eager"


def _speeds() -> list[tuple[str, str]]:
    """Measured speeds of a matrix product, and the precision they favour."""
    fp32 = device.matmul_peak("float32")
    bf16 = device.matmul_peak("bfloat16")
    better, ratio = ("bf16", bf16 / fp32) if bf16 > fp32 else ("fp32", fp32 / bf16)
    return [
        ("fp32 product", f"{fp32 / 1e9:,.0f} GFLOP/s"),
        ("bf16 product", f"{bf16 / 1e9:,.0f} GFLOP/s"),
        (
            "precision",
            f"{better}, {ratio:.1f} times as fast here on 1,024 cubed"
            " (training times both on its model's own shapes)",
        ),
        ("memory copy", f"{device.memory_bandwidth() / 1e9:,.0f} GB/s, read and written"),
    ]


def _accelerator() -> str:
    import torch

    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return ", ".join(f"{card.name}, {_gigabytes(card.total_memory)}" for card in cards)
    return "none that this torch can use"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
