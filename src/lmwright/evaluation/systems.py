"""What a corpus holds out, and what it shows about one system: a model, or the lookup."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmwright.core.errors import LmwrightError
from lmwright.evaluation import baseline
from lmwright.evaluation.commands import ChatEvaluationConfig
from lmwright.evaluation.likelihood import BitsPerByte, answer_loss, bits_per_byte, read_texts
from lmwright.evaluation.questions import (
    Question,
    Scores,
    ask,
    read_chat_questions,
    read_questions,
    score,
    spread,
)
from lmwright.tokens import shards

if TYPE_CHECKING:
    from lmwright.engine.llm import LLM

LONGEST_ROW = 512  # tokens of context for bits per byte where no shards say what was trained
CHATS = 200  # validation chats that a corpus without questions is judged by
LOOKUP = "TF-IDF lookup"


@dataclass(frozen=True)
class Material:
    """What the corpus gives to judge a model by; each part may be empty.

    Args:
        test: held-out questions, or validation chats where the corpus has no questions.
        paraphrase: questions written by hand.
        validation: questions for choices, never for reports.
        chats: whole validation chats for the answer loss, only where there are no questions.
        texts: held-out documents.
        row_length: tokens of context at most for those.
    """

    test: list[Question]
    paraphrase: list[Question]
    validation: list[Question]
    chats: list[list[Mapping[str, str]]]
    texts: list[str]
    row_length: int


@dataclass
class Judged:
    """One system's results; None or empty where the material did not allow any."""

    name: str
    asked: list[Question] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    scores: Scores | None = None
    paraphrase_asked: list[Question] = field(default_factory=list)
    paraphrase_answers: list[str] = field(default_factory=list)
    paraphrase: Scores | None = None
    bits: BitsPerByte | None = None
    loss: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The results as plain values, every answer beside what was expected."""
        return {
            "name": self.name,
            "scores": asdict(self.scores) if self.scores else None,
            "paraphrase": asdict(self.paraphrase) if self.paraphrase else None,
            "bits_per_byte": asdict(self.bits) if self.bits else None,
            "answer_loss_nats_per_token": self.loss,
            "answers": _beside(self.asked, self.answers),
            "paraphrase_answers": _beside(self.paraphrase_asked, self.paraphrase_answers),
        }


def gather(config: ChatEvaluationConfig, corpus: Path, text: Path | None) -> Material:
    """Read what the corpus holds out.

    Args:
        config: how much of it.
        corpus: the corpus's folder.
        text: packed text, which tells the row length that models were trained on.

    Raises:
        LmwrightError: if that is nothing.
    """
    test, paraphrase, validation = (
        read_questions(corpus / "questions" / f"{split}.jsonl")
        for split in ("test", "paraphrase", "validation")
    )
    chats: list[list[Mapping[str, str]]] = []
    if not test:
        test = spread(read_chat_questions(corpus / "chats" / "validation.jsonl"), CHATS)
        chats = [[*q.messages, {"role": "assistant", "content": q.answer}] for q in test]
    texts = read_texts(corpus / "text" / "validation.jsonl", config.text_bytes)
    if not test and not texts:
        raise LmwrightError(
            "the corpus holds nothing out to evaluate on: no questions, no validation chats and no "
            "validation text",
            hint="a larger corpus has a validation part",
        )
    return Material(
        test=spread(test, config.questions),
        paraphrase=paraphrase,
        validation=validation,
        chats=chats,
        texts=texts,
        row_length=shards.read_metadata(text)["row_length"] if text else LONGEST_ROW,
    )


def judge(config: ChatEvaluationConfig, llm: "LLM", name: str, material: Material) -> Judged:
    """Everything that the material allows to say about one model.

    Questions whose prompt leaves no room for an answer in the model's context are not asked.
    """
    result = Judged(name)
    if material.texts:
        length = min(material.row_length, llm.context_length)
        result.bits = bits_per_byte(llm.model, llm.tokenizer, material.texts, length)
    if llm.tokenizer.chat_template is None:
        return result
    limit = config.base_questions if name == "base" else len(material.test)
    result.asked = _fitting(llm, spread(material.test, limit))
    if result.asked:
        result.answers = ask(llm, result.asked, most_tokens=config.answer_tokens)
        result.scores = score(result.asked, result.answers)
    result.paraphrase_asked = [] if name == "base" else _fitting(llm, material.paraphrase)
    if result.paraphrase_asked:
        asked = result.paraphrase_asked
        result.paraphrase_answers = ask(llm, asked, most_tokens=config.answer_tokens)
        result.paraphrase = score(asked, result.paraphrase_answers)
    if material.chats:
        result.loss = answer_loss(llm.model, llm.tokenizer, material.chats)
    return result


def judge_lookup(
    lookup: baseline.Lookup, asked: Sequence[Question], paraphrase: Sequence[Question]
) -> Judged:
    """The baseline's answers to the same questions."""
    result = Judged(LOOKUP, asked=list(asked), paraphrase_asked=list(paraphrase))
    result.answers = lookup.answer(asked)
    result.scores = score(asked, result.answers)
    if paraphrase:
        result.paraphrase_answers = lookup.answer(paraphrase)
        result.paraphrase = score(paraphrase, result.paraphrase_answers)
    return result


def _fitting(llm: "LLM", questions: Sequence[Question]) -> list[Question]:
    lengths = (len(llm.tokenizer.encode_chat(question.messages)) for question in questions)
    return [
        question
        for question, length in zip(questions, lengths, strict=True)
        if length < llm.context_length
    ]


def _beside(questions: Sequence[Question], answers: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {**asdict(question), "given": answer}
        for question, answer in zip(questions, answers, strict=True)
    ]
