"""`implementation: transformers` in a recipe's step: planned, trained, saved, opened again."""

import json
import random

import pytest
import torch
import transformers

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.pipeline.run import StepRun
from lmwright.tokens import steps as token_steps
from lmwright.tokens.commands import PackChatsConfig
from lmwright.tokens.tokenizer import train
from lmwright.training import steps
from lmwright.training.commands import SFTConfig

WORDS = ("cat", "dog", "mat", "sat", "the", "on")


@pytest.fixture
def prepared(tmp_path):
    """A tokenizer, packed chats, and a tiny Phi for them."""
    draw = random.Random(0)

    def said():
        return " ".join(draw.choices(WORDS, k=4))

    for split, count in (("train", 60), ("validation", 12)):
        lines = []
        for _ in range(count):
            question = said()
            turns = [("user", question), ("assistant", question.split()[-1])]
            lines.append(json.dumps({"messages": [{"role": r, "content": c} for r, c in turns]}))
        file = tmp_path / "corpus" / "chats" / f"{split}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n")
    words = train([" ".join(WORDS)] * 20, 280)
    words.save(tmp_path / "tokenizer")
    packed = StepRun.standalone(tmp_path / "packed")
    token_steps.pack_chats(
        PackChatsConfig(row_length=48),
        packed,
        corpus=tmp_path / "corpus",
        tokenizer=tmp_path / "tokenizer",
    )
    torch.manual_seed(0)
    config = transformers.PhiConfig(
        vocab_size=words.vocab_size, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=64,
    )  # fmt: skip
    transformers.PhiForCausalLM(config).save_pretrained(tmp_path / "phi")
    return {
        "shards": packed.output,
        "tokenizer": tmp_path / "tokenizer",
        "model": tmp_path / "phi",
    }


def settings(**values):
    return SFTConfig(
        **{
            "budget": "30 steps",
            "batch_tokens": 384,
            "optimizer": "adamw",
            "learning_rate": 3e-3,
            "precision": "float32",
            "evaluations": 2,
            "text_fraction": 0.0,
            "implementation": "transformers",
        }
        | values
    )


def test_a_family_that_is_not_ours_is_fine_tuned(prepared, tmp_path):
    run = StepRun.standalone(tmp_path / "sft")
    steps.sft(settings(), run, **prepared)
    lines = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    assert any(0 < line.get("utilization", 0) < 1 for line in lines)
    trained = models.load(run.output, implementation="transformers")
    assert transformers.AutoTokenizer.from_pretrained(run.output).vocab_size > 256
    theirs = transformers.AutoModelForCausalLM.from_pretrained(run.output).eval()
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.equal(trained(ids).logits, theirs(ids).logits)


def test_what_it_needs_is_said(prepared, tmp_path):
    with pytest.raises(LmwrightError, match="implementation: transformers"):
        steps.sft(
            settings(implementation="lmwright"), StepRun.standalone(tmp_path / "a"), **prepared
        )
    with pytest.raises(LmwrightError, match="a model of transformers is not compiled"):
        steps.sft(settings(compile="on"), StepRun.standalone(tmp_path / "b"), **prepared)
