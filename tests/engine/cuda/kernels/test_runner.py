"""A whole model through the kernels beside the same model through PyTorch's attention."""

import pytest
import torch

from lmwright.compression.weights import quantize
from lmwright.engine.cuda.coverage import fp8_on
from lmwright.engine.cuda.runner import CudaRunner
from lmwright.engine.generation import Generation
from lmwright.engine.params import SamplingParams
from lmwright.engine.runner import PortableRunner
from lmwright.engine.speculation import NgramProposer
from tests.engine.conftest import build_model
from tests.engine.generations import answers

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="it needs a CUDA device")
SHALLOW = {"num_hidden_layers": 2}
MODELS = {
    "llama": SHALLOW,
    "gemma 2": SHALLOW
    | {
        "sliding_window": 6,
        "layer_types": ("sliding_attention", "full_attention"),
        "attention_soft_cap": 5.0,
        "final_logit_soft_cap": 8.0,
        "attention_scale": 0.3,
        "embedding_scale": 5.6,
    },
    "bloom": {
        "num_hidden_layers": 1,
        "positions": "alibi",
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "head_dim": 12,
        "embedding_norm": True,
    },
}
PROMPTS = [[5, 9, 200, 31, 7, 8, 44, 12, 60, 3, 90], [17], [5, 9, 200, 31, 77, 6]]


def generated(runner, prompts=PROMPTS, new=3, **settings):
    defaults = {"max_sequences": 4, "max_batch_tokens": 64, "prefix_caching": True}
    over = Generation(runner, **(defaults | settings))
    return answers(over, prompts, SamplingParams(max_tokens=new))


@pytest.mark.parametrize("name", MODELS)
def test_greedy_answers_equal_the_portable_runners(name, device):
    model = build_model(seed=1, **MODELS[name]).to(device)
    expected = generated(PortableRunner(model, 32, 4))
    assert len({token for ids in expected for token in ids}) > 4  # or the test says little
    assert generated(CudaRunner(model, 32, 4, max_sequences=4)) == expected


def test_prompts_in_chunks_beside_answers_and_few_blocks(device):
    model = build_model(seed=2, num_hidden_layers=1).to(device)
    expected = generated(PortableRunner(model, 32, 4))
    few = CudaRunner(model, 7, 4, max_sequences=4)
    assert generated(few, max_batch_tokens=5) == expected


def test_drafts_are_checked_without_graphs(device):
    model = build_model(seed=3, num_hidden_layers=1).to(device)
    prompts = [[5, 6, 7, 5, 6, 7, 5, 6]]
    expected = generated(PortableRunner(model, 32, 4), prompts)
    proposer = NgramProposer(longest=2, shortest=1)
    runner = CudaRunner(model, 32, 4, max_sequences=1)
    assert generated(runner, prompts, proposer=proposer) == expected


def test_experts_run_without_graphs(device):
    experts = {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "intermediate_size": 16,
        "layers": (0,),
    }
    model = build_model(seed=4, num_hidden_layers=1, experts=experts).to(device)
    runner = CudaRunner(model, 32, 4, max_sequences=4)
    assert "no graphs (with experts" in runner.describe()
    assert generated(runner, new=2) == generated(PortableRunner(model, 32, 4), new=2)


def test_a_byte_for_each_key_and_value_is_close(device):
    model = build_model(seed=1, num_hidden_layers=1).to(device)
    own = CudaRunner(model, 32, 4, stored="int8", max_sequences=4)
    assert "int8 cache" in own.describe()
    assert generated(own, new=3) == generated(PortableRunner(model, 32, 4, stored="int8"), new=3)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kv", [None, "int8", "fp8"])
def test_recorded_passes_equal_those_that_are_not(dtype, kv, device):
    if kv == "fp8" and (reason := fp8_on(device)) is not None:
        pytest.skip(reason)
    model = build_model(seed=5, **MODELS["gemma 2"]).to(device, dtype)
    prompts = [ids[: 1 + number] for number, ids in enumerate(PROMPTS * 3)]
    found = [
        generated(
            CudaRunner(model, 64, stored=kv, max_sequences=most),
            prompts,
            new=20,
            max_sequences=9,
        )
        for most in (9, 0)
    ]
    assert found[0] == found[1]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("kv", [None, "int8", "fp8"])
def test_half_precision_scores_like_the_portable_runner(kv, device):
    from tests.engine.cuda.test_buffers import one_pass

    if kv == "fp8" and (reason := fp8_on(device)) is not None:
        pytest.skip(reason)
    model = build_model(seed=6).to(device, torch.bfloat16)
    first, then = one_pass([9, 4], before=[0, 0]), one_pass([1, 1], before=[9, 4])
    own, portable = CudaRunner(model, 16, 4, stored=kv), PortableRunner(model, 16, 4)
    for batch in (first, then):
        found, expected = own.forward(batch), portable.forward(batch)
        error = (found - expected).abs().max() / expected.square().mean().sqrt()
        assert error <= (0.5 if kv == "fp8" else 0.1)


@pytest.mark.gpu
@needs_gpu
def test_integer_weights_are_recorded_like_others(device):
    model = quantize(build_model(seed=7)).to(device)
    recorded, eager = (CudaRunner(model, 32, max_sequences=most) for most in (4, 0))
    assert generated(recorded) == generated(eager)
