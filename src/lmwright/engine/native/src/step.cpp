#include "step.h"

#include <algorithm>
#include <cstring>

#include "norms.h"
#include "rotary.h"

namespace lmw {

namespace {

// Row `row` of a table in fp32 or bf16, value `i`.
float entry(const void* table, int format, long row, int width, int i) {
    if (format == F32) return static_cast<const float*>(table)[row * width + i];
    return from_bf16(static_cast<const uint16_t*>(table)[row * width + i]);
}

}  // namespace

Step::Step(const Model& model, int threads)
    : model_(model), layers_(model.layers, model.layers + model.num_layers), pool_(threads) {
    model_.layers = layers_.data();
}

bool Step::run(const Pass& pass) {
    for (int n = 0; n < pass.tokens; ++n) {
        if (pass.token_ids[n] < 0 || pass.token_ids[n] >= model_.vocabulary) return false;
    }
    reserve(pass);
    stream_ = all_.data();
    pool_.run([&](int thread) { work(pass, thread); });
    return true;
}

void Step::reserve(const Pass& pass) {
    const size_t rows = std::max(pass.tokens, pass.num_logits), hidden = model_.hidden;
    const size_t queries = size_t(model_.heads) * model_.head_dim;
    const size_t keys = size_t(model_.kv_heads) * model_.head_dim;
    all_.reserve(rows * hidden);
    wanted_.reserve(pass.num_logits * hidden);
    qkv_.reserve(rows * (queries + 2 * keys));
    attended_.reserve(rows * queries);
    change_.reserve(rows * hidden);
    attention_input_.reserve(rows, std::max(hidden, queries));
    feed_forward_input_.reserve(rows, hidden);
    inner_.reserve(rows, model_.inner);
    scratch_size_ = 0;
    for (const Layer& layer : layers_) {
        scratch_size_ = std::max(scratch_size_, attention_scratch(attention_call(pass, layer)));
    }
    scratch_size_ = (scratch_size_ + 63) / 64 * 64;
    scratch_.reserve(scratch_size_ * pool_.threads());
}

void Step::work(const Pass& pass, int thread) {
    embed(pass, thread);
    for (int index = 0; index < model_.num_layers; ++index) {
        const Layer& layer = layers_[index];
        const bool last = index + 1 == model_.num_layers;
        attention_part(pass, layer, thread);
        if (last && pass.num_logits == 0) return;  // keys and values were all that was wanted
        mix(pass, layer, last, thread);
        feed_forward_part(layer, last ? pass.num_logits : pass.tokens, thread);
    }
    const Share mine(pass.num_logits, thread, pool_.threads());
    for (int row = mine.first; row < mine.last; ++row) {
        prepare(model_.final_norm, stream(row), model_.logits, attention_input_, row);
    }
    pool_.barrier();
    Destination to = {STORE, pass.logits, model_.vocabulary, {}, 0, model_.final_soft_cap};
    linear(model_.logits, attention_input_.for_layer(model_.logits), pass.num_logits, to, thread,
           pool_.threads());
}

void Step::embed(const Pass& pass, int thread) {
    const Share mine(pass.tokens, thread, pool_.threads());
    for (int n = mine.first; n < mine.last; ++n) {
        float* x = stream(n);
        for (int i = 0; i < model_.hidden; ++i) {
            x[i] = model_.embedding_scale * entry(model_.embedding, model_.embedding_format,
                                                  pass.token_ids[n], model_.hidden, i);
        }
        if (model_.position_table) {
            for (int i = 0; i < model_.hidden; ++i) {
                x[i] += entry(model_.position_table, model_.position_format, pass.positions[n],
                              model_.hidden, i);
            }
        }
        if (model_.embedding_norm.kind) normalize(model_.embedding_norm, x, model_.hidden, x);
    }
}

// From the stream to this layer's keys and values in the cache, and its queries.
void Step::attention_part(const Pass& pass, const Layer& layer, int thread) {
    const int threads = pool_.threads();
    const Share mine(pass.tokens, thread, threads);
    for (int n = mine.first; n < mine.last; ++n) {
        prepare(layer.input_norm, stream(n), layer.qkv, attention_input_, n);
    }
    pool_.barrier();
    const Destination to = {STORE, qkv_.data(), layer.qkv.rows, {}, 0, 0.0f};
    linear(layer.qkv, attention_input_.for_layer(layer.qkv), pass.tokens, to, thread, threads);
    pool_.barrier();
    turn_heads(pass, layer, thread);
    pool_.barrier();
    store(attention_call(pass, layer), thread, threads);
}

// Normalise and rotate the queries and keys of this thread's tokens.
void Step::turn_heads(const Pass& pass, const Layer& layer, int thread) {
    const int heads = model_.heads + model_.kv_heads, half = model_.rotary_dim / 2;
    const Share mine(pass.tokens * heads, thread, pool_.threads());
    for (int i = mine.first; i < mine.last; ++i) {
        const int n = i / heads, h = i % heads;
        float* head = qkv_.data() + long(n) * layer.qkv.rows + h * model_.head_dim;
        const NormWeights& norm = h < model_.heads ? layer.query_norm : layer.key_norm;
        if (norm.kind) normalize(norm, head, model_.head_dim, head);
        if (layer.rotary < 0) continue;
        const long at = pass.positions[n] * half;
        rotate(head, pass.cosines[layer.rotary] + at, pass.sines[layer.rotary] + at, half);
    }
}

AttentionCall Step::attention_call(const Pass& pass, const Layer& layer) const {
    const long row = layer.qkv.rows, queries = long(model_.heads) * model_.head_dim;
    AttentionCall call = {};
    call.q = qkv_.data();
    call.k = call.q + queries;
    call.v = call.k + long(model_.kv_heads) * model_.head_dim;
    call.out = attended_.data();
    call.q_stride = call.k_stride = call.v_stride = row;
    call.out_stride = queries;
    call.tokens = pass.tokens;
    call.sequences = pass.sequences;
    call.heads = model_.heads;
    call.query_starts = pass.query_starts;
    call.context_lengths = pass.context_lengths;
    call.block_tables = pass.block_tables;
    call.table_width = pass.table_width;
    call.scale = model_.attention_scale;
    call.soft_cap = model_.attention_soft_cap;
    call.window = layer.window;
    call.alibi_slopes = model_.alibi_slopes;
    call.kv = layer.kv;
    return call;
}

// Attend, and add to the stream. Behind the last layer's keys and values only the rows whose
// logits are wanted go on.
void Step::mix(const Pass& pass, const Layer& layer, bool last, int thread) {
    const int threads = pool_.threads(), rows = last ? pass.num_logits : pass.tokens;
    pool_.barrier();
    attend(attention_call(pass, layer), thread, threads, scratch_.data() + thread * scratch_size_);
    pool_.barrier();
    const Share mine(rows, thread, threads);
    for (int row = mine.first; row < mine.last; ++row) {
        const long from = last ? pass.logit_rows[row] : row;
        if (last) {
            std::memcpy(wanted_.data() + long(row) * model_.hidden, all_.data() + from * model_.hidden,
                        model_.hidden * sizeof(float));
        }
        const float* attended = attended_.data() + from * layer.output.columns;
        prepare({}, attended, layer.output, attention_input_, row);
        if (model_.parallel) {
            prepare(layer.feed_forward_norm, all_.data() + from * model_.hidden, layer.up,
                    feed_forward_input_, row);
        }
    }
    pool_.barrier();
    if (last && thread == 0) stream_ = wanted_.data();
    if (last) pool_.barrier();
    add_back(layer.output, attention_input_.for_layer(layer.output), rows, thread);
    pool_.barrier();
    settle(layer.attention_output_norm, mine.first, mine.last);
}

void Step::feed_forward_part(const Layer& layer, int rows, int thread) {
    const int threads = pool_.threads();
    const Share mine(rows, thread, threads);
    for (int row = mine.first; row < mine.last && !model_.parallel; ++row) {
        prepare(layer.feed_forward_norm, stream(row), layer.up, feed_forward_input_, row);
    }
    pool_.barrier();
    const Rows inner = inner_.for_layer(layer.down);
    float* floats = takes_integers(layer.down) ? nullptr : inner_.row(layer.down, 0);
    const Destination to = {model_.gated ? ACTIVATE_GATE : ACTIVATE, floats, inner.stride,
                            inner.quantized, model_.activation, 0.0f};
    linear(layer.up, feed_forward_input_.for_layer(layer.up), rows, to, thread, threads);
    pool_.barrier();
    add_back(layer.down, inner, rows, thread);
    pool_.barrier();
    settle(layer.feed_forward_output_norm, mine.first, mine.last);
}

// The stream += x times weights; or, where a norm comes between, only the product.
void Step::add_back(const LinearWeights& weights, const Rows& x, int rows, int thread) {
    Destination to = {ADD, stream_, model_.hidden, {}, 0, 0.0f};
    if (model_.placement == NORM_BOTH) {
        to.fate = STORE;
        to.out = change_.data();
    }
    linear(weights, x, rows, to, thread, pool_.threads());
}

// The norm behind an addition, or on what is added.
void Step::settle(const NormWeights& after, int first, int last) {
    for (int row = first; row < last && model_.placement != NORM_BEFORE; ++row) {
        float* x = stream(row);
        if (model_.placement == NORM_AFTER) {
            normalize(after, x, model_.hidden, x);
            continue;
        }
        float* change = change_.data() + long(row) * model_.hidden;
        normalize(after, change, model_.hidden, change);
        for (int i = 0; i < model_.hidden; ++i) x[i] += change[i];
    }
}

// Row `row` of what `reader` reads: `source`, normalised, and quantised where it wants that.
void Step::prepare(const NormWeights& norm, const float* source, const LinearWeights& reader,
                   Input& input, int row) {
    float* out = input.row(reader, row);
    if (norm.kind) {
        normalize(norm, source, reader.columns, out);
    } else {
        std::memcpy(out, source, reader.columns * sizeof(float));
    }
    if (takes_integers(reader)) quantize_row(out, input.for_layer(reader).quantized, row);
}

}  // namespace lmw
