"""nanoGPT's own CPU setting on tiny_shakespeare's characters: how long to its final loss.

The setting of its README: 4 layers, 128 wide, 4 heads, block 64, batch 12, 2,000 steps, no dropout;
validation loss about 1.88. Ours has the same sizes with our blocks, and our optimisers.
"""

import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Row, alternate
from torch import Tensor
from train_contenders import Rows

from lmwright.core.duration import Duration
from lmwright.models import accounting
from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Decoder
from lmwright.training import budget, optimizers
from lmwright.training.objectives.causal_lm import CausalLM
from lmwright.training.trainer import LoopSettings, Trainer

BLOCK, BATCH, NANOGPT_STEPS = 64, 12, 2_000
PUBLISHED_LOSS = 1.88  # nanoGPT's README, "about"
OUR_STEPS = 400  # Muon needs no more: validation loss 1.846
CASE = "nanoGPT's CPU setting, tiny_shakespeare characters"


@dataclass(frozen=True)
class Timed:
    """Seconds of a whole training, and nats per character on the validation split after it."""

    seconds: float
    loss: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s to a validation loss of {self.loss:.3f}"


def nanogpt_rows(*, quick: bool, rounds: int) -> list[Row]:
    """Wall time of ours, and of nanoGPT where there is a checkout, to nanoGPT's final loss."""
    text = _shakespeare()
    if text is None:
        why = "absent: tiny_shakespeare is not in LMWRIGHT_DATA"
        return [Row(CASE, "s", None, why, note=why)]
    checkout = os.environ.get("NANOGPT")
    contenders: dict[str, Any] = {"ours": partial(train_ours, text, 20 if quick else OUR_STEPS)}
    if checkout:
        contenders["nanoGPT"] = partial(
            run_nanogpt, Path(checkout), text, 20 if quick else NANOGPT_STEPS
        )
    print(f"{CASE}: {', '.join(contenders)}")
    found: dict[str, list[Timed]] = alternate(contenders, rounds)
    ours = found["ours"]
    ours_seconds = float(np.median([t.seconds for t in ours]))
    ours_loss = float(np.mean([t.loss for t in ours]))
    theirs = found.get("nanoGPT")
    seconds = float(np.median([t.seconds for t in theirs])) if theirs else None
    goal = float(np.mean([t.loss for t in theirs])) if theirs else PUBLISHED_LOSS
    pairs = zip(ours, theirs or [], strict=False)
    peer = f"nanoGPT ({_commit(Path(checkout))})" if checkout else "absent: NANOGPT is not set"
    return [
        Row(
            case=f"{CASE}: wall time",
            unit="s",
            ours=ours_seconds,
            peer=peer,
            theirs=seconds,
            values=[b.seconds / a.seconds for a, b in pairs],
            target=1.0 if theirs and not quick else None,
            note=f"ours trains {OUR_STEPS} steps, nanoGPT {NANOGPT_STEPS}",
        ),
        Row(
            case=f"{CASE}: final loss",
            unit="nats per character",
            ours=ours_loss,
            peer=peer if theirs else "as published by nanoGPT",
            theirs=goal,
            comparison="ratio",
            values=[goal / ours_loss],
            # Reaching its loss is what the time above is worth; its estimate has noise of 0.01.
            target=None if quick else 0.99,
        ),
    ]


def train_ours(text: str, steps: int) -> Timed:
    """Our loop with Muon and AdamW over random windows; the clock covers the measured plan too."""
    ids, vocabulary = encode(text)
    split = int(0.9 * len(ids))
    config = TransformerConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=344,  # three matrices of 344 are nanoGPT's two of 512
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=BLOCK,
        tie_word_embeddings=True,
    )
    started = time.perf_counter()
    model = Decoder(config)
    model.initialize(seed=0)
    data = Windows(ids[:split], seed=0)
    wishes = budget.Wishes(budget=Duration(float(steps), "steps"), compile="auto")
    plan = budget.choose_plan(
        wishes,
        model,
        CausalLM(),
        next(iter(data)),
        started=started,
        memory_needed=lambda rows, precision: accounting.training_memory_bytes(
            config, rows, BLOCK, precision, "muon"
        ),
        optimizer_step=lambda module, dtype: _optimizers(module, dtype).step,
    )
    if plan.compile:
        budget.compile_blocks(model)
    trainer = Trainer(
        model,
        CausalLM(),
        data,
        _optimizers(model, getattr(torch, plan.matrix_precision)),
        plan,
        settings=LoopSettings(warmup=0.02, decay=0.6),
    )
    trainer.train()
    seconds = time.perf_counter() - started
    return Timed(seconds, _whole_loss(model, ids[split:]))


