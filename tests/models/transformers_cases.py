"""Random tiny encoders and encoder-decoders of transformers, saved where ours can open them."""

import random

import torch
import transformers

from tests.models.cases import fill

ENCODERS = ("bert", "roberta", "distilbert", "modernbert")
ENCODER_DECODERS = ("t5", "t5_v1_1", "bart", "marian")
NAMES = {
    "bert": "Bert",
    "roberta": "Roberta",
    "distilbert": "DistilBert",
    "modernbert": "ModernBert",
    "t5": "T5",
    "t5_v1_1": "T5",
    "bart": "Bart",
    "marian": "Marian",
}
TASKS = {
    "masked_lm": "ForMaskedLM",
    "sequence_classification": "ForSequenceClassification",
    "token_classification": "ForTokenClassification",
    "span_qa": "ForQuestionAnswering",
    "sequence_to_sequence": "ForConditionalGeneration",
    "backbone": "Model",
}
PAD, EOS, FIRST = 1, 2, 4  # special tokens of all models here; the first ordinary token


def class_of(family, task):
    """The class of transformers."""
    if family == "marian" and task == "sequence_to_sequence":
        return transformers.MarianMTModel
    return getattr(transformers, NAMES[family] + TASKS[task])


def config_of(family, seed, **fixed):
    """A different tiny config for each seed."""
    draw = random.Random(f"{family} {seed}")
    heads, size = draw.choice([2, 3]), draw.choice([4, 8])
    width = heads * size
    layers, inner = draw.choice([1, 2, 3]), draw.choice([20, 36])
    ids = {"pad_token_id": PAD, "bos_token_id": 0, "eos_token_id": EOS}
    shape = {"vocab_size": draw.randint(40, 70)} | ids
    if family in ("bert", "roberta"):
        shape |= {
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "max_position_embeddings": draw.choice([24, 40]),
            "type_vocab_size": draw.choice([1, 2, 3]),
            "hidden_act": draw.choice(["gelu", "relu", "gelu_new", "silu"]),
            "layer_norm_eps": draw.choice([1e-12, 1e-5]),
            "tie_word_embeddings": draw.random() < 0.6,
        }
    elif family == "distilbert":
        shape |= {
            "dim": width,
            "hidden_dim": inner,
            "n_layers": layers,
            "n_heads": heads,
            "max_position_embeddings": draw.choice([24, 40]),
            "activation": draw.choice(["gelu", "relu"]),
            "tie_word_embeddings": draw.random() < 0.6,
        }
    elif family == "modernbert":
        shape |= {
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": draw.choice([2, 4, 5]),
            "num_attention_heads": heads,
            "local_attention": draw.choice([2, 4, 6]),
            "norm_eps": draw.choice([1e-5, 1e-6]),
            "norm_bias": draw.random() < 0.5,
            "attention_bias": draw.random() < 0.5,
            "mlp_bias": draw.random() < 0.5,
            "decoder_bias": draw.random() < 0.5,
            "classifier_bias": draw.random() < 0.5,
            "classifier_pooling": draw.choice(["cls", "mean"]),
            "classifier_activation": draw.choice(["gelu", "silu"]),
            "tie_word_embeddings": draw.random() < 0.6,
            "cls_token_id": 0,
            "sep_token_id": EOS,
        }
    elif family in ("t5", "t5_v1_1"):
        shape |= {
            "d_model": draw.choice([16, 24]),
            "d_kv": size,
            "d_ff": inner,
            "num_layers": layers,
            "num_decoder_layers": draw.choice([1, 2, 3]),
            "num_heads": heads,
            "relative_attention_num_buckets": draw.choice([8, 32]),
            "relative_attention_max_distance": draw.choice([10, 128]),
            "decoder_start_token_id": PAD,
        }
        if family == "t5_v1_1":
            projection = draw.choice(["gated-gelu", "gated-silu"])
            shape |= {"feed_forward_proj": projection, "tie_word_embeddings": False}
    else:
        shape |= {
            "d_model": width,
            "encoder_layers": layers,
            "decoder_layers": draw.choice([1, 2, 3]),
            "encoder_attention_heads": heads,
            "decoder_attention_heads": heads,
            "encoder_ffn_dim": inner,
            "decoder_ffn_dim": inner,
            "max_position_embeddings": 40,
            "activation_function": draw.choice(["gelu", "relu", "swish"]),
            "scale_embedding": draw.random() < 0.5,
            "decoder_start_token_id": EOS,
            "forced_eos_token_id": None,
        }
    return getattr(transformers, NAMES[family] + "Config")(**(shape | fixed))


def reference(family, task, seed, folder, dtype=torch.float32, std=0.3, **fixed):
    """A random model of transformers, saved to `folder`."""
    cls = class_of(family, task)
    model = cls(config_of(family, seed, **fixed))
    if family == "t5_v1_1" and hasattr(model, "lm_head"):
        # transformers ties what it makes anew; what it opens it leaves apart.
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        model.all_tied_weights_keys.pop("lm_head.weight", None)
    fill(model, seed, std=std)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm = parameter.ndim == 1 and name.endswith("weight")
            if is_norm and not name.endswith("norm.weight"):  # those `fill` knows
                parameter.add_(1.0)
        for name, buffer in model.named_buffers():
            # Published ones are 0; in half precision, adding them later rounds once more.
            if name.endswith("final_logits_bias") and dtype == torch.float32:
                buffer.normal_(generator=torch.Generator().manual_seed(seed))
    model.to(dtype).save_pretrained(folder)
    return cls.from_pretrained(folder, dtype=dtype).eval()


def tokens_of(model, seed, rows=3, length=13):
    """(rows, length) ordinary tokens."""
    generator = torch.Generator().manual_seed(seed)
    size = (rows, length)
    return torch.randint(FIRST, model.config.vocab_size, size, generator=generator)


def padded(tokens, side, lengths=(0, 4, 10)):
    """The tokens with so many of each row's replaced by padding, and the mask."""
    tokens, mask = tokens.clone(), torch.ones_like(tokens)
    for row, count in enumerate(lengths):
        if count:
            mask[row, slice(None, count) if side == "left" else slice(-count, None)] = 0
    tokens[mask == 0] = PAD
    return tokens, mask


def logits_of(output):
    """What ours call logits, of a model of transformers."""
    if hasattr(output, "start_logits"):
        return torch.stack((output.start_logits, output.end_logits), dim=-1)
    return output.logits if hasattr(output, "logits") else output.last_hidden_state
