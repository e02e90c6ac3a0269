// Runs kernels: the threads of a block are fibers that switch at barriers and shuffles, the blocks
// run one after another. The order of both comes from PECLIP_SHIM_ORDER: forward, reverse, or a
// number that seeds a shuffle.
#include <csetjmp>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <ucontext.h>

#include "cuda_runtime.h"
#include "launch.h"
#include "shim.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

// Kernels declare `extern __shared__ uint4 shared[]` within peclip_fast's unnamed namespace, where
// only their own file could define it; so it goes by its symbol.
[[gnu::visibility("hidden")]] extern uint4 shared[] asm("_ZN11peclip_fast12_GLOBAL__N_16sharedE");
alignas(128) uint4 shared[shim::kSharedBytes / sizeof(uint4)];

namespace shim {

Running running;
char* shared_memory() { return reinterpret_cast<char*>(shared); }

namespace {

constexpr size_t kStackBytes = 128 << 10, kPage = 4 << 10;

enum class State { kReady, kAtBarrier, kInWarp, kDone };

struct Fiber {
    jmp_buf context;
    char* stack = nullptr;
    bool started = false;  // it has a context to go on with
    State state = State::kDone;
    unsigned position = 0;  // in the order of the block
    uint3 index = {};
    const char* file = nullptr;  // where it waits
    int line = 0;
    unsigned mask = 0;  // in a warp: who is waited for
    uint64_t value = 0;
    unsigned source = 0;
};

Fiber fibers[kMaxThreads];
unsigned order[kMaxThreads], threads, ready, at_barrier, done;
uint32_t in_warp[kMaxThreads / kWarp];  // lanes that wait for others of their warp
jmp_buf scheduler;
void (*call)(const void*);

char message[2048];
const void* failed_at[2];

std::string without_file;  // a barrier taken out by the test
int without_line;
long times_left_out;

// --- Switching -----------------------------------------------------------------------------------

void resume(unsigned thread) {
    Fiber& fiber = fibers[thread];
    running.thread = thread;
    running.stack = fiber.stack;
    running.stack_end = fiber.stack + kStackBytes;
    threadIdx = fiber.index;
    running.kernel = true;
    _longjmp(fiber.context, 1);
}

std::string ranges(State state, const Fiber* like) {
    std::string text;
    for (unsigned i = 0; i < threads; ++i) {
        const auto same = [&](unsigned t) {
            return t < threads && fibers[t].state == state &&
                   (state == State::kDone ||
                    (fibers[t].file == like->file && fibers[t].line == like->line));
        };
        if (!same(i)) continue;
        const unsigned first = i;
        while (same(i + 1)) ++i;
        text += (text.empty() ? "" : ", ") + std::to_string(first);
        if (i > first) text += "-" + std::to_string(i);
    }
    return text;
}

[[noreturn]] void deadlock() {
    std::string text;
    std::vector<const Fiber*> seen;
    for (unsigned i = 0; i < threads; ++i) {
        const Fiber& fiber = fibers[i];
        bool known = false;
        for (const Fiber* other : seen)
            known |= other->state == fiber.state &&
                     (fiber.state == State::kDone ||
                      (other->file == fiber.file && other->line == fiber.line));
        if (known) continue;
        seen.push_back(&fiber);
        text += (text.empty() ? "threads " : "; threads ") + ranges(fiber.state, &fiber);
        if (fiber.state == State::kDone) {
            text += " have ended";
        } else {
            text += fiber.state == State::kAtBarrier ? " wait at __syncthreads" : " wait in a warp";
            text += ", " + std::string(fiber.file) + ":" + std::to_string(fiber.line);
        }
    }
    std::snprintf(message, sizeof message, "deadlock: %s", text.c_str());
    failed_at[0] = failed_at[1] = nullptr;
    std::string().swap(text);
    std::vector<const Fiber*>().swap(seen);
    _longjmp(scheduler, 2);
}

// Goes on with the next thread that can, in the block's order, and comes back when it is this one's
// turn again: in the next block, if it has ended.
void leave() {
    Fiber& me = fibers[running.thread];
    if (_setjmp(me.context) != 0) return;
    running.kernel = false;
    if (done == threads) _longjmp(scheduler, 1);
    if (ready == 0) deadlock();
    unsigned next = me.position;
    do next = next + 1 < threads ? next + 1 : 0;
    while (fibers[order[next]].state != State::kReady);
    resume(order[next]);
}

void wait(State state, const char* file, int line) {
    Fiber& me = fibers[running.thread];
    me.state = state, me.file = file, me.line = line;
    --ready;
    if (state == State::kAtBarrier) ++at_barrier;
}

void go_on(Fiber& fiber) {
    fiber.state = State::kReady;
    ++ready;
}

// All that a fiber ever does: a kernel in every block that has its thread.
void live() {
    for (;;) {
        call(running.arguments);
        Fiber& me = fibers[running.thread];
        me.state = State::kDone;
        --ready, ++done;
        leave();
    }
}

void start(Fiber& fiber) {
    if (!fiber.stack) {
        void* memory = mmap(nullptr, kStackBytes + kPage, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED || mprotect(memory, kPage, PROT_NONE) != 0) std::abort();
        fiber.stack = static_cast<char*>(memory) + kPage;
    }
    // The context comes back here once, so that every later switch is a _longjmp.
    static ucontext_t here, first;
    static Fiber* starting;
    starting = &fiber;
    getcontext(&first);
    first.uc_stack.ss_sp = fiber.stack;
    // Not all at the same place of a page, which would be the same few lines of the cache.
    first.uc_stack.ss_size = kStackBytes - size_t(&fiber - fibers) % 64 * 832;
    first.uc_link = nullptr;
    makecontext(&first, [] {
        if (_setjmp(starting->context) == 0) setcontext(&here);
        live();
    }, 0);
    swapcontext(&here, &first);
    fiber.started = true;
}

// --- Warps ---------------------------------------------------------------------------------------

bool left_out(const char* file, int line) {
    if (line != without_line) return false;
    const size_t length = std::strlen(file), ours = without_file.size();
    if (length < ours || without_file != file + length - ours) return false;
    ++times_left_out;
    return true;
}

void check_own_lane(unsigned mask, const char* file, int line) {
    if (!(mask >> running.thread % kWarp & 1))
        fail(nullptr, nullptr, "the lane is not in the mask %08x of %s:%d", mask, file, line);
}

// Waits for the lanes of the mask; true in the last of them, which sees what all have brought.
bool meet(unsigned mask, const char* file, int line) {
    const unsigned thread = running.thread, warp = thread / kWarp, bit = 1u << thread % kWarp;
    check_own_lane(mask, file, line);
    fibers[thread].mask = mask;
    wait(State::kInWarp, file, line);
    in_warp[warp] |= bit;
    if ((mask & ~in_warp[warp]) != 0) return false;
    for (unsigned lane = 0; lane < kWarp; ++lane) {
        if (!(mask >> lane & 1)) continue;
        const Fiber& other = fibers[warp * kWarp + lane];
        if (other.mask != mask || other.file != file || other.line != line)
            fail(nullptr, nullptr, "lane %u waits at %s:%d with mask %08x, but lane %u at %s:%d "
                 "with mask %08x", thread % kWarp, file, line, mask, lane, other.file, other.line,
                 other.mask);
        go_on(fibers[warp * kWarp + lane]);
    }
    in_warp[warp] &= ~mask;
    return true;
}

}  // namespace

unsigned lane() { return running.thread % kWarp; }

uint64_t exchange(unsigned mask, uint64_t value, unsigned source, const char* file, int line) {
    check_own_lane(mask, file, line);
    Fiber& me = fibers[running.thread];
    me.value = value, me.source = source;
    if (source >= kWarp || !(mask >> source & 1))
        fail(nullptr, nullptr, "reads lane %u, which is not in the mask %08x of %s:%d", source, mask,
             file, line);
    if (meet(mask, file, line)) {
        Fiber* warp = &fibers[running.thread / kWarp * kWarp];
        uint64_t values[kWarp];
        for (unsigned i = 0; i < kWarp; ++i) values[i] = warp[i].value;
        for (unsigned i = 0; i < kWarp; ++i)
            if (mask >> i & 1) warp[i].value = values[warp[i].source];
    } else {
        leave();
    }
    return me.value;
}

void fail(const void* at, const void* other, const char* format, ...) {
    va_list list;
    va_start(list, format);
    const int length = std::snprintf(message, sizeof message, "thread (%u, %u, %u) ", threadIdx.x,
                                     threadIdx.y, threadIdx.z);
    std::vsnprintf(message + length, sizeof message - size_t(length), format, list);
    va_end(list);
    running.kernel = false;
    failed_at[0] = at, failed_at[1] = other;
    _longjmp(scheduler, 2);
}

// --- Blocks --------------------------------------------------------------------------------------

namespace {

std::vector<unsigned> arranged(unsigned count, unsigned salt) {
    std::vector<unsigned> numbers(count);
    std::iota(numbers.begin(), numbers.end(), 0u);
    const char* text = std::getenv("PECLIP_SHIM_ORDER");
    const std::string wanted = text ? text : "forward";
    if (wanted == "forward") return numbers;
    if (wanted == "reverse") return {numbers.rbegin(), numbers.rend()};
    std::mt19937 random(unsigned(std::stoul(wanted)) + salt);
    for (unsigned i = count; i > 1; --i) std::swap(numbers[i - 1], numbers[random() % i]);
    return numbers;
}

bool run_block(const std::vector<unsigned>& thread_order) {
    std::memset(shared_memory(), 0xff, running.shared_bytes);  // NaN in every type
    running.first_of_block = ++running.interval;
    ready = threads, at_barrier = done = 0;
    std::memset(in_warp, 0, sizeof in_warp);
    for (unsigned i = 0; i < threads; ++i) {
        Fiber& fiber = fibers[i];
        if (!fiber.started) start(fiber);
        fiber.state = State::kReady;
        fiber.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
        order[i] = thread_order[i];
        fibers[thread_order[i]].position = i;
    }
    const int came = _setjmp(scheduler);
    if (came == 0) resume(order[0]);
    if (came == 2)  // in the midst of the kernel: these contexts are of no use any more
        for (Fiber& fiber : fibers) fiber.started = false;
    return came == 1;
}

}  // namespace

bool run_grid(const Launch& launch) {
    gridDim = launch.config->gridDim;
    blockDim = launch.config->blockDim;
    threads = blockDim.x * blockDim.y * blockDim.z;
    call = launch.call;
    running.arguments = static_cast<const char*>(launch.arguments);
    running.arguments_end = running.arguments + launch.arguments_size;
    running.shared_bytes = launch.config->dynamicSmemBytes;
    running.first_of_launch = running.interval + 1;

    const char* text = std::getenv("PECLIP_SHIM_WITHOUT");
    const std::string site = text ? text : "";
    const size_t colon = site.rfind(':');
    without_file = colon == std::string::npos ? "" : "/" + site.substr(0, colon);
    without_line = colon == std::string::npos ? -1 : std::stoi(site.substr(colon + 1));

    for (const unsigned block : arranged(gridDim.x * gridDim.y * gridDim.z, 0)) {
        blockIdx = {block % gridDim.x, block / gridDim.x % gridDim.y, block / gridDim.x / gridDim.y};
        if (!run_block(arranged(threads, block + 1))) return false;
    }
    return true;
}

std::string failure() {
    std::string text = "block (" + std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) +
                       ", " + std::to_string(blockIdx.z) + "): " + message;
    for (int i = 0; i < 2; ++i) {
        if (!failed_at[i]) continue;
        // One byte back: from where the call returns to the call.
        const void* call = static_cast<const char*>(failed_at[i]) - 1;
        text += (i == 0 ? "\n  at " : "\n  against ") + source_line(call, "-fpsi");
    }
    return text;
}

}  // namespace shim

void __syncthreads(const char* file, int line) {
    using namespace shim;
    if (left_out(file, line)) return;
    wait(State::kAtBarrier, file, line);
    if (at_barrier < threads) return leave();
    for (unsigned i = 0; i < threads; ++i) {
        if (fibers[i].file != file || fibers[i].line != line)
            fail(nullptr, nullptr, "waits at %s:%d, but thread %u at %s:%d", file, line, i,
                 fibers[i].file, fibers[i].line);
        go_on(fibers[i]);
    }
    at_barrier = 0;
    ++running.interval;
}

void __syncwarp(unsigned mask, const char* file, int line) {
    using namespace shim;
    if (left_out(file, line)) return;
    if (!meet(mask, file, line)) return leave();
    // Part of a warp that meets is not taken for an order of its memory: that is rarer than a bug.
    if (mask == 0xffffffff) ++running.warp_syncs[running.thread / kWarp];
}

extern "C" long shim_times_left_out() {
    const long times = shim::times_left_out;
    shim::times_left_out = 0;
    return times;
}
