"""Tiny random decoders of every kind that the native kernels cover, and batches for them."""

import torch
from torch import Tensor

from lmwright.engine.batch import Batch
from lmwright.engine.native import choice, library, runner
from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Decoder

VOCABULARY = 333  # no whole number of panels

LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}
GPT2 = {
    "norm": "layer_norm",
    "norm_eps": 1e-5,
    "positions": "learned",
    "num_key_value_heads": 4,
    "attention_bias": True,
    "attention_output_bias": True,
    "gated": False,
    "activation": "gelu_new",
    "feed_forward_bias": True,
}
FAMILIES: dict[str, dict[str, object]] = {
    "llama": {},
    "untied": {"tie_word_embeddings": False, "output_bias": True},
    "llama3": {
        "rope_scaling": {
            "kind": "llama3",
            "factor": 8.0,
            "original_max_position_embeddings": 32,
        }
    },
    "yarn": {
        "rope_scaling": {"kind": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
    },
    "linear": {"rope_scaling": {"kind": "linear", "factor": 2.0}},
    "qwen2": {"attention_bias": True},
    "qwen3": {"query_key_norm": True, "head_dim": 24},
    "mistral": {"sliding_window": 9, "layer_types": ("sliding_attention",) * 3},
    "gpt2": GPT2,
    "opt": GPT2 | {"position_offset": 2, "activation": "relu"},
    "sinusoidal": GPT2 | {"positions": "sinusoidal", "embedding_scale": 8.0},
    "bloom": GPT2
    | {
        "positions": "alibi",
        "activation": "gelu_bloom",
        "embedding_norm": True,
        "attention_scale": 0.3,
    },
    "gpt_neox": GPT2
    | {
        "positions": "rotary",
        "rotary_dim": 4,
        "activation": "gelu",
        "parallel_residual": True,
        "tie_word_embeddings": False,
    },
    "post_norm": GPT2 | {"norm_placement": "post", "final_norm": False},
    "gemma": {
        "norm_plus_one": True,
        "activation": "gelu_tanh",
        "embedding_scale": 8.0,
        "num_key_value_heads": 1,
    },
    "gemma2": {
        "norm_plus_one": True,
        "norm_placement": "both",
        "activation": "gelu_tanh",
        "embedding_scale": 8.0,
        "attention_soft_cap": 5.0,
        "final_logit_soft_cap": 3.0,
        "sliding_window": 8,
        "layer_types": ("sliding_attention", "full_attention", "sliding_attention"),
    },
    "gemma3": {
        "norm_plus_one": True,
        "norm_placement": "both",
        "query_key_norm": True,
        "activation": "gelu_tanh",
        "rope_local_theta": 100.0,
        "rope_scaling": {"kind": "linear", "factor": 2.0},
        "sliding_window": 8,
        "layer_types": ("sliding_attention", "full_attention", "sliding_attention"),
    },
    "no_positions": {"positions": "none", "activation": "relu2", "gated": False},
    # Groups of 128 in 8 bits, except behind the activation.
    "wide": {"hidden_size": 256, "intermediate_size": 384, "head_dim": 64},
    "odd_widths": {"hidden_size": 72, "intermediate_size": 100, "activation": "tanh"},
}


def build(family: str = "llama", seed: int = 0, **changes: object) -> Decoder:
    """A decoder with random weights: wide enough that attention is not uniform, and so narrow that
    the PyTorch model itself is within 1e-5 of float64."""
    config = TransformerConfig.model_validate(LLAMA | FAMILIES[family] | changes)
    model = Decoder(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            centre = 0.0 if config.norm_plus_one else 1.0
            narrow = 0.96 / config.hidden_size**0.5
            weight.copy_(centre + 0.2 * noise if weight.dim() == 1 else narrow * noise)
    return model.eval()


def open_native(model: Decoder, **options: object) -> runner.NativeRunner:
    """A native runner with a small pool."""
    name = options.pop("instruction_set", None)
    kernels = choice.best() if name is None else library.load(name)
    defaults = {"num_blocks": 64, "block_size": 16, "threads": 1}
    return runner.NativeRunner(model, kernels, **(defaults | options))


def prompts(lengths: list[int], seed: int = 0) -> list[list[int]]:
    """Random token ids."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(VOCABULARY, (n,), generator=generator).tolist() for n in lengths]


def batch(
    pieces: list[tuple[int, list[int]]],
    *,
    block_size: int = 16,
    slots: list[int] | None = None,
    rows: list[int] | None = None,
) -> Batch:
    """A pass over `pieces`, each (tokens that the cache has already, new tokens).

    Sequence i owns the blocks slots[i] * 8 .. + 7, backwards, so that order is looked up, not
    guessed. `rows`: None: logits of every token.
    """
    slots = list(range(len(pieces))) if slots is None else slots
    starts = [0]
    for _, tokens in pieces:
        starts.append(starts[-1] + len(tokens))
    positions = [n + i for n, tokens in pieces for i in range(len(tokens))]
    tables = [[slot * 8 + 7 - i for i in range(8)] for slot in slots]
    return Batch(
        token_ids=torch.tensor([token for _, tokens in pieces for token in tokens]).long(),
        positions=torch.tensor(positions).long(),
        query_starts=torch.tensor(starts, dtype=torch.int32),
        context_lengths=torch.tensor([n + len(t) for n, t in pieces], dtype=torch.int32),
        block_tables=torch.tensor(tables, dtype=torch.int32),
        logit_rows=torch.arange(starts[-1]) if rows is None else torch.tensor(rows).long(),
    )


def relative(ours: Tensor, reference: Tensor) -> float:
    """max|difference| / RMS(reference)."""
    return float((ours - reference).abs().max() / reference.pow(2).mean().sqrt())
