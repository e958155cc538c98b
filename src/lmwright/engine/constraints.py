"""Answers that belong to a language: JSON, a schema's values, an expression's or a grammar's texts.

llguidance (Earley parser over a lexer of regular expressions) tells which tokens may come next.
"""

import functools
import weakref
from collections.abc import Collection, Iterable

import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.engine.closing import Closing
from lmwright.engine.params import Constraint
from lmwright.tokens.tokenizer import Tokenizer

# Between the parts of a JSON text: one space, or a new line and its indentation, at most once a
# place. Endless white space is valid JSON, and untrained or confused models do write it.
WHITE_SPACE = r"\x20|\n(\x20{0,24}|\t{0,8})"
# Elsewhere (in strings, and where a user's expression allows more): so many tokens of nothing but
# white space in a row, then another token, if the grammar allows one.
BLANK_TOKENS = 8
# Tokens kept free beyond what ending the answer now would take: one token may open several things
# that all have to be closed.
SPARE_TOKENS = 32
# Compiled grammars kept for the next request; one takes up to a few megabytes.
GRAMMARS_KEPT = 32

_LIMITS = LLParserLimits(verbose_errors=False)


class _Tokens:
    """A tokenizer in the shape that llguidance asks for; it is kept as long as llguidance's."""

    bos_token_id: int | None = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        texts, size = tokenizer.token_bytes, tokenizer.vocab_size
        names = {i: tokenizer.rust.id_to_token(i) or "" for i in range(size) if i not in texts}
        # What stands for no text is named, so that a grammar may ask for it: <|im_end|>.
        self.tokens = [texts[i] if i in texts else names[i].encode() for i in range(size)]
        self.special_token_ids = [i for i, name in names.items() if name]
        self.eos_token_id = tokenizer.eos_token_id
        # Vocabularies are forgotten when their tokenizer is: nothing here may keep it.
        self._tokenizer = weakref.ref(tokenizer)

    def __call__(self, text: bytes) -> list[int]:
        """Ids of UTF-8 text that goes on from other text, as far as they spell it.

        llguidance forces them where only one text is possible: an unknown token must not be one.
        """
        tokenizer = self._tokenizer()
        assert tokenizer is not None, "the tokenizer's owner keeps it"
        ids, spelled = tokenizer.encode_continuations([text.decode()])[0], 0
        for place, token in enumerate(ids):
            piece = tokenizer.token_bytes.get(token)
            if not piece or not text.startswith(piece, spelled):
                return ids[:place]
            spelled += len(piece)
        return ids


