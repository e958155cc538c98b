// Memory of a pass: aligned, grown and never shrunk, not initialised.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

#include "linear.h"

namespace lmw {

template <class T>
class Buffer {
public:
    Buffer() = default;
    ~Buffer() { std::free(data_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    // Room for `count` values; what was there is lost where it must grow.
    void reserve(size_t count) {
        if (count <= count_) return;
        std::free(data_);
        count_ = 0;
        data_ = static_cast<T*>(std::aligned_alloc(64, (count * sizeof(T) + 127) / 64 * 64));
        if (data_ == nullptr) throw std::bad_alloc();
        count_ = count;
    }
    T* data() const { return data_; }

private:
    T* data_ = nullptr;
    size_t count_ = 0;
};

// What a linear layer reads, as floats and, where its weights are integers, quantised.
class Input {
public:
    void reserve(size_t rows, size_t columns) {
        floats_.reserve(rows * (columns + PADDING));
        const size_t bands = (rows + BAND - 1) / BAND, groups = (columns + GROUP - 1) / GROUP;
        values_.reserve(bands * BAND * groups * GROUP);
        scales_.reserve(bands * BAND * groups);
        offsets_.reserve(bands * BAND * groups);
    }
    Rows for_layer(const LinearWeights& reader) const {
        const long columns = reader.columns;
        const int offset = reader.format == INT4_GROUPS ? 8 : 128;
        return {floats_.data(), columns + PADDING,
                {values_.data(), scales_.data(), offsets_.data(), columns / reader.group, reader.group,
                 offset}};
    }
    float* row(const LinearWeights& reader, long row) {
        return floats_.data() + row * (reader.columns + PADDING);
    }

private:
    // Rows that lie a power of two apart would push each other out of the first-level cache.
    static constexpr int PADDING = 16;

    Buffer<float> floats_;
    Buffer<int8_t> values_;
    Buffer<float> scales_;
    Buffer<int32_t> offsets_;
};

}  // namespace lmw
