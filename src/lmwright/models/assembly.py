"""A model from published weights, and its weights under their published names."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lmwright.models import families
from lmwright.models.build import build
from lmwright.models.config import Task, TransformerConfig
from lmwright.models.encoder import Encoder
from lmwright.models.families import Family, naming
from lmwright.models.families.naming import Weight
from lmwright.models.fit import Fit
from lmwright.models.heads import Headed
from lmwright.models.initialization import initialize

_BACKBONE = "backbone."
_TIED = ("lm_head.weight", "head.decoder.weight")
HEAD = ("head.", "lm_head.", "crf.", "output_bias")
"""How the names of a head's weights begin."""


def assemble(
    config: TransformerConfig,
    published: Mapping[str, Tensor],
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    prepare: Callable[[nn.Module], object] | None = None,
    new_head: bool = False,
    published_for: Task | None = None,
) -> nn.Module:
    """Make a model from weights under their published names.

    Args:
        config: its shape and task.
        published: the weights; copied, so that files may be replaced under the model.
        folder: where they come from, for messages.
        dtype: of the parameters in memory; None: as stored. Buffers stay as stored.
        prepare: changes the empty model's modules before the weights enter.
        new_head: whether a head that the weights lack is drawn fresh, and other heads' weights are
            left out: for a model that was published for another task.
        published_for: that task, where it is known: its head is left out even where the wanted one
            calls its weights the same.

    Raises:
        LmwrightError: if weights are missing, left over or of another shape.
    """
    family = families.named(config.model_type)
    config = _untied_where_stored(config, published)
    with torch.device("meta"):
        model = build(config)
        if prepare is not None:
            prepare(model)
    given = _kept(config, published)
    if new_head and published_for is not None:
        given = _without_head(family, published_for, config.task, given)
    fit = _fit(config, model, given)
    wrong, strays = fit.misshapen(), fit.strays({*model.state_dict(), *_TIED})
    fitting = {n: w for n, w in given.items() if n not in wrong and n not in strays}
    weights = our_weights(config, fitting) | strays
    if new_head:
        weights = _with_new_head(config, model, family, weights)
        wrong = [n for n in wrong if not all(o.startswith(HEAD) for o in fit.ours(n))]
    fit.check(model.state_dict(), weights, wrong, folder)
    converted = {name for name, _ in model.named_parameters()}
    # Copied out of the file's mapping, which is aligned to 8 bytes only, to what kernels like.
    state = {
        name: weight.to(dtype if name in converted else None, copy=True)
        for name, weight in weights.items()
    }
    model.load_state_dict(state, assign=True)
    if isinstance(model, (Encoder, Headed)):
        model.carried = {
            name: weight.to(dtype, copy=True)
            for name, weight in _stripped(config, published).items()
            if _any_match(family.head(config.task).carried, name)
        }
    return model.eval()


