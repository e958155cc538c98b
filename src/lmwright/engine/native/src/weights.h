// What a model is made of, as Python hands it over (library.py has the same structures).
//
// Letters: D hidden size, H heads, Hkv key/value heads, K head dimension, V vocabulary, N tokens.
#pragma once

#include <cstdint>

#include "attention.h"

namespace lmw {

enum Format { F32 = 0, BF16 = 1, INT8_GROUPS = 2, INT8_ROWS = 3, INT4_GROUPS = 4 };

// y = x W^T + bias, W of (rows, columns) packed into panels as linear.h says.
struct LinearWeights {
    const void* values;
    const float* row_scales;  // INT8_ROWS: one scale a row, padded to whole panels
    const float* bias;        // padded to whole panels; or null
    float factor;             // *_GROUPS: of the stored fp16 scales, a power of two
    int rows, columns, format;
    int group;  // columns that share a scale of the activations, and of *_GROUPS: 32, or 128
};

enum NormKind { NO_NORM = 0, RMS_NORM = 1, LAYER_NORM = 2 };

struct NormWeights {
    const float* weight;
    const float* bias;  // or null
    float eps;
    int kind;
};

enum Activation { SILU = 0, GELU = 1, GELU_TANH = 2, RELU = 3, RELU_SQUARED = 4, TANH = 5 };
enum Placement { NORM_BEFORE = 0, NORM_AFTER = 1, NORM_BOTH = 2 };

struct Layer {
    NormWeights input_norm, attention_output_norm, feed_forward_norm, feed_forward_output_norm;
    NormWeights query_norm, key_norm;
    LinearWeights qkv;  // rows of queries, keys, values one behind the other
    LinearWeights output;
    LinearWeights up;  // gated: panels of gate and up take turns
    LinearWeights down;
    KvStorage kv;
    int window;  // 0: none
    int rotary;  // which of the pass's tables, 0 or 1; -1: no rotation
};

struct Model {
    const Layer* layers;
    int num_layers, hidden, heads, kv_heads, head_dim, inner, vocabulary;
    int activation, gated, parallel, placement, rotary_dim;
    float attention_scale, attention_soft_cap, final_soft_cap;  // soft-caps: 0 is none
    const float* alibi_slopes;                                   // (H,), or null
    const void* embedding;                                       // (V, D)
    const void* position_table;                                  // (positions, D), or null
    int embedding_format, position_format;                       // F32 or BF16
    float embedding_scale;
    NormWeights embedding_norm, final_norm;
    LinearWeights logits;
};

// New tokens of some sequences; engine/batch.py says what the fields mean.
struct Pass {
    const int64_t *token_ids, *positions;
    const int *query_starts, *context_lengths, *block_tables;
    const int64_t* logit_rows;
    const float *cosines[2], *sines[2];  // (positions, rotary_dim / 2)
    float* logits;                       // (num_logits, V)
    int tokens, sequences, table_width, num_logits;
};

}  // namespace lmw
