"""How tokens are named where log-probabilities are given."""

from collections.abc import Sequence
from typing import Any

from lmwright.serving import responses
from lmwright.serving.pieces import Piece

Top = Sequence[tuple[int, float]]
"""Token ids and log-probabilities, likeliest first."""


class Speller:
    """Names the tokens of one vocabulary.

    Args:
        tokenizer: `token_bytes` has the bytes of each token that stands for text, `decode` the
            names of the others.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def bytes_of(self, token_id: int) -> bytes | None:
        """The bytes of a token; None for special tokens, which stand for no text."""
        found: bytes | None = self._tokenizer.token_bytes.get(token_id)
        return found

    def name(self, token_id: int) -> str:
        """A name that no other token has: its text, or its bytes where those are no character.

        Source of `bytes:`: OpenAI's completions, which spell parts of characters like this.
        """
        data = self.bytes_of(token_id)
        if data is None:
            return str(self._tokenizer.decode([token_id], skip_special_tokens=False))
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)

    def alternative(self, token_id: int, logprob: float) -> responses.Alternative:
        """A token as chat completions give it: text, and bytes where it has any."""
        data = self.bytes_of(token_id)
        text = self.name(token_id) if data is None else data.decode("utf-8", "replace")
        return responses.Alternative(
            token=text, logprob=_finite(logprob), bytes=None if data is None else list(data)
        )

    def in_chat(self, pieces: Sequence[Piece]) -> responses.ChatLogprobs:
        """The tokens of a chat answer; special ones, such as the end of the turn, are left out."""
        content = [
            responses.TokenLogprob(
                **self.alternative(piece.token_id, piece.logprob).model_dump(),
                top_logprobs=[self.alternative(*one) for one in piece.top],
            )
            for piece in pieces
            if piece.token_id is not None
            and piece.logprob is not None
            and self.bytes_of(piece.token_id) is not None
        ]
        return responses.ChatLogprobs(content=content)


class CompletionSpeller:
    """Log-probabilities of one completion, in as many parts as it is sent.

    Unlike in a chat the end token counts: whoever scores texts counts the tokens.

    Args:
        speller: names the tokens.
        tokenizer: its `stream_decoder` says which token begins where in the text.
        alternatives: whether the likeliest tokens are given as well.
    """

    def __init__(self, speller: Speller, tokenizer: Any, *, alternatives: bool) -> None:
        self._speller = speller
        self._alternatives = alternatives
        self._decoder = tokenizer.stream_decoder()
        self._offset = 0

    def spell(
        self, tokens: Sequence[tuple[int, float | None, Top]]
    ) -> responses.CompletionLogprobs:
        """The next tokens, each with its log-probability (None: it has none) and the likeliest."""
        offsets = []
        for token_id, _, _ in tokens:
            offsets.append(self._offset)
            self._offset += len(self._decoder.push(token_id))
        return responses.CompletionLogprobs(
            tokens=[self._speller.name(token_id) for token_id, _, _ in tokens],
            token_logprobs=[None if p is None else _finite(p) for _, p, _ in tokens],
            top_logprobs=[self._top(*token) for token in tokens] if self._alternatives else None,
            text_offset=offsets,
        )

    def _top(self, token_id: int, logprob: float | None, top: Top) -> dict[str, float] | None:
        if logprob is None:
            return None
        likeliest = {self._speller.name(other): _finite(value) for other, value in top}
        # The token itself is always there, as the one beyond those that were asked for.
        likeliest.setdefault(self._speller.name(token_id), _finite(logprob))
        return likeliest


def _finite(logprob: float) -> float:
    """JSON has no infinity; OpenAI gives -9999 for what cannot happen."""
    return max(logprob, -9999.0)
