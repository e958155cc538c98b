"""Questions the page proposes: those whose answers the run itself put into its report."""

from pathlib import Path
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json

# More than this is a wall of text on a phone.
SHOWN = 4
_LONGEST = 80  # characters


def proposed(model: Path, count: int = SHOWN) -> list[str]:
    """Sample questions of the run that a model folder belongs to; none outside a run.

    A damaged record costs the page its proposals, not the person the server.

    Args:
        model: the model folder.
        count: most questions returned.
    """
    questions: dict[str, None] = {}  # a set that keeps its order
    for file in sorted(model.resolve().parent.glob("steps/*/step.json")):
        try:
            step = read_json(file)
        except LmwrightError:
            continue
        for question in _questions(step):
            if 0 < len(question) <= _LONGEST and "\n" not in question:
                questions[question] = None
    return list(questions)[:count]


def _questions(step: Any) -> list[str]:
    if not isinstance(step, dict):
        return []
    record = step.get("record")
    groups = (record if isinstance(record, dict) else step).get("samples")
    return [
        row["question"].strip()
        for group in (groups if isinstance(groups, list) else [])
        for row in (group.get("rows", []) if isinstance(group, dict) else [])
        if isinstance(row, dict) and isinstance(row.get("question"), str)
    ]
