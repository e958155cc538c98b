// Weights of 8 bits by the tiles of AMX. The panels are packed as B of a product wants it: a quad of
// 32 rows is a row of two tiles. Sums of integers are exact, and are scaled as in linear_integer.h:
// the same bits.
//
// Weights of 4 bits stay with vectors: they would have to be unpacked through memory, and in groups
// of 32 scaling, which tiles cannot do, should take most of the time. Nobody has measured it.
#include "linear_tiles.h"

#if LMW_TILES

#include <atomic>

#include "linear_integer.h"

namespace lmw {

namespace {

std::atomic<bool> in_use{false};

// Rows that are multiplied without tiles, whose products would mostly be idle: reading the weights
// should take longer than either way. Supposed, not measured, as is the next.
constexpr int FEW_FOR_TILES = 4;
constexpr int FETCHED_AHEAD = 128;  // columns
constexpr int ROWS_OF_TILE = 16, BYTES_OF_TILE = 64;
// Numbers of registers: sums are (rows 0-15, rows 16-23) x (outputs 0-15, outputs 16-31).
constexpr int SUM = 0, A = 4, B = 6;

template <int WIDTH>
TileShapes shapes(int count) {
    constexpr int DEPTH = WIDTH < BYTES_OF_TILE ? WIDTH : BYTES_OF_TILE;
    TileShapes result;
    for (int half = 0; half < 2; ++half) {
        result.set(B + half, DEPTH / 4, BYTES_OF_TILE);
        const int rows = half ? count - ROWS_OF_TILE : count < ROWS_OF_TILE ? count : ROWS_OF_TILE;
        if (rows <= 0) continue;
        result.set(A + half, rows, DEPTH);
        result.set(SUM + 2 * half, rows, BYTES_OF_TILE);
        result.set(SUM + 2 * half + 1, rows, BYTES_OF_TILE);
    }
    return result;
}

// dots (rows, 32) = the products of a group of columns. MORE: than 16 rows.
template <int WIDTH, bool MORE>
void multiply_group(const int8_t* values, const uint8_t* weights, const uint8_t* ahead,
                    int32_t* dots) {
    constexpr int LINE = PANEL * 4, STRIDE = PANEL * sizeof(int32_t);
    constexpr int LATER_ROWS = ROWS_OF_TILE * PANEL;
    zero_tile<SUM>(), zero_tile<SUM + 1>();
    if constexpr (MORE) zero_tile<SUM + 2>(), zero_tile<SUM + 3>();
    for (int k = 0; k < WIDTH; k += BYTES_OF_TILE) {
        load_tile<B>(weights + k / 4 * LINE, LINE);
        load_tile<B + 1>(weights + k / 4 * LINE + BYTES_OF_TILE, LINE);
        load_tile<A>(values + k, WIDTH);
        add_products<SUM, A, B>();
        add_products<SUM + 1, A, B + 1>();
        if constexpr (MORE) {
            load_tile<A + 1>(values + ROWS_OF_TILE * WIDTH + k, WIDTH);
            add_products<SUM + 2, A + 1, B>();
            add_products<SUM + 3, A + 1, B + 1>();
        }
        for (int line = 0; line < BYTES_OF_TILE / 4 && line < WIDTH / 4; ++line) {
            __builtin_prefetch(ahead + k / 4 * LINE + line * LINE, 0, 2);
            __builtin_prefetch(ahead + k / 4 * LINE + line * LINE + 64, 0, 2);
        }
    }
    store_tile<SUM>(dots, STRIDE), store_tile<SUM + 1>(dots + ROWS_OF_TILE, STRIDE);
    if constexpr (MORE) {
        store_tile<SUM + 2>(dots + LATER_ROWS, STRIDE);
        store_tile<SUM + 3>(dots + LATER_ROWS + ROWS_OF_TILE, STRIDE);
    }
}

// sums (count rows, one panel) += dots, scaled.
template <class Panel>
void add_dots(const int32_t* dots, const uint8_t* weights, const Quantized& x, long place, int count,
              float* sums) {
    for (int i = 0; i < PARTS; ++i) {
        f32v weight_scale = {};
        if (Panel::scaled) {
            weight_scale = load_fp16((const uint16_t*)(weights + Panel::SCALES) + i * LANES);
        }
        for (int r = 0; r < count; ++r) {
            const i32v whole =
                load<i32v>(dots + r * PANEL + i * LANES) + broadcast(x.offsets[place + r]);
            const f32v scale = broadcast(x.scales[place + r]);
            float* sum = sums + r * TILE + i * LANES;
            store(sum, fma(to_float(whole), Panel::scaled ? scale * weight_scale : scale, load(sum)));
        }
    }
}

template <class Panel>
void multiply_by_tiles(const LinearWeights& w, const Quantized& x, int row, int count, int panel,
                       int panels, float* tile) {
    alignas(64) int32_t dots[BAND * PANEL];
    const Tiles tiles(shapes<Panel::WIDTH>(count));
    const auto multiply = count > ROWS_OF_TILE ? multiply_group<Panel::WIDTH, true>
                                               : multiply_group<Panel::WIDTH, false>;
    const uint8_t* weights =
        static_cast<const uint8_t*>(w.values) + panel * x.groups * Panel::BYTES;
    // One stream through the panels: what comes later is fetched, for the first band of rows.
    const long later = row % ROWS_AT_ONCE == 0 ? FETCHED_AHEAD / Panel::WIDTH * Panel::BYTES : 0;
    for (int p = 0; p < panels; ++p) {
        float* sums = tile + p * PANEL;
        for (int r = 0; r < count; ++r) std::memset(sums + r * TILE, 0, PANEL * sizeof(float));
        for (long group = 0; group < x.groups; ++group, weights += Panel::BYTES) {
            const long place = x.place(row, group);
            multiply(x.values + place * Panel::WIDTH, weights, weights + later, dots);
            add_dots<Panel>(dots, weights, x, place, count, sums);
        }
        scale_sums<Panel, 1>(w, count, panel + p, sums);
    }
}

}  // namespace

void use_tiles(bool wanted) { in_use.store(wanted, std::memory_order_relaxed); }

bool uses_tiles() { return in_use.load(std::memory_order_relaxed); }

void int8_by_tiles(const LinearWeights& w, const Rows& x, int row, int count, int panel, int panels,
                   float* tile) {
    const bool wide = w.group == WIDE_GROUP, by_row = w.format == INT8_ROWS;
    if (count <= FEW_FOR_TILES) {
        return (wide ? int8_wide_tile : int8_tile)(w, x, row, count, panel, panels, tile);
    }
    const auto multiply = wide ? (by_row ? multiply_by_tiles<IntegerPanel<8, WIDE_GROUP, false>>
                                         : multiply_by_tiles<IntegerPanel<8, WIDE_GROUP, true>>)
                               : (by_row ? multiply_by_tiles<IntegerPanel<8, GROUP, false>>
                                         : multiply_by_tiles<IntegerPanel<8, GROUP, true>>);
    multiply(w, x.quantized, row, count, panel, panels, tile);
}

}  // namespace lmw

#endif
