"""The evaluation's tables in the report: scores, differences between systems, wordings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lmwright.evaluation.questions import DOCUMENTED, Rate, score
from lmwright.evaluation.systems import LOOKUP, Judged
from lmwright.metrics.intervals import mcnemar, paired_difference
from lmwright.metrics.text import same_text

if TYPE_CHECKING:
    from lmwright.pipeline.run import StepRun

SCORES_NOTE = (
    "Exact match: the expected sentence to the character, whitespace aside; normalised: after "
    "SQuAD's rules (case, punctuation, articles). Abstention: answers that open with \"I don't "
    'know", in any usual wording; false abstention: those to documented names. In brackets, 95 % '
    "intervals: Wilson's for shares, bootstrap for F1 and bits per byte; they take questions as "
    "independent."
)
DIFFERENCES_NOTE = (
    "Second minus first, on the questions about documented names that both were asked; 95 % "
    "bootstrap interval over questions; p of McNemar's exact test."
)


def scores(run: "StepRun", judged: Sequence[Judged]) -> None:
    """One row per system, one column per measure that any of them has."""
    kinds = list(dict.fromkeys(k for one in judged if one.scores for k in one.scores.abstention))
    columns = ["system", "questions"]
    columns += ["exact match", "normalised", "token F1", "paraphrased", "false abstention"]
    columns += [f"abstention: {kind.replace('_', ' ')}" for kind in kinds]
    columns += ["abstention: mean", "answer loss, nats per token", "bits per byte"]
    rows = [[*_row(one, kinds)] for one in judged]
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    run.table(
        "Held-out questions and text",
        [columns[i] for i in kept],
        [["–" if row[i] is None else row[i] for i in kept] for row in rows],
        note=SCORES_NOTE,
    )


def differences(run: "StepRun", judged: Sequence[Judged], final: Judged) -> None:
    """What each stage changed, question by question; the lookup beside the final model."""
    by_name = {one.name: one for one in judged if one.scores}
    pairs = [("chat", "aligned"), (final.name, "int8"), (final.name, LOOKUP)]
    pairs = [pair for pair in pairs if set(pair) <= by_name.keys() and len(set(pair)) == 2]
    rows = []
    for first, second in pairs:
        before, after = _right(by_name[first]), _right(by_name[second])
        if len(before) != len(after) or not before:
            continue
        low, high = paired_difference(before, after, seed=0)
        change = sum(after) / len(after) - sum(before) / len(before)
        p = mcnemar(before, after)
        rows.append([first, second, f"{change:+.3f} [{low:+.3f}, {high:+.3f}]", f"{p:.3g}"])
    if rows:
        columns = ["first", "second", "exact match, difference", "p"]
        run.table("Differences on the same questions", columns, rows, note=DIFFERENCES_NOTE)


def wordings(run: "StepRun", final: Judged) -> None:
    """Exact match of the final model by form of the question."""
    groups: dict[str, list[int]] = {}
    for index, question in enumerate(final.asked):
        if question.kind == DOCUMENTED and question.wording:
            groups.setdefault(question.wording, []).append(index)
    if not 1 < len(groups) <= 30:
        return
    rows = []
    for wording, indices in groups.items():
        found = score([final.asked[i] for i in indices], [final.answers[i] for i in indices])
        rows.append([wording, len(indices), str(found.exact_match), str(found.false_abstention)])
    columns = ["form", "questions", "exact match", "false abstention"]
    run.table(f"Documented names by form of the question: {final.name}", columns, rows)


def _row(one: Judged, kinds: Sequence[str]) -> list[object]:
    s = one.scores
    return [
        one.name,
        len(one.asked) or None,
        *_cells([s.exact_match, s.normalized_exact_match, s.token_f1] if s else [None] * 3),
        *_cells([one.paraphrase.exact_match if one.paraphrase else None]),
        *_cells([s.false_abstention if s else None]),
        *_cells([s.abstention.get(kind) if s else None for kind in kinds]),
        *_cells([s.abstention_made_up if s else None]),
        None if one.loss is None else f"{one.loss:.3f}",
        *_cells([Rate(one.bits.value, one.bits.bytes, one.bits.interval) if one.bits else None]),
    ]


def _cells(rates: Sequence[Rate | None]) -> list[str | None]:
    return [None if rate is None else str(rate) for rate in rates]


def _right(one: Judged) -> list[bool]:
    """Whether each documented question was answered to the character."""
    return [
        same_text(answer, [question.answer])
        for question, answer in zip(one.asked, one.answers, strict=True)
        if question.kind == DOCUMENTED
    ]
