"""stories260K learns which of two answers was preferred, with the loss in use."""

import json
from typing import Any

import torch

from lmwright import models, tokens
from lmwright.alignment.pairs import PairLoader, pad, score
from lmwright.alignment.preference import DPO, PreferencePairs
from lmwright.roadmap.proofs import data_folder
from lmwright.tokens.packing import TokenDocument
from lmwright.tokens.tokenizer import Tokenizer
from lmwright.training.budget import TrainingPlan
from lmwright.training.optimizers import build
from lmwright.training.trainer import Trainer

PAIRS = 64
STEPS = 24
LONGEST = 192  # tokens of a prompt and its answer


def measure() -> dict[str, Any]:
    """The preference loss of the pairs after 24 steps, 0.693 before, and how many are right."""
    stories = data_folder("stories260K")
    policy, tokenizer = models.load(stories / "stories260K.bin"), tokens.load(stories)
    chosen, rejected = (pad(side, LONGEST, 0) for side in _documents(tokenizer))
    pairs = PreferencePairs(chosen, rejected, score(policy, chosen), score(policy, rejected))
    optimizers = build(
        policy,
        None,
        name="adamw",
        learning_rate=1e-3,
        matrix_learning_rate=0.0,
        weight_decay=0.0,
    )
    loader = PairLoader(pairs, batch_pairs=16, seed=0)
    plan = TrainingPlan(steps=STEPS, micro_rows=16, threads=1)
    Trainer(policy, DPO(), loader, optimizers, plan).train()
    with torch.no_grad():
        found = DPO().loss(policy, pairs).metrics
    return {
        "preference_loss_nats": float(found["preference_loss"]) / PAIRS,
        "preference_accuracy": float(found["preference_accuracy"]) / PAIRS,
    }


def _documents(tokenizer: Tokenizer) -> tuple[list[TokenDocument], list[TokenDocument]]:
    """The first pairs that are short enough: chosen and rejected answers after their prompts."""
    file = data_folder("instructions") / "instruction-data-with-preference.json"
    sides: tuple[list[TokenDocument], list[TokenDocument]] = ([], [])
    for row in json.loads(file.read_text(encoding="utf-8")):
        prompt = tokenizer.encode(f"{row['instruction']} {row['input']}\n")
        answers = [tokenizer.encode(row[side]) for side in ("chosen", "rejected")]
        longest = len(prompt) + max(map(len, answers))
        if longest > LONGEST or len(sides[0]) == PAIRS:
            continue
        for side, answer in zip(sides, answers, strict=True):
            mask = [False] * len(prompt) + [True] * len(answer)
            side.append(TokenDocument([*prompt, *answer], mask))
    return sides
