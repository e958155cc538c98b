import importlib
import json
import random

import numpy as np
import pytest

from lmwright import tokens
from lmwright.core.errors import LmwrightError
from lmwright.pipeline.run import StepRun
from lmwright.tokens import shards, steps
from lmwright.tokens.commands import STEPS, PackChatsConfig, PackTextConfig, TrainConfig


def write_jsonl(file, records):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory, corpus_texts, random_chat):
    folder, rng = tmp_path_factory.mktemp("corpus"), random.Random(0)
    texts = [{"text": text, "source": "a"} for text in [*corpus_texts, "long " * 500]]
    chats = [{"messages": random_chat(rng)} for _ in range(100)]
    for split, chosen in (("train", slice(20, None)), ("validation", slice(20))):
        write_jsonl(folder / "text" / f"{split}.jsonl", texts[chosen])
        write_jsonl(folder / "chats" / f"{split}.jsonl", chats[chosen])
    return folder


@pytest.fixture(scope="session")
def tokenizer_folder(corpus, tmp_path_factory):
    run = StepRun.standalone(tmp_path_factory.mktemp("tokenizer"))
    steps.train(TrainConfig(vocab_size=400), run, corpus=corpus)
    return run.output


def records(corpus, part, split):
    lines = (corpus / part / f"{split}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_train_learns_from_texts_and_from_chats(corpus, tmp_path, tokenizer_folder):
    assert tokens.load(tokenizer_folder).vocab_size == 400
    for part in ("text", "chats"):
        other = tmp_path / part
        for split in ("train", "validation"):
            write_jsonl(other / part / f"{split}.jsonl", records(corpus, part, split))
        run = StepRun.standalone(tmp_path / f"{part}_run")
        steps.train(TrainConfig(vocab_size=400), run, corpus=other)
        alone = tokens.load(run.output)
        both = tokens.load(tokenizer_folder)
        texts = [r["text"] for r in records(corpus, "text", "validation")]
        chats = [r["messages"] for r in records(corpus, "chats", "validation")]
        other_part = (
            texts if part == "chats" else ["\n".join(m["content"] for m in c) for c in chats]
        )
        size = {t: sum(map(len, t.encode_batch(other_part))) for t in (alone, both)}
        assert size[both] < size[alone]


def test_train_learns_from_preferences_when_there_is_nothing_else(tmp_path, random_chat):
    rng = random.Random(0)
    chats = [random_chat(rng) for _ in range(50)]
    pairs = [{"prompt": c[:-1], "chosen": c[-1:], "rejected": c[-1:]} for c in chats]
    write_jsonl(tmp_path / "corpus" / "preferences" / "train.jsonl", pairs)
    run = StepRun.standalone(tmp_path / "run")
    steps.train(TrainConfig(vocab_size=300), run, corpus=tmp_path / "corpus")
    assert tokens.load(run.output).vocab_size == 300


def test_train_says_when_the_vocabulary_is_smaller(corpus, tmp_path):
    run = StepRun.standalone(tmp_path)
    steps.train(TrainConfig(vocab_size=100_000, sample_bytes=3000), run, corpus=corpus)
    size = tokens.load(run.output).vocab_size
    assert run.record.summary["vocab_size"] == size < 100_000
    assert any(f"{size:,} tokens, not 100,000" in note for note in run.record.notes)


def test_the_sample_is_about_as_large_as_asked_and_does_not_depend_on_order(corpus, tmp_path):
    file = corpus / "text" / "train.jsonl"
    whole = file.read_bytes().splitlines(keepends=True)
    sample = list(steps.sample_lines(file, 10_000))
    assert 5_000 < sum(map(len, sample)) < 20_000
    assert list(steps.sample_lines(file, 10**9)) == whole
    shuffled = tmp_path / "shuffled.jsonl"
    shuffled.write_bytes(b"".join(reversed(whole)))
    assert sorted(steps.sample_lines(shuffled, 10_000)) == sorted(sample)


def test_pack_text_keeps_every_document_ended_and_counts_bytes(corpus, tokenizer_folder, tmp_path):
    run = StepRun.standalone(tmp_path)
    steps.pack_text(PackTextConfig(row_length=64), run, corpus=corpus, tokenizer=tokenizer_folder)
    tokenizer, metadata = tokens.load(tokenizer_folder), shards.read_metadata(run.output)
    for split in shards.SPLITS:
        rows = shards.open(run.output, split)
        texts = [r["text"] for r in records(corpus, "text", split)]
        assert rows.tokens() == sum(len(tokenizer.encode(text)) + 1 for text in texts)
        # Every token but a document's first is a target, also across the cuts of long ones.
        assert rows.trained_tokens() == rows.tokens() - len(texts)
        predicted = np.sort(rows.targets[rows.targets >= 0])
        expected = [i for t in texts for i in [*tokenizer.encode(t), tokenizer.eos_token_id][1:]]
        assert predicted.tolist() == sorted(expected)
        seen = sum(
            len(text.encode()) - len(tokenizer.decode(tokenizer.encode(text)[:1]).encode())
            for text in texts
        )
        assert metadata[split]["text_bytes"] == seen
    assert metadata["vocab_size"] == 400
    assert run.record.summary[f"{run.name}_tokens"] == metadata["train"]["tokens"]


def test_pack_chats_trains_the_assistant_and_counts_what_is_too_long(
    corpus, tokenizer_folder, tmp_path
):
    run = StepRun.standalone(tmp_path)
    steps.pack_chats(PackChatsConfig(row_length=50), run, corpus=corpus, tokenizer=tokenizer_folder)
    tokenizer, metadata = tokens.load(tokenizer_folder), shards.read_metadata(run.output)
    for split in shards.SPLITS:
        chats = [r["messages"] for r in records(corpus, "chats", split)]
        ids = [tokenizer.encode_chat(c, add_generation_prompt=False) for c in chats]
        kept = [c for c, i in zip(chats, ids, strict=True) if len(i) <= 50]
        assert 0 < len(kept) < len(chats)
        assert metadata[split]["too_long"] == len(chats) - len(kept)
        targets = shards.open(run.output, split).targets
        ends = (targets == tokenizer.end_of_turn_id).sum()
        assert ends == sum(m["role"] == "assistant" for c in kept for m in c)
        said = [m["content"] for c in kept for m in c if m["role"] == "assistant"]
        assert metadata[split]["trained_tokens"] == sum(
            len(i) + 1 for i in tokenizer.encode_batch(said)
        )
        note = f"{len(chats) - len(kept)} of {len(chats)} {split} chats are longer"
        assert any(note in line for line in run.record.notes)


def test_chats_that_all_are_too_long_are_an_error(corpus, tokenizer_folder, tmp_path):
    run = StepRun.standalone(tmp_path)
    with pytest.raises(LmwrightError, match="no chat fits"):
        steps.pack_chats(
            PackChatsConfig(row_length=4), run, corpus=corpus, tokenizer=tokenizer_folder
        )


def test_an_empty_corpus_is_an_error(tokenizer_folder, tmp_path):
    for split in shards.SPLITS:
        write_jsonl(tmp_path / "corpus" / "text" / f"{split}.jsonl", [])
    run = StepRun.standalone(tmp_path / "run")
    with pytest.raises(LmwrightError, match="no token to train on"):
        steps.pack_text(
            PackTextConfig(), run, corpus=tmp_path / "corpus", tokenizer=tokenizer_folder
        )
    with pytest.raises(LmwrightError, match="no text"):
        steps.train(TrainConfig(), run, corpus=tmp_path / "corpus")


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_vocabularies_of_encoders_are_trained_by_the_same_step(kind, corpus, tmp_path):
    run = StepRun.standalone(tmp_path)
    config = TrainConfig(vocab_size=400, kind=kind, lowercase=kind == "wordpiece")
    steps.train(config, run, corpus=corpus)
    learned = tokens.load(run.output)
    assert learned.vocab_size <= 400
    assert (learned.mask_token_id is None) == (kind == "unigram")
    assert learned.encode("the") == learned.encode("THE" if kind == "wordpiece" else "the")


def test_the_steps_name_functions_that_exist():
    for step in STEPS:
        module, name = step.function.split(":")
        assert module.startswith("lmwright.tokens.")
        assert callable(getattr(importlib.import_module(module), name))
