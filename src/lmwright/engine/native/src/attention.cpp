// Paged attention: online softmax over chunks of positions (Milakov and Gimelshein 2018; Dao et al.
// 2022), for tiles of queries that share the keys of one key/value head.
#include "attention.h"

#include "attention_layout.h"
#include "attention_tile.h"

namespace lmw {
namespace paged {
namespace {

// Of a chunk, and of the strip that is fetched behind it.
constexpr int MOST_PIECES = (CHUNK + STRIP) / 16;
static_assert(STRIP % SCORED == 0 && CHUNK % STRIP == 0, "chunks are made of strips of vectors");

// The work on one tile, chunk by chunk.
template <class T>
struct Attend {
    const AttentionCall& call;
    const Tile& tile;
    Scratch& scratch;
    int block_bits;
    int panels = 0;
    const T* keys[MOST_PIECES];  // of the chunk at hand
    const T* values[MOST_PIECES];
    int base = 0, stop = 0;  // its first position; what the tile sees of it ends at base + stop

    Attend(const AttentionCall& call, const Tile& tile, Scratch& scratch)
        : call(call), tile(tile), scratch(scratch), block_bits(call.kv.block_size == 16 ? 4 : 5) {}

    void run() {
        lay_out_rows();
        const int first = tile.first() / CHUNK * CHUNK;
        for (base = first; base < tile.end(); base += CHUNK) {
            stop = std::min(tile.end() - base, CHUNK);
            find_pieces();
            find_panels();
            score_chunk();
            weigh_chunk();
            add_chunk(base == first ? scratch.sums : scratch.part);
            for (int i = 0; i < tile.rows(); ++i) {
                Row& row = scratch.rows[i];
                if (base == first)
                    row.state = row.next;
                else
                    merge(row.state, scratch.sums + i * HEAD_STRIDE, row.next,
                          scratch.part + i * HEAD_STRIDE, padded(call.kv.head_dim));
            }
        }
        write();
    }

    void lay_out_rows() {
        const int K = call.kv.head_dim, first_head = tile.head * tile.group;
        for (int query = 0, i = 0; query < tile.queries; ++query)
            for (int head = first_head; head < first_head + tile.group; ++head, ++i) {
                const float* from = call.q + (tile.token + query) * call.q_stride + head * K;
                float* to = call.out + (tile.token + query) * call.out_stride + head * K;
                scratch.rows[i] = Row{tile.position + query, head, from, to, {}, {}};
                float* scaled = scratch.queries + i * HEAD_STRIDE;
                for (int k = 0; k < K; ++k) scaled[k] = from[k] * call.scale;
            }
    }

    // Look the chunk's blocks up. Places outside what the tile sees get a neighbour's address: they
    // are scored with the vectors they share and then hidden.
    void find_pieces() {
        const KvStorage& kv = call.kv;
        const int size = kv.block_size;
        const int* table = call.block_tables + (long)tile.sequence * call.table_width;
        const int least = tile.first() >> block_bits, most = (tile.end() - 1) >> block_bits;
        const int count = (stop + STRIP - 1) / STRIP * (STRIP >> block_bits);
        for (int i = 0; i < count; ++i) {
            const int block = table[std::min(std::max((base >> block_bits) + i, least), most)];
            keys[i] = (const T*)kv.keys + piece_at(kv, block, tile.head);
            values[i] = (const T*)kv.values + piece_at(kv, block, tile.head);
            if (kv.type != KV_INT8) continue;
            const size_t at = scales_at(kv, block, tile.head);
            std::copy_n(kv.key_scales + at, size, scratch.key_scales + i * size);
            std::copy_n(kv.value_scales + at, size, scratch.value_scales + i * size);
        }
        // Behind the last keys, the first values are needed.
        for (int j = 0; j << block_bits < STRIP; ++j) {
            keys[count + j] = values[j];
            values[count + j] = values[count - 1];
        }
    }

    void find_panels() {
        const int rows = tile.rows();
        panels = (rows + ROWS - 1) / ROWS;
        for (int i = 0; i < panels; ++i) {
            const int row = i * rows / panels, next = (i + 1) * rows / panels;
            const int begin = std::max(tile.sees_from(scratch.rows[row].place) - base, 0);
            const int end = std::min(scratch.rows[next - 1].place + 1 - base, CHUNK);
            scratch.panels[i] = begin < end ? Panel{row, next - row, begin, end}
                                            : Panel{row, next - row, 0, 0};
        }
    }

    void score_chunk() {
        const int size = call.kv.block_size;
        for (int strip = 0; strip < stop; strip += STRIP)
            for (int i = 0; i < panels; ++i) {
                const Panel& p = scratch.panels[i];
                const int end = std::min(p.end, strip + STRIP);
                for (int at = std::max(p.begin / SCORED * SCORED, strip); at < end; at += SCORED) {
                    const T* from[2 * COLUMNS];
                    for (int c = 0; c < COLUMNS; ++c) {
                        const int place = at + c * LANES, offset = place & (size - 1);
                        from[c] = keys[place >> block_bits] + offset;
                        from[COLUMNS + c] = keys[(place + STRIP) >> block_bits] + offset;
                    }
                    Kernels<T>::scores(p.rows)(scratch.queries + p.row * HEAD_STRIDE, from, size,
                                               call.kv.head_dim,
                                               scratch.scores + p.row * SCORE_STRIDE + at);
                }
            }
    }

