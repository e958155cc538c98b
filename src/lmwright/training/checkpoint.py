"""Training checkpoints: atomic, checksummed, and enough to go on to the bit.

A checkpoint is a folder `step-00000120`: the tensors of weights and optimisers as
`torch.distributed.checkpoint` (so that another number of ranks can read them), everything else
(step, loader, callbacks, random-number state) as `state.json`, and `manifest.json` with the
SHA-256 of each file. It appears by a rename when it is whole; before, it is a `.part` folder.
"""

import contextlib
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lmwright.core import files
from lmwright.core.errors import LmwrightError
from lmwright.training import randomness

KEPT = 2
"""Checkpoints on disk at once: the last may be the one that is being replaced."""


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on disk."""

    folder: Path
    step: int


def newest(folder: Path) -> Checkpoint | None:
    """The last whole checkpoint below `folder`, or None."""
    found = sorted(folder.glob("step-*")) if folder.exists() else []
    return Checkpoint(found[-1], int(found[-1].name.removeprefix("step-"))) if found else None


def save(
    folder: Path,
    step: int,
    modules: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    state: dict[str, Any],
) -> Checkpoint:
    """Write the checkpoint of `step` below `folder` and drop all but the last `KEPT`.

    Args:
        folder: where this training's checkpoints live.
        step: number of finished optimiser steps.
        modules: everything trained, the model and an objective's own module.
        optimizers: in a fixed order.
        state: JSON-serialisable rest.
    """
    target = folder / f"step-{step:08d}"
    with files.replaced_folder(target) as temporary:
        _write_tensors(temporary / "tensors", modules, optimizers)
        written = {**state, "step": step, "random": _random_state()}
        files.write_json(temporary / "state.json", written)
        manifest = {
            file.relative_to(temporary).as_posix(): files.sha256_file(file)
            for file in sorted(temporary.rglob("*"))
            if file.is_file()
        }
        files.write_json(temporary / "manifest.json", manifest)
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old)
    return Checkpoint(target, step)


def load(
    checkpoint: Checkpoint, modules: nn.Module, optimizers: list[torch.optim.Optimizer]
) -> dict[str, Any]:
    """Put a checkpoint's tensors back in place and return the rest of its state.

    Raises:
        LmwrightError: if a file is missing or its checksum differs.
    """
    verify(checkpoint.folder)
    _read_tensors(checkpoint.folder / "tensors", modules, optimizers)
    state: dict[str, Any] = files.read_json(checkpoint.folder / "state.json")
    _set_random_state(state["random"])
    return state


def verify(folder: Path) -> None:
    """Compare every file of a checkpoint with its recorded checksum.

    Raises:
        LmwrightError: naming the file that is missing or damaged.
    """
    manifest: dict[str, str] = files.read_json(folder / "manifest.json")
    for name, digest in manifest.items():
        file = folder / name
        if not file.exists() or files.sha256_file(file) != digest:
            raise LmwrightError(
                f"checkpoint {folder} is damaged: {name} does not match its checksum",
                hint=f"delete {folder} and run again: training goes on from the one before it",
            )


def _random_state() -> dict[str, Any]:
    """What dropout draws from: PyTorch's own states on the processor and on each GPU."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "cpu": randomness.to_text(torch.get_rng_state()),
        "cuda": [randomness.to_text(state) for state in devices],
    }


def _set_random_state(saved: dict[str, Any]) -> None:
    torch.set_rng_state(randomness.from_text(saved["cpu"]))
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for device, text in zip(range(devices), saved["cuda"], strict=False):  # others may be there now
        torch.cuda.set_rng_state(randomness.from_text(text), device)


def _write_tensors(
    folder: Path, modules: nn.Module, optimizers: list[torch.optim.Optimizer]
) -> None:
    from torch.distributed.checkpoint import state_dict_saver

    tensors = _tensors(modules, optimizers)
    with _one_process():
        state_dict_saver.save(tensors, checkpoint_id=folder, no_dist=True)


def _read_tensors(
    folder: Path, modules: nn.Module, optimizers: list[torch.optim.Optimizer]
) -> None:
    from torch.distributed.checkpoint import state_dict_loader
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict import set_state_dict

    tensors = _tensors(modules, optimizers)
    states = tensors["optimizer"]["state"]
    written = FileSystemReader(folder).read_metadata().state_dict_metadata
    # Of a weight that has had no gradient yet (segments, in text without any) there is no state.
    absent = {
        name: states.pop(name)
        for name in list(states)
        if not any(key.startswith(f"optimizer.state.{name}.") for key in written)
    }
    with _one_process():
        state_dict_loader.load(tensors, checkpoint_id=folder, no_dist=True)
    states |= absent  # PyTorch wants one of every weight; those that are none go afterwards
    set_state_dict(
        modules,
        optimizers,
        model_state_dict=tensors["model"],
        optim_state_dict=tensors["optimizer"],
    )
    for name, parameter in modules.named_parameters():
        if name in absent:
            for optimizer in optimizers:
                optimizer.state.pop(parameter, None)


@contextlib.contextmanager
def _one_process() -> Iterator[None]:
    """Silence the warning that one process saves alone: here that is what is meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _tensors(modules: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, Any]:
    """The state of both, under the parameters' own names whatever wraps the modules."""
    from torch.distributed.checkpoint.state_dict import get_state_dict

    model_state, optimizer_state = get_state_dict(modules, optimizers)
    return {"model": model_state, "optimizer": optimizer_state}
