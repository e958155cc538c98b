"""The evaluation step: every model of a run, and a lookup, on the same held-out questions."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json, write_json
from lmwright.engine.llm import LLM
from lmwright.engine.sampling import SamplingParams
from lmwright.evaluation import baseline, tables
from lmwright.evaluation.commands import ChatEvaluationConfig
from lmwright.evaluation.questions import Question
from lmwright.evaluation.systems import LOOKUP, Judged, Material, gather, judge, judge_lookup

if TYPE_CHECKING:
    from lmwright.pipeline.run import StepRun

SAMPLES = 3  # shown where the questions are all of one kind, and of continued text

# How the summary calls the systems: by what made them.
SUFFIX = {"base": "base", "chat": "sft", "aligned": "dpo", "int8": "int8"}


def evaluate(
    config: ChatEvaluationConfig,
    run: "StepRun",
    *,
    corpus: Path,
    text: Path | None = None,
    base: Path | None = None,
    chat: Path | None = None,
    aligned: Path | None = None,
    int8: Path | None = None,
) -> None:
    """Score the models that exist; write `evaluation.json` with every answer.

    Args:
        config: how much to ask.
        run: the step's run; gets tables, samples and the summary.
        corpus: its questions, or its validation chats, and its validation text.
        text: packed text, which tells the row length that models were trained on.
        base, chat, aligned, int8: model folders.

    Raises:
        LmwrightError: if there is no model, or the corpus has nothing held out.
    """
    folders = {"base": base, "chat": chat, "aligned": aligned, "int8": int8}
    present = {name: folder for name, folder in folders.items() if folder is not None}
    if not present:
        raise LmwrightError(f"step {run.name} has no model to evaluate")
    material = gather(config, corpus, text)
    training_chats = corpus / "chats" / "train.jsonl"
    with_lookup = bool(material.validation and material.test and training_chats.exists())
    judged: list[Judged] = []
    with run.progress("evaluating", len(present) + with_lookup) as task:
        for name, folder in present.items():
            llm = LLM(folder, max_sequences=config.max_sequences)
            judged.append(judge(config, llm, name, material))
            task.advance(1, model=name)
        final = final_of(judged)
        if with_lookup:
            lookup = tuned_lookup(config, run, training_chats, material.validation, final)
            judged.append(judge_lookup(lookup, final.asked, final.paraphrase_asked))
            task.advance(1, model=LOOKUP)
    tables.scores(run, judged)
    tables.differences(run, judged, final)
    tables.wordings(run, final)
    run.samples("Sample answers", samples(final, material, present[final.name]))
    names = read_json(corpus / "corpus.json").get("documented_names")
    run.summarize(**({"documented_names": names} if names else {}), **summary(judged, final))
    write_json(run.output / "evaluation.json", {"systems": [one.to_json() for one in judged]})


def tuned_lookup(
    config: ChatEvaluationConfig,
    run: "StepRun",
    training_chats: Path,
    validation: Sequence[Question],
    final: Judged,
) -> baseline.Lookup:
    """The baseline, allowed to refuse as many real names as the final model does."""
    allowed = config.false_abstention
    if final.name != "base" and final.scores and final.scores.false_abstention:
        allowed = final.scores.false_abstention.value
    lookup = baseline.tune(baseline.read_pairs(training_chats), validation, allowed)
    run.note(
        f"{LOOKUP}: {lookup}; tuned on {len(validation):,} validation questions to refuse at most "
        f"{allowed:.3f} of the real names"
    )
    return lookup


def final_of(judged: Sequence[Judged]) -> Judged:
    """The model that the run hands out, unquantised: the last one trained."""
    by_name = {one.name: one for one in judged}
    return next(by_name[n] for n in ("aligned", "chat", "base", "int8") if n in by_name)


def summary(judged: Sequence[Judged], final: Judged) -> dict[str, float]:
    """The numbers for `summary.json`; those of the final model bear no model's name."""
    found: dict[str, float | None] = {}
    for one in judged:
        scores = one.scores.flat() if one.scores else {}
        if one.name == LOOKUP:
            found |= {f"tfidf_{name}": value for name, value in scores.items()}
            found["tfidf_exact_match_paraphrase"] = _paraphrased(one)
            continue
        suffix = SUFFIX[one.name]
        found[f"heldout_exact_match_{suffix}"] = scores.get("exact_match")
        found[f"heldout_token_f1_{suffix}"] = scores.get("token_f1")
        found[f"answer_loss_{suffix}_nats_per_token"] = one.loss
        found[f"bits_per_byte_{suffix}"] = one.bits.value if one.bits else None
        if "abstention_made_up" in scores:
            found[f"abstention_made_up_{suffix}"] = scores["abstention_made_up"]
            found[f"false_abstention_{suffix}"] = scores.get("false_abstention")
    if final.scores and final.name != "base":
        scores = final.scores.flat()
        found |= {name: value for name, value in scores.items() if "abstention" in name}
        found["heldout_exact_match_paraphrase"] = _paraphrased(final)
    return {name: round(value, 5) for name, value in found.items() if value is not None}


def samples(final: Judged, material: Material, folder: Path) -> list[dict[str, str]]:
    """The first answer of every kind; without questions, continuations of held-out text."""
    if not material.test:
        return _continuations(LLM(folder), material.texts)
    pairs = list(zip(final.asked, final.answers, strict=True))
    kinds = dict.fromkeys(question.kind for question in final.asked)
    per_kind = 1 if len(kinds) > 1 else SAMPLES
    rows = []
    for kind in kinds:
        shown = [pair for pair in pairs if pair[0].kind == kind][:per_kind]
        rows += [_sample(question, answer, kind) for question, answer in shown]
    paraphrased = zip(final.paraphrase_asked, final.paraphrase_answers, strict=True)
    rows[1:1] = [_sample(question, answer, "paraphrase") for question, answer in paraphrased][:1]
    return rows


def _continuations(llm: LLM, texts: Sequence[str]) -> list[dict[str, str]]:
    """How the model goes on after the beginnings of a few held-out documents."""
    begun = [" ".join(text.split()[:8]) for text in texts if len(text.split()) >= 8]
    prompts = begun[:: max(1, len(begun) // SAMPLES)][:SAMPLES]
    # Sampled: greedy text of a small base model soon goes in circles.
    params = SamplingParams(max_tokens=40, temperature=0.8)
    each = [replace(params, seed=index) for index in range(len(prompts))]
    completions = llm.generate(prompts, each)
    return [
        {"question": prompt, "answer": completion.text.strip(), "kind": "continuation"}
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def _sample(question: Question, answer: str, kind: str) -> dict[str, str]:
    return {
        "question": question.text,
        "answer": answer,
        "expected": question.answer,
        "kind": kind.replace("_", " "),
    }


def _paraphrased(one: Judged) -> float | None:
    return one.paraphrase.flat().get("exact_match") if one.paraphrase else None
