// How a pass is cut into tiles, and the memory that the work on one takes.
#pragma once

#include <algorithm>

#include "attention.h"
#include "attention_weights.h"

namespace lmw {
namespace paged {

// Rows (queries x heads of the group) of a tile: keys and values, read once per tile, then serve
// enough arithmetic that their way from the second-level cache does not count.
constexpr int TILE_ROWS = 48;
inline int group_of(const AttentionCall& call) { return call.heads / call.kv.kv_heads; }
inline int queries_per_tile(const AttentionCall& call) {
    return std::max(1, TILE_ROWS / group_of(call));
}

// Some queries in a row of one sequence, with all heads that read one key/value head.
struct Tile {
    int sequence, head;  // key/value head
    int token, queries;  // the first query's row in q; how many
    int position;        // of the first query
    int group, window;

    int rows() const { return queries * group; }
    int sees_from(int place) const { return window > 0 ? std::max(0, place - window + 1) : 0; }
    int first() const { return sees_from(position); }  // what any of its rows sees
    int end() const { return position + queries; }
    // Reading a key and a value costs what four rows' arithmetic with them does.
    double cost() const { return (double)(end() - first()) * (rows() + 4); }
};

// Call `visit(tile)` for every tile of the pass. Heads go outermost: a thread then meets the same
// heads in every pass, whose keys and values its own cache may still hold.
template <class Visit>
void each_tile(const AttentionCall& call, const Visit& visit) {
    const int most = queries_per_tile(call), group = group_of(call);
    for (int head = 0; head < call.kv.kv_heads; ++head)
        for (int b = 0; b < call.sequences; ++b) {
            const int begin = call.query_starts[b], end = call.query_starts[b + 1];
            const int before = call.context_lengths[b] - end;
            for (int token = begin; token < end; token += most)
                visit(Tile{b, head, token, std::min(most, end - token), before + token, group,
                           call.window});
        }
}

// A query and one of its heads.
struct Row {
    int place;          // the query's position
    int head;           // of all query heads
    const float* from;  // its K numbers
    float* to;
    RowState state, next;  // of the chunks so far, of the chunk at hand
};

// Rows that pass through the register tile together, and what any of them sees of the chunk.
struct Panel {
    int row, rows, begin, end;
};

// One thread's memory.
struct Scratch {
    float *queries, *scores, *sums, *part, *key_scales, *value_scales;
    Row* rows;
    Panel* panels;

    static long bytes(long rows) {
        return (rows * (3 * HEAD_STRIDE + SCORE_STRIDE) + 2 * CHUNK) * (long)sizeof(float) +
               rows * (long)(sizeof(Row) + sizeof(Panel));
    }
    Scratch(void* memory, long count) {
        queries = (float*)memory;
        scores = queries + count * HEAD_STRIDE;
        sums = scores + count * SCORE_STRIDE;
        part = sums + count * HEAD_STRIDE;
        key_scales = part + count * HEAD_STRIDE;
        value_scales = key_scales + CHUNK;
        rows = (Row*)(value_scales + CHUNK);
        panels = (Panel*)(rows + count);
    }
};

}  // namespace paged
}  // namespace lmw
