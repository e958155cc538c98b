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
    const long size = long(w.columns) * Panel::WORDS;
    const float* weights = static_cast<const float*>(w.values) + panel * size;
    const float* rows = x.floats + row * x.stride;
    f32v sums[ROWS][PANELS * PARTS];
    for (int i = 0; i < PANELS * PARTS; ++i) {
        const f32v start = w.bias ? load(w.bias + panel * PANEL + i * LANES) : f32v{};
        for (int r = 0; r < ROWS; ++r) sums[r][i] = start;
    }
    for (long k = 0; k < w.columns; ++k, weights += Panel::WORDS) {
        f32v values[ROWS];
        for (int r = 0; r < ROWS; ++r) values[r] = broadcast(rows[r * x.stride + k]);
#pragma GCC unroll 8
        for (int i = 0; i < PANELS * PARTS; ++i) {
            const f32v column = Panel::weights(weights + i / PARTS * size, i % PARTS);
#pragma GCC unroll 12
            for (int r = 0; r < ROWS; ++r) sums[r][i] = fma(column, values[r], sums[r][i]);
        }
    }
    for (int r = 0; r < ROWS; ++r) {
        for (int i = 0; i < PANELS * PARTS; ++i) store(tile + r * TILE + i * LANES, sums[r][i]);
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
