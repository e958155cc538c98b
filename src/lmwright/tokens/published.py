"""Folders with a tokenizer in any published format, opened without running anything of theirs.

Files are read as data, and only up to a size that no real vocabulary has.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import AddedToken, processors

from lmwright.core.errors import LmwrightError
from lmwright.tokens import byte_level, llama2c, sentencepiece, wordpiece
from lmwright.tokens.roles import ROLES, flag, token_name

# The largest published vocabulary, Gemma's tokenizer.json, has 33 MB.
LARGEST_BYTES = 256 * 2**20
# T5 hides spans behind one hundred tokens <extra_id_0> to <extra_id_99> that its file lacks.
T5_SENTINELS = 100
_MOST_SENTINELS = 10_000

# tokenizer_class of tokenizers that take a vocabulary's file as it stands. Others number or wrap
# its tokens in a way of their own, which only their tokenizer.json tells.
_PLAIN = frozenset({"PreTrainedTokenizer", "TokenizersBackend"})
_T5 = frozenset({"T5Tokenizer", "MT5Tokenizer"})
_LLAMA = frozenset({"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer"})
_BERT = frozenset({"BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer"})
_GPT2 = frozenset(
    {"GPT2Tokenizer", "RobertaTokenizer", "BartTokenizer", "LongformerTokenizer", "LEDTokenizer"}
)


class Opened(NamedTuple):
    """What a folder holds: the library's tokenizer, tokenizer_config.json, the chat template."""

    rust: tokenizers.Tokenizer
    config: dict[str, Any]
    chat_template: str | None


class Source(NamedTuple):
    """One format: the files it takes, the classes that use them as they stand, its reader."""

    files: tuple[str, ...]
    classes: frozenset[str]
    read: Callable[[list[Path], dict[str, Any]], tuple[tokenizers.Tokenizer, dict[str, Any]]]


def open_folder(folder: Path) -> Opened:
    """The tokenizer of a folder; tokenizer.json is preferred to the formats before it.

    Raises:
        LmwrightError: if there is none, or a file is damaged or asks for what is not supported.
    """
    config = _object(folder / "special_tokens_map.json")
    config = {key: value for key, value in config.items() if key.removesuffix("_token") in ROLES}
    config |= _object(folder / "tokenizer_config.json")
    template = _chat_template(folder, config)
    file = folder / "tokenizer.json"
    if file.exists():
        try:
            rust = tokenizers.Tokenizer.from_buffer(read_bytes(file))
        except Exception as error:
            if isinstance(error, LmwrightError):
                raise
            # The library raises nothing narrower.
            raise LmwrightError(f"{file} is not a tokenizer: {error}") from error
        return Opened(rust, config, template)
    source, files = _find(folder)
    _check_class(config, source, files[0])
    rust, names = source.read(files, config)
    _add_stated_tokens(rust, folder, config)
    return Opened(rust, names | config | {"tokenizer_class": "PreTrainedTokenizerFast"}, template)


def read_bytes(file: Path) -> bytes:
    """A file's content.

    Raises:
        LmwrightError: if it is missing, not a file, or larger than any tokenizer's.
    """
    if not file.is_file():
        raise LmwrightError(f"{file} is not a file" if file.exists() else f"{file} does not exist")
    size = file.stat().st_size
    if size > LARGEST_BYTES:
        raise LmwrightError(
            f"{file} has {size:,} bytes, more than any tokenizer's file",
            hint=f"at most {LARGEST_BYTES:,} bytes are read",
        )
    return file.read_bytes()


def _find(folder: Path) -> tuple[Source, list[Path]]:
    """The first format whose files are there."""
    halves: list[str] = []
    for source in SOURCES:
        files = [sorted(folder.glob(name)) for name in source.files]
        if all(files):
            if len(files[0]) > 1:
                several = ", ".join(file.name for file in files[0])
                raise LmwrightError(f"{folder} holds several tokenizers: {several}")
            return source, [file for found in files for file in found]
        halves += [
            f"{source.files[1 - place]} beside {source.files[place]}"
            for place, found in enumerate(files)
            if found
        ]
    if halves:
        raise LmwrightError(f"{folder} lacks {' and '.join(halves)}")
    looked_for = ", ".join(" with ".join(source.files) for source in SOURCES)
    raise LmwrightError(
        f"{folder} holds no tokenizer" if folder.is_dir() else f"{folder} is not a folder",
        hint=f"looked for tokenizer.json, {looked_for}",
    )


def _check_class(config: dict[str, Any], source: Source, file: Path) -> None:
    stated = config.get("tokenizer_class")
    if stated is not None and str(stated).removesuffix("Fast") not in source.classes | _PLAIN:
        raise LmwrightError(
            f"{file} belongs to a {stated}, which uses it in a way of its own",
            hint="its tokenizer.json is needed: transformers' save_pretrained writes it",
        )


