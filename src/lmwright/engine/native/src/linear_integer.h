// The tile that weights of 8 and of 4 bits share: exact sums of integers over a group of columns,
// scaled and added up in fp32 from the first group to the last.
#pragma once

#include "linear.h"

namespace lmw {

// BITS: of the weights. COLUMNS: of a group. SCALED: whether each group has scales of its own.
template <int BITS, int COLUMNS, bool SCALED>
struct IntegerPanel {
    static constexpr bool scaled = SCALED;
    static constexpr int WIDTH = COLUMNS;
    static constexpr int SCALES = PANEL * COLUMNS * BITS / 8;  // where a group's scales begin, bytes
    static constexpr int BYTES = SCALES + (SCALED ? PANEL * 2 : 0);  // of a group

    // Whether the weights' offset must be taken off by where a sum starts.
    static constexpr bool starts_at_offset = BITS == 4 || OFFSET_IN_SUM;
    static constexpr int QUADS = BITS == 4 ? 2 : 1;  // columns by fours, in one load

    static i32v dot(i32v sum, i32v loaded, int quad, i32v activations) {
        if (BITS == 8) return dot_offset_128(sum, loaded, activations);
        return dot_unsigned(sum, (quad ? loaded >> 4 : loaded) & 0x0f0f0f0f, activations);
    }
};

// Rows for which nothing needs to be fetched ahead: their products take little time beside reading,
// or, without VNNI, so much that nobody waits for memory.
constexpr int FEW = LANES == 16 ? 2 : 3;
// Columns that weights are fetched ahead of their use.
constexpr int AHEAD = 128;

// The sums (ROWS rows, PANELS panels) of the tile += the products of a group of columns.
//
// The sums lie in the first-level cache, since one group's integers take all registers there are.
// So all rows of a tile go through a group before the next one: weights are read from memory once,
// and as they are multiplied those that come `ahead` are fetched, a line at a time. Fetched at once
// they would fill the few places that wait for memory, and the processor would wait with them; what
// it fetches by itself ends with each page. (16 rows, 63 MB of weights: 6.3 -> 4.9 ms; memory alone
// 3.2, products alone 3.8.)
template <class Panel, int PANELS, int ROWS>
inline __attribute__((always_inline)) void add_group(const uint8_t* weights, const uint8_t* ahead,
                                                     long size, const Quantized& x, long place,
                                                     float* sums) {
    constexpr int VECTORS = PANELS * PARTS, LINE = PANEL * 4;
    const int8_t* values = x.values + place * Panel::WIDTH;
    const float* scales = x.scales + place;
    const int32_t* offsets = x.offsets + place;
    i32v dots[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
        const i32v start = Panel::starts_at_offset ? broadcast(offsets[r]) : i32v{};
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; ++i) dots[r][i] = start;
    }
#pragma GCC unroll 8
    for (int k = 0; k < Panel::WIDTH / 4 / Panel::QUADS; ++k) {
        // The fetch stays between the products before and behind it, as if it changed them.
        if constexpr (ROWS > FEW) __asm__("" : "+r"(ahead), "+v"(dots[0][0]));
        for (int p = 0; ROWS > FEW && p < PANELS; ++p) {
            for (int i = 0; i < Panel::QUADS; ++i) {
                __builtin_prefetch(ahead + p * size + (k * Panel::QUADS + i) * 64, 0, 2);
            }
        }
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
                const i32v four = broadcast(load<int32_t>(values + r * Panel::WIDTH + column));
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
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            const f32v scale = broadcast(scales[r]);
            float* sum = sums + r * TILE + i * LANES;
            store(sum, fma(to_float(dots[r][i]), Panel::scaled ? scale * weight_scale : scale,
                           load(sum)));
        }
    }
}

// The same for some groups. Only for few rows the loop is one with what it does: of a long body the
// compiler would mix the steps, and run out of registers.
template <class Panel, int PANELS, int ROWS>
__attribute__((noinline)) void add_one(const uint8_t* weights, const uint8_t* ahead, long size,
                                       const Quantized& x, long place, float* sums) {
    add_group<Panel, PANELS, ROWS>(weights, ahead, size, x, place, sums);
}

