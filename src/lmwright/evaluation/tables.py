"""The evaluation's tables in the report: scores, differences between systems, wordings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lmwright.evaluation.questions import DOCUMENTED, Rate, score
from lmwright.evaluation.systems import LOOKUP, Judged
from lmwright.metrics.intervals import mcnemar, paired_difference
from lmwright.metrics.text import same_text

if TYPE_CHECKING:
    from lmwright.pipeline.run import StepRun

INTERVALS = (
    "In brackets, 95 % intervals: Wilson's for shares, bootstrap for F1 and bits per byte; they "
    "take questions as independent."
)
KNOWN_NOTE = (
    "Exact match: the expected sentence to the character, whitespace aside. Token F1: SQuAD's. "
    "Paraphrased: exact match on questions written by hand. False abstention: answers to these "
    f'questions that open with "I don\'t know", in any usual wording. {INTERVALS}'
)
MADE_UP_NOTE = (
    'Share of questions about names that do not exist whose answer opens with "I don\'t know", in '
    f"any usual wording; the mean counts every kind alike. {INTERVALS}"
)
TEXT_NOTE = (
    "Every token of a document but its first, its end included, over the UTF-8 bytes they spell. "
    "In brackets, a 95 % bootstrap interval over groups of rows."
)
DIFFERENCES_NOTE = (
    "Second minus first, on the questions about documented names that both were asked; 95 % "
    "bootstrap interval over questions; p of McNemar's exact test."
)


def scores(run: "StepRun", judged: Sequence[Judged]) -> None:
    """Answers about documented names, answers about made-up ones, and text: what there is of it."""
    asked = [(one, one.scores) for one in judged if one.scores]
    known = [
        [
            one.name,
            scores.exact_match.n if scores.exact_match else 0,
            *_cells([scores.exact_match, scores.token_f1, scores.false_abstention]),
            *_cells([one.paraphrase.exact_match if one.paraphrase else None]),
            None if one.loss is None else round(one.loss, 3),
        ]
        for one, scores in asked
    ]
    columns = ["system", "questions", "exact match", "token F1", "false abstention"]
    columns += ["paraphrased", "answer loss, nats per token"]
    _table(run, "Held-out questions with a known answer", columns, known, KNOWN_NOTE)
    kinds = list(dict.fromkeys(kind for _, scores in asked for kind in scores.abstention))
    made_up = [
        [
            one.name,
            scores.abstention_made_up.n if scores.abstention_made_up else 0,
            *_cells([scores.abstention.get(kind) for kind in kinds]),
            *_cells([scores.abstention_made_up]),
        ]
        for one, scores in asked
    ]
    columns = ["system", "questions", *(kind.replace("_", " ") for kind in kinds), "mean"]
    _table(run, "Abstention on made-up names", columns, made_up if kinds else [], MADE_UP_NOTE)
    text = [
        [one.name, one.bits.tokens, one.bits.bytes, f"{one.bits.value:.3f} {one.bits.interval}"]
        for one in judged
        if one.bits
    ]
    _table(run, "Held-out text", ["system", "tokens", "bytes", "bits per byte"], text, TEXT_NOTE)


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


def _table(
    run: "StepRun",
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    note: str,
) -> None:
    """A table without its empty columns, if it has rows."""
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    if rows:
        run.table(title, [columns[i] for i in kept], [[r[i] for i in kept] for r in rows], note)


def _cells(rates: Sequence[Rate | None]) -> list[str | None]:
    return [None if rate is None else str(rate) for rate in rates]


def _right(one: Judged) -> list[bool]:
    """Whether each documented question was answered to the character."""
    return [
        same_text(answer, [question.answer])
        for question, answer in zip(one.asked, one.answers, strict=True)
        if question.kind == DOCUMENTED
    ]
