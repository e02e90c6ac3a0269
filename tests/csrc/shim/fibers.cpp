// Runs kernels: the threads of a block are fibers that switch at barriers and shuffles, the blocks
// run one after another, and a warp goes on for as long as it can: 32 stacks fit in the cache. The
// order of blocks, warps and lanes comes from PECLIP_SHIM_ORDER: forward, reverse, or a number that
// seeds a shuffle.
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <sys/mman.h>

#include "cuda_runtime.h"
#include "launch.h"
#include "shim.h"
#include "switch.h"

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
    Context context;
    char* stack = nullptr;
    bool started = false;  // it can be switched to
    State state = State::kDone;
    uint3 index = {};
    const char* file = nullptr;  // where it waits
    int line = 0;
    unsigned mask = 0;  // in a warp: who is waited for
    uint64_t value = 0;
    unsigned source = 0;
};

Fiber fibers[kMaxThreads];
unsigned threads, warps, at_barrier, done;
uint32_t ready[kMaxThreads / kWarp];    // lanes that can go on, a bit for each place in lane_order
uint32_t in_warp[kMaxThreads / kWarp];  // lanes that wait for others of their warp
std::vector<unsigned> warp_order, lane_order;
uint32_t place_bit[kWarp];  // of a lane in lane_order
unsigned turn;  // of a warp in that order
Context scheduler, abandoned;
bool failed;
void (*call)(const void*);

char message[2048];
const void* failed_at[2];

std::string without_file;  // a barrier taken out by the test
int without_line;
long times_left_out;

// --- Switching -----------------------------------------------------------------------------------

[[noreturn]] void deadlock();

unsigned next() {
    for (unsigned i = 0; i < warps; ++i) {
        const unsigned warp = warp_order[turn];
        const uint32_t lanes = ready[warp];
        if (lanes != 0) return warp * kWarp + lane_order[unsigned(__builtin_ctz(lanes))];
        turn = turn + 1 < warps ? turn + 1 : 0;
    }
    deadlock();
}

void resume(Context& from, unsigned thread) {
    Fiber& fiber = fibers[thread];
    running.thread = thread;
    running.stack = fiber.stack;
    running.stack_end = fiber.stack + kStackBytes;
    threadIdx = fiber.index;
    running.kernel = true;
    switch_context(from, fiber.context);
}

[[noreturn]] void abandon(const void* at, const void* other) {
    running.kernel = false;
    failed = true, failed_at[0] = at, failed_at[1] = other;
    switch_context(abandoned, scheduler);
    std::abort();
}

std::string what_waits() {
    std::string text;
    const auto does = [](unsigned thread) -> std::string {
        const Fiber& fiber = fibers[thread];
        if (fiber.state == State::kDone) return " have ended";
        const char* where = fiber.state == State::kInWarp ? "in a warp" : "at __syncthreads";
        return std::string(" wait ") + where + ", " + fiber.file + ":" + std::to_string(fiber.line);
    };
    for (unsigned first = 0, last; first < threads; first = last + 1) {
        for (last = first; last + 1 < threads && does(last + 1) == does(first);) ++last;
        text += (first == 0 ? "threads " : "; threads ") + std::to_string(first) + "-" +
                std::to_string(last) + does(first);
    }
    return text;
}

void deadlock() {
    running.kernel = false;
    std::snprintf(message, sizeof message, "deadlock: %s", what_waits().c_str());
    abandon(nullptr, nullptr);
}

// Goes on with a thread that can, and comes back when it is this one's turn again, if it has ended
// in the next block.
void leave() {
    Fiber& me = fibers[running.thread];
    if (done == threads) {
        running.kernel = false;
        return switch_context(me.context, scheduler);
    }
    resume(me.context, next());
}

void wait(State state, const char* file, int line) {
    const unsigned thread = running.thread;
    Fiber& me = fibers[thread];
    me.state = state, me.file = file, me.line = line;
    ready[thread / kWarp] &= ~place_bit[thread % kWarp];
    if (state == State::kAtBarrier) ++at_barrier;
}

void go_on(unsigned thread) {
    fibers[thread].state = State::kReady;
    ready[thread / kWarp] |= place_bit[thread % kWarp];
}

// All that a fiber ever does: a kernel in every block that has its thread.
void live() {
    for (;;) {
        call(running.arguments);
        wait(State::kDone, nullptr, 0);
        ++done;
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
    // Not all at the same place of a page, which would be the same few lines of the cache.
    char* end = fiber.stack + kStackBytes - size_t(&fiber - fibers) % 64 * 832;
    prepare(fiber.context, fiber.stack, end, live);
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
        go_on(warp * kWarp + lane);
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
        fail(nullptr, nullptr, "reads lane %u, which is not in the mask %08x of %s:%d", source,
             mask, file, line);
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

const Product* meet_to_multiply(const Product& mine, const char* file, int line) {
    const unsigned first = running.thread / kWarp * kWarp;
    static Product products[kMaxThreads];
    products[running.thread] = mine;
    if (meet(0xffffffff, file, line)) return products + first;
    leave();
    return nullptr;
}

void fail(const void* at, const void* other, const char* format, ...) {
    va_list list;
    va_start(list, format);
    const int length = std::snprintf(message, sizeof message, "thread (%u, %u, %u) ", threadIdx.x,
                                     threadIdx.y, threadIdx.z);
    std::vsnprintf(message + length, sizeof message - size_t(length), format, list);
    va_end(list);
    abandon(at, other);
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

bool run_block(unsigned block) {
    std::memset(shared_memory(), 0xff, running.shared_bytes);  // NaN in every type
    running.first_of_block = ++running.interval;
    at_barrier = done = turn = 0;
    std::memset(in_warp, 0, sizeof in_warp);
    warps = (threads + kWarp - 1) / kWarp;
    warp_order = arranged(warps, block + 1), lane_order = arranged(kWarp, block + 1);
    for (unsigned place = 0; place < kWarp; ++place) place_bit[lane_order[place]] = 1u << place;
    for (unsigned i = 0; i < threads; ++i) {
        Fiber& fiber = fibers[i];
        if (!fiber.started) start(fiber);
        fiber.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
        go_on(i);
    }
    failed = false;
    resume(scheduler, next());
    if (failed)  // in the midst of the kernel: these contexts are of no use any more
        for (Fiber& fiber : fibers) fiber.started = false;
    std::memset(ready, 0, sizeof ready);
    return !failed;
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
        const unsigned row = block / gridDim.x;
        blockIdx = {block % gridDim.x, row % gridDim.y, row / gridDim.y};
        if (!run_block(block)) return false;
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
        go_on(i);
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
