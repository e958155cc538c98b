// Vectors of the widest kind the instruction set has, as GCC and Clang extend C++ by them, and the
// few instructions that the extension cannot spell.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace lmw {

#if defined(__AVX512VNNI__)
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif

typedef float f32v __attribute__((vector_size(4 * LANES)));
typedef int32_t i32v __attribute__((vector_size(4 * LANES)));
typedef int8_t i8v __attribute__((vector_size(LANES)));  // as many values as f32v has

// Weights lie in panels of 32 output rows (see linear.h), each so many vectors wide.
constexpr int PANEL = 32;
constexpr int PARTS = PANEL / LANES;

template <class T>
inline T load(const void* from) {
    T result;
    std::memcpy(&result, from, sizeof(T));  // unaligned; one instruction
    return result;
}
inline f32v load(const float* from) { return load<f32v>(from); }
inline void store(float* to, f32v value) { std::memcpy(to, &value, sizeof value); }

// The first `count` lanes, 0 behind them; and back. Vectors at the end of a row.
//
// What is less than a vector is done by functions of its own: inside the same one, GCC would send
// every whole vector through memory, too, to have it ready for them.
__attribute__((noinline, cold)) inline f32v load_part(const float* from, int count) {
    f32v result = {};
    std::memcpy(&result, from, count * sizeof(float));
    return result;
}
__attribute__((noinline, cold)) inline void store_part(float* to, f32v value, int count) {
    std::memcpy(to, &value, count * sizeof(float));
}
inline f32v load_some(const float* from, int count) {
    return count >= LANES ? load(from) : load_part(from, count);
}
inline void store_some(float* to, f32v value, int count) {
    count >= LANES ? store(to, value) : store_part(to, value, count);
}

inline f32v broadcast(float value) { return value - f32v{}; }  // x - 0 is x, and costs nothing
inline i32v broadcast(int32_t value) { return value - i32v{}; }

inline f32v to_float(i32v value) { return __builtin_convertvector(value, f32v); }

// Multiply and add with one rounding. Written out, since whether a compiler fuses a * b + c may
// differ between two tiles, whose results must not.
inline f32v fma(f32v a, f32v b, f32v c) {
#if defined(__AVX512VNNI__)
    return (f32v)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#else
    return (f32v)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#endif
}

inline f32v maximum(f32v a, f32v b) {
#if defined(__AVX512VNNI__)
    return (f32v)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return (f32v)_mm256_max_ps((__m256)a, (__m256)b);
#endif
}
inline f32v minimum(f32v a, f32v b) { return -maximum(-a, -b); }
inline f32v absolute(f32v x) { return (f32v)((i32v)x & 0x7fffffff); }

// Over all lanes, always in the same order.
inline float sum(f32v x) {
#if defined(__AVX512VNNI__)
    return _mm512_reduce_add_ps((__m512)x);
#else
    __m128 half = _mm_add_ps(_mm256_castps256_ps128((__m256)x), _mm256_extractf128_ps((__m256)x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
#endif
}
inline int32_t sum(i32v x) {
#if defined(__AVX512VNNI__)
    return _mm512_reduce_add_epi32((__m512i)x);
#else
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128((__m256i)x), _mm256_extracti128_si256((__m256i)x, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
#endif
}
inline float largest(f32v x) {
#if defined(__AVX512VNNI__)
    return _mm512_reduce_max_ps((__m512)x);
#else
    __m128 half = _mm_max_ps(_mm256_castps256_ps128((__m256)x), _mm256_extractf128_ps((__m256)x, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
#endif
}

// fp16 and bf16 numbers as floats.
inline f32v load_fp16(const uint16_t* from) {
#if defined(__AVX512VNNI__)
    return (f32v)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from));
#else
    return (f32v)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from));
#endif
}
inline float from_bf16(uint16_t bits) {
    const uint32_t word = uint32_t(bits) << 16;
    float result;
    std::memcpy(&result, &word, sizeof result);
    return result;
}

// Each lane: sum + the products of 4 weights with 4 activations. Weights are unsigned here, with
// an offset that the caller has taken off the sum beforehand.
inline i32v dot_unsigned(i32v sum, i32v weights, i32v activations) {
#if defined(__AVX512VNNI__)
    return (i32v)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)weights, (__m512i)activations);
#else
    // Pairs are added in 16 bits, which is enough for weights up to 128.
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)weights, (__m256i)activations);
    return sum + (i32v)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#endif
}

// The same for weights of 8 bits with an offset of 128.
#if defined(__AVX512VNNI__)
constexpr bool OFFSET_IN_SUM = true;
inline i32v dot_offset_128(i32v sum, i32v weights, i32v activations) {
    return dot_unsigned(sum, weights, activations);
}
#else
// Pairs of products with weights up to 255 do not fit into 16 bits: the sign goes to the
// activations, and no offset is left.
constexpr bool OFFSET_IN_SUM = false;
inline i32v dot_offset_128(i32v sum, i32v weights, i32v activations) {
    const __m256i values = _mm256_xor_si256((__m256i)weights, _mm256_set1_epi8(-128));
    return dot_unsigned(sum, (i32v)_mm256_abs_epi8(values),
                        (i32v)_mm256_sign_epi8((__m256i)activations, values));
}
#endif

}  // namespace lmw
