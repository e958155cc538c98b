#include "norms.h"

#include <cmath>

namespace lmw {

namespace {

// Sum of (x - shift)^2, or of x where `squares` is false; two chains, since one waits for itself.
template <bool squares>
float total(const float* x, int size, float shift) {
    f32v even = {}, odd = {};
    int i = 0;
    for (; i + 2 * LANES <= size; i += 2 * LANES) {
        const f32v a = load(x + i) - shift, b = load(x + i + LANES) - shift;
        even = squares ? fma(a, a, even) : even + a;
        odd = squares ? fma(b, b, odd) : odd + b;
    }
    float result = sum(even + odd);
    for (; i < size; ++i) result += squares ? (x[i] - shift) * (x[i] - shift) : x[i] - shift;
    return result;
}

}  // namespace

void normalize(const NormWeights& norm, const float* x, int size, float* out) {
    const float mean = norm.kind == LAYER_NORM ? total<false>(x, size, 0.0f) / size : 0.0f;
    const float variance = total<true>(x, size, mean) / size;
    const float factor = 1.0f / std::sqrt(variance + norm.eps);
    for (int i = 0; i < size; i += LANES) {
        const int left = size - i;
        f32v value = (load_some(x + i, left) - mean) * factor * load_some(norm.weight + i, left);
        if (norm.bias) value += load_some(norm.bias + i, left);
        store_some(out + i, value, left);
    }
}

}  // namespace lmw
