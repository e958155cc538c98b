"""Small labelled datasets that can be learned in a few steps, encoded and ready to train on."""

import json
import random
from pathlib import Path

from lmwright.corpora.datasets import Description
from lmwright.pipeline.run import StepRun
from lmwright.tokens import tokenizer
from lmwright.tokens.commands import EncodeExamplesConfig
from lmwright.tokens.example_steps import encode_examples

FILLER = ["the", "film", "was", "and", "it", "with", "of", "very"]
NAMES = ["ann", "bob", "cem", "dora"]
PLACES = ["oslo", "rome", "paris"]
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def opinion(rng):
    label = rng.choice(["bad", "good"])
    words = rng.choices(FILLER, k=rng.randint(3, 10))
    words.insert(rng.randint(0, 3), {"bad": "dull", "good": "superb"}[label])
    return {"text": " ".join(words), "label": label}


def report(rng):
    tokens, tags = [], []
    for _ in range(rng.randint(2, 5)):
        kind = rng.choice(["filler", "person", "place"])
        if kind == "filler":
            new, marks = [rng.choice(FILLER)], ["O"]
        elif kind == "person":
            new, marks = ["mr", rng.choice(NAMES)], ["B-PER", "I-PER"]
        else:
            new, marks = [rng.choice(PLACES)], ["B-LOC"]
        tokens += new
        tags += marks
    return {"tokens": tokens, "tags": tags}


def copy(rng):
    words = rng.choices(FILLER, k=rng.randint(2, 4))
    return {"source": " ".join(words), "target": " ".join(words)}


def talk(rng):
    told = rng.choice(PLACES)
    lines = [f"ann: {' '.join(rng.choices(FILLER, k=3))}" for _ in range(4)]
    lines.insert(rng.randint(0, 4), f"bob: {told}")
    summaries = [f"bob said {told}", told]
    return {"dialogue": "\n".join(lines), "summary": summaries[0], "summaries": summaries}


def chat(rng):
    asked = rng.choice(NAMES)
    before = f"{rng.choice(NAMES)}\nit was {rng.choice(PLACES)}\n" if rng.random() < 0.3 else ""
    words = " ".join(rng.choices(FILLER, k=rng.randint(1, 3)))
    where = PLACES[NAMES.index(asked) % len(PLACES)]
    return {"source": f"{before}{words} {asked}", "target": f"it was of {where}"}


def question(rng):
    words = rng.choices(FILLER, k=rng.randint(8, 40))
    place = rng.choice(PLACES)
    words.insert(rng.randint(0, len(words)), place)
    context = " ".join(words)
    answers = {"text": [place], "answer_start": [f" {context} ".index(f" {place} ")]}
    return {"id": "q", "title": "", "context": context, "question": "was it", "answers": answers}


def number(rng):
    words = rng.choices(["up", "down"], k=4)
    return {"text": " ".join(words), "label": words.count("up") / 4}


CASES = {
    "classification": (opinion, ("text", "label"), ("bad", "good")),
    "regression": (number, ("text", "label"), ()),
    "tagging": (report, ("tokens", "tags"), TAGS),
    "question_answering": (
        question,
        ("id", "title", "context", "question", "answers"),
        (),
    ),
    "translation": (copy, ("source", "target"), ()),
    "summarization": (talk, ("dialogue", "summary"), ()),
    "dialogue": (chat, ("source", "target"), ()),
}


def material(folder: Path, task: str, rows: int = 300) -> dict[str, Path]:
    """Folders of a dataset, a tokenizer for it, and its examples."""
    make, columns, labels = CASES[task]
    rng = random.Random(task)
    sizes = {"train": rows, "validation": 60, "test": 80}
    paths = {name: folder / name for name in ("dataset", "tokenizer")}
    paths["dataset"].mkdir(parents=True)
    for split, size in sizes.items():
        made = [make(rng) for _ in range(size)]
        lines = "".join(json.dumps(row) + "\n" for row in made)
        (paths["dataset"] / f"{split}.jsonl").write_text(lines)
    Description("made_up", task, columns, labels, sizes).write(paths["dataset"])
    text = " ".join([*FILLER, *NAMES, *PLACES, "mr dull superb up down said :"])
    tokenizer.train([text] * 5, 400, kind="wordpiece").save(paths["tokenizer"])
    step = StepRun.standalone(folder / "encode")
    encode_examples(
        EncodeExamplesConfig(max_length=32, stride=8),
        step,
        dataset=paths["dataset"],
        tokenizer=paths["tokenizer"],
    )
    return {**paths, "examples": step.output}
