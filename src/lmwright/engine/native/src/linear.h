// Linear layers: activations of N tokens times packed weights, and what becomes of the products.
//
// Packing (pack.py): output rows in panels of 32, padded with rows of zeros; inside a panel
//   F32          (columns, 32) floats
//   BF16         (columns, 16) words: row i in the lower half, row i + 16 in the upper
//   INT8_GROUPS  for each group of 32 or 128 columns: quads of (32 rows, 4 columns) bytes,
//                weight + 128; then the 32 rows' scales in fp16
//   INT8_ROWS    the same without scales
//   INT4_GROUPS  for each 32 columns: 4 pairs of quads, weight + 8: the first quad in the lower
//                half of each byte, the second in the upper; then the scales
// so that one stream of aligned loads, once through, feeds the arithmetic. One output is added up
// in the order of the columns, whatever the tile: the same bits for any batch and any threads.
#pragma once

#include "quantize.h"
#include "weights.h"

namespace lmw {

// Activations of a pass: floats for float weights, quantised ones for the others.
struct Rows {
    const float* floats;
    long stride;
    Quantized quantized;
};

inline bool takes_integers(const LinearWeights& weights) { return weights.format >= INT8_GROUPS; }

enum Fate {
    STORE = 0,          // out = y, capped where soft_cap is set
    ADD = 1,            // out += y
    ACTIVATE = 2,       // out = a(y)
    ACTIVATE_GATE = 3,  // out = a(y of the gate's panels) * y of the other panels
};

struct Destination {
    Fate fate;
    float* out;  // null: quantised into `quantized` (ACTIVATE*)
    long stride;
    Quantized quantized;
    int activation;
    float soft_cap;
};

// One thread's share of `rows` x weights. `to` receives weights.rows columns (half with a gate).
void linear(const LinearWeights& weights, const Rows& x, int rows, const Destination& to, int thread,
            int threads);

// Rows row .. row + count - 1 of x times one or two panels -> tile, (count, 64) with the bias.
constexpr int TILE = 2 * PANEL;
void float_tile(const LinearWeights&, const Rows& x, int row, int count, int panel, int panels,
                float* tile);
void int8_tile(const LinearWeights&, const Rows& x, int row, int count, int panel, int panels,
               float* tile);
void int8_wide_tile(const LinearWeights&, const Rows& x, int row, int count, int panel, int panels,
                    float* tile);
void int4_tile(const LinearWeights&, const Rows& x, int row, int count, int panel, int panels,
               float* tile);

// Rows that are taken through all panels before the next: so many of them, quantised, stay in L2.
constexpr int ROWS_AT_ONCE = 10 * BAND;

// Rows that one call of the above takes at most, and at most for two panels at once.
constexpr int FLOAT_ROWS = LANES == 16 ? 12 : 3;
constexpr int INTEGER_ROWS = LANES == 16 ? BAND : 3;  // a band, or an equal part of one
constexpr int FLOAT_ROWS_OF_TWO = LANES == 16 ? 6 : 1;
constexpr int INTEGER_ROWS_OF_TWO = LANES == 16 ? BAND : 1;

}  // namespace lmw
