#include "linear.h"

#include <algorithm>

#include "activation.h"
#include "linear_tiles.h"
#include "pool.h"

namespace lmw {

namespace {

using Tile = void (*)(const LinearWeights&, const Rows&, int, int, int, int, float*);

Tile tile_of(const LinearWeights& weights) {
    if (weights.format == INT4_GROUPS) return int4_tile;
    if (!takes_integers(weights)) return float_tile;
#if LMW_TILES
    if (uses_tiles()) return int8_by_tiles;
#endif
    return weights.group == WIDE_GROUP ? int8_wide_tile : int8_tile;
}

// Write one row's columns column .. column + 31, of which `count` exist.
void write(const Destination& to, float* values, long row, long column, int count) {
    if (to.out == nullptr) {
        quantize_group(values, to.quantized, row, column / GROUP);
        return;
    }
    float* out = to.out + row * to.stride + column;
    if (count > PANEL) count = PANEL;
    for (int i = 0; i < count; i += LANES) {
        f32v value = load(values + i);
        if (to.fate == ADD) value += load_some(out + i, count - i);
        if (to.soft_cap != 0.0f) value = to.soft_cap * hyperbolic_tangent(value / to.soft_cap);
        store_some(out + i, value, count - i);
    }
}

// Fetch where a tile will be written, while it is multiplied: rows lie so far apart that the
// processor does not guess them.
void fetch(const Destination& to, int row, int count, int column, int columns) {
    if (to.out == nullptr) return;
    for (int r = 0; r < count; ++r) {
        const float* out = to.out + (row + r) * to.stride + column;
        for (int i = 0; i < columns; i += 64 / sizeof(float)) __builtin_prefetch(out + i, 1);
    }
}

// What becomes of a tile of `count` rows.
void finish(const LinearWeights& weights, const Destination& to, float* tile, int row, int count,
            int panel, int panels) {
    const int columns = to.fate == ACTIVATE_GATE ? weights.rows / 2 : weights.rows;
    for (int r = 0; r < count; ++r, tile += TILE) {
        if (to.fate == ACTIVATE_GATE) {
            activate(to.activation, tile, PANEL);
            for (int i = 0; i < PANEL; i += LANES) {
                store(tile + i, load(tile + i) * load(tile + PANEL + i));
            }
            const int column = panel / 2 * PANEL;  // gate and up are PANEL wide each
            write(to, tile, row + r, column, columns - column);
            continue;
        }
        if (to.fate == ACTIVATE) activate(to.activation, tile, panels * PANEL);
        for (int p = 0; p < panels; ++p) {
            const int column = (panel + p) * PANEL;
            write(to, tile + p * PANEL, row + r, column, columns - column);
        }
    }
}

}  // namespace

void linear(const LinearWeights& weights, const Rows& x, int rows, const Destination& to, int thread,
            int threads) {
    const Tile tile = tile_of(weights);
    const bool integers = takes_integers(weights);
    const int most = integers ? INTEGER_ROWS : FLOAT_ROWS;
    const int most_of_two = integers ? INTEGER_ROWS_OF_TWO : FLOAT_ROWS_OF_TWO;
    const int panels = to.fate == ACTIVATE_GATE ? 2 * ((weights.rows / 2 + PANEL - 1) / PANEL)
                                                : (weights.rows + PANEL - 1) / PANEL;
    // Two panels at a time, unless that would leave some threads much more work than others.
    const bool even_by_twos = panels >= 8 * threads || panels % (2 * threads) == 0;
    const int unit = to.fate == ACTIVATE_GATE || even_by_twos ? 2 : 1;
    const Share share((panels + unit - 1) / unit, thread, threads);
    alignas(64) float products[BAND * TILE];
    static_assert(FLOAT_ROWS <= BAND && INTEGER_ROWS <= BAND, "a tile must fit into `products`");
    for (int begin = 0; begin < rows; begin += ROWS_AT_ONCE) {
        const int here = rows - begin < ROWS_AT_ONCE ? rows - begin : ROWS_AT_ONCE;
        const bool together = std::min(here, most) <= most_of_two;
        const int tiles = (here + most - 1) / most;
        for (int u = share.first; u < share.last; ++u) {
            const int panel = u * unit, width = panels - panel < unit ? panels - panel : unit;
            for (int t = 0; t < tiles; ++t) {
                const Share even(here, t, tiles);
                const int first = integers ? t * most : even.first;
                const int row = begin + first;
                const int count = integers ? std::min(most, here - first) : even.last - first;
                if (to.fate <= ADD && count > 2) {
                    fetch(to, row, count, panel * PANEL, width * PANEL);
                }
                if (together) {
                    tile(weights, x, row, count, panel, width, products);
                } else {
                    for (int p = 0; p < width; ++p) {
                        tile(weights, x, row, count, panel + p, 1, products + p * PANEL);
                    }
                }
                finish(weights, to, products, row, count, panel, width);
            }
        }
    }
}

}  // namespace lmw
