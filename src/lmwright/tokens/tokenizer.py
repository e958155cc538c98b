"""Byte-level BPE tokenizers in the Hugging Face layout: train, load, save, encode, decode."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json, write_json, write_text
from lmwright.tokens import chat
from lmwright.tokens.pieces import assistant_turns, split
from lmwright.tokens.stream import StreamDecoder, byte_of_character
from lmwright.tokens.template import ChatTemplate, Message, check_messages

END_OF_TEXT = "<|endoftext|>"
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
# A merge seen only once says nothing about the next text.
MIN_PAIR_COUNT = 2
SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + 256


class Tokenizer:
    """Text to ids and back.

    Args:
        rust: the tokenizer of the `tokenizers` library.
        config: content of `tokenizer_config.json`; names `eos_token` and perhaps `pad_token`,
            `bos_token`.
        chat_template: Jinja text, or None for a tokenizer that knows no conversations.

    Attributes:
        vocab_size: V, one more than the largest id.
        eos_token_id: end of a document.
        pad_token_id: what fills rows; the end of a document where no other is named.
        bos_token_id: start of a document, or None.
        chat_template: the Jinja text, or None.

    Raises:
        LmwrightError: if a token named in the config is not in the vocabulary.
    """

    def __init__(
        self, rust: tokenizers.Tokenizer, config: dict[str, Any], chat_template: str | None = None
    ) -> None:
        rust.no_truncation()
        rust.no_padding()
        # Special tokens inside a text stay text. Only markup becomes special, and it is looked
        # up by id (`encode_chat`), never found by the encoder.
        rust.encode_special_tokens = True
        self._rust = rust
        self._config = config
        self._ids: dict[str, int] = rust.get_vocab(with_added_tokens=True)
        self.vocab_size = max(self._ids.values()) + 1
        self.chat_template = chat_template
        self.special_tokens = tuple(
            token.content for token in rust.get_added_tokens_decoder().values() if token.special
        )
        eos, pad, bos = (_token_name(config, f"{name}_token") for name in ("eos", "pad", "bos"))
        if eos is None:
            raise LmwrightError(
                "tokenizer_config.json names no eos_token",
                hint="without an end-of-document token a model would never stop",
            )
        self.eos_token_id = self.id_of(eos)
        self.pad_token_id = self.eos_token_id if pad is None else self.id_of(pad)
        self.bos_token_id = None if bos is None else self.id_of(bos)

    def id_of(self, token: str) -> int:
        """The id of a token given by name, such as "<|im_end|>"."""
        if token not in self._ids:
            raise LmwrightError(
                f"the tokenizer has no token {token!r}",
                hint="tokenizer.json must hold every token that tokenizer_config.json names",
            )
        return self._ids[token]

    def encode(self, text: str) -> list[int]:
        """Ids of a text; text that looks like a special token stays text.

        Raises:
            LmwrightError: if the text holds half a surrogate pair, which UTF-8 cannot write.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, on every core."""
        try:
            encoded = self._rust.encode_batch_fast(list(texts), add_special_tokens=False)
        except TypeError as error:
            raise _not_unicode() from error
        return [encoding.ids for encoding in encoded]

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of ids; bytes that are not UTF-8 become U+FFFD, unknown ids nothing."""
        text: str = self._rust.decode(list(ids), skip_special_tokens=skip_special_tokens)
        return text

    def stream_decoder(self) -> StreamDecoder:
        """A decoder that takes ids one at a time and gives text without special tokens.

        Raises:
            LmwrightError: if the vocabulary is not byte-level.
        """
        return StreamDecoder(self.token_bytes)

    @cached_property
    def token_bytes(self) -> dict[int, bytes]:
        """The bytes of text that each id stands for; special tokens are absent.

        Raises:
            LmwrightError: if the vocabulary is not byte-level.
        """
        if not isinstance(self._rust.decoder, decoders.ByteLevel):
            raise LmwrightError(
                f"a byte-level tokenizer is needed, and this one is {self._rust.decoder}"
            )
        byte_of = byte_of_character()
        added = self._rust.get_added_tokens_decoder()
        table = {
            token_id: bytes(byte_of[character] for character in token)
            for token, token_id in self._ids.items()
            if token_id not in added
        }
        spoken = {i: t.content.encode() for i, t in added.items() if not t.special}
        return table | spoken

    @cached_property
    def template(self) -> ChatTemplate:
        """The chat template, ready to render.

        Raises:
            LmwrightError: if there is none, or it is not valid Jinja.
        """
        if self.chat_template is None:
            raise LmwrightError(
                "this tokenizer has no chat template",
                hint="it belongs to a base model: give it plain text, or train a chat model",
            )
        names = {key: _token_name(self._config, key) for key in ("bos_token", "eos_token")}
        return ChatTemplate(
            self.chat_template,
            special_tokens=self.special_tokens,
            variables={key: name or "" for key, name in names.items()},
        )

    @cached_property
    def end_of_turn_id(self) -> int | None:
        """The special token that ends an assistant's turn; None if the template uses none."""
        if self.chat_template is None:
            return None
        probe = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        turns = [turn for turn in assistant_turns(self.template, probe) if turn is not None]
        pieces = split(self.template, probe, turns)
        ends = [piece.text for piece in pieces if piece.special and piece.trained]
        return self.id_of(ends[-1]) if ends else None

    def render_chat(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = False
    ) -> str:
        """The conversation as the template writes it; to be read, not to be encoded.

        Raises:
            LmwrightError: if the messages are malformed or the template refuses them.
        """
        check_messages(messages)
        return self.template.render(messages, add_generation_prompt=add_generation_prompt)

    def encode_chat(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True
    ) -> list[int]:
        """Ids of a conversation: special tokens from the template's markup, none from contents.

        The ids before an assistant's turn are those that it was, or will be, generated from, so
        training and generation see the same prompt whatever the answer begins with.

        Raises:
            LmwrightError: if the messages are malformed or the template refuses them.
        """
        return chat.encode(self, messages, add_generation_prompt=add_generation_prompt)

    def save(self, folder: Path) -> None:
        """Write tokenizer.json, tokenizer_config.json and chat_template.jinja into `folder`."""
        folder = Path(folder)
        write_text(folder / "tokenizer.json", self._rust.to_str(pretty=True))
        write_json(folder / "tokenizer_config.json", self._config)
        if self.chat_template is not None:
            write_text(folder / "chat_template.jinja", self.chat_template)


