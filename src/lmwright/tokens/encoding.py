"""From the rows of a dataset to encoded examples, one function per task."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lmwright.core.errors import LmwrightError
from lmwright.corpora.catalog import Row, Task
from lmwright.tokens import special
from lmwright.tokens.packing import IGNORED
from lmwright.tokens.tokenizer import Tokenizer

if TYPE_CHECKING:
    from lmwright.tokens.examples import Examples

NOWHERE = (-1, -1)
"""Place of a token that stands for no character of the context, or begins no word."""


@dataclass
class Collected:
    """Examples while they are collected; see `Examples` for the arrays they become."""

    ids: list[list[int]] = field(default_factory=list)
    types: list[list[int]] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    places: list[list[tuple[int, int]]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    cut: int = 0
    """Rows that were longer than allowed."""
    left_out: int = 0
    """Rows that gave no example."""

    def examples(
        self, task: Task, tokenizer: Tokenizer, decoder_start_token_id: int | None = None
    ) -> "Examples":
        """The collected examples as flat arrays."""
        # It brings torch, which whoever only encodes texts can do without.
        from lmwright.tokens.examples import Examples

        sequences = task in ("translation", "summarization", "dialogue")
        labels: Any
        if sequences or task == "tagging":
            labels = _flat(self.labels, np.int32)
        elif task == "question_answering":
            labels = np.array(self.labels, np.int64).reshape(-1, 2)
        else:
            labels = np.array(self.labels, np.float32 if task == "regression" else np.int64)
        small = tokenizer.vocab_size <= np.iinfo(np.uint16).max
        return Examples(
            task=task,
            pad_token_id=tokenizer.pad_token_id,
            input_ids=_flat(self.ids, np.uint16 if small else np.uint32),
            starts=_starts(self.ids),
            labels=labels,
            rows=np.array(self.rows, np.int64),
            label_starts=_starts(self.labels) if sequences else None,
            token_types=_flat(self.types, np.uint8) if self.types else None,
            places=_flat(self.places, np.int32).reshape(-1, 2) if self.places else None,
            decoder_start_token_id=decoder_start_token_id,
        )


def framed(
    tokenizer: Tokenizer,
    text: special.Text,
    pair: str | None = None,
    *,
    max_length: int | None = None,
) -> special.Encoded:
    """A text, its words, or a pair, with the special tokens that the tokenizer's models expect.

    Our own tokenizers have none to add. There the end of document stands before the first text,
    where a classifier's first position can gather what all others say, and after each text.

    Args:
        tokenizer: whose ids.
        text: the text, or its words.
        pair: a second text.
        max_length: tokens at most, special ones included; None: as many as there are.

    Raises:
        LmwrightError: if there is no room for what must be kept.
    """
    own = _own_tokens(tokenizer, pair is not None)
    room = None if max_length is None else max_length - own
    words = not isinstance(text, str)
    encoded = special.encode(tokenizer, text, pair, max_length=room, is_split_into_words=words)
    return _with_own(tokenizer, encoded) if own else encoded


def target_ids(tokenizer: Tokenizer, text: str, max_length: int | None = None) -> list[int]:
    """What a decoder shall write: the text as its models frame it, or ended by the end of document.

    Args:
        tokenizer: whose ids.
        text: the target.
        max_length: tokens at most; None: as many as there are.
    """
    if not _own_tokens(tokenizer, False):
        return special.encode(tokenizer, text, max_length=max_length).input_ids
    kept = None if max_length is None else max_length - 1
    return [*tokenizer.encode(text)[:kept], tokenizer.eos_token_id]


def encode_classes(
    tokenizer: Tokenizer, rows: Sequence[Row], labels: Sequence[str], max_length: int
) -> Collected:
    """Texts, or pairs of texts, with a class or, without `labels`, a number.

    Args:
        tokenizer: of the texts.
        rows: text, or sentence1 and sentence2, and label.
        labels: names of the classes in the order of their ids; empty for regression.
        max_length: T at most; of a pair the longer text is cut.

    Raises:
        LmwrightError: if a label is none of `labels`.
    """
    id_of = {name: index for index, name in enumerate(labels)}
    result = Collected()
    for number, row in enumerate(rows):
        if labels and row["label"] not in id_of:
            raise LmwrightError(f"row {number + 1} has the label {row['label']!r}, unknown so far")
        first: str = row["text"] if "text" in row else row["sentence1"]
        second: str | None = row.get("sentence2")
        encoded = _fitted(result, tokenizer, first, second, max_length)
        result.ids.append(encoded.input_ids)
        if second is not None:
            result.types.append(encoded.token_type_ids)
        result.labels.append(id_of[row["label"]] if labels else row["label"])
        result.rows.append(number)
    return result


def encode_tags(
    tokenizer: Tokenizer, rows: Sequence[Row], labels: Sequence[str], max_length: int
) -> Collected:
    """Sentences of words with a tag each; a word's first token bears its tag.

    Args:
        tokenizer: of the words.
        rows: tokens and tags.
        labels: names of the tags in the order of their ids.
        max_length: T at most; words beyond it are lost.

    Raises:
        LmwrightError: if a tag is none of `labels`.
    """
    id_of = {name: index for index, name in enumerate(labels)}
    result = Collected()
    for number, row in enumerate(rows):
        unknown = [tag for tag in row["tags"] if tag not in id_of]
        if unknown:
            raise LmwrightError(f"row {number + 1} has the tag {unknown[0]!r}, unknown so far")
        encoded = _fitted(result, tokenizer, row["tokens"], None, max_length)
        tags, places, seen = [], [], -1
        for word in encoded.word_ids:
            if word is None or word <= seen:
                tags.append(IGNORED)
                places.append(NOWHERE)
            else:
                tags.append(id_of[row["tags"][word]])
                places.append((word, -1))
                seen = word
        result.ids.append(encoded.input_ids)
        result.labels.append(tags)
        result.places.append(places)
        result.rows.append(number)
    return result


def encode_questions(
    tokenizer: Tokenizer, rows: Sequence[Row], max_length: int, stride: int
) -> Collected:
    """Questions about a context, in as many windows as it takes; the answer's first and last token.

    Args:
        tokenizer: of both texts.
        rows: context, question, answers; the first answer is the one learned.
        max_length: T at most.
        stride: tokens of the context that neighbouring windows share.

    Raises:
        LmwrightError: if the windows are too short for a question and `stride`.
    """
    result = Collected()
    own = _own_tokens(tokenizer, True)
    for number, row in enumerate(rows):
        windows = special.windows(
            tokenizer, row["question"], row["context"], max_length=max_length - own, stride=stride
        )
        for window in windows:
            encoded = _with_own(tokenizer, window) if own else window
            places = [
                offset if part == 1 else NOWHERE
                for offset, part in zip(encoded.offsets, encoded.sequence_ids, strict=True)
            ]
            result.ids.append(encoded.input_ids)
            result.types.append(encoded.token_type_ids)
            result.labels.append(answer_span(row["answers"], places))
            result.places.append(places)
            result.rows.append(number)
    return result


def answer_span(answers: dict[str, Any], places: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """First and last token of the first answer; (0, 0) where it is not wholly in the window.

    Args:
        answers: SQuAD's `{"text": [...], "answer_start": [...]}`.
        places: characters of the context that each token of the window covers.
    """
    if not answers["text"]:
        return (0, 0)
    begin = answers["answer_start"][0]
    end = begin + len(answers["text"][0])
    inside = [i for i, (a, b) in enumerate(places) if a < end and b > begin and b > a >= 0]
    # A window that begins or ends within the answer has only part of it.
    if not inside or places[inside[0]][0] > begin or places[inside[-1]][1] < end:
        return (0, 0)
    return inside[0], inside[-1]


def encode_sequences(
    tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    rows: Sequence[Row],
    columns: tuple[str, str],
    lengths: tuple[int, int],
    *,
    drop_long: bool,
    keep_end: bool = False,
) -> Collected:
    """Sources and targets, both framed.

    Args:
        tokenizer, target_tokenizer: of the two sides; may be one.
        rows: with both `columns`.
        columns: names of source and target.
        lengths: S and U at most.
        drop_long: leave out what is longer (training: a cut target teaches to stop anywhere);
            else it is cut.
        keep_end: of a source that is longer, leave out the first lines instead: in a conversation
            the last turn is the one to answer.
    """
    result = Collected()
    for number, row in enumerate(rows):
        source, target = (row[column] for column in columns)
        whole = source
        if keep_end:
            source = last_lines(tokenizer, source, lengths[0])
        ids = framed(tokenizer, source).input_ids
        labels = target_ids(target_tokenizer, target)
        long = len(ids) > lengths[0] or len(labels) > lengths[1]
        if (long and drop_long) or not source.strip() or not target.strip():
            result.left_out += 1
            continue
        result.cut += long or source != whole
        if long:
            ids = framed(tokenizer, source, max_length=lengths[0]).input_ids
            labels = target_ids(target_tokenizer, target, lengths[1])
        result.ids.append(ids)
        result.labels.append(labels)
        result.rows.append(number)
    return result


def last_lines(tokenizer: Tokenizer, text: str, max_length: int) -> str:
    """As many of the last lines as fit, framed, into `max_length` tokens; one at least."""
    lines = text.split("\n")

    def fits(start: int) -> bool:
        return len(framed(tokenizer, "\n".join(lines[start:]))) <= max_length

    return "\n".join(lines[bisect_left(range(len(lines) - 1), True, key=fits) :])


def _fitted(
    result: Collected,
    tokenizer: Tokenizer,
    text: special.Text,
    pair: str | None,
    max_length: int,
) -> special.Encoded:
    """`framed`, cut and counted where it is too long."""
    encoded = framed(tokenizer, text, pair)
    if len(encoded) <= max_length:
        return encoded
    result.cut += 1
    return framed(tokenizer, text, pair, max_length=max_length)


def _own_tokens(tokenizer: Tokenizer, pair: bool) -> int:
    """How many ends of document we add ourselves: none where the tokenizer frames texts."""
    if tokenizer.rust.num_special_tokens_to_add(pair):
        return 0
    return 3 if pair else 2


def _with_own(tokenizer: Tokenizer, encoded: special.Encoded) -> special.Encoded:
    """With an end of document before the first part and behind each part."""
    parts = encoded.sequence_ids
    border = parts.index(1) if 1 in parts else len(parts)

    def around(values: list[Any], filler: Any, last: Any = None) -> list[Any]:
        head = [filler, *values[:border], filler]
        tail = [*values[border:], filler if last is None else last]
        return head + tail if 1 in parts else head

    return replace(
        encoded,
        input_ids=around(encoded.input_ids, tokenizer.eos_token_id),
        token_type_ids=around([int(part == 1) for part in parts], 0, 1),
        attention_mask=around(encoded.attention_mask, 1),
        offsets=around(encoded.offsets, (0, 0)),
        word_ids=around(encoded.word_ids, None),
        sequence_ids=around(encoded.sequence_ids, None),
    )


def _flat(rows: Sequence[Any], kind: Any) -> Any:
    parts = [np.array(row, kind) for row in rows]
    return np.concatenate(parts) if parts else np.zeros(0, kind)


def _starts(rows: Sequence[Sequence[Any]]) -> Any:
    return np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
