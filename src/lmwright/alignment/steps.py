"""Alignment steps of a recipe."""

import json
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from torch import nn

from lmwright import models, tokens
from lmwright.alignment import pairs as preference_pairs
from lmwright.alignment.commands import DPOConfig
from lmwright.alignment.pairs import Pair, PairLoader
from lmwright.alignment.preference import DPO
from lmwright.alignment.rollouts import on_policy_pairs
from lmwright.core import files
from lmwright.core.errors import LmwrightError
from lmwright.engine.llm import LLM
from lmwright.evaluation.questions import (
    DOCUMENTED,
    Question,
    evaluate_questions,
    read_questions,
    spread,
)
from lmwright.training.steps import CLOSING_SECONDS, length_of, train

if TYPE_CHECKING:
    from lmwright.pipeline.run import StepRun

SEQUENCES = 128
"""Answers generated at once."""

ANSWERING_SHARE = 0.25
"""Of the step's time, for the model's own answers."""

MEASURING_SHARE = 0.4
"""Of the step's time at most, for asking the validation questions, before, during and after."""


def dpo(config: DPOConfig, run: "StepRun", *, corpus: Path, model: Path) -> None:
    """Direct preference optimisation on the corpus's pairs; writes the model's folder.

    The model first answers prompts of the corpus; its wrong answers become the rejected side.
    During training it is asked the validation questions; the weights that admit most often what
    they do not know, among those that still answer what they know, are the ones that are kept.

    Args:
        config: length, optimiser, beta.
        run: the step's run.
        corpus: with `preferences/train.jsonl`, and `questions/validation.jsonl` if it has any.
        model: a chat model; also the reference.
    """
    started = perf_counter()
    policy = models.load(model)
    tokenizer = tokens.load(model)
    llm = LLM.from_model(policy, tokenizer, max_sequences=SEQUENCES)
    answers = affordable_answers(config, run, llm, corpus)
    found = training_pairs(config, run, corpus, llm, round(answers * ANSWERING_SHARE))
    data, left_out = preference_pairs.tensors(found, tokenizer, policy, longest=config.longest)
    if left_out:
        run.note(f"{left_out} of {len(found)} pairs are longer than {config.longest} tokens")
    batch = min(config.batch_pairs, len(data))
    loader = PairLoader(data, batch_pairs=batch, seed=config.seed)
    most = min(config.questions, round(answers * MEASURING_SHARE / (config.evaluations + 1)))
    questions = balanced(read_questions(corpus / "questions" / "validation.jsonl"), most)
    run.summarize(dpo_most_questions=most)
    measure, better = measure_answers(config, llm, questions)
    begun = perf_counter()
    if questions:
        better(measure(policy))
    evaluation_seconds = (perf_counter() - begun) * (config.evaluations + 1)
    train(
        config,
        run,
        policy,
        DPO(config.beta, config.likelihood),
        loader,
        {"answers": measure} if questions else {},
        started=started,
        better=better if questions else None,
        reserve_seconds=CLOSING_SECONDS + evaluation_seconds,
        most_steps=max(1, round(config.epochs * len(data) / batch)),
    )
    run.series("Preference accuracy", "step", ["preference_accuracy"])
    run.series("Reward margin, nats", "step", ["reward_margin"])
    models.save(policy, run.output, tokenizer=model)


