// The two products of attention, queries x keys and weights x values, as register tiles: up to
// ROWS rows of one operand against COLUMNS vectors of the other, which all rows share.
//
// Every number is one chain of fused multiply-adds in the order of the summed index, whatever tile
// it is computed in: that is why outputs do not depend on tiles.
#pragma once

#include "attention_vector.h"

namespace lmw {
namespace paged {

// Positions whose weights are normalised by one maximum. Longer contexts are partial results of
// this many positions each, counted from position 0, merged in order. 512 positions x 48 rows are
// 96 KB of scores, well inside a second-level cache.
constexpr int CHUNK = 512;
// f32v from one row of a tile to the next, in queries and outputs (K <= 256) and in scores. A
// line more than a power of two, so that rows do not compete for the same places of the cache.
constexpr int HEAD_STRIDE = 256 + 16, SCORE_STRIDE = CHUNK + 16;
// Positions whose keys (or values) stay in the first-level cache while a tile's rows pass.
constexpr int STRIP = 64;
// Positions that one register tile scores.
constexpr int SCORED = COLUMNS * LANES;

// sum[r][c] += a[r * STRIDE + i] * b[c][i * step], i = 0 .. depth - 1. Meanwhile what will be needed
// next, `ahead` in place of b, is fetched: blocks lie anywhere, and a piece of one is too short for
// the processor to guess how it goes on. (16,000 positions: int8 3.2 -> 1.8 ms, fp32 4.3 -> 3.6.)
template <class T, int STRIDE, int R, int C>
inline __attribute__((always_inline)) void multiply(f32v (&sum)[R][C], const float* a,
                                                    const T* const (&b)[C],
                                                    const T* const (&ahead)[C], long step,
                                                    int depth) {
    for (int i = 0; i < depth; ++i) {
        f32v shared[C];
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
            shared[c] = numbers(b[c] + i * step);
            __builtin_prefetch(ahead[c] + i * step, 0, 3);
        }
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const f32v own = broadcast(a[r * STRIDE + i]);
#pragma GCC unroll 8
            for (int c = 0; c < C; ++c) sum[r][c] = fma(own, shared[c], sum[r][c]);
        }
    }
}

// scores (R rows, SCORED positions) of R queries of `depth` numbers; keys[c] points at the first
// number of the first position of vector c, the next number is `step` behind it; keys[COLUMNS + c]
// is where that vector of the next strip is.
template <class T, int R>
void score(const float* queries, const T* const* keys, long step, int depth, float* scores) {
    f32v sum[R][COLUMNS] = {};
    const T *from[COLUMNS], *ahead[COLUMNS];
    for (int c = 0; c < COLUMNS; ++c) from[c] = keys[c], ahead[c] = keys[COLUMNS + c];
    multiply<T, HEAD_STRIDE, R, COLUMNS>(sum, queries, from, ahead, step, depth);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < COLUMNS; ++c) store(scores + r * SCORE_STRIDE + c * LANES, sum[r][c]);
}

// sums (R rows, C vectors) += weights (R rows, positions begin .. end) x their values; pieces[i]
// points at position i << block_bits, rows are `step` apart.
template <class T, int R, int C>
void add_values(const float* weights, const T* const* pieces, int column, int block_bits, long step,
                int begin, int end, float* sums) {
    f32v sum[R][C];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) sum[r][c] = load(sums + r * HEAD_STRIDE + c * LANES);
    while (begin < end) {
        const int piece = begin >> block_bits, border = (piece + 1) << block_bits;
        const int stop = border < end ? border : end;
        const long skipped = (begin - (piece << block_bits)) * step + column;
        const T *rows[C], *ahead[C];
        for (int c = 0; c < C; ++c) {
            rows[c] = pieces[piece] + skipped + c * LANES;
            ahead[c] = pieces[piece + (STRIP >> block_bits)] + skipped + c * LANES;
        }
        multiply<T, SCORE_STRIDE, R, C>(sum, weights + begin, rows, ahead, step, stop - begin);
        begin = stop;
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) store(sums + r * HEAD_STRIDE + c * LANES, sum[r][c]);
}

// The instances, by rows and columns. Their tables are no static variables: such a variable of a
// template is one for the whole process, even if objects for two instruction sets are loaded.
template <class T>
struct Kernels {
    typedef void (*Score)(const float*, const T* const*, long, int, float*);
    typedef void (*AddValues)(const float*, const T* const*, int, int, long, int, int, float*);
    static Score scores(int rows) {
        const Score instances[ROWS] = {score<T, 1>, score<T, 2>, score<T, 3>,
                                       score<T, 4>, score<T, 5>, score<T, 6>};
        return instances[rows - 1];
    }
    template <int C>
    static AddValues add(int rows) {
        const AddValues instances[ROWS] = {add_values<T, 1, C>, add_values<T, 2, C>,
                                           add_values<T, 3, C>, add_values<T, 4, C>,
                                           add_values<T, 5, C>, add_values<T, 6, C>};
        return instances[rows - 1];
    }
    static AddValues values(int rows, int columns) {
        // Rows of values are multiples of 16 floats: only 4 columns of 16 leave a remainder.
        if constexpr (COLUMNS * LANES > 16) {
            if (columns == 1) return add<1>(rows);
            if (columns == 2) return add<2>(rows);
            if (columns == 3) return add<3>(rows);
        }
        return add<COLUMNS>(rows);
    }
};

}  // namespace paged
}  // namespace lmw
