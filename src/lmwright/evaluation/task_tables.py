"""Tables of a labelled task: scores, differences to the best baseline, classes, errors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lmwright.evaluation.task_systems import Answers, Material
from lmwright.metrics import classification, tagging
from lmwright.metrics.classification import ClassScore
from lmwright.metrics.intervals import bootstrap, mcnemar, wilson
from lmwright.metrics.text import answer_scores, exact_match
from lmwright.training.task_shapes import is_bio

if TYPE_CHECKING:
    from lmwright.pipeline.run import StepRun

CLASSES_NOTE = (
    "In brackets, 95 % intervals: Wilson's for accuracy, bootstrap over test rows for the others. "
    "Difference: less the best baseline, on the same rows; p of McNemar's exact test that both are "
    "right equally often. Seconds: for the whole test; a baseline's training is in it."
)
ENTITIES_NOTE = (
    "F1 of entities, which count when border and type are both right (seqeval, strict). In "
    "brackets, 95 % bootstrap intervals over sentences. Difference: less the best baseline, on the "
    "same sentences. Seconds: for the whole test."
)
TAGS_NOTE = (
    "Share of words with the right tag; in brackets, a 95 % bootstrap interval over sentences. "
    "Difference: less the best baseline, on the same sentences. Seconds: for the whole test."
)
ANSWERS_NOTE = (
    "SQuAD's F1 of words, and exact match, the best over the known answers; in brackets, 95 % "
    "bootstrap intervals over questions. Difference: less the baseline, on the same questions. "
    "Seconds: for the whole test."
)
RESAMPLES = 1_000
MOST_CLASSES = 40
"""Classes shown one by one: the commonest of the test."""


Statistic = Callable[[NDArray[np.float64]], float]


@dataclass(frozen=True)
class Kind:
    """How the systems of one kind of task are scored and compared.

    Args:
        name: of the score that decides.
        note: what the table says below.
        items: a system's answers as (N, K) numbers, a row for each row of the test.
        statistic: from items to the score.
        others: more scores from the same items, by name.
        classes: precision, recall and F1 class by class.
        right: whether items are pairs of expected and predicted classes.
    """

    name: str
    note: str
    items: Callable[[Answers, Material], NDArray[np.float64]]
    statistic: Statistic
    others: Mapping[str, Statistic]
    classes: Callable[[Answers, Material], dict[str, ClassScore]]
    right: bool = False


def report(
    run: "StepRun", systems: Sequence[Answers], material: Material, compare_by: str
) -> Answers:
    """Put the tables and the numbers into the run.

    Args:
        run: the step's run.
        systems: baselines, and at least one model.
        material: the test.
        compare_by: of classes, the score that decides: accuracy, macro_f1 or matthews.

    Returns:
        the best model: of those that are no baselines.
    """
    kind = kind_of(material, compare_by)
    items = {system.name: kind.items(system, material) for system in systems}
    value = {name: kind.statistic(found) for name, found in items.items()}
    rival = max((s for s in systems if s.is_baseline), key=lambda s: value[s.name])
    best = max((s for s in systems if not s.is_baseline), key=lambda s: value[s.name])
    rows = []
    for system in systems:
        row: list[object] = [system.name, _with_interval(kind, items[system.name])]
        row += [f"{other(items[system.name]):.3f}" for other in kind.others.values()]
        row += _compared(kind, items, rival.name, system.name)
        parameters = system.parameters
        row += ["" if parameters is None else f"{parameters / 1e6:.2f} M", round(system.seconds, 2)]
        rows.append(row)
    shown = [name.replace("_", " ") for name in (kind.name, *kind.others)]
    columns = ["system", *shown, "difference", *(["p"] if kind.right else [])]
    title = f"{material.description.name}: {len(material.test):,} test rows"
    run.table(title, [*columns, "parameters", "seconds"], rows, note=kind.note)
    _classes(run, kind.classes(best, material), best.name)
    for system in systems:
        found = {kind.name: value[system.name]}
        found |= {name: other(items[system.name]) for name, other in kind.others.items()}
        prefix = "".join(c if c.isalnum() else "_" for c in system.name.lower())
        run.summarize(**{f"{prefix}_{name}": round(score, 5) for name, score in found.items()})
    return best


def errors(best: Answers, material: Material, most: int) -> list[dict[str, str]]:
    """Test rows that the best model got wrong; of classes those it was surest of."""
    if material.description.task == "classification":
        wrong = [
            index
            for index, (row, said) in enumerate(zip(material.test, best.predicted, strict=True))
            if row["label"] != said
        ]
        wrong.sort(key=lambda index: -best.confidence[index])
        return [_class_error(material.test[i], best, i) for i in wrong[:most]]
    if material.description.task == "question_answering":
        return _wrong_answers(best, material)[:most]
    shown: list[dict[str, str]] = []
    for row, said in zip(material.test, best.predicted, strict=True):
        if row["tags"] != said and len(shown) < most:
            shown.append(_tag_error(row, said))
    return shown


def kind_of(material: Material, compare_by: str) -> Kind:
    """How this task is scored."""
    if material.description.task == "classification":
        classes = len(material.description.labels)
        scores: dict[str, Statistic] = {
            "accuracy": _accuracy,
            "macro_f1": lambda pairs: classification.macro_f1(_matrix(pairs, classes)),
            "matthews": lambda pairs: classification.matthews(_matrix(pairs, classes)),
        }
        main = scores.pop(compare_by)
        return Kind(compare_by, CLASSES_NOTE, _class_pairs, main, scores, _each_class, right=True)
    if material.description.task == "question_answering":
        others = {"exact_match": lambda scores: float(scores[:, 1].mean())}
        return Kind("f1", ANSWERS_NOTE, _answer_scores, _first_mean, others, _no_classes)
    if is_bio(material.description.labels):
        others = {"tags_right": lambda counts: _share(counts[:, 3:])}
        return Kind("entity_f1", ENTITIES_NOTE, _entity_counts, _f1, others, _each_type)
    return Kind("tags_right", TAGS_NOTE, _tag_counts, _share, {}, _each_tag)


def _with_interval(kind: Kind, items: NDArray[np.float64]) -> str:
    value = kind.statistic(items)
    if kind.name == "accuracy":
        right = int((items[:, 0] == items[:, 1]).sum())
        return f"{value:.3f} {wilson(right, len(items))}"
    interval = bootstrap(items, seed=0, statistic=kind.statistic, resamples=RESAMPLES)
    return f"{value:.3f} {interval}"


def _compared(
    kind: Kind, items: Mapping[str, NDArray[np.float64]], rival: str, name: str
) -> list[object]:
    """The difference to the best baseline, and of classes the p-value; empty for itself."""
    if name == rival:
        return ["", ""] if kind.right else [""]
    first, second = items[rival], items[name]
    width = first.shape[1]
    low, high = bootstrap(
        np.concatenate([first, second], axis=1),
        seed=0,
        statistic=lambda both: kind.statistic(both[:, width:]) - kind.statistic(both[:, :width]),
        resamples=RESAMPLES,
    )
    difference = kind.statistic(second) - kind.statistic(first)
    cells: list[object] = [f"{difference:+.3f} [{low:+.3f}, {high:+.3f}]"]
    if kind.right:
        right = [(one[:, 0] == one[:, 1]).tolist() for one in (first, second)]
        cells.append(f"{mcnemar(*right):.2g}")
    return cells


def _class_pairs(answers: Answers, material: Material) -> NDArray[np.float64]:
    """(N, 2) expected and predicted ids."""
    ids = {label: index for index, label in enumerate(material.description.labels)}
    rows = zip(material.test, answers.predicted, strict=True)
    return np.array([(ids[row["label"]], ids[said]) for row, said in rows], np.float64)


def _accuracy(pairs: NDArray[np.float64]) -> float:
    return float((pairs[:, 0] == pairs[:, 1]).mean())


def _matrix(pairs: NDArray[np.float64], classes: int) -> NDArray[np.int64]:
    return classification.confusion(pairs[:, 0], pairs[:, 1], classes)


def _entity_counts(answers: Answers, material: Material) -> NDArray[np.float64]:
    """(N, 5) right, predicted and expected entities, right tags, all tags."""
    expected = [row["tags"] for row in material.test]
    entities = np.array(tagging.entity_counts(expected, answers.predicted), np.float64)
    return np.concatenate([entities, _tag_counts(answers, material)], axis=1)


def _f1(counts: NDArray[np.float64]) -> float:
    """F1 of (N, 3...) right, predicted and expected entities."""
    right, said, there = counts[:, :3].sum(axis=0)
    return float(2 * right / (said + there)) if said + there else 0.0


def _tag_counts(answers: Answers, material: Material) -> NDArray[np.float64]:
    """(N, 2) right tags, all tags."""
    rows = zip(material.test, answers.predicted, strict=True)
    counts = [
        (sum(a == b for a, b in zip(row["tags"], said, strict=True)), len(said))
        for row, said in rows
    ]
    return np.array(counts, np.float64)


def _answer_scores(answers: Answers, material: Material) -> NDArray[np.float64]:
    """(N, 2) F1 of words and exact match of each question."""
    rows = zip(material.test, answers.predicted, strict=True)
    scores = [answer_scores(said, row["answers"]["text"]) for row, said in rows]
    return np.array([(score.f1, score.exact_match) for score in scores], np.float64)


def _first_mean(scores: NDArray[np.float64]) -> float:
    return float(scores[:, 0].mean())


def _no_classes(answers: Answers, material: Material) -> dict[str, ClassScore]:
    return {}


def _share(counts: NDArray[np.float64]) -> float:
    right, words = counts.sum(axis=0)
    return float(right / words) if words else 0.0


def _each_class(answers: Answers, material: Material) -> dict[str, ClassScore]:
    return _by_name([row["label"] for row in material.test], answers.predicted, material)


def _each_tag(answers: Answers, material: Material) -> dict[str, ClassScore]:
    expected = [tag for row in material.test for tag in row["tags"]]
    return _by_name(expected, [tag for row in answers.predicted for tag in row], material)


def _by_name(
    expected: Sequence[str], predicted: Sequence[str], material: Material
) -> dict[str, ClassScore]:
    labels = material.description.labels
    ids = {label: index for index, label in enumerate(labels)}
    matrix = classification.confusion(
        [ids[name] for name in expected], [ids[name] for name in predicted], len(labels)
    )
    return dict(zip(labels, classification.per_class(matrix), strict=True))


def _each_type(answers: Answers, material: Material) -> dict[str, ClassScore]:
    expected = [row["tags"] for row in material.test]
    micro, by_type = tagging.entity_scores(expected, answers.predicted)
    return {**by_type, "all": micro}


def _classes(run: "StepRun", scores: dict[str, ClassScore], name: str) -> None:
    chosen = sorted(scores, key=lambda label: -scores[label].support)[:MOST_CLASSES]
    if not scores:
        return
    rows = [
        [label, *(f"{value:.3f}" for value in scores[label][:3]), scores[label].support]
        for label in scores
        if label in chosen
    ]
    columns = ["class", "precision", "recall", "F1", "in the test"]
    run.table(f"Class by class: {name}", columns, rows)


def _class_error(row: Any, best: Answers, index: int) -> dict[str, str]:
    texts = {key: str(row[key]) for key in ("text", "sentence1", "sentence2") if key in row}
    said = f"{best.predicted[index]} ({best.confidence[index]:.2f})"
    return {**texts, "expected": row["label"], "predicted": said}


def _wrong_answers(best: Answers, material: Material) -> list[dict[str, str]]:
    rows = zip(material.test, best.predicted, strict=True)
    return [
        {"question": row["question"], "expected": row["answers"]["text"][0], "predicted": said}
        for row, said in rows
        if row["answers"]["text"] and not exact_match(said, row["answers"]["text"])
    ]


def _tag_error(row: Any, said: Sequence[str]) -> dict[str, str]:
    wrong = [
        f"{word} {truth} -> {tag}"
        for word, truth, tag in zip(row["tokens"], row["tags"], said, strict=True)
        if truth != tag
    ]
    return {"text": " ".join(row["tokens"]), "wrong": ", ".join(wrong)}
