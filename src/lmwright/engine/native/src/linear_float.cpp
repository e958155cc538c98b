// Weights in fp32, or stored in bf16 and multiplied in fp32.
#include "linear.h"

namespace lmw {

namespace {

struct Fp32Panel {
    static constexpr int WORDS = PANEL;  // of 4 bytes, per column
    // Vector `part` of a column's 32 weights.
    static f32v weights(const float* column, int part) { return load(column + part * LANES); }
};

struct Bf16Panel {
    static constexpr int WORDS = PANEL / 2;
    static f32v weights(const float* column, int part) {
        const i32v words = load<i32v>(column + part % (PARTS / 2) * LANES);
        return part < PARTS / 2 ? (f32v)(words << 16) : (f32v)(words & int32_t(0xffff0000));
    }
};

template <class Panel, int PANELS, int ROWS>
void multiply(const LinearWeights& w, const Rows& x, int row, int panel, float* tile) {
    constexpr int VECTORS = PANELS * PARTS;
    const long size = long(w.columns) * Panel::WORDS;
    const float* weights = static_cast<const float*>(w.values) + panel * size;
    const float* from = x.floats + row * x.stride;
    f32v sums[ROWS][VECTORS];
    for (int i = 0; i < VECTORS; ++i) {
        const f32v start = w.bias ? load(w.bias + panel * PANEL + i * LANES) : f32v{};
        for (int r = 0; r < ROWS; ++r) sums[r][i] = start;
    }
    const auto add_column = [&](long k) {
        // The weights of a column stay in registers while rows pass: with 12 rows, 24 sums, that is
        // what fits into 32.
        f32v column[VECTORS];
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; ++i) {
            column[i] = Panel::weights(weights + i / PARTS * size, i % PARTS);
        }
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; ++r) {
            const f32v value = broadcast(from[r * x.stride + k]);
#pragma GCC unroll 8
            for (int i = 0; i < VECTORS; ++i) sums[r][i] = fma(column[i], value, sums[r][i]);
        }
        weights += Panel::WORDS;
    };
    long k = 0;
    for (; k + 4 <= w.columns; k += 4) {  // 12 rows' addresses do not fit into registers
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) add_column(k + i);
    }
    for (; k < w.columns; ++k) add_column(k);
    for (int r = 0; r < ROWS; ++r) {
        for (int i = 0; i < VECTORS; ++i) store(tile + r * TILE + i * LANES, sums[r][i]);
    }
}

// Choose the instance for `count` rows.
template <class Panel, int PANELS, int ROWS>
void choose(const LinearWeights& w, const Rows& x, int row, int count, int panel, float* tile) {
    if constexpr (ROWS > 1) {
        if (count < ROWS) return choose<Panel, PANELS, ROWS - 1>(w, x, row, count, panel, tile);
    }
    multiply<Panel, PANELS, ROWS>(w, x, row, panel, tile);
}

template <class Panel>
void choose(const LinearWeights& w, const Rows& x, int row, int count, int panel, int panels,
            float* tile) {
    if (panels == 2) return choose<Panel, 2, FLOAT_ROWS_OF_TWO>(w, x, row, count, panel, tile);
    choose<Panel, 1, FLOAT_ROWS>(w, x, row, count, panel, tile);
}

}  // namespace

void float_tile(const LinearWeights& w, const Rows& x, int row, int count, int panel, int panels,
                float* tile) {
    if (w.format == F32) return choose<Fp32Panel>(w, x, row, count, panel, panels, tile);
    choose<Bf16Panel>(w, x, row, count, panel, panels, tile);
}

}  // namespace lmw
