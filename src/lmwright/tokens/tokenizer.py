"""Tokenizers in the Hugging Face layout: train, load, save, encode, decode."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from lmwright.core.errors import LmwrightError
from lmwright.core.files import write_json, write_text
from lmwright.tokens import chat, continuation, special, surface, vocabulary
from lmwright.tokens.guard import guard_special
from lmwright.tokens.library import encode_texts
from lmwright.tokens.published import open_folder
from lmwright.tokens.roles import special_roles
from lmwright.tokens.special import Encoded, Text, Truncation
from lmwright.tokens.stream import StreamDecoder
from lmwright.tokens.template import ChatTemplate, Message, check_messages
from lmwright.tokens.vocabulary import SPECIAL_TOKENS, chatml

__all__ = ["SPECIAL_TOKENS", "Tokenizer", "chatml", "load", "train"]


class Tokenizer:
    """Text to ids and back.

    Args:
        rust: the tokenizer of the `tokenizers` library.
        config: content of `tokenizer_config.json`; names `eos_token`, `pad_token` and so on.
            Where it names none, tokens with the usual names fill the roles.
        chat_template: Jinja text, or None for a tokenizer that knows no conversations.

    Attributes:
        rust: the tokenizer of the `tokenizers` library, for this room alone.
        vocab_size: V, one more than the largest id.
        special_tokens: names of the tokens that stand for no text.
        bos_token_id, unk_token_id: start of a document; text without a token; or None.
        cls_token_id: start of a text, of which classifiers read the state, or None.
        sep_token_id, mask_token_id: end of a part; a token to be guessed; or None.
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
        guard_special(rust)
        self.rust = rust
        self._config = config
        self._ids: dict[str, int] = rust.get_vocab(with_added_tokens=True)
        self.vocab_size = max(self._ids.values()) + 1
        self.chat_template = chat_template
        self.special_tokens = tuple(
            token.content for token in rust.get_added_tokens_decoder().values() if token.special
        )
        self._roles = special_roles(config, self.special_tokens)
        ids = {role: self.id_of(token) for role, token in self._roles.items()}
        self._eos, self._pad = ids.get("eos", ids.get("sep")), ids.get("pad")
        self.bos_token_id, self.unk_token_id = ids.get("bos"), ids.get("unk")
        self.cls_token_id, self.sep_token_id = ids.get("cls"), ids.get("sep")
        self.mask_token_id = ids.get("mask")

    @property
    def eos_token_id(self) -> int:
        """The end of a document; of an encoder's vocabulary the end of a part (`[SEP]`).

        Raises:
            LmwrightError: if the tokenizer has neither.
        """
        if self._eos is None:
            raise LmwrightError(
                "tokenizer_config.json names no eos_token",
                hint="without an end-of-document token a model would never stop",
            )
        return self._eos

    @property
    def pad_token_id(self) -> int:
        """What fills rows; the end of a document where no other is named.

        Raises:
            LmwrightError: if the tokenizer has neither.
        """
        return self.eos_token_id if self._pad is None else self._pad

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
        return encode_texts(self.rust, texts)

    def encode_continuations(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts that go on from other text: no space is put before them."""
        return encode_texts(self._bare, texts)

    def encode_prompt(self, text: str) -> list[int]:
        """Ids that a model continues: a text after the start token that it was trained to expect.

        Raises:
            LmwrightError: if the text is not Unicode.
        """
        return [*self._start, *self.encode(text)]

    def encode_with_special_tokens(
        self,
        text: Text,
        pair: Text | None = None,
        *,
        max_length: int | None = None,
        truncation: Truncation = "longest_first",
        is_split_into_words: bool = False,
    ) -> Encoded:
        """A text or a pair between the model's own special tokens; see `special.encode`.

        Raises:
            LmwrightError: if it is not Unicode, or `max_length` leaves no room for what is kept.
        """
        return special.encode(
            self,
            text,
            pair,
            max_length=max_length,
            truncation=truncation,
            is_split_into_words=is_split_into_words,
        )

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of ids; bytes that are not UTF-8 become U+FFFD, unknown ids nothing."""
        if skip_special_tokens and self._surface_is_bytes:
            # The library makes one U+FFFD of each byte of a broken run, streams one of the run.
            stream = self.stream_decoder()
            return "".join(map(stream.push, ids)) + stream.flush()
        text: str = self.rust.decode(list(ids), skip_special_tokens=skip_special_tokens)
        return text

    def stream_decoder(self) -> StreamDecoder:
        """A decoder that takes ids one at a time and gives text without special tokens.

        Raises:
            LmwrightError: if a token's text depends on what follows it.
        """
        return StreamDecoder(self.token_bytes, self._surface.first)

    @property
    def token_bytes(self) -> dict[int, bytes]:
        """The bytes of text that each id stands for after another; special tokens are absent.

        Raises:
            LmwrightError: if a token's text depends on what follows it.
        """
        return self._surface.later

    @cached_property
    def begins_word(self) -> NDArray[np.bool_]:
        """(V,) bool: which ids begin a word; see `surface.begins_word`."""
        return surface.begins_word(self.rust, self._surface, self.vocab_size)

    @cached_property
    def separates_words(self) -> bool:
        """Whether words that are encoded by themselves begin like words."""
        return special.separates_words(self.rust, self.begins_word)

    @cached_property
    def prefix(self) -> continuation.Prefix:
        """Where a space is put that is not in the text; see `continuation.Prefix`."""
        return continuation.prefix_of(self.rust)

    @cached_property
    def _bare(self) -> tokenizers.Tokenizer:
        return self.rust if self.prefix == "none" else continuation.without_prefix(self.rust)

    @cached_property
    def _start(self) -> list[int]:
        return special.start(self)

    @cached_property
    def _surface(self) -> surface.Surface:
        return surface.surface(self.rust)

    @cached_property
    def _surface_is_bytes(self) -> bool:
        return surface.has_byte_pieces(self.rust)

    @cached_property
    def template(self) -> ChatTemplate:
        """The chat template; LmwrightError if there is none, or it is not valid Jinja."""
        if self.chat_template is None:
            raise LmwrightError(
                "this tokenizer has no chat template",
                hint="it belongs to a base model: give it plain text, or train a chat model",
            )
        names = {f"{role}_token": self._roles.get(role, "") for role in ("bos", "eos")}
        return ChatTemplate(self.chat_template, special_tokens=self.special_tokens, variables=names)

    @cached_property
    def end_of_turn_id(self) -> int | None:
        """The special token that ends an assistant's turn; None if the template uses none."""
        if self.chat_template is None:
            return None
        return chat.end_of_turn(self)

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
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> list[int]:
        """Ids of a conversation: special tokens from the template's markup, none from contents.

        The ids before an assistant's turn are those that it was, or will be, generated from, so
        training and generation see the same prompt whatever the answer begins with.

        Args:
            messages: the turns, oldest first.
            add_generation_prompt: end with the markup that opens the assistant's next turn.
            tools: what the assistant may call; see `ChatTemplate.with_tools`.

        Raises:
            LmwrightError: if the messages are malformed or the template refuses them.
        """
        return chat.encode(self, messages, add_generation_prompt=add_generation_prompt, tools=tools)

    def save(self, folder: Path) -> None:
        """Write tokenizer.json, tokenizer_config.json and chat_template.jinja into `folder`."""
        folder = Path(folder)
        write_text(folder / "tokenizer.json", self.rust.to_str(pretty=True))
        write_json(folder / "tokenizer_config.json", self._config)
        if self.chat_template is not None:
            write_text(folder / "chat_template.jinja", self.chat_template)


def train(
    texts: Iterable[str],
    vocab_size: int,
    *,
    kind: vocabulary.Kind = "bpe",
    lowercase: bool = False,
) -> Tokenizer:
    """Learn a vocabulary; the same texts in the same order give the same tokenizer.

    Of "bpe" (on bytes, for decoders) ids 0, 1, 2 are the special tokens, then come the 256 bytes,
    then the merges in the order they were learned. "wordpiece" has BERT's special tokens first;
    "unigram" T5's `<pad>`, `</s>`, `<unk>` first and its sentinels `<extra_id_99>` to
    `<extra_id_0>` last.

    Args:
        texts: what to learn from.
        vocab_size: V; smaller when the texts hold too few pairs that occur twice.
        kind: how text is cut.
        lowercase: lower-case text and take its accents off; of "wordpiece" only.

    Raises:
        LmwrightError: if V has no room for the bytes or characters, or there is no text, or it is
            not Unicode.
    """
    learned = vocabulary.learn(texts, vocab_size, kind, lowercase=lowercase)
    return Tokenizer(learned.rust, learned.config, learned.chat_template)


def load(folder: str | Path) -> Tokenizer:
    """Open a folder with a tokenizer in any published format.

    tokenizer.json is preferred to what came before it; see `published.SOURCES`. Nothing in the
    folder is run, but for the chat template, in a sandbox.

    Raises:
        LmwrightError: if there is none, or a file is truncated or not what it should be.
    """
    opened = open_folder(Path(folder))
    return Tokenizer(opened.rust, opened.config, opened.chat_template)
