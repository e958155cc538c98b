// Where a key or value lies in the pool, and how it is rounded.
//
// A block has one piece per key/value head. Of keys, a piece is (K, block_size): all positions'
// first numbers, then their second, ..., so that a vector scores as many positions as it has lanes
// and no score is a sum over lanes. Of values, it is (block_size, K). K is rounded up to 16, so
// that every row of values is made of whole vectors; what fills it up reaches no output.
#pragma once

#include <cmath>
#include <cstddef>

#include "attention.h"
#include "attention_vector.h"

namespace lmw {
namespace paged {

inline int padded(int head_dim) { return (head_dim + 15) / 16 * 16; }

inline size_t bytes_of(int type) { return type == KV_F32 ? 4 : type == KV_BF16 ? 2 : 1; }

// Index of the first number of a piece, of keys or of values.
inline size_t piece_at(const KvStorage& kv, int block, int head) {
    return ((size_t)block * kv.kv_heads + head) * kv.block_size * padded(kv.head_dim);
}

// Index of the scale of a piece's first position, of keys or of values.
inline size_t scales_at(const KvStorage& kv, int block, int head) {
    return ((size_t)block * kv.kv_heads + head) * kv.block_size;
}

// One row of K floats in the type of the pool, `step` apart. Returns the scale of the row, by which
// stored numbers are to be multiplied.
inline float round_row(const float* row, int head_dim, float* to, int step) {
    for (int i = 0; i < head_dim; ++i) to[(size_t)i * step] = row[i];
    return 1.0f;
}

// bf16: to the nearest, ties to even; a NaN stays one.
inline uint16_t to_bf16(float x) {
    const uint32_t bits = bits_of<uint32_t>(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

inline float round_row(const float* row, int head_dim, uint16_t* to, int step) {
    for (int i = 0; i < head_dim; ++i) to[(size_t)i * step] = to_bf16(row[i]);
    return 1.0f;
}

// int8: the largest magnitude becomes 127. A row with an infinity or NaN has the scale NaN, so that
// the fault shows in what reads it.
inline float round_row(const float* row, int head_dim, int8_t* to, int step) {
    float largest = 0.0f, fault = 0.0f;
    for (int i = 0; i < head_dim; ++i) {
        const float magnitude = std::fabs(row[i]);
        largest = magnitude > largest ? magnitude : largest;
        fault += row[i] * 0.0f;
    }
    const float scale = largest / 127.0f;
    // Rows too small for a reciprocal round to 0.
    const float inverse = scale >= 1e-37f ? 1.0f / scale : 0.0f;
    for (int i = 0; i < head_dim; ++i) {
        float x = row[i] * inverse;
        x = x > -127.0f ? x : -127.0f;  // a NaN, too: its conversion would be undefined
        x = x < 127.0f ? x : 127.0f;
        to[(size_t)i * step] = (int8_t)std::lrintf(x);
    }
    return scale + fault;
}

}  // namespace paged
}  // namespace lmw
