"""Steps and verbs of the tokens room; imports neither torch nor the tokenizer library."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from lmwright.core.config import Config
from lmwright.pipeline.step import StepType


class TrainConfig(Config):
    """Learn a byte-level BPE vocabulary from the corpus."""

    vocab_size: int = Field(default=2048, ge=259, le=2**20)
    """Tokens in the vocabulary: 3 special ones, 256 bytes, and the merges learned."""

    sample_bytes: int = Field(default=8_000_000, ge=1)
    """Most UTF-8 bytes to learn from, shared by texts and chats; larger corpora are sampled."""


class PackTextConfig(Config):
    """Turn the corpus's texts into rows of tokens for pretraining."""

    row_length: int = Field(default=256, ge=2)
    """Tokens in a row; longer documents are cut."""


class PackChatsConfig(Config):
    """Turn the corpus's chats into rows of tokens, marking the assistant's turns."""

    row_length: int = Field(default=128, ge=2)
    """Tokens in a row; longer chats are left out, and counted."""


STEPS: tuple[StepType, ...] = (
    StepType(
        name="tokens.train",
        config=TrainConfig,
        function="lmwright.tokens.steps:train",
        inputs={"corpus": "corpus"},
        output="tokenizer",
        summary="Learn a byte-level BPE tokenizer from the corpus.",
    ),
    StepType(
        name="tokens.pack_text",
        config=PackTextConfig,
        function="lmwright.tokens.steps:pack_text",
        inputs={"corpus": "corpus", "tokenizer": "tokenizer"},
        output="token_shards",
        needs=frozenset({"text"}),
        summary="Pack texts into rows of tokens.",
    ),
    StepType(
        name="tokens.pack_chats",
        config=PackChatsConfig,
        function="lmwright.tokens.steps:pack_chats",
        inputs={"corpus": "corpus", "tokenizer": "tokenizer"},
        output="token_shards",
        needs=frozenset({"chats"}),
        summary="Pack chats into rows of tokens, with the mask of the assistant's turns.",
    ),
)


def register(app: typer.Typer) -> None:
    """Add `lmwright doctor`."""

    @app.command(
        "doctor",
        help="Look at a data file as a model would see it, or, without one, at this machine.\n\n"
        "Example: lmwright doctor chats.jsonl",
    )
    def doctor(
        file: Annotated[
            str | None,
            typer.Argument(help="A text, JSON Lines, CSV or Parquet file, a folder or a pattern."),
        ] = None,
        tokenizer: Annotated[
            Path | None,
            typer.Option(help="Folder of a run, model or tokenizer; default: learn from FILE."),
        ] = None,
        text_column: Annotated[
            str, typer.Option(help="Column of data files that holds plain text.")
        ] = "text",
        row_length: Annotated[
            int, typer.Option(help="Tokens in a row, which a chat must fit.", min=2)
        ] = 256,
    ) -> None:
        from lmwright.tokens.doctor import print_file, print_machine

        if file is None:
            print_machine()
        else:
            print_file(file, tokenizer, text_column=text_column, row_length=row_length)
