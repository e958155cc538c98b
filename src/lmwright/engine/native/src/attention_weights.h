// From scores to weights (softmax), and the merging of partial results.
#pragma once

#include <cfloat>
#include <limits>

#include "attention_kernels.h"

namespace lmw {
namespace paged {

// How one row's scores become weights. Positions are counted from the start of the chunk.
struct RowRule {
    int begin, end;          // what is computed: whole vectors
    int seen_from, seen_to;  // what the query sees of it; may be empty
    float soft_cap;          // 0: none
    float slope;             // of ALiBi; 0: none
    int query;               // the query's own position
    const float* key_scales;    // (CHUNK,) or null
    const float* value_scales;  // (CHUNK,) or null
};

// A row's weights of one chunk are e^(score - largest) and add up to `total`.
struct RowState {
    float largest, total;
};

// Scores before hiding: scale of int8 keys, soft cap (Gemma 2), ALiBi (Press et al. 2022).
inline void shape_scores(float* scores, const RowRule& rule) {
    if (rule.key_scales)
        for (int i = rule.begin; i < rule.end; i += LANES)
            store(scores + i, load(scores + i) * load(rule.key_scales + i));
    if (rule.soft_cap != 0.0f) {
        const f32v cap = broadcast(rule.soft_cap), inverse = broadcast(1.0f / rule.soft_cap);
        for (int i = rule.begin; i < rule.end; i += LANES)
            store(scores + i, cap * exact_tangent(load(scores + i) * inverse));
    }
    if (rule.slope != 0.0f) {
        f32v distance;
        for (int i = 0; i < LANES; ++i) distance[i] = (float)(rule.begin - rule.query + i);
        for (int i = rule.begin; i < rule.end; i += LANES, distance += (float)LANES)
            store(scores + i, fma(broadcast(rule.slope), distance, load(scores + i)));
    }
}

// Turn a row's scores into weights, in place; int8 values' scales are multiplied into them. What is
// hidden gets weight 0, whatever stood there. A row that sees nothing has total 0.
inline RowState weigh(float* scores, const RowRule& rule) {
    shape_scores(scores, rule);
    const float hidden = -std::numeric_limits<float>::infinity();
    for (int i = rule.begin; i < rule.seen_from && i < rule.end; ++i) scores[i] = hidden;
    for (int i = rule.seen_to > rule.begin ? rule.seen_to : rule.begin; i < rule.end; ++i)
        scores[i] = hidden;
    f32v most = broadcast(-FLT_MAX);
    for (int i = rule.begin; i < rule.end; i += LANES) most = maximum(most, load(scores + i));
    const float largest = lmw::largest(most);
    f32v total = {};
    for (int i = rule.begin; i < rule.end; i += LANES) {
        const f32v weight = weight_of(load(scores + i) - broadcast(largest));
        total += weight;
        store(scores + i, rule.value_scales ? weight * load(rule.value_scales + i) : weight);
    }
    return {largest, sum(total)};
}

// Add the next chunk's result to that of the chunks before it. Where the row saw nothing in one of
// the two, the other comes out unchanged to the bit (factors 0 and 1).
inline void merge(RowState& state, float* sums, const RowState& next, const float* part,
                  int columns) {
    const float largest = next.largest > state.largest ? next.largest : state.largest;
    const f32v before = weight_of(broadcast(state.largest - largest));
    const f32v after = weight_of(broadcast(next.largest - largest));
    state.total = state.total * before[0] + next.total * after[0];
    state.largest = largest;
    for (int i = 0; i < columns; i += LANES)
        store(sums + i, fma(load(sums + i), before, load(part + i) * after));
}

}  // namespace paged
}  // namespace lmw
