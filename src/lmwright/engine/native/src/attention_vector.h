// What attention asks of vectors beyond vectors.h: keys and values of every stored type, and an
// exponential that is exactly 0 where nothing may be seen.
#pragma once

#include "vectors.h"

namespace lmw {
namespace paged {

// A register tile of ROWS x COLUMNS accumulators, COLUMNS vectors of the shared operand and one
// broadcast number fill the register file: 32 vectors with AVX-512, 16 with AVX2.
constexpr int ROWS = 6, COLUMNS = LANES == 16 ? 4 : 2;

template <class To, class From>
inline To bits_of(const From& from) {
    static_assert(sizeof(To) == sizeof(From), "a reinterpretation keeps the size");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

// LANES stored numbers as floats, exactly. GCC 12 takes a generic conversion to pieces; hence the
// intrinsics.
inline f32v numbers(const float* from) { return load(from); }
#if defined(__AVX512VNNI__)
inline f32v numbers(const uint16_t* from) {  // bf16: the upper half of a float
    return (f32v)_mm512_slli_epi32(_mm512_cvtepu16_epi32(load<__m256i>(from)), 16);
}
inline f32v numbers(const int8_t* from) {
    return (f32v)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load<__m128i>(from)));
}
#else
inline f32v numbers(const uint16_t* from) {
    return (f32v)_mm256_slli_epi32(_mm256_cvtepu16_epi32(load<__m128i>(from)), 16);
}
inline f32v numbers(const int8_t* from) {
    return (f32v)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)from)));
}
#endif

// e^x = power * (1 + rest): x = n ln 2 + r with |r| <= ln 2 / 2, power = 2^n, rest = e^r - 1 by the
// polynomial of Cephes' expf (Moshier 1989). For -87.3 <= x <= 88; a NaN makes `rest` NaN.
inline void split_exponential(f32v x, f32v& power, f32v& rest) {
    // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
    const f32v magic = broadcast(12582912.0f);
    const f32v shifted = fma(x, broadcast(1.44269504f), magic);
    const f32v n = shifted - magic;
    f32v r = fma(n, broadcast(-0.693359375f), x);  // ln 2 in two parts, the first exact
    r = fma(n, broadcast(2.12194440e-4f), r);
    f32v p = broadcast(1.9875691500e-4f);
    p = fma(p, r, broadcast(1.3981999507e-3f));
    p = fma(p, r, broadcast(8.3334519073e-3f));
    p = fma(p, r, broadcast(4.1665795894e-2f));
    p = fma(p, r, broadcast(1.6666665459e-1f));
    p = fma(p, r, broadcast(5.0000001201e-1f));
    rest = fma(p, r * r, r);
    power = (f32v)(((i32v)shifted - (i32v)magic + 127) << 23);
}

// e^x for x <= 0, to 2 units of the last place; exactly 0 below -87.3 (so for -infinity), where
// results would leave the normal numbers.
inline f32v weight_of(f32v x) {
    const f32v least = broadcast(-87.3f);
    f32v power, rest;
    split_exponential(x < least ? least : x, power, rest);
    return x < least ? f32v{} : fma(power, rest, power);
}

// tanh x = (e^2x - 1) / (e^2x + 1), its numerator put together from the parts of e^2x, so that the
// last places are right near 0, too, where the plain formula cancels. Beyond 10 it rounds to 1.
inline f32v exact_tangent(f32v x) {
    const f32v limit = broadcast(10.0f);
    f32v inside = x > limit ? limit : x;
    inside = inside < -limit ? -limit : inside;
    f32v power, rest;
    split_exponential(inside + inside, power, rest);
    const f32v less_one = fma(power, rest, power - 1.0f);
    return less_one / (less_one + 2.0f);
}

}  // namespace paged
}  // namespace lmw
