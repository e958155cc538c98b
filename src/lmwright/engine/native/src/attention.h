// Attention over keys and values that lie in blocks ("paged"), on CPUs.
//
// One layer of one pass: N new tokens of B sequences, laid end to end. `store` writes their keys
// and values into the sequences' blocks; behind a barrier, `attend` lets token i of sequence b see
// positions 0 .. its own, through b's block table. Shapes: H query heads, Hkv key/value heads (H is
// a multiple of Hkv; query head h reads key/value head h / (H / Hkv)), K head dimension.
#pragma once

#include <cstddef>

namespace lmw {

// How keys and values are stored. int8 has one fp32 scale per token and key/value head, for keys
// and for values apart.
enum KvType { KV_F32 = 0, KV_BF16 = 1, KV_INT8 = 2 };

// The pool of one layer: num_blocks blocks of block_size positions (16 or 32). `keys` and `values`
// have kv_bytes() bytes each; the layout inside a block is attention.cpp's own business, except
// that block i of the pool is the i-th of num_blocks equal pieces. The scales have
// num_blocks * block_size * kv_heads floats each and may be null unless the type is KV_INT8.
struct KvStorage {
    void* keys;
    void* values;
    float* key_scales;
    float* value_scales;
    int num_blocks, block_size, kv_heads, head_dim, type;
};

// Bytes of the keys of a pool, which are also those of its values. `head_dim` is a multiple of 8,
// at most 256.
size_t kv_bytes(int num_blocks, int block_size, int kv_heads, int head_dim, int type);

struct AttentionCall {
    const float *q, *k, *v;  // (N, H, K), (N, Hkv, K), (N, Hkv, K); rotated; heads lie side by side
    float* out;              // (N, H, K)
    long q_stride, k_stride, v_stride, out_stride;  // floats from one token's row to the next
    int tokens, sequences, heads;
    const int* query_starts;     // (B + 1,): sequence b owns tokens query_starts[b] .. [b + 1]
    const int* context_lengths;  // (B,): tokens of b in the cache, the new ones included
    const int* block_tables;     // (B, table_width): b's blocks in order of position
    int table_width;
    float scale;                // of q . k
    float soft_cap;             // c of c * tanh(score / c); 0: none
    int window;                 // a token sees itself and window - 1 before it; 0: all
    const float* alibi_slopes;  // (H,): slope * (key position - query position) is added; or null
    KvStorage kv;
};

// Write the new keys and values into their blocks. Threads split the tokens. The new tokens of
// sequence b take positions context_lengths[b] - (their number) .. context_lengths[b] - 1.
void store(const AttentionCall& call, int thread, int threads);

// Bytes that each thread needs as `scratch` (64-byte aligned) for `attend`.
long attention_scratch(const AttentionCall& call);

// Write `out`; every thread must have returned from `store` before any enters. What one output
// is does not depend on the other queries or sequences of the pass, nor on `threads`, to the bit.
void attend(const AttentionCall& call, int thread, int threads, void* scratch);

}  // namespace lmw