def train(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn a byte-level BPE vocabulary (Sennrich et al. 2016; on bytes, Radford et al. 2019).

    The same texts in the same order give the same tokenizer. Ids 0, 1, 2 are the special tokens,
    then come the 256 bytes, then the merges in the order they were learned.

    Args:
        texts: what to learn from.
        vocab_size: V; smaller when the texts hold too few pairs that occur twice.

    Raises:
        LmwrightError: if V has no room for the bytes, or there is no text, or it is not Unicode.
    """
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
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=MIN_PAIR_COUNT,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    try:
        rust.train_from_iterator(_checked(texts), trainer=trainer)
    except UnicodeEncodeError as error:
        raise _not_unicode() from error
    return Tokenizer(rust, _config(), chatml())


def chatml() -> str:
    """The chat template of our own tokenizers (OpenAI's ChatML), as Jinja text."""
    return files("lmwright.tokens").joinpath("chat_template.jinja").read_text("utf-8")


def load(folder: str | Path) -> Tokenizer:
    """Open a folder with tokenizer.json, tokenizer_config.json and perhaps chat_template.jinja.

    Raises:
        LmwrightError: if a file is missing, truncated or not what it should be.
    """
    folder = Path(folder)
    file = folder / "tokenizer.json"
    if not file.exists():
        raise LmwrightError(
            f"{file} does not exist", hint="a tokenizer folder holds tokenizer.json"
        )
    config = read_json(folder / "tokenizer_config.json")
    if not isinstance(config, dict):
        raise LmwrightError(f"{folder / 'tokenizer_config.json'} is not a JSON object")
    try:
        rust = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise LmwrightError(f"{file} is not a tokenizer: {error}") from error
    return Tokenizer(rust, config, _template_of(folder, config))


def _checked(texts: Iterable[str]) -> Iterator[str]:
    """The texts as they come; an error at the end if there was nothing to learn from."""
    empty = True
    for text in texts:
        empty = empty and not text
        yield text
    if empty:
        raise LmwrightError("there is no text to train a tokenizer on")


def _not_unicode() -> LmwrightError:
    return LmwrightError(
        "a text is not valid Unicode: it holds half a surrogate pair",
        hint="read the file with the right encoding, or remove the character",
    )


def _config() -> dict[str, Any]:
    return {
        # The class that takes tokenizer.json as it stands, rather than one that rebuilds a
        # family's own pre-tokenizer around the vocabulary.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "extra_special_tokens": [START_OF_TURN, END_OF_TURN],
        "clean_up_tokenization_spaces": False,
        "chat_template": chatml(),
    }


def _token_name(config: dict[str, Any], key: str) -> str | None:
    """A token named in tokenizer_config.json, which may hold a text or an object."""
    value = config.get(key)
    if isinstance(value, dict):
        value = value.get("content")
    if value is not None and not isinstance(value, str):
        raise LmwrightError(f"tokenizer_config.json: {key} is {value!r}, not a token")
    return value


def _template_of(folder: Path, config: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.exists():
        return file.read_text(encoding="utf-8")
    value = config.get("chat_template")
    if isinstance(value, list):  # several, by name
        value = next((entry["template"] for entry in value if entry["name"] == "default"), None)
    return value
