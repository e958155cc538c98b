// The activations of models/layers/feed_forward.py.
#pragma once

#include "vector_math.h"
#include "weights.h"

namespace lmw {

inline f32v activated(int kind, f32v x) {
    switch (kind) {
        case SILU:
            return x / (1.0f + exponential(-x));
        case GELU:
            return 0.5f * x * (1.0f + error_function(x * 0.70710678f));
        case GELU_TANH:
            return 0.5f * x * (1.0f + hyperbolic_tangent(0.79788456f * (x + 0.044715f * x * x * x)));
        case RELU:
            return maximum(x, f32v{});
        case RELU_SQUARED:
            return maximum(x, f32v{}) * maximum(x, f32v{});
        default:  // TANH
            return hyperbolic_tangent(x);
    }
}

// In place; `count` is a multiple of LANES.
inline void activate(int kind, float* x, int count) {
    for (int i = 0; i < count; i += LANES) store(x + i, activated(kind, load(x + i)));
}

}  // namespace lmw
