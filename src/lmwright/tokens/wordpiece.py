"""WordPiece (Wu et al. 2016; as BERT published it, Devlin et al. 2019): `vocab.txt`.

A text is cleaned, perhaps lower-cased and stripped of accents, cut at white space, punctuation and
around each Chinese character; then each word is cut from its start into the longest entries of
the vocabulary, those inside a word written with `##`.
"""

from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from lmwright.core.errors import LmwrightError
from lmwright.tokens.roles import flag

PAD, UNKNOWN, START, SEPARATOR, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNKNOWN, START, SEPARATOR, MASK)
# A word of more characters is one unknown token; BERT's own bound.
LONGEST_WORD = 100


def read(data: bytes, file: Path) -> dict[str, int]:
    """Ids of the tokens in a file's bytes, one a line.

    Raises:
        LmwrightError: if it is not text, a token stands twice, or `[UNK]` is missing.
    """
    try:
        # Only line feeds end a line: some vocabularies hold other separators as tokens.
        lines = data.decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise LmwrightError(f"{file} is not UTF-8 text: {error}") from error
    vocabulary: dict[str, int] = {}
    for number, line in enumerate(lines):
        token = line.removesuffix("\r")
        if token in vocabulary:
            raise LmwrightError(
                f"{file} holds {token!r} twice, on lines {vocabulary[token] + 1} and {number + 1}",
                hint="each line's number is its token's id, so a token has one line",
            )
        vocabulary[token] = number
    if UNKNOWN not in vocabulary:
        raise LmwrightError(
            f"{file} holds no {UNKNOWN}", hint="a WordPiece vocabulary has one token a line"
        )
    return vocabulary


def convert(vocabulary: dict[str, int], config: dict[str, Any]) -> tokenizers.Tokenizer:
    """The tokenizer of a vocabulary, without special tokens around a text.

    Args:
        vocabulary: ids of the tokens.
        config: content of tokenizer_config.json, of which `do_lower_case`, `strip_accents` and
            `tokenize_chinese_chars` count. Without `do_lower_case` the vocabulary tells: one
            without capitals was made of lower-cased text.
    """
    words = vocabulary.keys() - set(SPECIAL_TOKENS)
    lower = not any(word != word.lower() for word in words if not word.startswith("["))
    lowercase = flag(config, "do_lower_case", lower)
    rust = tokenizers.Tokenizer(
        models.WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=LONGEST_WORD)
    )
    prepare(
        rust,
        lowercase=lowercase,
        strip_accents=flag(config, "strip_accents", lowercase),
        chinese=flag(config, "tokenize_chinese_chars", True),
    )
    rust.add_special_tokens([token for token in SPECIAL_TOKENS if token in vocabulary])
    return rust


def prepare(
    rust: tokenizers.Tokenizer,
    *,
    lowercase: bool,
    strip_accents: bool | None = None,
    chinese: bool = True,
) -> None:
    """Give a tokenizer BERT's cleaning, word cutting and joining of words.

    Args:
        rust: changed in place.
        lowercase: lower-case the text.
        strip_accents: take accents off; None: where the text is lower-cased.
        chinese: make each Chinese character a word.
    """
    rust.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=chinese,
        strip_accents=strip_accents,
        lowercase=lowercase,
    )
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.decoder = decoders.WordPiece("##", cleanup=True)


def surround(rust: tokenizers.Tokenizer) -> None:
    """Put `[CLS]` before a text and `[SEP]` after each part, where the vocabulary has both."""
    start, separator = rust.token_to_id(START), rust.token_to_id(SEPARATOR)
    if start is not None and separator is not None:
        rust.post_processor = processors.TemplateProcessing(
            single=f"{START} $A {SEPARATOR}",
            pair=f"{START} $A {SEPARATOR} $B:1 {SEPARATOR}:1",
            special_tokens=[(START, start), (SEPARATOR, separator)],
        )


def names(vocabulary: dict[str, int]) -> dict[str, Any]:
    """The special tokens, as tokenizer_config.json names them."""
    roles = {
        "pad_token": PAD,
        "unk_token": UNKNOWN,
        "cls_token": START,
        "sep_token": SEPARATOR,
        "mask_token": MASK,
    }
    return {role: token for role, token in roles.items() if token in vocabulary}
