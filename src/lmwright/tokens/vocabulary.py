"""Learning a vocabulary from texts: byte-level BPE, WordPiece, unigram."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from itertools import chain
from typing import Any, Literal, NamedTuple, TypeAlias

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from lmwright.core import parts
from lmwright.core.errors import LmwrightError
from lmwright.tokens import bpe, wordpiece
from lmwright.tokens.bpe import MIN_PAIR_COUNT
from lmwright.tokens.byte_level import END_OF_TEXT
from lmwright.tokens.library import not_unicode
from lmwright.tokens.published import T5_SENTINELS, sentinels, surround
from lmwright.tokens.scored_bpe import space_decoder
from lmwright.tokens.sentencepiece import MARK, normalizer

Kind: TypeAlias = Literal["bpe", "wordpiece", "unigram"]
"""How text is cut: what GPT, BERT and T5 do."""

START_OF_TURN = "<|im_start|>"
END_OF_TURN = "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, START_OF_TURN, END_OF_TURN)

# Where words may be cut before merging: contractions, letters with one leading sign, single
# digits, punctuation with its line end, line ends, white space. It is the pattern of GPT-4's
# family as Qwen published it: digits one by one, so that numbers are spelled alike everywhere.
WORD_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + 256
# Characters that get tokens of their own where there are no bytes to spell the others with; a
# Chinese character in an English corpus is better unknown than a row of the embedding.
MOST_CHARACTERS = 1000
# T5's special tokens, at its ids.
_PAD, _END, _UNKNOWN = _T5_SPECIAL = ("<pad>", "</s>", "<unk>")


class Learned(NamedTuple):
    """The library's tokenizer, tokenizer_config.json, the chat template."""

    rust: tokenizers.Tokenizer
    config: dict[str, Any]
    chat_template: str | None


def learn(texts: Iterable[str], vocab_size: int, kind: Kind, *, lowercase: bool) -> Learned:
    """A vocabulary of at most `vocab_size` tokens; `lmwright.tokens.tokenizer.train` tells more.

    Raises:
        LmwrightError: if V has no room for what it must hold, there is no text, or it is not
            Unicode.
    """
    if lowercase and kind != "wordpiece":
        raise LmwrightError(f"lowercase is for wordpiece vocabularies, and this one is {kind}")
    checked = _checked(texts)
    try:
        if kind == "bpe":
            return _byte_level_bpe(checked, vocab_size)
        common = _common_characters(list(checked))
        if kind == "wordpiece":
            return _wordpiece(common, vocab_size, lowercase=lowercase)
        return _unigram(common, vocab_size)
    except UnicodeEncodeError as error:
        raise not_unicode() from error


def _byte_level_bpe(texts: Iterable[str], vocab_size: int) -> Learned:
    """Byte-level BPE (Sennrich et al. 2016; on bytes, Radford et al. 2019)."""
    if vocab_size < SMALLEST_VOCABULARY:
        raise LmwrightError(
            f"vocab_size {vocab_size} is too small: {len(SPECIAL_TOKENS)} special tokens and 256 "
            f"bytes need {SMALLEST_VOCABULARY}"
        )
    rust = tokenizers.Tokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    rust.decoder = decoders.ByteLevel()
    if parts.in_use("lmwright.tokens.bpe:BytePairs"):
        _merge_in_python(rust, texts, vocab_size)
    else:
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=MIN_PAIR_COUNT,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        rust.train_from_iterator(texts, trainer=trainer)
    named = {"eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT}
    return Learned(rust, _config(named, [START_OF_TURN, END_OF_TURN], chatml()), chatml())


def _merge_in_python(rust: tokenizers.Tokenizer, texts: Iterable[str], vocab_size: int) -> None:
    """Give the tokenizer the merges that `tokens.bpe` learns: the library's, more slowly."""
    # Equally frequent pairs are merged by their ids, and the library numbers bytes in the order of
    # the visible characters that stand for them.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    numbers = str.maketrans({character: chr(i) for i, character in enumerate(alphabet)})
    visible = str.maketrans(dict(enumerate(alphabet)))
    pieces = (rust.pre_tokenizer.pre_tokenize_str(text) for text in texts)
    counts = Counter(word for words in pieces for word, _ in words)
    words = {word.translate(numbers).encode("latin-1"): n for word, n in counts.items()}
    learned = bpe.BytePairs.train(words, vocab_size - len(SPECIAL_TOKENS))
    merges = [
        (left.decode("latin-1").translate(visible), right.decode("latin-1").translate(visible))
        for left, right in learned.merges
    ]
    tokens = dict.fromkeys([*SPECIAL_TOKENS, *alphabet, *map("".join, merges)])
    rust.model = models.BPE({token: number for number, token in enumerate(tokens)}, merges)
    rust.add_special_tokens(list(SPECIAL_TOKENS))


def _wordpiece(texts: Iterable[str], vocab_size: int, *, lowercase: bool) -> Learned:
    """WordPiece with BERT's special tokens, at ids 0 to 4.

    The pieces are those of BPE inside words, as the `tokenizers` library learns them; Wu et al.
    (2016) choose by likelihood, which BERT's authors never published.
    """
    texts, special = list(texts), list(wordpiece.SPECIAL_TOKENS)
    # The library numbers the characters in an order that changes from run to run: they are
    # learned alone first, and given to it in order.
    alone = _word_pieces(texts, 0, special, lowercase=lowercase)
    first = special + sorted(alone.keys() - set(special))
    pieces = _word_pieces(texts, vocab_size, first, lowercase=lowercase)
    rust = wordpiece.convert(pieces, {"do_lower_case": lowercase})
    _check_size(rust, vocab_size)
    wordpiece.surround(rust)
    named = wordpiece.names(rust.get_vocab())
    return Learned(rust, _config(named, []) | {"do_lower_case": lowercase}, None)


def _word_pieces(
    texts: Iterable[str], vocab_size: int, first: list[str], *, lowercase: bool
) -> dict[str, int]:
    """Ids of the pieces learned, `first` before the others.

    From a fresh tokenizer: one that knows special tokens would keep their names in the texts.
    """
    rust = tokenizers.Tokenizer(models.WordPiece(unk_token=wordpiece.UNKNOWN))
    wordpiece.prepare(rust, lowercase=lowercase)
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=MIN_PAIR_COUNT,
        special_tokens=first,
        continuing_subword_prefix="##",
        show_progress=False,
    )
    rust.train_from_iterator(texts, trainer=trainer)
    return rust.get_vocab()


