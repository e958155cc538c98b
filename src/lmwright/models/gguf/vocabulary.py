"""Tokenizers in GGUF files (ggml, docs/gguf.md, "Tokenizer"; llama.cpp, `src/llama-vocab.cpp`)."""

from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers

from lmwright.core.errors import LmwrightError
from lmwright.models.gguf.reader import tokenizer_metadata
from lmwright.tokens import Tokenizer, sentencepiece, wordpiece
from lmwright.tokens.published import surround
from lmwright.tokens.sentencepiece import Kind, Piece, SentencePieceModel

_GPT2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LATER_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}"
    r"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_WORDS = {
    "gpt-2": _GPT2_WORDS,
    "gpt2": _GPT2_WORDS,
    "olmo": _GPT2_WORDS,  # what the converter calls GPT-NeoX's
    "llama-bpe": _LATER_WORDS.format(digits="{1,3}"),
    "llama3": _LATER_WORDS.format(digits="{1,3}"),
    "qwen2": _LATER_WORDS.format(digits=""),
}
"""`tokenizer.ggml.pre` -> how a text is cut into words (the models' own tokenizer.json)."""

_ROLES = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}
_OTHER = "give the folder of the model's tokenizer: --tokenizer FOLDER"


def tokenizer(path: Path) -> Tokenizer | None:
    """The tokenizer of a GGUF file.

    Args:
        path: the file.

    Returns:
        The tokenizer, with the file's chat template; None if the file holds none.

    Raises:
        LmwrightError: if the file is damaged, or its kind of tokenizer is not read.
    """
    found = tokenizer_metadata(path)
    kind = found.get("tokenizer.ggml.model", "no_vocab")
    if kind in ("no_vocab", "none"):
        return None
    if kind not in _KINDS:
        raise LmwrightError(f"{path}: tokenizers of kind {kind} are not read", hint=_OTHER)
    facts = _Facts(path, found)
    rust = _KINDS[kind](facts)
    # BERT's files call [CLS] a start and [SEP] an end, for want of other names.
    config = wordpiece.names(rust.get_vocab()) if kind == "bert" else facts.roles()
    template = found.get("tokenizer.chat_template")
    return Tokenizer(
        rust,
        config | {"tokenizer_class": "PreTrainedTokenizerFast"},
        template if isinstance(template, str) else None,
    )


class _Facts:
    """The metadata of a tokenizer, checked."""

    def __init__(self, path: Path, found: dict[str, Any]) -> None:
        self.path, self.found = path, found
        self.texts: list[str] = self.entries("tokens", str)
        if len(set(self.texts)) < len(self.texts) or not self.texts:
            raise LmwrightError(f"{path} is corrupt: tokenizer.ggml.tokens repeats a token")
        kinds = self.entries("token_type", int) if self.get("token_type") is not None else []
        if kinds and (len(kinds) != len(self.texts) or not set(kinds) <= set(Kind)):
            raise LmwrightError(f"{path} is corrupt: tokenizer.ggml.token_type fits no tokens")
        self.kinds = [Kind(kind) for kind in kinds] or [Kind.NORMAL] * len(self.texts)

    def get(self, key: str) -> Any:
        return self.found.get(f"tokenizer.ggml.{key}")

    def entries(self, key: str, kind: type) -> Any:
        value = self.get(key)
        if not isinstance(value, list) or not all(isinstance(one, kind) for one in value):
            raise LmwrightError(f"{self.path} has no tokenizer.ggml.{key}", hint=_OTHER)
        return value

    def role(self, role: str) -> str | None:
        """The token of a role such as `bos_token`."""
        place = self.get(_ROLES[role])
        if place is None:
            return None
        if not isinstance(place, int) or not 0 <= place < len(self.texts):
            raise LmwrightError(f"{self.path} is corrupt: tokenizer.ggml.{_ROLES[role]} is {place}")
        return self.texts[place]

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key)
        return default if value is None else bool(value)

    def of_kind(self, *kinds: Kind) -> list[str]:
        return [text for text, kind in zip(self.texts, self.kinds, strict=True) if kind in kinds]

    def roles(self) -> dict[str, Any]:
        """The special tokens, as tokenizer_config.json names them."""
        named = {role: self.role(role) for role in _ROLES}
        return {role: token for role, token in named.items() if token is not None}

    def surround(self, rust: tokenizers.Tokenizer, *, begin: bool) -> None:
        """Put the start and the end around a text, as the file asks."""
        bos = self.role("bos_token") if self.flag("add_bos_token", begin) else None
        eos = self.role("eos_token") if self.flag("add_eos_token", False) else None
        surround(rust, bos, eos, second_type=1)