class Vocabulary:
    """A tokenizer as llguidance reads it, and what constraints ask of its tokens.

    Args:
        tokenizer: of any published format; its own table of bytes is used, in which byte-level
            letters, metaspaces and byte pieces are read already.

    Raises:
        LmwrightError: if a token's text depends on what follows it, or no token ends a text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        texts = tokenizer.token_bytes
        self.size = tokenizer.vocab_size
        self.eos_token_id = tokenizer.eos_token_id
        self.text_of = [texts.get(i, b"") for i in range(self.size)]
        self.blank = _mask(self.size, (i for i, text in texts.items() if text.isspace()))
        # A text's first token loses its leading space in some vocabularies: what the grammar saw
        # would not be what the reader sees.
        spaced = [i for i, text in texts.items() if text.startswith(b" ")]
        self.changed_at_start = _mask(self.size, (i for i in spaced if _loses_space(tokenizer, i)))
        self.guidance = LLTokenizer(TokenizerWrapper(_Tokens(tokenizer)))
        single = {text[0]: i for i, text in texts.items() if len(text) == 1}
        self.closing = Closing(self.guidance, single)
        self.grammar = functools.lru_cache(maxsize=GRAMMARS_KEPT)(self._grammar)

    def _grammar(self, constraint: Constraint) -> "Grammar":
        try:
            source = _source(constraint)
        except ValueError as error:
            raise _invalid(constraint, str(error)) from error
        invalid, messages = LLMatcher.validate_grammar_with_warnings(
            source, self.guidance, limits=_LIMITS
        )
        if invalid:
            raise _invalid(constraint, messages[0])
        matcher = LLMatcher(self.guidance, source, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            raise _invalid(constraint, matcher.get_error())
        return Grammar(constraint, self, matcher)


_VOCABULARIES: "weakref.WeakKeyDictionary[Tokenizer, Vocabulary]" = weakref.WeakKeyDictionary()


class Grammar:
    """A constraint, compiled for a vocabulary; made by `compile`."""

    def __init__(self, constraint: Constraint, vocabulary: Vocabulary, start: LLMatcher) -> None:
        self.constraint = constraint
        self._vocabulary = vocabulary
        self._start = start

    @classmethod
    def compile(cls, constraint: Constraint, tokenizer: Tokenizer) -> "Grammar":
        """Compile a constraint, or find it compiled already.

        The first constraint of a tokenizer takes the time to read its vocabulary.

        Raises:
            LmwrightError: if it is not valid, asks for what llguidance does not know, or no answer
                could satisfy it.
        """
        vocabulary = _VOCABULARIES.get(tokenizer)
        if vocabulary is None:
            vocabulary = _VOCABULARIES.setdefault(tokenizer, Vocabulary(tokenizer))
        return vocabulary.grammar(constraint)

    def matcher(self, *, end_ids: Collection[int] = (), most: int | None = None) -> "Matcher":
        """One answer's way through the grammar, at its start.

        Args:
            end_ids: tokens that end the answer; none: the tokenizer's end of text.
            most: tokens of the answer; JSON is closed in time. None: whatever it takes.

        Raises:
            LmwrightError: if the vocabulary has no token that the answer could begin with.
        """
        json = self.constraint.kind in ("json_object", "json_schema")
        ends = frozenset(end_ids) or {self._vocabulary.eos_token_id}
        return Matcher(self._start.deep_copy(), self._vocabulary, ends, most if json else None)


class Matcher:
    """Which tokens may come next; see `sampling.Matcher`.

    Args:
        matcher: at the start of the answer, for this one alone.
        vocabulary: its tokens.
        end_ids: tokens that end the answer, allowed where the grammar is complete.
        most: tokens to close a JSON answer within; None: no matter.

    Raises:
        LmwrightError: if no token can begin.
    """

    mask: Tensor

    def __init__(
        self, matcher: LLMatcher, vocabulary: Vocabulary, end_ids: Collection[int], most: int | None
    ) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._end_ids = frozenset(end_ids)
        self._ends = torch.tensor(sorted(end_ids))
        self._text = bytearray()
        self._blank_run = 0
        self._left = most
        self._check_in = 0
        self._closing: list[int] = []
        self.mask = self._next_mask()

    def advance(self, token_id: int) -> None:
        """Take a token.

        Raises:
            LmwrightError: if it was not allowed, or nothing can follow it.
        """
        if token_id in self._end_ids:
            return
        if not self._matcher.consume_token(token_id):
            raise self._stopped()
        blank = bool(self._vocabulary.blank[token_id])
        self._blank_run = self._blank_run + 1 if blank else 0
        self._text += self._vocabulary.text_of[token_id]
        if self._left is not None:
            self._left -= 1
        self.mask = self._next_mask()

    def _next_mask(self) -> Tensor:
        forced = self._forced()
        if forced is not None:
            return _mask(self._vocabulary.size, [forced])
        allowed = torch.frombuffer(
            bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8
        ).bool()
        if self._matcher.is_error():
            raise self._stopped()
        complete = bool(allowed[self._vocabulary.eos_token_id])
        allowed[self._vocabulary.eos_token_id] = False
        allowed[self._ends[self._ends < len(allowed)]] = complete
        if not self._text:
            allowed &= ~self._vocabulary.changed_at_start
        if self._blank_run >= BLANK_TOKENS and (allowed & ~self._vocabulary.blank).any():
            allowed &= ~self._vocabulary.blank
        if not allowed.any():
            raise self._dead_end()
        return allowed

    def _stopped(self) -> LmwrightError:
        error = _first_line(self._matcher.get_error())
        # llguidance's name for it: the text is not complete, and no token goes on.
        if error == "NoExtensionBias":
            return self._dead_end()
        return LmwrightError(f"the constraint stopped: {error}")

    def _dead_end(self) -> LmwrightError:
        written = bytes(self._text[-40:])
        return LmwrightError(
            f"no token of the vocabulary can follow {written!r} under the constraint",
            hint="a vocabulary without single bytes cannot write every text",
        )

    def _forced(self) -> int | None:
        """The next token of the plan to end the answer, once there is no room for another."""
        if self._left is None or self._left <= 0:
            return None
        if self._closing:
            return self._closing.pop(0)
        if self._check_in > 0:
            self._check_in -= 1
            return None
        plan = self._vocabulary.closing.plan(self._matcher, bytes(self._text))
        if plan is None or len(plan) > self._left:
            # Not to be had: perhaps after more tokens.
            self._check_in = SPARE_TOKENS // 4
            return None
        room = self._left - len(plan) - SPARE_TOKENS
        if room > 0:
            # A token that opens something takes one and asks for a few more to close it.
            self._check_in = room // 4
            return None
        if not plan:
            return min(self._end_ids)
        self._closing = plan
        return self._closing.pop(0)


def _source(constraint: Constraint) -> str:
    """The constraint as llguidance reads it; ValueError if it cannot be read at all."""
    if constraint.kind == "regex":
        return LLMatcher.grammar_from_regex(constraint.text)
    if constraint.kind == "grammar":
        return LLMatcher.grammar_from_lark(constraint.text)
    schema = constraint.text or '{"type": "object"}'
    return LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_pattern": WHITE_SPACE})


def _invalid(constraint: Constraint, message: str) -> LmwrightError:
    what = {"regex": "regular expression", "json_schema": "JSON schema"}
    hint = "it matches the whole answer: leave ^ and $ out" if constraint.kind == "regex" else None
    return LmwrightError(
        f"the {what.get(constraint.kind, constraint.kind)} cannot be used: {_first_line(message)}",
        hint=hint,
    )


def _first_line(message: str) -> str:
    """What is wrong; llguidance may put a drawing of where before and after it."""
    lines = message.strip().splitlines() or ["without saying why"]
    told = (line.removeprefix("error: ") for line in lines if line.startswith("error: "))
    return next(told, lines[0])


def _mask(size: int, ids: Iterable[int]) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[list(ids)] = True
    return mask


def _loses_space(tokenizer: Tokenizer, token_id: int) -> bool:
    stream = tokenizer.stream_decoder()
    text = stream.push(token_id) + stream.flush()
    return not text.startswith(" ")
