"""Low-rank adapters in the engine: each request's greedy text is its merged model's."""

import peft
import pytest
import torch
import transformers

from lmwright.core.errors import LmwrightError
from lmwright.engine.llm import LLM
from lmwright.engine.params import SamplingParams
from tests.engine.generations import TIE, reference_greedy, same_until_a_tie

TARGETS = {"a": ["q_proj", "v_proj", "down_proj"], "b": "all-linear"}
MOST = 16


@pytest.fixture(scope="module")
def adapted(model_folder, tmp_path_factory):
    """Adapters' folders, and transformers' models with them merged; None: without one."""
    folder = tmp_path_factory.mktemp("adapters")
    load = transformers.AutoModelForCausalLM.from_pretrained
    merged = {None: load(model_folder).eval()}
    torch.manual_seed(0)
    for name, targets in TARGETS.items():
        settings = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=targets)
        tuned = peft.get_peft_model(load(model_folder), settings)
        with torch.no_grad():
            for parameter_name, parameter in tuned.named_parameters():
                if "lora_" in parameter_name:
                    parameter.normal_(0.0, 0.2)
        tuned.save_pretrained(folder / name)
        merged[name] = tuned.merge_and_unload().eval()
    return {name: folder / name for name in TARGETS}, merged


def test_requests_with_different_adapters_share_passes_and_get_their_own_text(
    adapted, model_folder, random_prompts
):
    folders, merged = adapted
    llm = LLM(model_folder, adapters=folders, max_sequences=16)
    names = [None, "a", "b"]
    # The same prompts for all, so that a prefix that was another adapter's would be found.
    prompts = [prompt for prompt in random_prompts(5, seed=8, longest=60) for _ in names]
    params = [SamplingParams(max_tokens=MOST, adapter=name) for _ in range(5) for name in names]

    first = llm.generate(prompts, params)
    again = llm.generate(prompts, params)

    assert llm.stats().prefix_hit_tokens > 0
    ties, texts = 0, set()
    for prompt, own, completion in zip(prompts, params, first, strict=True):
        expected, gaps = reference_greedy(merged[own.adapter], prompt, MOST, llm.end_ids)
        ties += min(gaps) < TIE
        assert same_until_a_tie(completion.token_ids, expected, gaps)
        texts.add((tuple(prompt), tuple(completion.token_ids)))
    assert ties <= 2
    assert len(texts) == len(prompts)  # or the adapters change nothing
    assert [one.token_ids for one in again] == [one.token_ids for one in first]


def test_what_computes_and_which_adapters_there_are_is_told(adapted, model_folder):
    folders, _ = adapted
    llm = LLM(model_folder, adapters=folders)
    assert "portable" in llm.describe()
    assert "adapters a, b (the native runner has no low-rank adapters)" in llm.describe()
    with pytest.raises(LmwrightError, match="no adapter named c") as refused:
        llm.add([5], SamplingParams(adapter="c"))
    assert refused.value.hint == "it has: a, b"
    with pytest.raises(LmwrightError, match="native runner does not run this model"):
        LLM(model_folder, adapters=folders, runner="native")


@pytest.mark.parametrize("weights", ["int8", "bf16"])
def test_changed_weights_take_adapters_too(weights, adapted, model_folder):
    folders, _ = adapted
    llm = LLM(model_folder, adapters=folders, weights=weights)
    params = [SamplingParams(max_tokens=8, adapter=name) for name in (None, "a", "b")]
    together = llm.generate([[5, 6, 7]] * 3, params)
    assert len({tuple(one.token_ids) for one in together}) == 3
