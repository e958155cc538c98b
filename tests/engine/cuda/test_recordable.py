"""Nothing in a pass waits for the device or copies from the CPU: a CUDA graph could not record it.

Meta tensors have no numbers: whoever asks for one, or brings numbers from the CPU, is found out.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lmwright.compression.weights import quantize
from lmwright.engine.cuda.coverage import no_graphs
from lmwright.engine.runner import generating
from lmwright.models.layers.positions import AlibiBias
from tests.engine.conftest import build_model
from tests.models.family_cases import DECODERS, case


class Watch(TorchDispatchMode):
    """Refuses operations on the CPU, but for numbers that a kernel takes as arguments."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [a for a in tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor)]
        result = function(*args, **kwargs)
        tensors += [a for a in tree_leaves(result) if isinstance(a, torch.Tensor)]
        stray = [a for a in tensors if a.device.type != "meta"]
        assert not stray, f"{function} on the CPU, in a pass that runs on a GPU"
        return result


class Everywhere:
    """Stands for a cache: what is attended to has the shape of the queries."""

    def attend(self, layer, q, k, v, rule):
        assert rule.bias is None or isinstance(rule.bias, AlibiBias)
        return torch.empty_like(q)


def run_on_meta(model):
    model = model.to("meta")
    tokens = torch.zeros(1, 3, dtype=torch.int64, device="meta")
    rows = torch.zeros(2, dtype=torch.int32, device="meta")

    def refuse(*args, **kwargs):
        raise AssertionError("a tensor of numbers on the CPU, in a pass that runs on a GPU")

    with pytest.MonkeyPatch.context() as patch, generating(model), Watch():
        for name in ("tensor", "as_tensor", "from_numpy"):
            patch.setattr(torch, name, refuse)
        hidden = model.hidden_states(tokens, position_ids=tokens, cache=Everywhere())[0]
        return model.project(hidden.index_select(0, rows)).float()


@pytest.mark.parametrize("family", DECODERS)
def test_every_family_that_is_recorded_stays_on_the_device(family, tmp_path):
    seeds = (seed for seed in range(8))
    models = (case(family, seed, tmp_path).ours for seed in seeds)
    found = next((model for model in models if no_graphs(model.config) is None), None)
    if found is None:
        assert "moe" in family or family == "mixtral"
        return
    assert run_on_meta(found).shape == (2, found.config.vocab_size)


@pytest.mark.parametrize("make", [lambda: torch.ones(1), lambda: torch.tensor(1.0, device="meta")])
def test_a_number_from_the_cpu_is_found_out(make):
    model = build_model(num_hidden_layers=1)
    model.norm.register_forward_pre_hook(lambda *_: (make(), None)[1])
    with pytest.raises(AssertionError, match="on the CPU"):
        run_on_meta(model)


def test_integer_weights_stay_on_the_device():
    assert run_on_meta(quantize(build_model(num_hidden_layers=1))).shape[0] == 2
