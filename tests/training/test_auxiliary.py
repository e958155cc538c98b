"""What a mixture of experts is trained on beside its task: added, reported, not measured."""

import pytest
import torch
from torch.testing import assert_close

from lmwright.models.config import ExpertsConfig, TransformerConfig
from lmwright.models.layers.experts import Experts, auxiliary_losses
from lmwright.training.objectives.causal_lm import CausalLM
from lmwright.training.objectives.masked_lm import MaskedLM
from lmwright.training.objectives.sequence_to_sequence import SequenceToSequence
from lmwright.training.optimizers import matrices_and_rest
from tests.training.cases import random_batch
from tests.training.small_models import VOCAB, WIDTH, MaskedReader, Translator, random_examples


def experts(seed=0):
    torch.manual_seed(seed)
    config = TransformerConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=4,
        experts=ExpertsConfig(
            num_experts=4,
            num_experts_per_tok=2,
            intermediate_size=8,
            normalize_weights=True,
            load_balance_coefficient=0.02,
            z_coefficient=0.003,
            layers=(0,),
        ),
    )
    return Experts(config)


class Mixture(MaskedReader):
    def __init__(self):
        super().__init__()
        self.experts = experts()

    def hidden_states(self, *args, **kwargs):
        x = super().hidden_states(*args, **kwargs)
        return x + self.experts(x)


class MixedTranslator(Translator):
    def __init__(self):
        super().__init__()
        self.experts = experts()

    def hidden_states(self, *args, **kwargs):
        x = super().hidden_states(*args, **kwargs)
        return x + self.experts(x)


def targets(g, mask):
    return torch.randint(5, VOCAB, (len(mask), 9), generator=g)


CASES = {
    "causal_lm": (Mixture, CausalLM, lambda: random_batch(rows=6)),
    "masked_lm": (Mixture, lambda: MaskedLM(VOCAB, 60, (0,)), lambda: random_batch(rows=6)),
    "translation": (MixedTranslator, SequenceToSequence, lambda: random_examples(6, 10, targets)),
}


@pytest.mark.parametrize("case", CASES)
def test_added_in_training_and_reported(case):
    make_model, make_objective, make_batch = CASES[case]
    model, batch = make_model(), make_batch()
    plain = make_objective().loss(model.eval(), batch)
    assert plain.metrics == {}

    result = make_objective().loss(model.train(), batch)
    found = auxiliary_losses(model)
    added = found["load_balance_loss"] + found["router_z_loss"]
    assert float(added.detach()) > 0
    assert result.weight == plain.weight
    assert_close(result.loss, plain.loss + added * plain.weight, rtol=1e-5, atol=0)
    for name, value in found.items():
        assert_close(torch.as_tensor(result.metrics[name]) / result.weight, value.detach())
        assert not torch.as_tensor(result.metrics[name]).requires_grad
    result.loss.backward()
    assert float(model.experts.router.weight.grad.abs().sum()) > 0


def test_muon_takes_the_experts():
    model = Mixture()
    matrices, _ = matrices_and_rest(model)
    chosen = {id(p) for p in matrices}
    assert id(model.experts.up_proj) in chosen
    assert id(model.experts.down_proj) in chosen
    assert id(model.words.weight) not in chosen
