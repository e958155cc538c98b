"""Families that we lack: a model of `transformers` behind the call that ours have."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lmwright.core.errors import LmwrightError
from lmwright.models.config import Task
from lmwright.models.documents import Documents
from lmwright.models.transformer import Output

_PROBED = 5  # tokens on which the output projection is tried


class Foreign(nn.Module):
    """A `transformers` model that is called like ours and trained by our objectives.

    Packed rows are taken apart (see `Documents`), so that any architecture keeps documents from
    each other, at the cost of padding where they differ in length.

    Args:
        model: the `transformers` model; `config` is its own.
        task: what it gives.
    """

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.config: Any = model.config
        self._accepts = frozenset(inspect.signature(model.forward).parameters)
        self._factor: float | None = None  # of the logits; unknown until it is asked for

    @property
    def output_weight(self) -> Tensor:
        """(V, D) of the output projection.

        Raises:
            AttributeError: if the model has none, as an object without the attribute.
        """
        head = self._output()
        if head is None:
            raise AttributeError(f"{self._name()} has no output projection")
        weight = head.weight
        assert isinstance(weight, Tensor)
        return weight

    @property
    def output_bias(self) -> Tensor | None:
        """(V,) of the output projection, where it has one."""
        bias = getattr(self._output(), "bias", None)
        assert bias is None or isinstance(bias, Tensor)
        return bias

    @property
    def training_flops_per_token(self) -> float:
        """6 operations for every weight of a matrix product (Kaplan et al. 2020, section 2.1).

        What attention computes between tokens is left out: no config says it for all families.
        """
        tables = [m.weight for m in self.modules() if isinstance(m, nn.Embedding)]
        looked_up = {id(weight) for weight in tables}
        weights = sum(p.numel() for p in self.parameters() if p.ndim > 1 and id(p) not in looked_up)
        output = getattr(self, "output_weight", None)
        if output is not None and id(output) in looked_up:  # tied: used both ways
            weights += output.numel()
        return 6.0 * weights

    def forward(self, input_ids: Tensor, *arguments: Any, **named: Any) -> Output:
        """Call the wrapped model.

        Args:
            input_ids: (B, T) integers.
            arguments, named: `attention_mask`, `position_ids`, `cache`, `document_ids`,
                `token_type_ids`, `decoder_input_ids`, `decoder_attention_mask`, as our models take
                them.

        Raises:
            LmwrightError: with a `cache`, or if the model cannot take an argument.
        """
        found, documents = self._call(input_ids, *arguments, **named)
        if self.task == "span_qa":
            logits = torch.stack((found.start_logits, found.end_logits), dim=-1)
        else:
            logits = found.logits
        return Output(logits=logits if documents is None else documents.together(logits))

    def hidden_states(self, input_ids: Tensor, *arguments: Any, **named: Any) -> Tensor:
        """States (B, T, D) of which the logits are the output projection; see `forward`.

        Raises:
            LmwrightError: as `forward`, or if the family does more than project and scale.
        """
        factor = self._checked_factor(input_ids.device)
        hidden, documents = self._before_projection(input_ids, *arguments, **named)
        if documents is not None:
            hidden = documents.together(hidden)
        return hidden if factor == 1.0 else hidden * factor

    def transform(self, hidden: Tensor) -> Tensor:
        """What the output projection reads: `hidden_states` itself; see `heads.MaskedLM`."""
        return hidden

    def project(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of what `hidden_states` gave."""
        logits: Tensor = self._head()(hidden)
        return logits

    def _call(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: object | None = None,
        document_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
    ) -> tuple[Any, Documents | None]:
        if cache is not None:
            raise LmwrightError(
                f"{self._name()} is a model of transformers, which our engine cannot generate with",
                hint="it trains and is evaluated here; let transformers generate from its folder",
            )
        documents = None
        if document_ids is not None:
            if decoder_input_ids is not None:
                raise LmwrightError(f"{self._name()} cannot take packed rows: it reads and writes")
            documents = Documents(document_ids, attention_mask)
            if position_ids is not None:
                position_ids = documents.apart(position_ids.expand_as(input_ids))
            if token_type_ids is not None:
                token_type_ids = documents.apart(token_type_ids)
            input_ids, attention_mask = documents.apart(input_ids), documents.mask
        if position_ids is not None and _natural(position_ids, attention_mask):
            position_ids = None  # some families count from another number; each knows its own
        if token_type_ids is not None and not bool(token_type_ids.any()):
            token_type_ids = None
        arguments = self._accepted(
            attention_mask=attention_mask,
            position_ids=position_ids,
            token_type_ids=token_type_ids,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
        )
        return self.model(input_ids=input_ids, **arguments), documents

    def _accepted(self, **given: Tensor | None) -> dict[str, Any]:
        """The arguments that are there, where the model takes them all."""
        arguments: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        for name in arguments:
            if name not in self._accepts:
                raise LmwrightError(f"{self._name()} takes no {name}")
        if "use_cache" in self._accepts:
            arguments["use_cache"] = False
        return arguments

    def _before_projection(
        self, input_ids: Tensor, *arguments: Any, **named: Any
    ) -> tuple[Tensor, Documents | None]:
        with self._projection_aside() as given:
            _, documents = self._call(input_ids, *arguments, **named)
        if not given:
            raise self._no_projection()
        return given[-1], documents

    @contextmanager
    def _projection_aside(self) -> Iterator[list[Tensor]]:
        """Within, the projection notes what it is given and costs nothing: its result is zeros."""
        head, given = self._head(), list[Tensor]()
        width = self.output_weight.shape[0]

        def note(hidden: Tensor) -> Tensor:
            given.append(hidden)
            return hidden.new_zeros(1).expand(*hidden.shape[:-1], width)

        head.__dict__["forward"] = note  # of this object, before its class's
        try:
            yield given
        finally:
            del head.__dict__["forward"]

    def _checked_factor(self, device: torch.device) -> float:
        """What the family multiplies its projection by; looked at once, on a few tokens."""
        if self._factor is None:
            training = self.training
            ids = torch.arange(_PROBED, device=device)[None]
            more = {"decoder_input_ids": ids} if self.task == "sequence_to_sequence" else {}
            self.eval()
            try:
                with torch.no_grad():
                    logits = self(ids, **more).logits
                    plain = self.project(self._before_projection(ids, **more)[0])
            finally:
                self.train(training)
            self._factor = self._factor_between(plain, logits)
        return self._factor

    def _factor_between(self, plain: Tensor, logits: Tensor) -> float:
        candidates = [1.0]
        if self.output_bias is None:  # a bias would be scaled with the rest
            candidates.append(float((plain * logits).sum() / (plain * plain).sum()))
        tolerance = max(1e-3, 4 * torch.finfo(logits.dtype).eps)
        for factor in candidates:
            if torch.allclose(plain * factor, logits, rtol=tolerance, atol=1e-5):
                return factor
        raise self._no_projection()

    def _output(self) -> nn.Module | None:
        found = getattr(self.model, "get_output_embeddings", lambda: None)()
        return found if isinstance(found, nn.Module) else None

    def _head(self) -> nn.Module:
        found = self._output()
        if found is None:
            raise LmwrightError(f"{self._name()} has no output projection to a vocabulary")
        return found

    def _no_projection(self) -> LmwrightError:
        return LmwrightError(
            f"{self._name()} does more to its logits than project: this objective cannot train it",
            hint="only transformers' own loss knows what its family does there",
        )

    def _name(self) -> str:
        return type(self.model).__name__


def _natural(position_ids: Tensor, attention_mask: Tensor | None) -> bool:
    """Whether every row counts 0, 1, ... and has its padding, if any, on the right."""
    columns = torch.arange(position_ids.shape[-1], device=position_ids.device)
    counted = position_ids == columns
    if attention_mask is None:
        return bool(counted.all())
    real = attention_mask.long()
    return bool(counted.expand_as(real)[real != 0].all() and (real.diff(dim=-1) <= 0).all())
