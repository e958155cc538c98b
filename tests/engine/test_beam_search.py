"""Beam search of decoders, against transformers."""

import pytest
import torch
import transformers

from lmwright.core.errors import LmwrightError
from lmwright.engine.beam_search import continue_text
from lmwright.engine.runner import generating

# Many, so that answers of a random model do end.
ENDS = list(range(0, 320, 5))


@pytest.mark.parametrize("beams", [1, 2, 5])
def test_the_best_continuation_is_that_of_transformers(model, model_folder, random_prompts, beams):
    reference = transformers.AutoModelForCausalLM.from_pretrained(model_folder)
    prompts = random_prompts(12, seed=3, longest=20)
    found, expected = [], []
    for prompt in prompts:
        with generating(model):
            found.append(continue_text(model, prompt, end_ids=ENDS, max_tokens=12, beams=beams))
        text = reference.generate(
            torch.tensor([prompt]),
            do_sample=False,
            num_beams=beams,
            length_penalty=0.0,
            early_stopping=False,
            max_new_tokens=12,
            eos_token_id=ENDS,
            pad_token_id=0,
        )
        answer = text[0, len(prompt) :].tolist()
        cut = next((place for place, token in enumerate(answer) if token in ENDS), len(answer))
        expected.append(answer[:cut])
    assert found == expected
    assert len({len(answer) for answer in found}) > 2


def test_more_beams_find_likelier_continuations(model, random_prompts):
    def log_probability(prompt, answer):
        ids = torch.tensor([[*prompt, *answer]])
        logprobs = model(ids).logits[0].log_softmax(-1)[len(prompt) - 1 : -1]
        return logprobs.gather(1, torch.tensor(answer)[:, None]).sum().item()

    better = []
    for prompt in random_prompts(8, seed=4):
        with generating(model):
            narrow, wide = (
                continue_text(model, prompt, end_ids=(), max_tokens=6, beams=beams)
                for beams in (1, 16)
            )
        better.append(log_probability(prompt, wide) - log_probability(prompt, narrow))
    assert sum(better) > 0.1
    assert sum(gain >= -1e-4 for gain in better) >= 7


def test_a_longer_answer_is_preferred_by_a_length_penalty(model, random_prompts):
    lengths = {}
    for alpha in (0.0, 3.0):
        with generating(model):
            lengths[alpha] = sum(
                len(
                    continue_text(
                        model, prompt, end_ids=ENDS, max_tokens=10, beams=4, length_penalty=alpha
                    )
                )
                for prompt in random_prompts(8, seed=5)
            )
    assert lengths[3.0] > lengths[0.0]


@pytest.mark.parametrize(
    "wrong", [{"prompt_ids": []}, {"max_tokens": 0}, {"beams": 0}, {"length_penalty": -1.0}]
)
def test_settings_out_of_range_are_refused(model, wrong):
    settings = {"prompt_ids": [3], "end_ids": (), "max_tokens": 3, "beams": 2} | wrong
    with pytest.raises(LmwrightError, match="must be"):
        continue_text(model, settings.pop("prompt_ids"), **settings)
