"""Any combination of our blocks, under our own names: what no published family has.

For experiments with one part at a time (positions, norms, activations, experts); only lmwright
opens such a folder.
"""

from lmwright.models.config import TransformerConfig
from lmwright.models.families import Family, Head

_FIELDS = {
    name: field
    for name, field in TransformerConfig.model_fields.items()
    if name not in ("model_type", "head")
}

FAMILY = Family(
    model_type="lmwright",
    heads={
        "causal_lm": Head("LmwrightForCausalLM"),
        "masked_lm": Head("LmwrightForMaskedLM", layout={"activation": "gelu"}),
        "sequence_to_sequence": Head("LmwrightForSequenceToSequence"),
        "sequence_classification": Head(
            "LmwrightForSequenceClassification", layout={"pooling": "mean", "hidden": True}
        ),
        "token_classification": Head("LmwrightForTokenClassification"),
        "span_qa": Head("LmwrightForSpanQA"),
        "embedding": Head("LmwrightForEmbedding", layout={"pooling": "mean"}),
        "reward": Head("LmwrightForReward", layout={"pooling": "last"}),
        "backbone": Head("LmwrightModel"),
    },
    fields={name: (name,) for name in _FIELDS},
    defaults={name: field.default for name, field in _FIELDS.items() if not field.is_required()},
    fixed={},
    weights=(),
)
