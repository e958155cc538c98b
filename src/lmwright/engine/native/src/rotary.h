// Rotary positions (Su et al. 2021, section 3.2.2): halves of a head form pairs.
#pragma once

#include "vectors.h"

namespace lmw {

// Turn the first 2 * half values of a head in place.
inline void rotate(float* head, const float* cosine, const float* sine, int half) {
    for (int i = 0; i < half; i += LANES) {
        const int left = half - i;
        const f32v first = load_some(head + i, left), second = load_some(head + half + i, left);
        const f32v cos = load_some(cosine + i, left), sin = load_some(sine + i, left);
        store_some(head + i, first * cos - second * sin, left);
        store_some(head + half + i, second * cos + first * sin, left);
    }
}

}  // namespace lmw
