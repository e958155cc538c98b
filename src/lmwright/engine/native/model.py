"""A decoder in memory as the native kernels take it: layers packed, shape in C's structures."""

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lmwright.compression.linear import QuantizedLinear
from lmwright.compression.rounding import Grid, quantize_rows
from lmwright.engine.native import NotCovered, Weights
from lmwright.engine.native.library import Format, Layer, LinearWeights, Model, NormWeights
from lmwright.engine.native.pack import GROUP, WIDE_GROUP, Packed, Source, join, pack, pack_gated
from lmwright.engine.native.twin import group_size
from lmwright.models.config import Activation, TransformerConfig
from lmwright.models.layers.attention import Attention
from lmwright.models.layers.block import Block
from lmwright.models.layers.feed_forward import FeedForward
from lmwright.models.layers.norms import LayerNorm, RMSNorm
from lmwright.models.layers.positions import alibi_slopes, sinusoids
from lmwright.models.transformer import Decoder

_ACTIVATIONS: dict[Activation, int] = {
    "silu": 0,
    "gelu": 1,
    "gelu_tanh": 2,
    "gelu_new": 2,
    "gelu_bloom": 2,
    "relu": 3,
    "relu2": 4,
    "tanh": 5,
}
_PLACEMENTS = {"pre": 0, "post": 1, "both": 2}


@dataclass
class NativeModel:
    """A decoder's packed weights and the structures that point to them.

    Args:
        decoder: the model; its embedding is read where it lies, so it must not change or move.
        wanted: how weights are to lie in memory.
        known: layers of the same model in the wanted form, packed before; others are packed now.

    Raises:
        NotCovered: if a layer is of a kind that the kernels do not know.
    """

    decoder: Decoder
    wanted: Weights
    known: Mapping[str, Packed] = field(default_factory=dict)
    packed: dict[str, Packed] = field(default_factory=dict)
    """Every linear layer, by name."""
    layers: "ctypes.Array[Layer]" = field(init=False)
    structure: Model = field(init=False)

    def __post_init__(self) -> None:
        self._alive: list[Tensor] = []  # what structures point to
        config = self.decoder.config
        self.layers = (Layer * config.num_hidden_layers)()
        for index, block in enumerate(self.decoder.layers):
            assert isinstance(block, Block), "a decoder is made of blocks"
            self._fill(self.layers[index], f"layers.{index}", block, config.window(index))
        self._pack("lm_head", lambda: pack(self._output()))
        self.structure = self._structure(config)

    @property
    def formats(self) -> set[Format]:
        """Of the blocks' linear layers."""
        return {packed.format for name, packed in self.packed.items() if name != "lm_head"}

    @property
    def bytes(self) -> int:
        """What linear layers read in a pass."""
        return sum(packed.bytes for packed in self.packed.values())

    def _fill(self, layer: Layer, name: str, block: Block, window: int | None) -> None:
        attention, feed_forward, config = block.self_attn, block.mlp, self.decoder.config
        if type(attention) is not Attention or type(feed_forward) is not FeedForward:
            kinds = f"{type(attention).__name__} and {type(feed_forward).__name__}"
            raise NotCovered(f"{name} is made of {kinds}")
        layer.input_norm = self._norm(block.input_layernorm)
        layer.attention_output_norm = self._norm(block.attention_output_norm)
        layer.feed_forward_norm = self._norm(block.post_attention_layernorm)
        layer.feed_forward_output_norm = self._norm(block.feed_forward_output_norm)
        layer.query_norm = self._norm(attention.q_norm)
        layer.key_norm = self._norm(attention.k_norm)
        layer.qkv = self._pack(f"{name}.qkv", lambda: self._heads(name, attention))
        layer.output = self._pack(
            f"{name}.o_proj", lambda: pack(self._source(f"{name}.o_proj", attention.o_proj))
        )
        gated = feed_forward.gate_proj is not None
        up = f"{name}.gate_up" if gated else f"{name}.up_proj"
        layer.up = self._pack(up, lambda: self._up(name, feed_forward))
        layer.down = self._pack(
            f"{name}.down_proj",
            lambda: pack(self._source(f"{name}.down_proj", feed_forward.down_proj)),
        )
        layer.window = window or 0
        local = window is not None and config.rope_local_theta is not None
        layer.rotary = int(local) if config.positions == "rotary" else -1

    def _pack(self, name: str, make: Callable[[], Packed]) -> LinearWeights:
        """A linear layer, as it was packed before or as `make` packs it."""
        known = self.known.get(name)
        self.packed[name] = make() if known is None else known
        return self.packed[name].weights

    def _heads(self, name: str, attention: Attention) -> Packed:
        """Queries, keys and values side by side."""
        projections = ("q_proj", "k_proj", "v_proj")
        heads = [self._source(f"{name}.{p}", getattr(attention, p)) for p in projections]
        _same_format(name, heads)
        return pack(join(heads))

    def _up(self, name: str, feed_forward: FeedForward) -> Packed:
        """The layers before the activation."""
        up = self._source(f"{name}.up_proj", feed_forward.up_proj)
        if feed_forward.gate_proj is None:
            return pack(up)
        gate = self._source(f"{name}.gate_proj", feed_forward.gate_proj)
        _same_format(name, [gate, up])
        return pack_gated(gate, up)

    def _source(self, name: str, layer: nn.Module) -> Source:
        """A linear layer in the wanted form."""
        bias = getattr(layer, "bias", None)
        bias = None if bias is None else bias.detach()
        if isinstance(layer, QuantizedLinear):
            if self.wanted in ("fp32", "bf16") or (self.wanted == "int4" and layer.bits == 8):
                return _converted(name, layer.expanded(), bias, self.wanted)
            return _stored_integers(name, layer, bias)
        if type(layer) is not nn.Linear:
            raise NotCovered(f"{name} is a {type(layer).__name__}")
        return _converted(name, layer.weight.detach(), bias, self.wanted)

    def _output(self) -> Source:
        """The output projection, quantised like the blocks, but never coarser than asked."""
        head = self.decoder.lm_head
        if isinstance(head, QuantizedLinear):
            return self._source("lm_head", head)
        if head is not None and type(head) is not nn.Linear:
            raise NotCovered(f"lm_head is a {type(head).__name__}")
        bias, wanted = self.decoder.output_bias, self.wanted
        if wanted == "as_stored" and min(self.formats) >= Format.INT8_GROUPS:
            # Half the bytes of bf16 for an error of 0.8 %, in a layer that every token reads whole.
            wanted = "int8"
        weight = self.decoder.output_weight.detach()
        return _converted("lm_head", weight, None if bias is None else bias.detach(), wanted)

    def _norm(self, norm: nn.Module | None) -> NormWeights:
        if norm is None:
            return NormWeights()
        if not isinstance(norm, RMSNorm | LayerNorm):
            raise NotCovered(f"a norm is a {type(norm).__name__}")
        weight = norm.weight.detach().float()
        if isinstance(norm, RMSNorm):
            return NormWeights(
                self._keep(weight + 1.0 if norm.plus_one else weight), None, norm.eps, 1
            )
        bias = None if norm.bias is None else self._keep(norm.bias.detach().float())
        return NormWeights(self._keep(weight), bias, norm.eps, 2)

    def _keep(self, tensor: Tensor) -> int:
        """The address of a tensor that will live as long as this object."""
        self._alive.append(tensor.contiguous())
        return self._alive[-1].data_ptr()

    def _table(self, table: Tensor) -> tuple[int, Format]:
        """Address and format of a table of rows, in place where it is fp32 or bf16."""
        if table.dtype == torch.bfloat16:
            return self._keep(table.detach()), Format.BF16
        return self._keep(table.detach().float()), Format.F32

    def _positions(self, config: TransformerConfig) -> tuple[int | None, Format]:
        """What is added to the embeddings, from position 0 on."""
        if self.decoder.embed_positions is not None:
            return self._table(self.decoder.embed_positions.weight[config.position_offset :])
        if config.positions == "sinusoidal":
            places = torch.arange(config.max_position_embeddings) + config.position_offset
            return self._table(sinusoids(places[None], config.hidden_size)[0])
        return None, Format.F32

    def _structure(self, config: TransformerConfig) -> Model:
        assert self.decoder.embed_tokens is not None, "a decoder of its own has an embedding"
        embedding, embedding_format = self._table(self.decoder.embed_tokens.weight)
        positions, position_format = self._positions(config)
        scale = torch.tensor(config.embedding_scale)
        if config.round_embedding_scale:
            scale = scale.to(self.decoder.embed_tokens.weight.dtype)
        slopes = None
        if config.positions == "alibi":
            slopes = self._keep(alibi_slopes(config.num_attention_heads))
        rotary = config.positions == "rotary"
        return Model(
            layers=self.layers,
            num_layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            inner=config.intermediate_size,
            vocabulary=config.vocab_size,
            activation=_ACTIVATIONS[config.activation],
            gated=config.gated,
            parallel=config.parallel_residual,
            placement=_PLACEMENTS[config.norm_placement],
            rotary_dim=(config.rotary_dim or config.head_dim) if rotary else 0,
            attention_scale=config.attention_scale or config.head_dim**-0.5,
            attention_soft_cap=config.attention_soft_cap or 0.0,
            final_soft_cap=config.final_logit_soft_cap or 0.0,
            alibi_slopes=slopes,
            embedding=embedding,
            position_table=positions,
            embedding_format=embedding_format,
            position_format=position_format,
            embedding_scale=float(scale),
            embedding_norm=self._norm(self.decoder.embed_norm),
            final_norm=self._norm(self.decoder.norm),
            logits=self.packed["lm_head"].weights,
        )