def _unigram(texts: Iterable[str], vocab_size: int) -> Learned:
    """Unigram pieces (Kudo 2018) with T5's special tokens: three first, 100 sentinels last.

    Texts are brought to Unicode's NFKC form and white space to single spaces, as T5's are.
    """
    rust = tokenizers.Tokenizer(models.Unigram())
    rust.normalizer = normalizer(
        [
            normalizers.NFKC(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Replace(Regex(r"\p{Cc}"), ""),
        ],
        prefix=True,
        collapse=True,
    )
    rust.pre_tokenizer = pre_tokenizers.Metaspace(MARK, "never", split=True)
    rust.decoder = space_decoder(MARK, leading_space=True, byte_pieces=False)
    trainer = trainers.UnigramTrainer(
        vocab_size=max(1, vocab_size - T5_SENTINELS),
        special_tokens=list(_T5_SPECIAL),
        unk_token=_UNKNOWN,
        show_progress=False,
    )
    try:
        rust.train_from_iterator(texts, trainer=trainer)
    except Exception as error:
        if type(error) is not Exception:  # the library raises nothing narrower
            raise
        raise LmwrightError(
            f"vocab_size {vocab_size} is too small: {T5_SENTINELS} sentinels, three special "
            "tokens and the texts' characters need more"
        ) from error
    rust.model = _in_order(rust)
    rust.add_special_tokens(sentinels(T5_SENTINELS))
    _check_size(rust, vocab_size)
    surround(rust, None, _END, second_type=0)
    named = {"pad_token": _PAD, "eos_token": _END, "unk_token": _UNKNOWN}
    return Learned(rust, _config(named, sentinels(T5_SENTINELS)), None)


def _in_order(rust: tokenizers.Tokenizer) -> models.Unigram:
    """The pieces learned, the likeliest first, equal ones by name.

    The library adds words' counts up in an order that changes from run to run, so that the last
    digits of scores do.
    """
    pieces = json.loads(rust.to_str())["model"]["vocab"]
    rounded = sorted((-round(score, 6), text) for text, score in pieces[len(_T5_SPECIAL) :])
    scored = [(text, -minus) for minus, text in rounded]
    return models.Unigram(
        [*((text, 0.0) for text in _T5_SPECIAL), *scored], _T5_SPECIAL.index(_UNKNOWN)
    )


def chatml() -> str:
    """The chat template of our own tokenizers (OpenAI's ChatML), as Jinja text."""
    return files("lmwright.tokens").joinpath("chat_template.jinja").read_text("utf-8")


def _checked(texts: Iterable[str]) -> Iterator[str]:
    """The texts as they come; an error at the end if there was nothing to learn from."""
    empty = True
    for text in texts:
        empty = empty and not text
        yield text
    if empty:
        raise LmwrightError("there is no text to train a tokenizer on")


def _common_characters(texts: Sequence[str]) -> Iterator[str]:
    """The texts with spaces in place of rare characters, so that no piece holds one."""
    counts = Counter(chain.from_iterable(texts))
    rare = {ord(character): " " for character, _ in counts.most_common()[MOST_CHARACTERS:]}
    return (text.translate(rare) for text in texts) if rare else iter(texts)


def _check_size(rust: tokenizers.Tokenizer, vocab_size: int) -> None:
    needed = rust.get_vocab_size()
    if needed > vocab_size:
        raise LmwrightError(
            f"vocab_size {vocab_size} is too small: the special tokens and the texts' characters "
            f"alone need {needed}"
        )


def _config(
    named: dict[str, Any], extra: list[str], chat_template: str | None = None
) -> dict[str, Any]:
    """Content of tokenizer_config.json."""
    config = {
        # The class that takes tokenizer.json as it stands, rather than one that rebuilds a
        # family's own pre-tokenizer around the vocabulary.
        "tokenizer_class": "PreTrainedTokenizerFast",
        **named,
        "clean_up_tokenization_spaces": False,
    }
    config |= {"extra_special_tokens": extra} if extra else {}
    return config | ({"chat_template": chat_template} if chat_template else {})