class Windows:
    """Endless batches of random windows, nanoGPT's `get_batch`."""

    def __init__(self, ids: Tensor, seed: int) -> None:
        self.ids = ids
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[Rows]:
        while True:
            last = len(self.ids) - BLOCK - 1
            starts = torch.randint(last, (BATCH, 1), generator=self.generator)
            windows = self.ids[starts + torch.arange(BLOCK + 1)]
            yield Rows(windows[:, :-1], windows[:, 1:])

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the benchmark does not resume."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""


def run_nanogpt(checkout: Path, text: str, steps: int) -> Timed:
    """nanoGPT's `train.py` as it stands, in a copy of its checkout with the data prepared.

    The clock runs from its first line about step 0 to its last evaluation: imports are free.
    """
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "nanoGPT"
        shutil.copytree(checkout, folder, ignore=shutil.ignore_patterns(".git", "out*"))
        _prepare(folder / "data" / "shakespeare_char", text)
        options = (
            f"--device=cpu --compile=False --eval_iters=20 --log_interval=50 --block_size={BLOCK} "
            f"--batch_size={BATCH} --n_layer=4 --n_head=4 --n_embd=128 --max_iters={steps} "
            f"--lr_decay_iters={steps} --dropout=0.0"
        )
        command = [sys.executable, "-u", "train.py", "config/train_shakespeare_char.py"]
        process = subprocess.Popen(
            [*command, *options.split()],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        started = ended = 0.0
        loss, lines = float("nan"), []
        for line in process.stdout:
            lines.append(line)
            if match := re.match(r"step (\d+): train loss [\d.]+, val loss ([\d.]+)", line):
                started = started or time.perf_counter()
                ended, loss = time.perf_counter(), float(match[2])
        if process.wait() != 0:
            raise SystemExit(f"nanoGPT failed:\n{''.join(lines[-20:])}")
    return Timed(ended - started, loss)


def encode(text: str) -> tuple[Tensor, int]:
    """Characters as their rank among the text's own, and how many there are."""
    characters = sorted(set(text))
    rank = {character: index for index, character in enumerate(characters)}
    return torch.tensor([rank[character] for character in text]), len(characters)


def _prepare(folder: Path, text: str) -> None:
    """The files of nanoGPT's `prepare.py`, which would download the text."""
    ids, vocabulary = encode(text)
    values = ids.numpy().astype(np.uint16)
    split = int(0.9 * len(values))
    values[:split].tofile(folder / "train.bin")
    values[split:].tofile(folder / "val.bin")
    characters = sorted(set(text))
    meta = {
        "vocab_size": vocabulary,
        "itos": dict(enumerate(characters)),
        "stoi": {character: index for index, character in enumerate(characters)},
    }
    (folder / "meta.pkl").write_bytes(pickle.dumps(meta))


def _whole_loss(model: Decoder, ids: Tensor) -> float:
    """Mean nats over the whole split in windows of the block."""
    count = (len(ids) - 1) // BLOCK
    inputs = ids[: count * BLOCK].view(count, BLOCK)
    targets = ids[1 : count * BLOCK + 1].view(count, BLOCK)
    loss = weight = 0.0
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        for start in range(0, count, 64):
            rows = Rows(inputs[start : start + 64], targets[start : start + 64])
            part = CausalLM().loss(model, rows)
            loss += float(part.loss)
            weight += part.weight
    return loss / weight


def _optimizers(model: torch.nn.Module, dtype: torch.dtype) -> optimizers.Optimizers:
    return optimizers.build(
        model,
        None,
        name="muon",
        learning_rate=4e-3,
        matrix_learning_rate=0.02,
        weight_decay=0.0,
        matrix_dtype=dtype,
    )


def _shakespeare() -> str | None:
    root = os.environ.get("LMWRIGHT_DATA")
    file = Path(root) / "tiny_shakespeare" / "input.txt" if root else None
    return file.read_text(encoding="utf-8") if file and file.exists() else None


def _commit(checkout: Path) -> str:
    found = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
    )
    return found.stdout.strip() or "no commit known"
