// Work on several threads, and memory for it.
#pragma once

#include <dlfcn.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace peclip_fast {

// Runs work(first, last) over [0, count), in several parts per thread that are taken as threads become
// free: two cores of a shared machine may differ in speed by a factor of two.
//
// On the threads of the OpenMP runtime that PyTorch has loaded, where there is one: its idle threads
// spin for milliseconds after each of PyTorch's own operators, and any other threads would have to
// share the cores with them. Else on threads started for the call.
constexpr int64_t kPartsPerThread = 16;

using OpenMPParallel = void (*)(void (*)(void*), void*, unsigned, unsigned);

template <class Work>
void parallel(int64_t count, int threads, const Work& work) {
    static const auto openmp =
        reinterpret_cast<OpenMPParallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
    threads = int(std::max<int64_t>(1, std::min<int64_t>(threads, count)));
    const int64_t parts = std::min<int64_t>(threads == 1 ? 1 : kPartsPerThread * threads, count);
    std::atomic<int64_t> next{0};
    const auto take = [&] {
        for (int64_t part; (part = next++) < parts;)
            work(count * part / parts, count * (part + 1) / parts);
    };
    if (threads > 1 && openmp) {
        openmp([](void* task) { (*static_cast<decltype(take)*>(task))(); },
               const_cast<void*>(static_cast<const void*>(&take)), unsigned(threads), 0);
        return;
    }
    std::vector<std::thread> started;
    started.reserve(threads);
    try {
        while (int64_t(started.size()) < threads - 1) started.emplace_back(take);
    } catch (const std::system_error&) {
        // No more threads to be had: those that run do the rest.
    }
    take();
    for (std::thread& thread : started) thread.join();
}

// Asks for pages of 2 MiB where memory that is about to be written has none yet: 4 KiB at a time, the
// system takes a fifth as long to hand out a large output as it takes to compute it. A wish: nothing
// fails.
inline void prefer_huge_pages(void* memory, int64_t bytes) {
#ifdef MADV_HUGEPAGE
    constexpr uintptr_t kPage = 2 << 20;
    const uintptr_t first = (reinterpret_cast<uintptr_t>(memory) + kPage - 1) / kPage * kPage;
    const uintptr_t last = (reinterpret_cast<uintptr_t>(memory) + bytes) / kPage * kPage;
    if (memory && first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#else
    (void)memory, (void)bytes;
#endif
}

template <class T>
class Aligned {  // on a cache line, as wide vectors want
  public:
    explicit Aligned(int64_t count)
        : data_(static_cast<T*>(
              std::aligned_alloc(64, (count * int64_t(sizeof(T)) + 63) / 64 * 64))) {
        if (!data_) throw std::bad_alloc();
    }
    T* get() { return data_.get(); }

  private:
    struct Free {
        void operator()(T* data) const { std::free(data); }
    };
    std::unique_ptr<T, Free> data_;
};

}  // namespace peclip_fast
