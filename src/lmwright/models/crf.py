"""The linear-chain conditional random field (Lafferty et al. 2001) over a network's scores
(Lample et al. 2016, section 2.2): a tag sequence is scored as a whole, and normalised as a whole.

score(x, y) = start[y_1] + sum_t emission[t, y_t] + sum_t transition[y_t, y_t+1] + end[y_T]
log p(y | x) = score(x, y) - log sum_y' exp score(x, y')
"""

from typing import Literal

import torch
from torch import Tensor, nn

from lmwright.core.errors import LmwrightError
from lmwright.models.layers import sequences

UNTAGGED = -100
"""The tag of positions that are not part of a chain, as in PyTorch's `ignore_index`."""

# Far below any score a network gives, yet finite: a tag that nothing leads to must not turn the
# gradient of log-sum-exp into NaN, as -inf does.
_FORBIDDEN = -1e4


class CRF(nn.Module):
    """Scores of tags that follow each other, over C tags.

    A chain is the positions of a row where the mask is 1, in their order: padding on either side
    and positions between (the later pieces of a word) are skipped, not tagged. A row without any
    has the log-partition 0.

    Args:
        num_labels: C.
        allowed: what a scheme lets start, follow and end; see `allowed_transitions`. None: all.
    """

    start_allowed: Tensor
    follow_allowed: Tensor
    end_allowed: Tensor

    def __init__(
        self, num_labels: int, allowed: tuple[Tensor, Tensor, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.num_labels = num_labels
        self.start = nn.Parameter(torch.zeros(num_labels))
        self.transitions = nn.Parameter(torch.zeros(num_labels, num_labels))
        self.end = nn.Parameter(torch.zeros(num_labels))
        if allowed is None:
            everything = torch.ones(num_labels, num_labels, dtype=torch.bool, device="cpu")
            allowed = (everything[0], everything, everything[0])
        for name, tensor in zip(("start", "follow", "end"), allowed, strict=True):
            # The config says them again when a folder is opened: they are not stored.
            self.register_buffer(f"{name}_allowed", tensor.clone(), persistent=False)

    def reset(self) -> None:
        """Start again: no tag is likelier than another."""
        with torch.no_grad():
            for weight in (self.start, self.transitions, self.end):
                weight.zero_()

    def log_partition(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """log of the sum over all tag sequences, by the forward algorithm.

        Args:
            emissions: (B, T, C).
            mask: (B, T), 1 where a position is tagged; None: all are.

        Returns:
            (B,), at least fp32.

        Raises:
            LmwrightError: if the shapes do not fit.
        """
        chains, scores, _ = self._chains(emissions, mask)
        start, transitions, end = self._scores(scores.dtype)
        alive = chains.valid()[..., None].unbind(1)
        steps = scores.unbind(1)
        forward = start + steps[0]
        for step, here in zip(steps[1:], alive[1:], strict=True):
            reached = torch.logsumexp(forward[:, :, None] + transitions, dim=1) + step
            forward = reached if chains.full else torch.where(here, reached, forward)
        total = torch.logsumexp(forward + end, dim=1)
        return torch.where(chains.lengths > 0, total, 0.0)

    def score(self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None) -> Tensor:
        """score(x, y) of given tags.

        Args:
            emissions: (B, T, C).
            tags: (B, T) int64 in [0, C), anything where the mask is 0.
            mask: (B, T), 1 where a position is tagged; None: all are.

        Returns:
            (B,), at least fp32; 0 for a row without tagged positions.

        Raises:
            LmwrightError: if the shapes do not fit, a tag is not in [0, C), or the scheme
                forbids a transition that the tags make.
        """
        if tags.shape != emissions.shape[:2]:
            raise LmwrightError(
                f"labels have shape {tuple(tags.shape)}, the scores {tuple(emissions.shape)}"
            )
        chains, scores, (gold,) = self._chains(emissions, mask, tags)
        valid = chains.valid()
        gold = torch.where(valid, gold, 0)
        self._check_tags(gold, valid, chains.lengths)
        start, transitions, end = self._scores(scores.dtype)
        emitted = scores.gather(2, gold[..., None]).squeeze(2)
        followed = transitions[gold[:, :-1], gold[:, 1:]]
        last = gold.gather(1, (chains.lengths - 1).clamp_min(0)[:, None]).squeeze(1)
        total = (
            start[gold[:, 0]]
            + torch.where(valid, emitted, 0.0).sum(1)
            + torch.where(valid[:, 1:], followed, 0.0).sum(1)
            + end[last]
        )
        return torch.where(chains.lengths > 0, total, 0.0)

    def log_likelihood(self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None) -> Tensor:
        """log p(tags | emissions) (B,), in nats; see `score`."""
        return self.score(emissions, tags, mask) - self.log_partition(emissions, mask)

    @torch.no_grad()
    def viterbi(self, emissions: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The best tag sequence (Viterbi 1967).

        Args:
            emissions: (B, T, C).
            mask: (B, T), 1 where a position is tagged; None: all are.

        Returns:
            Tags (B, T) int64, `UNTAGGED` where the mask is 0; their scores (B,).

        Raises:
            LmwrightError: if the shapes do not fit.
        """
        chains, scores, _ = self._chains(emissions, mask)
        start, transitions, end = self._scores(scores.dtype)
        alive = chains.valid()
        stay = torch.arange(self.num_labels, device=scores.device)
        best = start + scores[:, 0]
        pointers: list[Tensor] = []
        for t in range(1, chains.longest):
            reached, came_from = (best[:, :, None] + transitions).max(dim=1)
            here = alive[:, t, None]
            best = torch.where(here, reached + scores[:, t], best)
            pointers.append(torch.where(here, came_from, stay))
        total, tag = (best + end).max(dim=1)
        path = [tag]
        for came_from in reversed(pointers):
            tag = came_from.gather(1, tag[:, None]).squeeze(1)
            path.append(tag)
        tags = torch.where(alive, torch.stack(path[::-1], dim=1), UNTAGGED)
        return chains.scatter(tags, UNTAGGED), torch.where(chains.lengths > 0, total, 0.0)

    def _scores(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        pairs = (
            (self.start, self.start_allowed),
            (self.transitions, self.follow_allowed),
            (self.end, self.end_allowed),
        )
        start, follow, end = (
            weight.to(dtype).masked_fill(~allowed, _FORBIDDEN) for weight, allowed in pairs
        )
        return start, follow, end

    def _chains(
        self, emissions: Tensor, mask: Tensor | None, *beside: Tensor
    ) -> tuple[sequences.Sequences, Tensor, list[Tensor]]:
        """The chains, their emissions (N, L, C) and whatever else stands beside each position."""
        if emissions.ndim != 3 or emissions.shape[2] != self.num_labels or not emissions.shape[1]:
            raise LmwrightError(
                f"scores have shape {tuple(emissions.shape)}; "
                f"a CRF over {self.num_labels} labels needs (rows, tokens, {self.num_labels})"
            )
        if mask is None:
            mask = torch.ones(emissions.shape[:2], dtype=torch.bool, device=emissions.device)
        if mask.shape != emissions.shape[:2]:
            raise LmwrightError(
                f"the mask has shape {tuple(mask.shape)}, the scores {tuple(emissions.shape)}"
            )
        chains = sequences.of_rows(mask.bool(), mask)
        # Long sums of logarithms: half precision would lose the digits that tell paths apart.
        scores = emissions.to(torch.promote_types(emissions.dtype, torch.float32))
        return chains, chains.gather(scores), [chains.gather(x) for x in beside]

    def _check_tags(self, gold: Tensor, valid: Tensor, lengths: Tensor) -> None:
        out = (gold < 0) | (gold >= self.num_labels)
        if bool(out.any()):
            raise LmwrightError(
                f"label {int(gold[out][0])} is not one of the {self.num_labels} labels "
                f"0 ... {self.num_labels - 1}",
                hint="positions that carry no label need 0 in the mask",
            )
        last = gold.gather(1, (lengths - 1).clamp_min(0)[:, None]).squeeze(1)
        wrong = ~self.follow_allowed[gold[:, :-1], gold[:, 1:]] & valid[:, 1:]
        if bool(wrong.any()):
            row, t = (int(i) for i in wrong.nonzero()[0])
            what = f"label {int(gold[row, t + 1])} after label {int(gold[row, t])}"
        elif bool((~self.start_allowed[gold[:, 0]] & valid[:, 0]).any()):
            what = "the first label of a text"
        elif bool((~self.end_allowed[last] & valid[:, 0]).any()):
            what = "the last label of a text"
        else:
            return
        raise LmwrightError(
            f"the tag scheme forbids {what}",
            hint="convert the labels to the scheme first, or leave tag_scheme out",
        )


def allowed_transitions(
    labels: tuple[str, ...], scheme: Literal["BIO", "BIOES"]
) -> tuple[Tensor, Tensor, Tensor]:
    """What may start, follow and end in a scheme of spans (Ramshaw and Marcus 1995 for BIO).

    Args:
        labels: C names such as O, B-PER, I-PER; with BIOES also E- (a span's end), S- (alone).
        scheme: BIO, where a span goes on as long as I- follows; BIOES, where it must be ended.

    Returns:
        Bools (C,), (C, C) from row to column, (C,).

    Raises:
        LmwrightError: if a label is not of the scheme.
    """
    parts = [_parse(label, scheme) for label in labels]
    # An I or E belongs to the span before it; a B or I has, in BIOES, its span still open.
    follow = [
        [
            (after not in "IE" or (before in "BI" and before_kind == after_kind))
            and (scheme == "BIO" or before not in "BI" or after in "IE")
            for after, after_kind in parts
        ]
        for before, before_kind in parts
    ]
    start = [prefix not in "IE" for prefix, _ in parts]
    end = [scheme == "BIO" or prefix not in "BI" for prefix, _ in parts]
    # On the CPU even where a model is built without memory: the weights files do not hold them.
    start_, follow_, end_ = (torch.tensor(x, device="cpu") for x in (start, follow, end))
    return start_, follow_, end_


def _parse(label: str, scheme: str) -> tuple[str, str]:
    """Prefix and kind of a label: B-PER -> B, PER."""
    prefix, dash, kind = label.partition("-")
    if label == "O":
        return "O", ""
    if dash and kind and prefix in set(scheme) - {"O"}:
        return prefix, kind
    raise LmwrightError(
        f"label {label!r} is not of the scheme {scheme}",
        hint=f"labels are O, and {', '.join(f'{p}-KIND' for p in scheme if p != 'O')}",
    )
