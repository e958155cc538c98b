// Entry points by which tests reach attention alone. The library itself is built without them.
#ifdef LMW_TEST_ENTRIES

#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "attention.h"
#include "attention_layout.h"

namespace {

template <class Work>
void on_threads(int threads, const Work& work) {
    std::vector<std::thread> all;
    for (int thread = 1; thread < threads; ++thread) all.emplace_back(work, thread);
    work(0);
    for (std::thread& thread : all) thread.join();
}

}  // namespace

extern "C" {

long lmw_test_kv_bytes(int num_blocks, int block_size, int kv_heads, int head_dim, int type) {
    return (long)lmw::kv_bytes(num_blocks, block_size, kv_heads, head_dim, type);
}

// A whole layer's pass; scratch memory starts as NaN, so that what relies on it shows.
void lmw_test_pass(const lmw::AttentionCall* call, int threads) {
    on_threads(threads, [&](int thread) { lmw::store(*call, thread, threads); });
    const size_t bytes = (lmw::attention_scratch(*call) + 63) / 64 * 64;
    on_threads(threads, [&](int thread) {
        void* scratch = std::aligned_alloc(64, bytes);
        std::memset(scratch, 0xff, bytes);
        lmw::attend(*call, thread, threads, scratch);
        std::free(scratch);
    });
}

// What stands at one place of the pool, in units of its scale: key and value, K floats each.
void lmw_test_read(const lmw::KvStorage* kv, int block, int slot, int head, float* key,
                   float* value) {
    const size_t at = lmw::paged::piece_at(*kv, block, head);
    const auto number = [&](const void* from, size_t index) -> float {
        if (kv->type == lmw::KV_F32) return ((const float*)from)[index];
        if (kv->type == lmw::KV_INT8) return ((const int8_t*)from)[index];
        return lmw::paged::bits_of<float>((uint32_t)((const uint16_t*)from)[index] << 16);
    };
    for (int i = 0; i < kv->head_dim; ++i) {
        key[i] = number(kv->keys, at + (size_t)i * kv->block_size + slot);
        value[i] = number(kv->values, at + (size_t)slot * lmw::paged::padded(kv->head_dim) + i);
    }
}

// Which of the scales belong to that place.
long lmw_test_scale_index(const lmw::KvStorage* kv, int block, int slot, int head) {
    return (long)lmw::paged::scales_at(*kv, block, head) + slot;
}

void lmw_test_weight_of(const float* x, float* to, long count) {  // count: a multiple of 16
    for (long i = 0; i < count; i += lmw::LANES)
        lmw::store(to + i, lmw::paged::weight_of(lmw::load(x + i)));
}

void lmw_test_tangent(const float* x, float* to, long count) {
    for (long i = 0; i < count; i += lmw::LANES)
        lmw::store(to + i, lmw::paged::exact_tangent(lmw::load(x + i)));
}
}

#endif
