"""From the two kinds of batches to a model's arguments."""

from typing import Any

import torch
from torch import Tensor


def real_tokens(batch: Any) -> Tensor:
    """(B, T) bool: what is no padding, of a `TokenBatch` or an `ExampleBatch`."""
    if hasattr(batch, "document_ids"):
        return torch.as_tensor(batch.document_ids != 0)
    return torch.as_tensor(batch.attention_mask != 0)


def text_inputs(batch: Any) -> dict[str, Tensor]:
    """What goes to a model beside the input ids, for a `TokenBatch` or an `ExampleBatch`."""
    if hasattr(batch, "document_ids"):
        return {"position_ids": batch.position_ids, "document_ids": batch.document_ids}
    inputs = {"attention_mask": batch.attention_mask}
    if batch.token_type_ids is not None:
        inputs["token_type_ids"] = batch.token_type_ids
    return inputs


def example_inputs(batch: Any) -> dict[str, Tensor]:
    """All that an `ExampleBatch` gives a model to read; models without segments get none."""
    return {"input_ids": batch.input_ids, **text_inputs(batch)}
