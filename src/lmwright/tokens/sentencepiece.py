"""SentencePiece models (`tokenizer.model`, `spiece.model`), read without its library.

Source of the format: `sentencepiece_model.proto` of google/sentencepiece. A model is its pieces
with their scores, how text is cut into them (unigram: the likeliest; BPE: best join first), and how
text is prepared: a table of character replacements, and spaces written as U+2581.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers

from lmwright.core.errors import LmwrightError
from lmwright.tokens.protobuf import as_float, as_integer, as_message, as_text, fields
from lmwright.tokens.scored_bpe import byte_fallback_bpe, space_decoder

MARK = "\u2581"
"""What stands for a space in pieces."""

# A code point that will never be a character, and that joins with no accent.
_PARTED = "\ufff0"

UNIGRAM, BPE = 1, 2
"""How text is cut into pieces."""
_ALGORITHMS = {UNIGRAM: "unigram", BPE: "bpe", 3: "word", 4: "char"}


class Kind(IntEnum):
    """What a piece is for."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary; its place is its id."""

    text: str
    score: float
    kind: Kind


@dataclass(frozen=True)
class SentencePieceModel:
    """What a model file says.

    Attributes:
        pieces: V entries.
        algorithm: 1 unigram, 2 BPE.
        charsmap: table of character replacements, compiled; empty for none.
        add_dummy_prefix: a space is put before the text, so that its first word is like others.
        remove_extra_whitespaces: spaces at the ends go, runs of them become one.
        bos, eos, pad, unknown: names of the special pieces that exist.
    """

    pieces: tuple[Piece, ...]
    algorithm: int
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    bos: str | None
    eos: str | None
    pad: str | None
    unknown: str

    @property
    def vocabulary(self) -> dict[str, int]:
        """Ids of the pieces."""
        return {piece.text: number for number, piece in enumerate(self.pieces)}

    @property
    def controls(self) -> list[str]:
        """The pieces that stand for no text."""
        kinds = (Kind.CONTROL, Kind.UNKNOWN)
        return [piece.text for piece in self.pieces if piece.kind in kinds]

    @property
    def user_defined(self) -> list[str]:
        """The pieces that are always kept whole."""
        return [piece.text for piece in self.pieces if piece.kind is Kind.USER_DEFINED]


def read(data: bytes, file: Path) -> SentencePieceModel:
    """The model in the bytes of a file.

    Args:
        data: the file's content.
        file: its name, for errors.

    Raises:
        LmwrightError: if it is damaged, not SentencePiece's, or of a kind that is not supported.
    """
    try:
        return _model(data, file)
    except ValueError as error:
        raise LmwrightError(
            f"{file} is not a SentencePiece model, or it is damaged: {error}",
            hint="copy it again; LLaMA 3's tokenizer.model is another format: use its "
            "tokenizer.json",
        ) from error


def _model(data: bytes, file: Path) -> SentencePieceModel:
    pieces: list[Piece] = []
    trainer: dict[int, int | bytes] = {}
    rules: dict[int, int | bytes] = {}
    for number, value in fields(data):
        if number == 1:
            pieces.append(_piece(as_message(value)))
        elif number == 2:
            trainer = dict(fields(as_message(value)))
        elif number == 3:
            rules = dict(fields(as_message(value)))
    if not pieces:
        raise ValueError("it has no pieces")
    algorithm = as_integer(trainer.get(3, UNIGRAM))
    _check(pieces, algorithm, trainer, rules, file)
    names = {piece.text: piece.kind for piece in pieces}

    def control(field: int, default: str) -> str | None:
        name = as_text(trainer[field]) if field in trainer else default
        return name if names.get(name) is Kind.CONTROL else None

    return SentencePieceModel(
        pieces=tuple(pieces),
        algorithm=algorithm,
        charsmap=as_message(rules.get(2, b"")),
        add_dummy_prefix=bool(as_integer(rules.get(3, 1))),
        remove_extra_whitespaces=bool(as_integer(rules.get(4, 1))),
        bos=control(46, "<s>"),
        eos=control(47, "</s>"),
        pad=control(48, "<pad>"),
        unknown=next(piece.text for piece in pieces if piece.kind is Kind.UNKNOWN),
    )


def _piece(message: bytes) -> Piece:
    text, score, kind = "", 0.0, Kind.NORMAL
    for number, value in fields(message):
        if number == 1:
            text = as_text(value)
        elif number == 2:
            score = as_float(value)
        elif number == 3:
            kind = Kind(as_integer(value))
    if not text:
        raise ValueError("a piece is empty")
    return Piece(text, score, kind)


