// exp, tanh and erf on vectors, to within a few units of the last place of what they are used for.
#pragma once

#include "vectors.h"

namespace lmw {

// e^x by 2^n * e^r, |r| <= ln(2) / 2 (Cody and Waite 1980, chapter 6); x beyond +-87 is clamped.
inline f32v exponential(f32v x) {
    x = minimum(maximum(x, broadcast(-87.0f)), broadcast(88.0f));
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
    const f32v shifted = fma(x, broadcast(1.44269504f), broadcast(magic));
    const f32v n = shifted - magic;
    f32v r = fma(n, broadcast(-0.693359375f), x);  // ln(2) in two pieces
    r = fma(n, broadcast(2.12194440e-4f), r);
    f32v p = fma(r, broadcast(1.9875691e-4f), broadcast(1.3981999e-3f));
    p = fma(p, r, broadcast(8.3334519e-3f));
    p = fma(p, r, broadcast(4.1665796e-2f));
    p = fma(p, r, broadcast(1.6666665e-1f));
    p = fma(p, r, broadcast(0.5f));
    p = fma(p, r * r, r + 1.0f);
    return (f32v)((i32v)p + ((i32v)shifted << 23));  // times 2^n, in the exponent's bits
}

// Absolute error below 1e-7.
inline f32v hyperbolic_tangent(f32v x) {
    return 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
}

// Error function (Abramowitz and Stegun 1964, 7.1.26); absolute error below 2e-7.
inline f32v error_function(f32v x) {
    const f32v size = absolute(x), t = 1.0f / fma(size, broadcast(0.3275911f), broadcast(1.0f));
    f32v p = fma(t, broadcast(1.061405429f), broadcast(-1.453152027f));
    p = fma(p, t, broadcast(1.421413741f));
    p = fma(p, t, broadcast(-0.284496736f));
    p = fma(p, t, broadcast(0.254829592f));
    const f32v result = 1.0f - p * t * exponential(-size * size);
    return (f32v)((i32v)result | ((i32v)x & int32_t(0x80000000)));
}

}  // namespace lmw
