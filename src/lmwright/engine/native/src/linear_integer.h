// The tile that weights of 8 and of 4 bits share: exact sums of integers over 32 columns, scaled
// and added up in fp32 from the first group to the last.
#pragma once

#include "linear.h"

namespace lmw {

// BITS: of the weights. SCALED: whether each group has scales of its own.
template <int BITS, bool SCALED>
struct IntegerPanel {
    static constexpr bool scaled = SCALED;
    static constexpr int SCALES = PANEL * GROUP * BITS / 8;  // where a group's scales begin, bytes
    static constexpr int BYTES = SCALES + (SCALED ? PANEL * 2 : 0);  // of a group

    // Whether the weights' offset must be taken off by where a sum starts.
    static constexpr bool starts_at_offset = BITS == 4 || OFFSET_IN_SUM;
    static constexpr int QUADS = BITS == 4 ? 2 : 1;  // columns by fours, in one load

    static i32v dot(i32v sum, i32v loaded, int quad, i32v activations) {
        if (BITS == 8) return dot_offset_128(sum, loaded, activations);
        return dot_unsigned(sum, (quad ? loaded >> 4 : loaded) & 0x0f0f0f0f, activations);
    }
};

template <class Panel, int PANELS, int ROWS>
void multiply_integers(const LinearWeights& w, const Rows& x, int row, int panel, float* tile) {
    constexpr int VECTORS = PANELS * PARTS, LINE = PANEL * 4;
    const long groups = x.quantized.groups, size = groups * Panel::BYTES;
    const uint8_t* weights = static_cast<const uint8_t*>(w.values) + panel * size;
    const int8_t* values = x.quantized.values + row * x.quantized.columns;
    const float* scales = x.quantized.scales + row * groups;
    const int32_t* offsets = x.quantized.offsets + row * groups;
    f32v sums[ROWS][VECTORS] = {};
    for (long g = 0; g < groups; ++g, weights += Panel::BYTES, values += GROUP) {
        i32v dots[ROWS][VECTORS];
        for (int r = 0; r < ROWS; ++r) {
            const int32_t start = Panel::starts_at_offset ? offsets[r * groups + g] : 0;
            for (int i = 0; i < VECTORS; ++i) dots[r][i] = broadcast(start);
        }
#pragma GCC unroll 8
        for (int k = 0; k < GROUP / 4 / Panel::QUADS; ++k) {
            i32v loaded[VECTORS];
#pragma GCC unroll 8
            for (int i = 0; i < VECTORS; ++i) {
                const long at = i / PARTS * size + k * LINE + i % PARTS * sizeof(i32v);
                loaded[i] = load<i32v>(weights + at);
            }
#pragma GCC unroll 2
            for (int quad = 0; quad < Panel::QUADS; ++quad) {
                const int column = (k * Panel::QUADS + quad) * 4;
#pragma GCC unroll 8
                for (int r = 0; r < ROWS; ++r) {
                    const i32v four =
                        broadcast(load<int32_t>(values + r * x.quantized.columns + column));
#pragma GCC unroll 8
                    for (int i = 0; i < VECTORS; ++i) {
                        dots[r][i] = Panel::dot(dots[r][i], loaded[i], quad, four);
                    }
                }
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; ++i) {
            f32v weight_scale = {};
            if (Panel::scaled) {
                const uint8_t* stored = weights + i / PARTS * size + Panel::SCALES;
                weight_scale = load_fp16((const uint16_t*)stored + i % PARTS * LANES);
            }
            for (int r = 0; r < ROWS; ++r) {
                const f32v scale = broadcast(scales[r * groups + g]);
                sums[r][i] = fma(to_float(dots[r][i]), Panel::scaled ? scale * weight_scale : scale,
                                 sums[r][i]);
            }
        }
    }
    for (int i = 0; i < VECTORS; ++i) {
        const int at = panel * PANEL + i * LANES;
        const f32v scale = Panel::scaled ? broadcast(w.factor) : load(w.row_scales + at);
        const f32v bias = w.bias ? load(w.bias + at) : f32v{};
        for (int r = 0; r < ROWS; ++r) {
            store(tile + r * TILE + i * LANES, fma(sums[r][i], scale, bias));
        }
    }
}

// Choose the instance for `count` rows.
template <class Panel, int PANELS, int ROWS>
void choose_rows(const LinearWeights& w, const Rows& x, int row, int count, int panel, float* tile) {
    if constexpr (ROWS > 1) {
        if (count < ROWS) return choose_rows<Panel, PANELS, ROWS - 1>(w, x, row, count, panel, tile);
    }
    multiply_integers<Panel, PANELS, ROWS>(w, x, row, panel, tile);
}

template <class Panel>
void integer_tile(const LinearWeights& w, const Rows& x, int row, int count, int panel, int panels,
                  float* tile) {
    if (panels == 2) return choose_rows<Panel, 2, INTEGER_ROWS_OF_TWO>(w, x, row, count, panel, tile);
    choose_rows<Panel, 1, INTEGER_ROWS>(w, x, row, count, panel, tile);
}

}  // namespace lmw
