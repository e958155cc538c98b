#include "pool.h"

#include <immintrin.h>
#include <sched.h>

#include <chrono>

namespace lmw {

namespace {
// About 20 microseconds: longer than threads of a fair split ever differ.
constexpr int SPINS_BEFORE_YIELDING = 1000;
// Between two passes a caller needs this long to choose tokens. Waking a sleeper costs 50.
constexpr std::chrono::microseconds AWAKE_BETWEEN_CALLS(300);
}  // namespace

void Barrier::wait() {
    if (threads_ == 1) return;
    const int round = round_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
        arrived_.store(0, std::memory_order_relaxed);
        round_.store(round + 1, std::memory_order_release);
        return;
    }
    for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins) {
        if (spins < SPINS_BEFORE_YIELDING) {
            _mm_pause();
        } else {
            sched_yield();
        }
    }
}

Pool::Pool(int threads) : threads_(threads), barrier_(threads) {
    for (int thread = 1; thread < threads; ++thread) {
        workers_.emplace_back([this, thread] { serve(thread); });
    }
}

Pool::~Pool() {
    closing_ = true;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        ++calls_;
    }
    called_.notify_all();
    for (std::thread& worker : workers_) worker.join();
}

void Pool::run(const std::function<void(int)>& work) {
    work_ = &work;
    ++calls_;
    if (sleeping_ > 0) {
        // Whoever has counted himself as sleeping checks the calls once more under this lock.
        std::lock_guard<std::mutex> lock(mutex_);
        called_.notify_all();
    }
    work(0);
    barrier_.wait();
}

void Pool::serve(int thread) {
    for (long seen = 0;; ++seen) {
        const auto deadline = std::chrono::steady_clock::now() + AWAKE_BETWEEN_CALLS;
        while (calls_ == seen && std::chrono::steady_clock::now() < deadline) {
            for (int i = 0; i < 16 && calls_ == seen; ++i) _mm_pause();
            if (calls_ == seen) sched_yield();
        }
        if (calls_ == seen) {
            std::unique_lock<std::mutex> lock(mutex_);
            ++sleeping_;
            called_.wait(lock, [&] { return calls_ != seen; });
            --sleeping_;
        }
        if (closing_) return;
        (*work_)(thread);
        barrier_.wait();
    }
}

}  // namespace lmw