def _check(
    pieces: list[Piece],
    algorithm: int,
    trainer: dict[int, int | bytes],
    rules: dict[int, int | bytes],
    file: Path,
) -> None:
    """Refuse what is damaged (ValueError) or asks for more than this reader can (LmwrightError)."""
    if len({piece.text for piece in pieces}) < len(pieces):
        raise ValueError("two pieces are the same")
    if sum(piece.kind is Kind.UNKNOWN for piece in pieces) != 1:
        raise ValueError("it needs exactly one piece for the unknown")
    unsupported = {
        f"cuts text by {_ALGORITHMS.get(algorithm, algorithm)}": algorithm not in (UNIGRAM, BPE),
        "writes spaces at the ends of words": as_integer(trainer.get(24, 0)) == 1,
        "leaves spaces as they are": as_integer(rules.get(5, 1)) == 0,
        "has pieces marked unused": any(piece.kind is Kind.UNUSED for piece in pieces),
    }
    for what, present in unsupported.items():
        if present:
            raise LmwrightError(
                f"{file} {what}, which is not supported",
                hint="use the model's tokenizer.json, if it has one",
            )


def convert(model: SentencePieceModel, file: Path) -> tokenizers.Tokenizer:
    """The same tokenizer for the `tokenizers` library, without special tokens around a text.

    Raises:
        LmwrightError: if the table of character replacements or the byte pieces are damaged.
    """
    bpe = model.algorithm == BPE
    rust = tokenizers.Tokenizer(_bpe(model, file) if bpe else _unigram(model))
    # Pieces kept whole cut the text; only the first cut may then be given a space.
    cut = bpe and bool(model.user_defined)
    rust.normalizer = normalizer(
        _charsmap(model, file),
        prefix=model.add_dummy_prefix and not cut,
        collapse=model.remove_extra_whitespaces,
    )
    inside = any(MARK in p.text[1:] for p in model.pieces if p.kind is not Kind.CONTROL)
    if not inside or (cut and model.add_dummy_prefix):
        # No piece goes over a space, so words can be cut apart, and looked up again, for speed.
        scheme = "first" if cut and model.add_dummy_prefix else "never"
        rust.pre_tokenizer = pre_tokenizers.Metaspace(MARK, scheme, split=not inside)
    rust.decoder = space_decoder(
        MARK,
        leading_space=model.add_dummy_prefix or model.remove_extra_whitespaces,
        byte_pieces=any(piece.kind is Kind.BYTE for piece in model.pieces),
    )
    rust.add_special_tokens(model.controls)
    if cut:
        rust.add_tokens([tokenizers.AddedToken(t, normalized=False) for t in model.user_defined])
    return rust


def normalizer(
    before: list[normalizers.Normalizer], *, prefix: bool, collapse: bool
) -> normalizers.Normalizer:
    """How SentencePiece prepares a text: replacements, then spaces, then marks for spaces.

    Args:
        before: the replacements of characters.
        prefix: put one space before the text.
        collapse: remove spaces at the ends and all but one of a run.
    """
    steps = list(before)
    if collapse:
        steps += [
            # A literal mark at the end goes too: SentencePiece trims after it wrote the marks.
            normalizers.Replace(Regex(rf"\A +|[ {MARK}]+\z"), ""),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    steps += [normalizers.Prepend(MARK)] if prefix else []
    return normalizers.Sequence([*steps, normalizers.Replace(" ", MARK)])


def _charsmap(model: SentencePieceModel, file: Path) -> list[normalizers.Normalizer]:
    """The replacements of characters, as SentencePiece makes them.

    The library looks a character and its accents up as one, takes the first replacement that
    matches a beginning, and loses the rest: of `e`, dot below, circumflex only the dot stays. So
    accents are joined to their characters before, where the table would do so, and those that
    stay are parted from them.
    """
    if not model.charsmap:
        return []
    try:
        table = normalizers.Precompiled(model.charsmap)
    except Exception as error:  # the library raises nothing narrower
        raise LmwrightError(
            f"{file}: its table of character replacements is damaged", hint="copy it again"
        ) from error
    composes = table.normalize_str("e\u0301") == "\u00e9"
    part = normalizers.Replace(Regex(r"(?<=[\s\S])(?=\p{M})"), _PARTED)
    rejoin = normalizers.Replace(_PARTED, "")
    return [*([normalizers.NFC()] if composes else []), part, table, rejoin]


def _bpe(model: SentencePieceModel, file: Path) -> models.BPE:
    scores = {p.text: p.score for p in model.pieces if p.kind is Kind.NORMAL}
    return byte_fallback_bpe(model.vocabulary, scores, model.unknown, str(file))


def _unigram(model: SentencePieceModel) -> models.Unigram:
    vocabulary = model.vocabulary
    return models.Unigram(
        list(_unigram_scores(model)),
        unk_id=vocabulary[model.unknown],
        byte_fallback=any(piece.kind is Kind.BYTE for piece in model.pieces),
    )


def _unigram_scores(model: SentencePieceModel) -> Iterator[tuple[str, float]]:
    """Pieces with the scores by which they compete; the library sees one kind of piece only.

    A piece kept whole wins over any other way to write it: SentencePiece gives it a little less
    than its characters would have if each were the best piece (`unigram_model.cc`).
    """
    best = max((p.score for p in model.pieces if p.kind is Kind.NORMAL), default=0.0)
    for piece in model.pieces:
        kept_whole = piece.kind is Kind.USER_DEFINED
        yield piece.text, len(piece.text) * best - 0.1 if kept_whole else piece.score
