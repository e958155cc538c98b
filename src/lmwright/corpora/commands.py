"""Steps and verbs of the corpora room, and their configs; torch-free."""

from typing import Annotated, Literal

import typer
from pydantic import Field

from lmwright.core.config import Config
from lmwright.pipeline.step import StepType

PYTHON_DOCS = "python-docs"
CATALOG = "catalog:"


class BuildConfig(Config):
    """Read a corpus and split it into training and validation parts."""

    path: str = PYTHON_DOCS
    """The user's data: a file, a folder or a pattern; `catalog:NAME`, the texts of a set that
    `lmwright data` lists; or `python-docs`, this Python's own docs."""
    seed: int = 0
    """The same seed gives the same corpus; splits depend on the content alone."""
    validation_fraction: float = Field(default=0.05, gt=0, lt=1)
    """Share of the documents (or chats, or pairs) kept for validation; at least one is."""
    document_characters: int = Field(default=8192, ge=64)
    """Longest document in characters; longer ones are cut at paragraphs."""
    text_column: str = "text"
    """Column of the user's data files that holds plain text."""

    names: int = Field(default=1200, ge=150)
    """python-docs: documented names to ask about, best known first."""
    text_characters: int = Field(default=8_000_000, ge=10_000)
    """python-docs: documentation and source to pretrain on, in characters."""
    chats: int = Field(default=60_000, ge=1)
    """python-docs: training chats."""
    made_up_share: float = Field(default=0.36, ge=0, lt=1)
    """python-docs: share of questions about made-up names, answered "I don't know that name."."""
    two_turn_share: float = Field(default=0.15, ge=0, le=1)
    """python-docs: share of training chats with two questions."""
    small_talk_share: float = Field(default=0.01, ge=0, le=1)
    """python-docs: share of training chats that greet, thank, or ask about something else."""
    preference_pairs: int = Field(default=4000, ge=2)
    """python-docs: pairs for preference training, half about made-up names."""
    test_questions_per_name: int = Field(default=1, ge=1)
    """python-docs: test questions about each documented name, each in another held-out wording."""
    validation_questions: int = Field(default=300, ge=1)
    """python-docs: validation questions about documented names, and about each made-up kind."""
    made_up_test_questions: int = Field(default=320, ge=1)
    """python-docs: test questions about made-up names of each kind."""


class DatasetConfig(Config):
    """Read a labelled set, published or your own, and write its splits as JSON Lines."""

    source: str = "sst2"
    """A published set's name; `lmwright data` lists them."""
    path: str | None = None
    """In its place your own file, folder or pattern, in the same columns; files called train,
    validation and test are those splits, others are split by their content."""
    task: (
        Literal[
            "classification",
            "regression",
            "tagging",
            "question_answering",
            "translation",
            "summarization",
            "dialogue",
            "language_modeling",
        ]
        | None
    ) = None
    """Of your own rows; without it, as their columns say."""
    language: str | None = None
    """Of a set that has several: `de`, or `de-en` from German to English; without it, the usual."""
    names: int | None = Field(default=None, ge=1)
    """python_questions: ask about so many names, best known first; without it, about all."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many rows of each split, drawn by the seed."""
    seed: int = 0
    """Which rows a limit leaves."""


STEPS = (
    StepType(
        name="corpora.build",
        config=BuildConfig,
        function="lmwright.corpora.build:build",
        output="corpus",
        provides="lmwright.corpora.build:kinds",
        reads="lmwright.corpora.build:reads",
        summary="Read text, chats or preferences, or this Python's own documentation; split them.",
    ),
    StepType(
        name="corpora.dataset",
        config=DatasetConfig,
        function="lmwright.corpora.datasets:build",
        output="dataset",
        reads="lmwright.corpora.datasets:reads",
        summary="Read a labelled set, published or your own: classes, tags, answers, translations.",
    ),
)


def register(app: typer.Typer) -> None:
    """Add `lmwright data`."""

    @app.command(
        "data",
        help="List the published sets that can be read, or show one of them.\n\n"
        "Example: lmwright data sst2",
    )
    def data(
        name: Annotated[
            str | None, typer.Argument(help="A set's name; without it, all of them.")
        ] = None,
        language: Annotated[
            str | None, typer.Option(help="Of a set that has several, such as de-en.")
        ] = None,
    ) -> None:
        from lmwright.corpora.listing import print_all, print_one

        if name is None:
            print_all()
        else:
            print_one(name, language)