def _same_format(name: str, sources: list[Source]) -> None:
    if len({source.format for source in sources}) > 1:
        raise NotCovered(f"{name} mixes formats in layers that read the same input")


def _converted(name: str, weight: Tensor, bias: Tensor | None, wanted: Weights) -> Source:
    """Floats as they are wanted: kept, converted, or quantised in groups."""
    if wanted in ("int8", "int4"):
        bits = 8 if wanted == "int8" else 4
        group = group_size(name, weight.shape[1], bits)
        grid = Grid(bits, group)
        if not grid.fits(weight.shape[1]):
            raise NotCovered(f"{name} has rows of {weight.shape[1]}, no whole groups of {GROUP}")
        return Source(*quantize_rows(weight, grid), bits, bias, group)
    if wanted == "bf16" or (wanted == "as_stored" and weight.dtype == torch.bfloat16):
        return Source(weight.bfloat16(), bias=bias)
    return Source(weight.float(), bias=bias)


def _stored_integers(name: str, layer: QuantizedLinear, bias: Tensor | None) -> Source:
    """A quantised layer's own integers; scales of larger groups and 4-bit rows are repeated."""
    columns, scale = layer.in_features, layer.weight_scale.float()
    if columns % GROUP:
        raise NotCovered(f"{name} has rows of {columns}, no whole groups of {GROUP}")
    group = group_size(name, columns, layer.bits)
    if layer.group_size is not None or layer.bits == 4:
        group = min(group, layer.group_size or GROUP)
        group = group if group == WIDE_GROUP else GROUP  # the kernels have none of 64
        scale = scale.repeat_interleave(columns // group // scale.shape[1], 1)
    return Source(layer.weight, scale, layer.bits, bias, group)