def balanced(questions: list[Question], most: int) -> list[Question]:
    """Questions about real names and as many about made-up ones, of every kind alike.

    Args:
        questions: of all kinds.
        most: so many in all, and one of each half at least.
    """
    real = [q for q in questions if q.kind == DOCUMENTED]
    made_up = [q for q in questions if q.kind != DOCUMENTED]
    half = min(len(real), max(1, most // 2))
    return spread(real, half) + spread(made_up, half)


def training_pairs(
    config: DPOConfig, run: "StepRun", corpus: Path, llm: LLM, affordable: int
) -> list[Pair]:
    """The model's own errors on prompts of the corpus, and as many written pairs.

    Kept in the step's work folder, so that a resumed step learns from the same ones.

    Args:
        config: which pairs.
        run: the step's run.
        corpus: with preferences.
        llm: the model that is to learn.
        affordable: answers that there is time for.
    """
    kept = run.work / "pairs.jsonl"
    if not kept.exists():
        written = written_pairs(config, corpus)
        chosen = written
        if config.prompts:
            asked = written[: max(1, min(config.prompts, affordable // config.samples))]
            own, right = on_policy_pairs(
                llm, asked, samples=config.samples, temperature=config.temperature, seed=config.seed
            )
            run.note(
                f"{len(asked)} prompts answered {config.samples} times, {right:.1%} right: "
                f"{len(own)} pairs from the model's own errors"
            )
            run.summarize(
                dpo_prompts=len(asked),
                dpo_on_policy_pairs=len(own),
                dpo_on_policy_correct=round(right, 4),
            )
            chosen = own + written[: max(len(own), config.batch_pairs)]
        # Kept in equal parts: the model's errors tell what is wrong, written pairs keep the rest.
        chosen = chosen[:: max(1, -(-len(chosen) // config.most_pairs))]
        lines = [json.dumps(pair.to_record(), ensure_ascii=False) for pair in chosen]
        files.write_text(kept, "\n".join(lines) + "\n")
    return read_pairs(kept)


def written_pairs(config: DPOConfig, corpus: Path) -> list[Pair]:
    """The corpus's pairs, shuffled."""
    pairs = read_pairs(corpus / "preferences" / "train.jsonl")
    random.Random(config.seed).shuffle(pairs)
    return pairs


def affordable_answers(config: DPOConfig, run: "StepRun", llm: LLM, corpus: Path) -> int:
    """How many answers the model could give in all of the step's time; recorded.

    No limit where the step's length is no time: then nothing depends on the machine.
    """
    length = length_of(config, run)
    if length is None or length.unit != "seconds":
        return sys.maxsize

    def measure() -> int:
        few = written_pairs(config, corpus)[:SEQUENCES]
        begun = perf_counter()
        on_policy_pairs(llm, few, samples=1, temperature=config.temperature, seed=config.seed)
        return int(length.amount * len(few) / (perf_counter() - begun))

    return run.decide("affordable_answers", measure)


def read_pairs(file: Path) -> list[Pair]:
    """The preferences of a corpus.

    Raises:
        LmwrightError: if there are none.
    """
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    pairs = [Pair.from_record(json.loads(line)) for line in lines if line.strip()]
    if not pairs:
        raise LmwrightError(f"{file} has no preference pairs")
    return pairs


def measure_answers(
    config: DPOConfig, llm: LLM, questions: list[Question]
) -> tuple[Callable[[nn.Module], Mapping[str, float]], Callable[[Mapping[str, float]], float]]:
    """The measure taken during training, and the score by which weights are kept."""
    start: dict[str, float] = {}

    def measure(_: nn.Module) -> Mapping[str, float]:
        found = evaluate_questions(llm, questions, len(questions))
        return {f"validation_{name}": value for name, value in found.items()}

    def better(found: Mapping[str, Any]) -> float:
        """Abstention, less twice what it cost, and ten times what it cost too much."""
        exact = float(found.get("validation_exact_match", 0.0))
        refused = float(found.get("validation_false_abstention", 0.0))
        lost = start.setdefault("exact", exact) - exact
        more = refused - start.setdefault("refused", refused)
        excess = max(0.0, refused - max(config.most_false_abstention, start["refused"]))
        cost = 2.0 * (max(0.0, lost) + max(0.0, more)) + 10.0 * (excess + max(0.0, lost - 0.01))
        return float(found.get("validation_abstention_made_up", 0.0)) - cost

    return measure, better