def _scored(facts: _Facts) -> tokenizers.Tokenizer:
    """SentencePiece's BPE (LLaMA 1 and 2, Mistral, Gemma)."""
    scores = facts.entries("scores", float)
    if len(scores) != len(facts.texts):
        raise LmwrightError(f"{facts.path} is corrupt: its tokens and scores differ in number")
    unknown = facts.of_kind(Kind.UNKNOWN)
    pieces = zip(facts.texts, scores, facts.kinds, strict=True)
    model = SentencePieceModel(
        pieces=tuple(Piece(*piece) for piece in pieces),
        algorithm=sentencepiece.BPE,
        charsmap=b"",
        add_dummy_prefix=facts.flag("add_space_prefix", True),
        remove_extra_whitespaces=False,
        bos=facts.role("bos_token"),
        eos=facts.role("eos_token"),
        pad=facts.role("pad_token"),
        unknown=unknown[0] if unknown else facts.role("unk_token") or facts.texts[0],
    )
    rust = sentencepiece.convert(model, facts.path)
    facts.surround(rust, begin=True)
    return rust


def _byte_level(facts: _Facts) -> tokenizers.Tokenizer:
    """Byte-level BPE (GPT-2, LLaMA 3, Qwen)."""
    cut = facts.get("pre")
    if cut not in _WORDS:
        raise LmwrightError(
            f"{facts.path} cuts text into words by the rule {cut}, which is not known here",
            hint=_OTHER,
        )
    vocabulary = {text: number for number, text in enumerate(facts.texts)}
    merges = [tuple(pair.split(" ", 1)) for pair in facts.entries("merges", str)]
    try:
        rust = tokenizers.Tokenizer(models.BPE(vocabulary, merges))
    except Exception as error:  # the library raises nothing narrower
        raise LmwrightError(f"{facts.path} is corrupt: its merges: {error}") from error
    rust.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS[cut]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    rust.decoder = decoders.ByteLevel()
    rust.add_special_tokens(facts.of_kind(Kind.CONTROL, Kind.UNKNOWN))
    whole = facts.of_kind(Kind.USER_DEFINED)
    rust.add_tokens([AddedToken(text, normalized=False) for text in whole])
    facts.surround(rust, begin=False)
    return rust


def _word_pieces(facts: _Facts) -> tokenizers.Tokenizer:
    """WordPiece (BERT); the file marks the starts of words, where BERT marks what is inside."""
    texts = [_marked(text, kind) for text, kind in zip(facts.texts, facts.kinds, strict=True)]
    rust = wordpiece.convert({text: number for number, text in enumerate(texts)}, {})
    wordpiece.surround(rust)
    return rust


def _marked(text: str, kind: Kind) -> str:
    if kind is Kind.CONTROL or text in wordpiece.SPECIAL_TOKENS:
        return text
    start = sentencepiece.MARK
    return text.removeprefix(start) if text.startswith(start) else f"##{text}"


_KINDS = {"llama": _scored, "gpt2": _byte_level, "bert": _word_pieces}
"""`tokenizer.ggml.model` -> its maker."""