def our_weights(config: TransformerConfig, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as `_kept` gives them under the names of our model's state; what has no place keeps
    its name."""
    read = naming.read(kept, _table(config), config)
    if config.tie_word_embeddings:
        for name in _TIED:
            read.pop(name, None)  # some writers store the embedding twice
    return {_owned(config, name): weight for name, weight in read.items()}


def published_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights of one of our models under their published names."""
    config = model.config
    assert isinstance(config, TransformerConfig)
    family = families.named(config.model_type)
    head = family.head(config.task)
    written = _written(config, model.state_dict())
    for name, copy in head.copies:
        if name in written:
            written[copy] = written[name].clone()
    if isinstance(model, (Encoder, Headed)):
        written |= model.carried
    return _with_prefix(config, written)


def published_state(config: TransformerConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Some weights of a model's state under their published names."""
    return _with_prefix(config, _written(config, state))


def _with_prefix(config: TransformerConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    family = families.named(config.model_type)
    if not family.head(config.task).prefixed:
        return dict(weights)
    return {_prefixed(family, config, name): weight for name, weight in weights.items()}


def _written(config: TransformerConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's state under published names without a prefix."""
    ours = {name.removeprefix(_BACKBONE): weight for name, weight in state.items()}
    return naming.write(ours, _table(config), config)


def _table(config: TransformerConfig) -> list[Weight]:
    """The names that hold for this config."""
    table = families.named(config.model_type).table(config.task)
    return [weight for weight in table if weight.when is None or weight.when(config)]


def _kept(config: TransformerConfig, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published weights without the family's prefix, and without what is ignored."""
    family = families.named(config.model_type)
    head = family.head(config.task)
    leave_out = (*family.ignored, *head.ignored, *head.carried)
    kept = {
        name: weight
        for name, weight in _stripped(config, published).items()
        if not _any_match(leave_out, name)
    }
    for name, copy in head.copies:
        if copy in kept:
            kept[name] = kept.pop(copy)
    return kept


def _stripped(config: TransformerConfig, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published names without the family's prefix, as newer files have them."""
    family = families.named(config.model_type)
    result = {}
    for name, weight in published.items():
        name = name.removeprefix(family.prefix)
        for pattern, replacement in family.renamed:
            name = re.sub(pattern, replacement, name)
        result[name] = weight
    return result


def _any_match(patterns: Iterable[str], name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _untied_where_stored(
    config: TransformerConfig, published: Mapping[str, Tensor]
) -> TransformerConfig:
    """A file with an output projection of its own counts more than a config.json that ties it:
    transformers 5 writes T5 v1.1 so."""
    if not config.tie_word_embeddings:
        return config
    read = naming.read(_kept(config, published), _table(config), config)
    embedding = read.get("embed_tokens.weight")
    for name in _TIED:
        own = read.get(name)
        if own is not None and embedding is not None and not torch.equal(own, embedding):
            return config.model_copy(update={"tie_word_embeddings": False})
    return config


def published_name(config: TransformerConfig, name: str) -> str:
    """The published name of one of our weights (the first, where it is stored in several)."""
    family = families.named(config.model_type)
    found = naming.published_name(name.removeprefix(_BACKBONE), _table(config))
    return _prefixed(family, config, found) if family.head(config.task).prefixed else found


def our_name(config: TransformerConfig, name: str) -> str:
    """Our name of a published weight (the first, where it holds several)."""
    family = families.named(config.model_type)
    found = naming.our_name(name.removeprefix(family.prefix), _table(config))
    return _owned(config, found)


def our_names(config: TransformerConfig, name: str) -> tuple[str, ...]:
    """All of our names of what a published weight holds."""
    family = families.named(config.model_type)
    found = naming.our_names(name.removeprefix(family.prefix), _table(config))
    return tuple(_owned(config, one) for one in found)


def _prefixed(family: Family, config: TransformerConfig, name: str) -> str:
    """With the family's prefix, unless the weight is the head's own."""
    own = [
        template
        for weight in family.head(config.task).weights
        if not weight.prefixed
        for template in weight.published_names
    ]
    return name if naming.matches(name, own) else family.prefix + name


def _owned(config: TransformerConfig, name: str) -> str:
    """The name in the model's state: what is not the head's lies in `backbone`."""
    has_backbone = config.head is not None and config.task != "backbone"
    return name if not has_backbone or name.startswith(HEAD) else _BACKBONE + name


def _fit(config: TransformerConfig, model: nn.Module, given: Mapping[str, Tensor]) -> Fit:
    """The published weights (as `_kept` gives them) beside the empty model."""
    table = _table(config)
    return Fit(
        expected=_written(config, model.state_dict()),
        given=given,
        ours=lambda name: tuple(_owned(config, n) for n in naming.our_names(name, table)),
        shown=lambda name: published_name(config, name),
    )


def _without_head(
    family: Family, old: Task, wanted: Task, given: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Leave out the weights of the head for another task, but for those of the stack's own."""
    head = family.heads.get(old)
    if head is None or head.architecture == family.head(wanted).architecture:
        return dict(given)
    own = [t for w in head.weights if not w.prefixed for t in w.published_names]
    return {name: weight for name, weight in given.items() if not naming.matches(name, own)}


def _with_new_head(
    config: TransformerConfig, model: nn.Module, family: Family, weights: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Leave out the weights of the family's other heads; draw those that the wanted one lacks."""
    others = [
        template
        for head in family.heads.values()
        for weight in head.weights
        for template in weight.published_names
    ]
    others += [copy for head in family.heads.values() for _, copy in head.copies]
    beside = [pattern for head in family.heads.values() for pattern in head.ignored]
    expected = model.state_dict()
    kept = {}
    for name, weight in weights.items():
        published = name.removeprefix(_BACKBONE)
        foreign = naming.matches(published, others) or _any_match(beside, published)
        if name in expected or not foreign:
            kept[name] = weight
    lacking = [name for name in expected if name.startswith(HEAD) and name not in kept]
    if lacking:
        fresh = build(config)
        initialize(fresh, torch.Generator().manual_seed(0))
        state = fresh.state_dict()
        kept |= {name: state[name] for name in lacking}
    return kept
