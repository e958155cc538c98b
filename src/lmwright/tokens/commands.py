"""Steps and verbs of the tokens room; imports neither torch nor the tokenizer library."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import Field

from lmwright.core.config import Config
from lmwright.pipeline.step import StepType


class TrainConfig(Config):
    """Learn a vocabulary from a corpus or a labelled dataset."""

    kind: Literal["bpe", "wordpiece", "unigram"] = "bpe"
    """How text is cut: "bpe" (on bytes) for decoders, "wordpiece" as BERT, "unigram" as T5."""

    lowercase: bool = False
    """Lower-case texts and take accents off; of "wordpiece" only."""

    vocab_size: int = Field(default=2048, ge=259, le=2**20)
    """Tokens in the vocabulary: special ones, bytes or characters, and what is learned."""

    sample_bytes: int = Field(default=8_000_000, ge=1)
    """Most UTF-8 bytes to learn from, shared by texts and chats; larger corpora are sampled."""

    column: str | None = None
    """Of a labelled dataset the only column to learn from, such as `source` or `target`."""


class PackTextConfig(Config):
    """Turn the corpus's texts into rows of tokens for pretraining."""

    row_length: int = Field(default=256, ge=2)
    """Tokens in a row; longer documents are cut."""


class PackChatsConfig(Config):
    """Turn the corpus's chats into rows of tokens, marking the assistant's turns."""

    row_length: int = Field(default=128, ge=2)
    """Tokens in a row; longer chats are left out, and counted."""


class EncodeExamplesConfig(Config):
    """Turn the rows of a labelled dataset into ids, masks and labels."""

    max_length: int = Field(default=128, ge=4)
    """Most tokens of an example, special ones included; longer texts are cut, and counted."""
    max_target_length: int = Field(default=128, ge=2)
    """Most tokens of a target text; training examples with longer ones are left out."""
    stride: int = Field(default=32, ge=0)
    """Tokens that neighbouring windows of a long context share, for questions about it."""
    decoder_start_token_id: int | None = Field(default=None, ge=0)
    """First token that a decoder reads; without it the tokenizer's start or end of document."""


STEPS: tuple[StepType, ...] = (
    StepType(
        name="tokens.train",
        config=TrainConfig,
        function="lmwright.tokens.steps:train",
        inputs={"corpus": "corpus", "dataset": "dataset"},
        optional=frozenset({"corpus", "dataset"}),
        output="tokenizer",
        summary="Learn a tokenizer from a corpus or a labelled dataset.",
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
    StepType(
        name="tokens.encode_examples",
        config=EncodeExamplesConfig,
        function="lmwright.tokens.example_steps:encode_examples",
        inputs={"dataset": "dataset", "tokenizer": "tokenizer", "target_tokenizer": "tokenizer"},
        optional=frozenset({"target_tokenizer"}),
        output="examples",
        summary="Encode a labelled dataset: classes, tags, answers or translations.",
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
