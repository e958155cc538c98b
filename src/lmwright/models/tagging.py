"""From the scores of tokens' tags to a loss and to the best tags, with a CRF or without."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.models.crf import CRF, UNTAGGED


def tagging_loss(
    logits: Tensor, attention_mask: Tensor | None, labels: Tensor, crf: CRF | None
) -> Tensor:
    """Negative log-likelihood of the labels in nats, summed over everything labelled.

    Args:
        logits: (B, T, C), each token's scores of its label.
        attention_mask: (B, T), 0 where a token is padding; None: none is.
        labels: (B, T) int64 in [0, C), -100 where a token has none; a CRF's chain skips it.
        crf: scores labels that follow each other; None: each token is by itself.

    Raises:
        LmwrightError: if the shapes do not fit or a label is out of range.
    """
    if labels.shape != logits.shape[:2]:
        raise LmwrightError(
            f"labels have shape {tuple(labels.shape)}, the tokens {tuple(logits.shape[:2])}"
        )
    labelled = labels != UNTAGGED
    if attention_mask is not None:
        labelled = labelled & attention_mask.bool()
    if crf is not None:
        return -crf.log_likelihood(logits, labels, labelled).sum()
    given, classes = labels[labelled], logits.shape[2]
    wrong = (given < 0) | (given >= classes)
    if bool(wrong.any()):
        raise LmwrightError(
            f"label {int(given[wrong][0])} is not one of the {classes} labels 0 ... {classes - 1}",
            hint=f"tokens without a label need {UNTAGGED}",
        )
    return F.cross_entropy(logits[labelled].float(), given, reduction="sum")


def best_tags(
    logits: Tensor,
    attention_mask: Tensor | None,
    label_mask: Tensor | None,
    crf: CRF | None,
) -> Tensor:
    """The best labels (B, T) int64, -100 where a token gets none.

    Args:
        logits: (B, T, C), each token's scores of its label.
        attention_mask: (B, T), 0 where a token is padding; None: none is.
        label_mask: (B, T), 0 where a token gets no label (the later pieces of a word).
        crf: scores labels that follow each other; None: each token is by itself.
    """
    labelled = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
    for mask in (attention_mask, label_mask):
        if mask is not None:
            labelled = labelled & mask.bool()
    if crf is not None:
        return crf.viterbi(logits, labelled)[0]
    return torch.where(labelled, logits.argmax(-1), UNTAGGED)
