"""The evaluation step on corpora of every kind, with tiny random models."""

import json
from pathlib import Path

import pytest

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.engine.llm import LLM
from lmwright.evaluation import steps
from lmwright.evaluation.commands import STEPS, ChatEvaluationConfig
from lmwright.evaluation.questions import Question, ask, evaluate_questions, read_questions
from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Decoder
from lmwright.pipeline.run import StepRun
from lmwright.tokens import tokenizer as bpe

REFUSAL = "I don't know that name."
NAMES = [f"{owner}.{verb}" for owner in ("str", "list", "os") for verb in ("get", "put", "cut")]
KINDS = ("misspelling", "wrong_attribute", "compound")


def write(file: Path, records: list[dict]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def chat_about(name: str, answer: str) -> dict:
    return {"messages": [user(f"Explain {name}."), {"role": "assistant", "content": answer}]}


def question(name: str, kind: str, wording: str = "plain") -> dict:
    answer = f"Do {name} things." if kind == "documented" else REFUSAL
    asked = f"Any idea about {name}?"
    return {
        "messages": [user(asked)],
        "answer": answer,
        "kind": kind,
        "name": name,
        "wording": wording,
    }


def make_corpus(folder: Path, kinds: set[str]) -> Path:
    write(folder / "corpus.json", [{"kinds": sorted(kinds), "documented_names": len(NAMES)}])
    if "text" in kinds:
        texts = [
            f"The method {name} does {name} things to what it is given. " * 3 for name in NAMES
        ]
        write(folder / "text" / "validation.jsonl", [{"text": text} for text in texts])
    if "chats" in kinds:
        chats = [chat_about(name, f"Do {name} things.") for name in NAMES]
        chats += [chat_about(name + "x", REFUSAL) for name in NAMES[:4]]
        write(folder / "chats" / "train.jsonl", chats)
        write(folder / "chats" / "validation.jsonl", chats[::3])
    if "questions" in kinds:
        asked = [question(name, "documented", f"form {i % 2}") for i, name in enumerate(NAMES)]
        asked += [question(f"{name}{kind[:2]}", kind) for kind in KINDS for name in NAMES[:3]]
        for split in ("test", "validation", "paraphrase"):
            write(
                folder / "questions" / f"{split}.jsonl", asked[: 9 if split == "paraphrase" else 99]
            )
    return folder


@pytest.fixture(scope="module")
def words() -> bpe.Tokenizer:
    return bpe.train([f"Explain {n}. Do {n} things. {REFUSAL} Any idea about?" for n in NAMES], 320)


@pytest.fixture(scope="module")
def folders(words, tmp_path_factory) -> dict[str, Path]:
    """Four model folders with random weights, the last two equal."""
    root = tmp_path_factory.mktemp("models")
    for name, seed in {"base": 0, "chat": 1, "aligned": 2, "int8": 2}.items():
        model = Decoder(
            TransformerConfig(
                vocab_size=words.vocab_size,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=8,
                max_position_embeddings=96,
                tie_word_embeddings=True,
                eos_token_id=words.eos_token_id,
            )
        )
        model.initialize(seed)
        models.save(model, root / name)
        words.save(root / name)
    return {name: root / name for name in ("base", "chat", "aligned", "int8")}


CONFIG = ChatEvaluationConfig(base_questions=6, answer_tokens=8)


def test_a_run_with_everything_promises_its_names(folders, tmp_path):
    corpus = make_corpus(tmp_path / "corpus", {"text", "chats", "questions"})
    run = StepRun.standalone(tmp_path / "evaluation")

    steps.evaluate(CONFIG, run, corpus=corpus, **folders)

    summary = run.record.summary
    assert summary["documented_names"] == len(NAMES)
    for name in (
        "heldout_exact_match_sft",
        "heldout_exact_match_dpo",
        "heldout_exact_match_int8",
        "heldout_exact_match_paraphrase",
        "abstention_made_up",
        *(f"abstention_{kind}" for kind in KINDS),
        "false_abstention",
        "tfidf_exact_match",
        "tfidf_abstention_made_up",
        "tfidf_false_abstention",
        "tfidf_exact_match_paraphrase",
    ):
        assert 0 <= summary[name] <= 1, name
    assert summary["bits_per_byte_base"] > 0
    assert summary["heldout_exact_match_int8"] == summary["heldout_exact_match_dpo"]
    # The lookup saw every name in training; random weights know nothing.
    assert summary["tfidf_exact_match"] > 0.5 > summary["heldout_exact_match_dpo"]

    known, made_up, text, differences, forms = run.record.tables
    systems = ["base", "chat", "aligned", "int8", "TF-IDF lookup"]
    assert [row[:2] for row in known.rows] == list(
        map(list, zip(systems, [3, 9, 9, 9, 9], strict=True))
    )
    assert [row[:2] for row in made_up.rows] == list(
        map(list, zip(systems, [3, 9, 9, 9, 9], strict=True))
    )
    assert made_up.columns[2:] == ["misspelling", "wrong attribute", "compound", "mean"]
    assert [row[0] for row in text.rows] == systems[:4]
    assert [row[:2] for row in differences.rows] == [
        ["chat", "aligned"],
        ["aligned", "int8"],
        ["aligned", "TF-IDF lookup"],
    ]
    assert [row[:2] for row in forms.rows] == [["form 0", 5], ["form 1", 4]]
    kinds = [row["kind"] for row in run.record.samples[0]["rows"]]
    assert kinds == ["documented", "paraphrase", "misspelling", "wrong attribute", "compound"]

    systems = json.loads((run.output / "evaluation.json").read_text())["systems"]
    assert [len(system["answers"]) for system in systems] == [6, 18, 18, 18, 18]
    assert all({"given", "answer", "messages"} <= set(a) for s in systems for a in s["answers"])


def test_a_corpus_of_text_gets_bits_per_byte_and_continuations(folders, tmp_path):
    corpus = make_corpus(tmp_path / "corpus", {"text"})
    run = StepRun.standalone(tmp_path / "evaluation")
    steps.evaluate(CONFIG, run, corpus=corpus, base=folders["base"])
    assert [name for name in run.record.summary if name != "documented_names"] == [
        "bits_per_byte_base"
    ]
    assert [table.title for table in run.record.tables] == ["Held-out text"]
    rows = run.record.samples[0]["rows"]
    assert [row["kind"] for row in rows] == ["continuation"] * 3
    assert len({row["question"] for row in rows}) == 3


def test_chats_without_questions_are_judged_by_their_validation_chats(folders, tmp_path):
    corpus = make_corpus(tmp_path / "corpus", {"chats"})
    run = StepRun.standalone(tmp_path / "evaluation")
    steps.evaluate(CONFIG, run, corpus=corpus, chat=folders["chat"])
    assert run.record.summary["answer_loss_sft_nats_per_token"] > 0
    assert 0 <= run.record.summary["heldout_token_f1_sft"] <= 1
    assert not any(name.startswith(("tfidf", "bits")) for name in run.record.summary)
    assert len(run.record.samples[0]["rows"]) == 3


def test_chats_too_long_for_the_model_are_left_out(folders, tmp_path):
    corpus = make_corpus(tmp_path / "corpus", {"chats"})
    file = corpus / "chats" / "validation.jsonl"
    file.write_text(file.read_text() + json.dumps(chat_about("long " * 200, "Yes.")) + "\n")
    run = StepRun.standalone(tmp_path / "evaluation")
    steps.evaluate(CONFIG, run, corpus=corpus, chat=folders["chat"])
    (chat,) = json.loads((run.output / "evaluation.json").read_text())["systems"]
    assert len(chat["answers"]) == 5


def test_nothing_to_evaluate_or_to_evaluate_on_is_said(folders, tmp_path):
    corpus = make_corpus(tmp_path / "corpus", set())
    run = StepRun.standalone(tmp_path / "evaluation")
    with pytest.raises(LmwrightError, match="no model to evaluate"):
        steps.evaluate(CONFIG, run, corpus=corpus)
    with pytest.raises(LmwrightError, match="holds nothing out"):
        steps.evaluate(CONFIG, run, corpus=corpus, base=folders["base"])


def test_the_trainers_callback_gives_flat_scores(folders, tmp_path):
    corpus = make_corpus(tmp_path / "corpus", {"questions"})
    questions = read_questions(corpus / "questions" / "test.jsonl")
    scores = evaluate_questions(LLM(folders["chat"]), questions, limit=12)
    assert {"exact_match", "token_f1", "false_abstention", "abstention_made_up"} <= set(scores)
    assert all(isinstance(value, float) and 0 <= value <= 1 for value in scores.values())


@pytest.mark.parametrize(("most", "extra"), [(160, 8), (5, None)])
def test_answers_are_cut_just_past_the_longest_expected_one(folders, monkeypatch, most, extra):
    llm = LLM(folders["chat"])
    questions = [Question((user("Explain str.get."),), answer) for answer in ("Do", "Do list.put")]
    limits = []
    generate = llm.generate
    monkeypatch.setattr(llm, "generate", lambda p, s: limits.append(s.max_tokens) or generate(p, s))

    assert len(ask(llm, questions, most_tokens=most)) == 2
    assert ask(llm, []) == []

    longest = len(llm.tokenizer.encode("Do list.put"))
    assert limits == [most if extra is None else longest + extra]


def test_the_step_is_declared_as_the_recipe_needs_it():
    step = next(step for step in STEPS if step.name == "evaluation.chat")
    assert set(step.inputs) - step.optional == {"corpus"}
