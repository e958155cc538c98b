"""What the `tokenizers` library is asked, with its errors told as ours."""

from collections.abc import Sequence

import tokenizers

from lmwright.core.errors import LmwrightError


def encode_texts(rust: tokenizers.Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Ids of texts without special tokens around them, on every core.

    Raises:
        LmwrightError: if a text holds half a surrogate pair, which UTF-8 cannot write.
    """
    try:
        encoded = rust.encode_batch_fast(list(texts), add_special_tokens=False)
    except TypeError as error:
        raise not_unicode() from error
    return [encoding.ids for encoding in encoded]


def not_unicode() -> LmwrightError:
    """What to raise where a text cannot be written as UTF-8."""
    return LmwrightError(
        "a text is not valid Unicode: it holds half a surrogate pair",
        hint="read the file with the right encoding, or remove the character",
    )
