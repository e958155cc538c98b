"""One conversation with a model: remembers turns, forgets the earliest when they no longer fit."""

from collections.abc import Generator, Iterator
from dataclasses import replace

from lmwright.core.errors import LmwrightError
from lmwright.engine.llm import LLM, Delta
from lmwright.engine.sampling import SamplingParams


class Conversation:
    """The turns so far and the model that answers them.

    A model without a chat template continues each text by itself, without history.

    Args:
        llm: answers.
        params: how; with a seed, each turn gets one of its own, the first turn this one.
        system: instructions before the first turn, or None.

    Raises:
        LmwrightError: if there are instructions for a model without a chat template.
    """

    def __init__(self, llm: LLM, params: SamplingParams, system: str | None = None) -> None:
        self.llm = llm
        self.params = params
        self.completes = llm.tokenizer.chat_template is None
        if self.completes and system is not None:
            raise LmwrightError(
                "instructions need a chat model; this model has no chat template",
                hint="leave out --system, and put what the model should know into the text",
            )
        self._system = [] if system is None else [{"role": "system", "content": system}]
        self.turns: list[dict[str, str]] = []
        self._asked = 0

    def reset(self) -> None:
        """Forget all turns; the instructions stay."""
        self.turns.clear()

    def make_room(self, question: str) -> int:
        """Forget the earliest exchanges until the question and an answer fit; return how many."""
        wanted = min(self.params.max_tokens, self.llm.context_length // 4)
        for dropped in range(0, len(self.turns) + 1, 2):
            ids = self.encode(question, self.turns[dropped:])
            if len(ids) + wanted <= self.llm.context_length:
                del self.turns[:dropped]
                return dropped // 2
        return 0  # the question alone is too long: `ask` says so

    def ask(self, question: str) -> Generator[Delta]:
        """Stream the answer; what was said until the iterator ends or is closed is remembered.

        Raises:
            LmwrightError: if the question does not fit the model; it is not remembered then.
        """
        params = self.params
        if params.seed is not None:
            params = replace(params, seed=params.seed + self._asked)
        stream = self.llm.stream(self.encode(question), params)
        self._asked += 1
        return self._remember(question, stream)

    def _remember(self, question: str, stream: Iterator[Delta]) -> Generator[Delta]:
        said: list[str] = []
        try:
            for delta in stream:
                said.append(delta.text)
                yield delta
        finally:
            if not self.completes:
                self.turns += [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": "".join(said)},
                ]

    def encode(self, question: str, turns: list[dict[str, str]] | None = None) -> list[int]:
        """The model's input for a question after `turns`; None: after those remembered."""
        turns = self.turns if turns is None else turns
        tokenizer = self.llm.tokenizer
        if self.completes:
            return tokenizer.encode_prompt(question)
        asked = {"role": "user", "content": question}
        return tokenizer.encode_chat([*self._system, *turns, asked])
