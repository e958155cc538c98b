// Activations of 8 bits: each group of 32 or 128 has a scale of its own, so that what else is in the
// batch changes nothing. twin.py defines the arithmetic.
#pragma once

#include "vectors.h"

namespace lmw {

constexpr int GROUP = 32, WIDE_GROUP = 128;
// Rows that a tile takes through the weights together. They lie together, group by group, so that
// a tile reads one stream and its rows are a constant apart.
constexpr int BAND = 24;

struct Quantized {
    int8_t* values;     // (rows / 24, groups, 24, group)
    float* scales;      // (rows / 24, groups, 24)
    int32_t* offsets;   // the same: -weight_offset * sum of the group's values
    long groups;        // columns / group
    int group;
    int weight_offset;  // of the weights that these meet: 128, or 8 for weights of 4 bits

    long place(long row, long group) const {
        return (row / BAND * groups + group) * BAND + row % BAND;
    }
};

// The floats of one group -> group `group` of row `row`.
inline void quantize_group(const float* x, const Quantized& to, long row, long group) {
    f32v size = absolute(load(x));
    for (int i = LANES; i < to.group; i += LANES) size = maximum(size, absolute(load(x + i)));
    const float most = largest(size);
    // So small a group counts as zeros: 127 over its largest could be infinite.
    const float inverse = most > 1e-30f ? 127.0f / most : 0.0f;
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest whole number
    const long place = to.place(row, group);
    int8_t* values = to.values + place * to.group;
    i32v total = {};
    for (int i = 0; i < to.group; i += LANES) {
        const f32v shifted = load(x + i) * inverse + magic;
        const i32v whole = (i32v)shifted - (i32v)broadcast(magic);
        total += whole;
        const i8v narrow = __builtin_convertvector(whole, i8v);
        std::memcpy(values + i, &narrow, sizeof narrow);
    }
    to.scales[place] = most / 127.0f;
    to.offsets[place] = -to.weight_offset * sum(total);
}

inline void quantize_row(const float* x, const Quantized& to, long row) {
    for (long group = 0; group < to.groups; ++group) {
        quantize_group(x + group * to.group, to, row, group);
    }
}

}  // namespace lmw
