"""`lmwright data`: the published sets, and what one of them looks like."""

from lmwright.core.errors import LmwrightError
from lmwright.corpora import catalog
from lmwright.corpora.datasets import SAMPLES, plain

_WIDEST = 200  # characters of a cell; a person wants to see three rows, not three pages


def print_all() -> None:
    """A line for each set: its task, the sizes of its splits, its licence."""
    print(f"{'set':16} {'task':19} {'train / validation / test':30} licence")
    for name in catalog.names():
        dataset = catalog.find(name)
        task = dataset.task.replace("_", " ")
        print(f"{name:16} {task:19} {_rows(dataset):30} {dataset.licence}")
    print("\nOne set: lmwright data NAME. Files are looked for in the folder LMWRIGHT_DATA.")
    print("In a recipe: {name: dataset, step: corpora.dataset, source: NAME}")


def print_one(name: str, language: str | None = None) -> None:
    """A set's facts, the size of its splits, and its first rows.

    Args:
        name: of the set.
        language: one of its languages; None: the usual one.

    Raises:
        LmwrightError: if there is no such set, or its files are not here.
    """
    from rich.console import Console

    dataset = catalog.find(name)
    splits = catalog.rows(dataset, language)
    console = Console(soft_wrap=True, markup=False, highlight=False)
    for label, value in (
        ("task", dataset.task.replace("_", " ")),
        ("rows", ", ".join(f"{split} {len(rows):,}" for split, rows in splits.items())),
        ("labels", ", ".join(dataset.labels) or None),
        ("languages", ", ".join(dataset.languages)),
        ("split", dataset.split_note),
        ("licence", dataset.licence),
        ("cite", dataset.citation),
        ("from", f"github.com/{dataset.source}"),
    ):
        if value:
            console.print(f"{label:10} {value}")
    for row in next(iter(splits.values()))[:SAMPLES]:
        console.print()
        for column, cell in row.items():
            text = " ".join(plain(cell).split())
            cut = text if len(text) <= _WIDEST else f"{text[:_WIDEST]} ..."
            console.print(f"  {column}: {cut}")


def _rows(dataset: catalog.Dataset) -> str:
    """Sizes of the splits, where the files are here."""
    try:
        splits = catalog.rows(dataset)
    except LmwrightError:
        return "not here"
    return " / ".join(f"{len(rows):,}" for rows in splits.values())
