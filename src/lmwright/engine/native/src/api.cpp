// What Python calls, through ctypes (library.py). No exception may leave.
#include <cstring>
#include <new>

#include "linear_tiles.h"
#include "step.h"

using namespace lmw;

extern "C" {

// Whether library.py means the same structures: their sizes, added up.
long lmw_layout() { return long(sizeof(Model) + 1000 * sizeof(Layer) + 1000000 * sizeof(Pass)); }

long lmw_kv_bytes(int num_blocks, int block_size, int kv_heads, int head_dim, int type) {
    return long(kv_bytes(num_blocks, block_size, kv_heads, head_dim, type));
}

// Ask the kernel to let this process use tiles. 0: it does not, or this object has none.
int lmw_request_tiles() {
#if LMW_TILES
    return request_tiles();
#else
    return 0;
#endif
}

// Whether products with weights of 8 bits are by tiles from now on; off at first.
void lmw_use_tiles(int wanted) {
#if LMW_TILES
    use_tiles(wanted != 0);
#else
    (void)wanted;
#endif
}

// A model with its threads; the weights stay the caller's and must live on. Null: no memory.
void* lmw_open(const Model* model, int threads) {
    try {
        return new Step(*model, threads);
    } catch (...) {
        return nullptr;
    }
}

void lmw_close(void* step) { delete static_cast<Step*>(step); }

// 0; or 1 where memory ran out, 2 where the vocabulary lacks a token.
int lmw_pass(void* step, const Pass* pass) {
    try {
        return static_cast<Step*>(step)->run(*pass) ? 0 : 2;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

// The following are for tests and measurements of single parts.

void* lmw_open_pool(int threads) { return new Pool(threads); }

void lmw_close_pool(void* pool) { delete static_cast<Pool*>(pool); }

// x (rows, columns) -> values, and scales (rows, columns / group).
void lmw_quantize(const float* x, int rows, int columns, int group, int8_t* values,
                  float* scales) {
    Input input;
    input.reserve(rows, columns);
    LinearWeights reader = {};
    reader.columns = columns;
    reader.format = INT8_GROUPS;
    reader.group = group;
    const Quantized to = input.for_layer(reader).quantized;
    for (int row = 0; row < rows; ++row) {
        quantize_row(x + long(row) * columns, to, row);
        for (int i = 0; i < to.groups; ++i, values += group, ++scales) {
            std::memcpy(values, to.values + to.place(row, i) * group, group);
            *scales = to.scales[to.place(row, i)];
        }
    }
}

// out (rows, weights.rows) = x (rows, weights.columns) times weights; `times` in a row.
void lmw_linear(void* pool, const LinearWeights* weights, const float* x, int rows, float* out,
                int times) {
    Input input;
    input.reserve(rows, weights->columns);
    const Rows read = input.for_layer(*weights);
    for (int row = 0; row < rows; ++row) {
        const float* from = x + long(row) * weights->columns;
        std::memcpy(input.row(*weights, row), from, weights->columns * sizeof(float));
        if (takes_integers(*weights)) quantize_row(from, read.quantized, row);
    }
    Pool& threads = *static_cast<Pool*>(pool);
    const Destination to = {STORE, out, weights->rows, {}, 0, 0.0f};
    threads.run([&](int thread) {
        for (int i = 0; i < times; ++i) {
            linear(*weights, read, rows, to, thread, threads.threads());
            threads.barrier();
        }
    });
}

// Read `bytes` of memory once, on all threads; what was read, so that nothing is left out.
float lmw_read(void* pool, const float* from, long bytes) {
    Pool& threads = *static_cast<Pool*>(pool);
    std::vector<float> totals(threads.threads());
    threads.run([&](int thread) {
        f32v sums[8] = {};
        const Share mine(int(bytes / sizeof(sums)), thread, threads.threads());
        for (int i = mine.first; i < mine.last; ++i) {
            for (int j = 0; j < 8; ++j) sums[j] += load(from + (long(i) * 8 + j) * LANES);
        }
        for (f32v part : sums) totals[thread] += sum(part);
    });
    float total = 0.0f;
    for (float part : totals) total += part;
    return total;
}

}  // extern "C"