    void weigh_chunk() {
        RowRule rule;
        rule.soft_cap = call.soft_cap;
        rule.key_scales = call.kv.type == KV_INT8 ? scratch.key_scales : nullptr;
        rule.value_scales = call.kv.type == KV_INT8 ? scratch.value_scales : nullptr;
        for (int i = 0; i < panels; ++i) {
            const Panel& p = scratch.panels[i];
            rule.begin = p.begin / LANES * LANES;
            rule.end = (p.end + LANES - 1) / LANES * LANES;
            for (int r = p.row; r < p.row + p.rows; ++r) {
                Row& row = scratch.rows[r];
                rule.query = row.place - base;
                rule.seen_from = tile.sees_from(row.place) - base;
                rule.seen_to = rule.query + 1;
                rule.slope = call.alibi_slopes ? call.alibi_slopes[row.head] : 0.0f;
                row.next = weigh(scratch.scores + r * SCORE_STRIDE, rule);
            }
        }
    }

    void add_chunk(float* sums) {
        const int width = padded(call.kv.head_dim);
        for (int i = 0; i < tile.rows(); ++i) std::fill_n(sums + i * HEAD_STRIDE, width, 0.0f);
        for (int strip = 0; strip < stop; strip += STRIP)
            for (int i = 0; i < panels; ++i) {
                const Panel& p = scratch.panels[i];
                // To the position: what was never stored is not read, since 0 * NaN is NaN.
                const int begin = std::max(p.begin, strip), end = std::min(p.end, strip + STRIP);
                if (begin >= end) continue;
                for (int column = 0; column < width; column += COLUMNS * LANES)
                    Kernels<T>::values(p.rows, (width - column) / LANES)(
                        scratch.scores + p.row * SCORE_STRIDE, values, column, block_bits, width,
                        begin, end, sums + p.row * HEAD_STRIDE + column);
            }
    }

    void write() const {
        for (int i = 0; i < tile.rows(); ++i) {
            const Row& row = scratch.rows[i];
            const float* sums = scratch.sums + i * HEAD_STRIDE;
            for (int k = 0; k < call.kv.head_dim; ++k) row.to[k] = sums[k] / row.state.total;
        }
    }
};

template <class T>
void attend_all(const AttentionCall& call, int thread, int threads, Scratch& scratch) {
    double all = 0.0, before = 0.0;
    each_tile(call, [&](const Tile& tile) { all += tile.cost(); });
    // A tile belongs to the thread in whose equal share of the cost its middle falls.
    each_tile(call, [&](const Tile& tile) {
        const double middle = before + tile.cost() / 2;
        before += tile.cost();
        if (std::min((int)(middle / all * threads), threads - 1) != thread) return;
        Attend<T>(call, tile, scratch).run();
    });
}

template <class T>
void store_all(const AttentionCall& call, int thread, int threads) {
    const KvStorage& kv = call.kv;
    const int size = kv.block_size, width = padded(kv.head_dim);
    // Pairs of head and token, heads outermost as in `each_tile`, split evenly.
    const long pairs = (long)kv.kv_heads * call.tokens;
    const long from = pairs * thread / threads, to = pairs * (thread + 1) / threads;
    for (int head = 0; head < kv.kv_heads; ++head)
        for (int b = 0; b < call.sequences; ++b) {
            const long offset = (long)head * call.tokens;
            const int* table = call.block_tables + (long)b * call.table_width;
            const int end = call.query_starts[b + 1];
            const int last = (int)std::min<long>(end, to - offset);
            int token = (int)std::max<long>(call.query_starts[b], from - offset);
            for (; token < last; ++token) {
                const int position = call.context_lengths[b] - (end - token);
                const int block = table[position / size], slot = position % size;
                const size_t piece = piece_at(kv, block, head);
                const float key_scale =
                    round_row(call.k + token * call.k_stride + head * kv.head_dim, kv.head_dim,
                              (T*)kv.keys + piece + slot, size);
                const float value_scale =
                    round_row(call.v + token * call.v_stride + head * kv.head_dim, kv.head_dim,
                              (T*)kv.values + piece + (size_t)slot * width, 1);
                if (kv.type != KV_INT8) continue;
                kv.key_scales[scales_at(kv, block, head) + slot] = key_scale;
                kv.value_scales[scales_at(kv, block, head) + slot] = value_scale;
            }
        }
}

}  // namespace
}  // namespace paged

size_t kv_bytes(int num_blocks, int block_size, int kv_heads, int head_dim, int type) {
    return (size_t)num_blocks * block_size * kv_heads * paged::padded(head_dim) *
           paged::bytes_of(type);
}

void store(const AttentionCall& call, int thread, int threads) {
    if (call.kv.type == KV_F32) return paged::store_all<float>(call, thread, threads);
    if (call.kv.type == KV_BF16) return paged::store_all<uint16_t>(call, thread, threads);
    return paged::store_all<int8_t>(call, thread, threads);
}

long attention_scratch(const AttentionCall& call) {
    const long rows = (long)paged::queries_per_tile(call) * paged::group_of(call);
    return paged::Scratch::bytes(rows);
}

void attend(const AttentionCall& call, int thread, int threads, void* memory) {
    const long rows = (long)paged::queries_per_tile(call) * paged::group_of(call);
    paged::Scratch scratch(memory, rows);
    if (call.kv.type == KV_F32) return paged::attend_all<float>(call, thread, threads, scratch);
    if (call.kv.type == KV_BF16) return paged::attend_all<uint16_t>(call, thread, threads, scratch);
    return paged::attend_all<int8_t>(call, thread, threads, scratch);
}

}  // namespace lmw
