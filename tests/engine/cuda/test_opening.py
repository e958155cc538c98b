"""Which runner is opened for a model on a GPU, and what a machine without one says."""

import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch

from lmwright.core import parts
from lmwright.core.errors import LmwrightError
from lmwright.core.parts import Part
from lmwright.engine import cuda
from lmwright.engine.cuda import coverage
from lmwright.engine.llm import LLM
from lmwright.engine.native import NotCovered
from lmwright.engine.opening import open_runner
from lmwright.models.transformer import Decoder
from tests.engine.conftest import build_model

HERE = {"threads": 1, "max_sequences": 4}


def test_nothing_of_it_needs_triton_or_a_gpu_to_be_imported():
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import lmwright.engine.cuda, lmwright.engine.opening, lmwright.engine.cuda.runner\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"positions": "relative"}, "no relative position bias"),
        ({"head_dim": 264}, "head_dim 264 is more than 256"),
        ({}, None),
        ({"positions": "alibi"}, None),
        ({"sliding_window": 5, "attention_soft_cap": 3.0}, None),
    ],
)
def test_families_whose_attention_the_kernels_know(changes, reason):
    found = coverage.covers_model(build_model(num_hidden_layers=1, **changes))
    assert found is None if reason is None else reason in found


def test_backbones_and_parts_of_ones_own_are_not_covered(monkeypatch):
    model = build_model(num_hidden_layers=1)
    assert "no output projection" in coverage.covers_model(Decoder(model.config, output=False))
    assert "Linear is no decoder" in coverage.covers_model(torch.nn.Linear(2, 2))
    own = Part("mine.attention", "lmwright.models.layers.attention:attend", None, "", True)
    monkeypatch.setattr(parts, "active", lambda: (own,))
    assert "mine.attention" in coverage.covers_model(model)


def test_models_whose_passes_cannot_be_recorded():
    experts = {
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "intermediate_size": 8,
        "layers": (0,),
    }
    assert "router" in coverage.no_graphs(build_model(num_hidden_layers=1, experts=experts).config)
    scaling = {"kind": "dynamic", "factor": 2.0}
    assert "longest" in coverage.no_graphs(build_model(rope_scaling=scaling).config)
    assert coverage.no_graphs(build_model().config) is None


@pytest.mark.parametrize(
    ("triton", "hip", "capability", "reason"),
    [
        (None, None, (9, 0), "triton is not installed: pip install 'lmwright[gpu]'"),
        (object(), "6.0", (9, 0), "NVIDIA"),
        (object(), None, (7, 5), "compute capability 7.5 is below 8.0"),
        (object(), None, (8, 0), None),
    ],
)
def test_machines_that_run_the_kernels(triton, hip, capability, reason, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: triton)
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    found = coverage.covers_machine(torch.device("cuda"))
    assert found is None if reason is None else reason in found


def test_fp8_needs_ada_or_newer(monkeypatch):
    gpu = torch.device("cuda")
    for capability, has in (((8, 6), False), ((8, 9), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda d, c=capability: c)
        assert (coverage.fp8_on(gpu) is None) == has


@pytest.mark.parametrize(
    ("given", "said"), [({"weights": "fp8"}, "weights=fp8: "), ({"kv": "fp8"}, "kv=fp8: ")]
)
@pytest.mark.parametrize("kind", ["auto", "portable", "native"])
def test_fp8_is_refused_on_a_cpu(given, said, kind):
    settings = {"weights": "as_stored", "kv": None} | given
    with pytest.raises(LmwrightError, match=said) as error:
        open_runner(build_model(), kind, 4, **settings, **HERE)
    assert "NVIDIA GPU" in str(error.value)
    assert "int8" in error.value.hint


class OnGpu(torch.Tensor):
    """A weight that says it is on a GPU."""

    is_cuda = True


@pytest.fixture
def on_gpu(monkeypatch):
    weight = torch.zeros(1).as_subclass(OnGpu)
    monkeypatch.setattr(Decoder, "output_weight", weight)
    monkeypatch.setattr(coverage, "covers_machine", lambda device: None)


@pytest.mark.usefixtures("on_gpu")
def test_a_model_on_a_gpu_gets_the_gpus_runner(monkeypatch):
    given = {}

    class Opened:
        def describe(self):
            return "cuda"

    def opened(model, **arguments):
        given.update(arguments, model=model)
        return Opened()

    monkeypatch.setattr(cuda, "open_runner", opened)
    model = build_model()
    found = open_runner(model, "auto", 7, weights="as_stored", kv="int8", **HERE)
    assert isinstance(found, Opened)
    assert given == {"model": model, "num_blocks": 7, "kv": "int8", "max_sequences": 4}


@pytest.mark.usefixtures("on_gpu")
def test_what_is_not_covered_runs_by_pytorch_and_says_why(monkeypatch):
    def refuse(model):
        raise NotCovered("triton is not installed")

    monkeypatch.setattr(cuda, "check_covered", refuse)
    settings = {"weights": "as_stored", "kv": None, **HERE}
    found = open_runner(build_model(), "auto", 7, **settings)
    assert "triton is not installed" in found.describe()
    assert "asked for" in open_runner(build_model(), "portable", 7, **settings).describe()
    with pytest.raises(LmwrightError, match="triton is not installed"):
        open_runner(build_model(), "native", 7, **settings)
    monkeypatch.setattr(coverage, "fp8_on", lambda device: None)
    with pytest.raises(LmwrightError, match="triton is not installed"):
        open_runner(build_model(), "auto", 7, **settings | {"kv": "fp8"})


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:99"])
def test_devices_that_are_not_here(name, model_folder):
    with pytest.raises(LmwrightError, match="device="):
        LLM(model_folder, device=name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="it needs a CUDA device")
@pytest.mark.parametrize("weights", ["as_stored", "bf16", "int8", "fp8"])
@pytest.mark.parametrize("kv", [None, "int8", "fp8"])
def test_a_folder_on_a_gpu_answers(weights, kv, model_folder):
    asked = "fp8" in (weights, kv)
    lacking = asked and coverage.fp8_on(torch.device("cuda")) is not None
    with pytest.raises(LmwrightError, match="fp8") if lacking else nullcontext():
        llm = LLM(model_folder, device="cuda", weights=weights, kv=kv)
        assert llm.describe().startswith("cuda ")
        assert llm.generate(["str.upper returns"])