def _sentencepiece(
    files: list[Path], config: dict[str, Any]
) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    """SentencePiece's pieces; a text begins with the start piece, or else ends with the end's."""
    model = sentencepiece.read(read_bytes(files[0]), files[0])
    rust = sentencepiece.convert(model, files[0])
    ends_texts = model.bos is None
    before = flag(config, "add_bos_token", not ends_texts)
    after = flag(config, "add_eos_token", ends_texts)
    bos, eos = model.bos if before else None, model.eos if after else None
    # A pair of T5's is all of one kind; LLaMA's second part is of the second.
    surround(rust, bos, eos, second_type=0 if ends_texts else 1)
    stated = str(config.get("tokenizer_class", "T5Tokenizer")).removesuffix("Fast")
    unigram = model.algorithm == sentencepiece.UNIGRAM
    like_t5 = ends_texts and unigram and stated in _T5
    count = config.get("extra_ids", T5_SENTINELS if like_t5 else 0)
    if type(count) is not int or not 0 <= count <= _MOST_SENTINELS:
        raise LmwrightError(f"tokenizer_config.json: extra_ids is {count!r}, not a small number")
    rust.add_special_tokens(sentinels(count))
    named = {"bos": model.bos, "eos": model.eos, "pad": model.pad, "unk": model.unknown}
    return rust, {f"{role}_token": name for role, name in named.items() if name is not None}


def sentinels(count: int) -> list[str]:
    """T5's tokens for hidden spans in the order of their ids: `<extra_id_0>` is the last."""
    return [f"<extra_id_{number}>" for number in reversed(range(count))]


def surround(
    rust: tokenizers.Tokenizer, before: str | None, after: str | None, *, second_type: int
) -> None:
    """Put tokens around each part of a text or pair.

    Args:
        rust: changed in place.
        before, after: the tokens; None for none.
        second_type: token_type_id of a pair's second part.
    """
    around = [token for token in (before, after) if token is not None]
    if not around:
        return

    def part(letter: str, kind: int) -> list[str]:
        return [f"{p}:{kind}" for p in (before, f"${letter}", after) if p is not None]

    rust.post_processor = processors.TemplateProcessing(
        single=part("A", 0),
        pair=part("A", 0) + part("B", second_type),
        special_tokens=[(token, rust.token_to_id(token)) for token in dict.fromkeys(around)],
    )


def _wordpiece(
    files: list[Path], config: dict[str, Any]
) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    vocabulary = wordpiece.read(read_bytes(files[0]), files[0])
    rust = wordpiece.convert(vocabulary, config)
    wordpiece.surround(rust)
    return rust, wordpiece.names(vocabulary)


def _byte_level(
    files: list[Path], config: dict[str, Any]
) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    vocabulary = byte_level.read_vocabulary(read_bytes(files[0]), files[0])
    merges = byte_level.read_merges(read_bytes(files[1]), files[1])
    prefix = flag(config, "add_prefix_space", False)
    return (
        byte_level.convert(vocabulary, merges, files[1], prefix=prefix),
        byte_level.names(vocabulary),
    )


def _llama2c(
    files: list[Path], config: dict[str, Any]
) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    rust = llama2c.convert(llama2c.read(read_bytes(files[0]), files[0]), files[0])
    surround(rust, llama2c.START, None, second_type=1)
    return rust, llama2c.names()


SOURCES = (
    Source(("tokenizer.model",), _LLAMA | _T5, _sentencepiece),
    Source(("spiece.model",), _LLAMA | _T5, _sentencepiece),
    Source(("vocab.txt",), _BERT, _wordpiece),
    Source(("vocab.json", "merges.txt"), _GPT2, _byte_level),
    Source(("encoder.json", "vocab.bpe"), _GPT2, _byte_level),
    Source(("tok*.bin",), frozenset(), _llama2c),
)
"""The formats besides tokenizer.json, in the order in which they are looked for."""


def _add_stated_tokens(rust: tokenizers.Tokenizer, folder: Path, config: dict[str, Any]) -> None:
    """Tokens given to a model after its vocabulary was made, at the ids they are said to have.

    Raises:
        LmwrightError: if one would get another id.
    """
    stated: dict[int, AddedToken] = {}
    file = folder / "added_tokens.json"
    for name, token_id in _object(file).items():
        if type(token_id) is not int:
            raise LmwrightError(f"{file}: the id of {name!r} is {token_id!r}, not a number")
        stated[token_id] = AddedToken(name, special=True, normalized=False)
    decoder = config.get("added_tokens_decoder", {})
    for number, entry in decoder.items() if isinstance(decoder, dict) else []:
        content = token_name({"token": entry}, "token")
        if content is not None and number.isdecimal():
            special = isinstance(entry, dict) and bool(entry.get("special"))
            stated[int(number)] = AddedToken(content, special=special, normalized=False)
    for token_id, token in sorted(stated.items()):
        add = rust.add_special_tokens if token.special else rust.add_tokens
        add([token])
        if rust.token_to_id(token.content) != token_id:
            raise LmwrightError(
                f"{folder}: the added token {token.content!r} is said to be {token_id}, and its "
                f"place in the vocabulary is {rust.token_to_id(token.content)}",
                hint="the vocabulary belongs to another model, or it is cut short",
            )


def _object(file: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is no such file."""
    if not file.exists():
        return {}
    try:
        value = json.loads(read_bytes(file).decode("utf-8"))
    except ValueError as error:
        raise LmwrightError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise LmwrightError(f"{file} is not a JSON object")
    return value


def _chat_template(folder: Path, config: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.exists():
        try:
            return read_bytes(file).decode("utf-8")
        except UnicodeDecodeError as error:
            raise LmwrightError(f"{file} is not UTF-8 text: {error}") from error
    value = config.get("chat_template")
    if isinstance(value, list):  # several, by name
        named = [entry for entry in value if isinstance(entry, dict)]
        found = (e.get("template") for e in named if e.get("name") == "default")
        value = next(found, None)
    if value is not None and not isinstance(value, str):
        raise LmwrightError("tokenizer_config.json: chat_template is not a text")
    return value