template <class Panel, int PANELS, int ROWS>
void add_groups(const uint8_t* weights, const uint8_t* ahead, long size, const Quantized& x,
                long place, long groups, float* sums) {
    for (; groups > 0; --groups, weights += Panel::BYTES, ahead += Panel::BYTES, place += BAND) {
        if constexpr (ROWS <= FEW) {
            add_group<Panel, PANELS, ROWS>(weights, ahead, size, x, place, sums);
        } else {
            add_one<Panel, PANELS, ROWS>(weights, ahead, size, x, place, sums);
        }
    }
}

// `add_groups` for `count` rows, at most ROWS.
template <class Panel, int PANELS, int ROWS>
void choose_rows(int count, const uint8_t* weights, const uint8_t* ahead, long size,
                 const Quantized& x, long place, long groups, float* sums) {
    if constexpr (ROWS > 1) {
        if (count < ROWS) {
            return choose_rows<Panel, PANELS, ROWS - 1>(count, weights, ahead, size, x, place,
                                                        groups, sums);
        }
    }
    add_groups<Panel, PANELS, ROWS>(weights, ahead, size, x, place, groups, sums);
}

// From the sums of all groups to outputs.
template <class Panel, int PANELS>
void scale_sums(const LinearWeights& w, int count, int panel, float* tile) {
    for (int i = 0; i < PANELS * PANEL; i += LANES) {
        const int at = panel * PANEL + i;
        const f32v scale = Panel::scaled ? broadcast(w.factor) : load(w.row_scales + at);
        const f32v bias = w.bias ? load(w.bias + at) : f32v{};
        for (int r = 0; r < count; ++r) {
            float* sum = tile + r * TILE + i;
            store(sum, fma(load(sum), scale, bias));
        }
    }
}

template <class Panel, int PANELS>
void multiply_integers(const LinearWeights& w, const Quantized& x, int row, int count, int panel,
                       float* tile) {
    // Rows for whose integers of one group there are registers.
    constexpr int ROWS = LANES == 16 ? 6 : (PANELS == 2 ? 1 : 3);
    const long size = x.groups * Panel::BYTES;
    const uint8_t* weights = static_cast<const uint8_t*>(w.values) + panel * size;
    const int parts = (count + ROWS - 1) / ROWS;
    const bool fresh = row % ROWS_AT_ONCE == 0;
    // A single part goes through all groups by itself.
    const long step = parts == 1 ? x.groups : 1;
    // Lines that each part fetches, of the group so many ahead.
    constexpr int LINES = Panel::WIDTH / 4, GROUPS_AHEAD = AHEAD / Panel::WIDTH;
    for (int r = 0; r < count; ++r) std::memset(tile + r * TILE, 0, PANELS * PANEL * sizeof(float));
    for (long group = 0; group < x.groups; group += step, weights += step * Panel::BYTES) {
        // Behind the end of these panels are those that come next.
        const long later = group + GROUPS_AHEAD < x.groups ? GROUPS_AHEAD
                                                           : (PANELS - 1) * x.groups + GROUPS_AHEAD;
        for (int part = 0; part < parts; ++part) {
            const int first = count * part / parts, last = count * (part + 1) / parts;
            // Each part fetches its share of lines, and only the first band of rows any.
            const bool fetches = fresh && part * LINES * 64 < Panel::BYTES;
            const uint8_t* ahead =
                fetches ? weights + later * Panel::BYTES + part * LINES * 64 : weights;
            choose_rows<Panel, PANELS, ROWS>(last - first, weights, ahead, size, x,
                                             x.place(row, group) + first, step,
                                             tile + first * TILE);
        }
    }
    scale_sums<Panel, PANELS>(w, count, panel, tile);
}

template <class Panel>
void integer_tile(const LinearWeights& w, const Rows& x, int row, int count, int panel, int panels,
                  float* tile) {
    if (panels == 2) return multiply_integers<Panel, 2>(w, x.quantized, row, count, panel, tile);
    multiply_integers<Panel, 1>(w, x.quantized, row, count, panel, tile);
}

}  // namespace lmw
