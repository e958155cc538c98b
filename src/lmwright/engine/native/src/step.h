// One pass of the whole model: from token ids to logits, all layers in one call.
#pragma once

#include <vector>

#include "buffer.h"
#include "pool.h"
#include "weights.h"

namespace lmw {

class Step {
public:
    Step(const Model& model, int threads);
    // False, and nothing is done, where the vocabulary lacks a token.
    bool run(const Pass& pass);

private:
    void reserve(const Pass& pass);
    void work(const Pass& pass, int thread);
    void embed(const Pass& pass, int thread);
    void attention_part(const Pass& pass, const Layer& layer, int thread);
    void turn_heads(const Pass& pass, const Layer& layer, int thread);
    void mix(const Pass& pass, const Layer& layer, bool last, int thread);
    void feed_forward_part(const Layer& layer, int rows, int thread);
    void add_back(const LinearWeights& weights, const Rows& x, int rows, int thread);
    void settle(const NormWeights& after, int first, int last);
    void prepare(const NormWeights& norm, const float* source, const LinearWeights& reader,
                 Input& input, int row);
    AttentionCall attention_call(const Pass& pass, const Layer& layer) const;
    float* stream(long row) const { return stream_ + row * model_.hidden; }

    Model model_;
    std::vector<Layer> layers_;
    Pool pool_;
    Buffer<float> all_, wanted_;  // (N, D) the stream; (L, D) the rows whose logits are wanted
    float* stream_ = nullptr;     // one of both
    Buffer<float> qkv_, attended_, change_;
    Input attention_input_, feed_forward_input_, inner_;
    Buffer<char> scratch_;
    long scratch_size_ = 0;
};

}  // namespace lmw
