"""The encoder: every token sees the whole sequence (Devlin et al. 2018, BERT)."""

from torch import Tensor

from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Stack


class Encoder(Stack):
    """A bidirectional stack; `heads` give it a purpose.

    Args:
        config: the model's shape.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config, config.num_hidden_layers, causal=False)
        self.carried: dict[str, Tensor] = {}
        """Published weights that nothing here uses (BERT's pooler), kept to be written again."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """The last hidden states (B, T, D); see `Stack.hidden_states` for the arguments."""
        return self.hidden_states(
            input_ids,
            attention_mask,
            position_ids,
            document_ids=document_ids,
            token_type_ids=token_type_ids,
        )
