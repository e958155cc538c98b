// Threads that run one function together: a static split, and barriers inside.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace lmw {

// All threads of a pool meet here. They spin, since the next phase begins within microseconds, and
// give way after a while, so that a busy neighbour on the same core does not stop everyone.
class Barrier {
public:
    explicit Barrier(int threads) : threads_(threads) {}
    void wait();

private:
    const int threads_;
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<int> round_{0};
};

class Pool {
public:
    explicit Pool(int threads);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int threads() const { return threads_; }
    // Run work(thread) on every thread, the caller's being thread 0; return when all are done.
    void run(const std::function<void(int)>& work);
    void barrier() { barrier_.wait(); }

private:
    void serve(int thread);

    const int threads_;
    Barrier barrier_;
    const std::function<void(int)>* work_ = nullptr;
    std::atomic<long> calls_{0};  // grows by one at each run
    std::atomic<bool> closing_{false};
    std::atomic<int> sleeping_{0};
    std::mutex mutex_;
    std::condition_variable called_;
    std::vector<std::thread> workers_;
};

// Items first .. last - 1 of `count` are this thread's.
struct Share {
    int first, last;
    Share(int count, int thread, int threads)
        : first(int(long(count) * thread / threads)),
          last(int(long(count) * (thread + 1) / threads)) {}
};

}  // namespace lmw
