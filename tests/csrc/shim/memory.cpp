// Watches the memory that kernels touch. g++ with -fsanitize=thread calls __tsan_* before every
// access; these functions stand in for its runtime library and check that
//   - a global address lies in a tensor that the test has announced, and is written only where it
//     may be; a shared one lies within the bytes that the launch asked for;
//   - no two threads touch an address, one of them writing, without a barrier between them.
// -fsanitize=undefined calls __ubsan_* after an error: a misaligned vector, an index, an overflow.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "shim.h"

// This library in memory, from the linker.
extern "C" [[gnu::visibility("hidden")]] const char __ehdr_start, _end;

namespace shim {
namespace {

// What was done last to two bytes. The warps that read in one interval are remembered all, the
// lanes of the last of them too: any other warp's read is a conflict already.
struct Cell {
    uint32_t written = 0, read = 0, first_read = 0;  // intervals; 0 is before all
    uint32_t write_syncs = 0, read_syncs = 0;
    uint32_t reading_warps = 0, reading_lanes = 0;
    uint32_t write_code = 0, read_code = 0;
    uint16_t writer = 0, reading_warp = 0;
};
constexpr size_t kCellBytes = 2;

struct Region {
    const char* begin;
    size_t bytes;
    bool writable;
    std::unique_ptr<Cell[]> cells;
};
std::vector<Region> regions;  // by address, none overlaps another

Cell* shared_cells() {
    static const auto cells = std::make_unique<Cell[]>(kSharedBytes / kCellBytes);
    return cells.get();
}

const void* code(uint32_t offset) { return &__ehdr_start + offset; }

Region* region_of(const char* address) {
    auto after = std::upper_bound(regions.begin(), regions.end(), address,
                                  [](const char* a, const Region& r) { return a < r.begin; });
    return after == regions.begin() ? nullptr : &*--after;
}

bool of_earlier_block(uint32_t interval) {
    return interval >= running.first_of_launch && interval < running.first_of_block;
}

void check_races(Cell& cell, bool write, bool global, const void* at) {
    const char* memory = global ? "global" : "shared";
    const unsigned me = running.thread, warp = me / kWarp, lane = me % kWarp;
    const uint32_t syncs = running.warp_syncs[warp];
    const char* verb = write ? "writes" : "reads";
    if (global && of_earlier_block(cell.written))
        fail(at, code(cell.write_code), "%s %s memory that another block has written", verb,
             memory);
    if (cell.written == running.interval && cell.writer != me &&
        (cell.writer / kWarp != warp || cell.write_syncs == syncs))
        fail(at, code(cell.write_code),
             "%s %s memory that thread %u has written with no barrier between them", verb, memory,
             cell.writer);
    const uint32_t here = uint32_t(static_cast<const char*>(at) - &__ehdr_start);
    if (!write) {
        if (cell.first_read < running.first_of_launch) cell.first_read = running.interval;
        if (cell.read != running.interval) cell.reading_warps = 0;
        if (cell.read != running.interval || cell.reading_warp != warp || cell.read_syncs != syncs)
            cell.reading_lanes = 0;
        cell.read = running.interval, cell.read_syncs = syncs;
        cell.reading_warp = uint16_t(warp), cell.reading_warps |= 1u << warp;
        cell.reading_lanes |= 1u << lane, cell.read_code = here;
        return;
    }
    if (global && of_earlier_block(cell.first_read))
        fail(at, code(cell.read_code), "writes %s memory that another block has read", memory);
    if (cell.read == running.interval) {
        const bool other_lane = cell.reading_warp == warp && cell.read_syncs == syncs &&
                                (cell.reading_lanes & ~(1u << lane)) != 0;
        if (other_lane || (cell.reading_warps & ~(1u << warp)) != 0)
            fail(at, code(cell.read_code),
                 "writes %s memory that another thread has read with no barrier between them",
                 memory);
    }
    cell.written = running.interval, cell.write_syncs = syncs;
    cell.writer = uint16_t(me), cell.write_code = here;
}

void access(const void* pointer, size_t bytes, bool write, const void* at) {
    if (!running.kernel) return;
    const char* address = static_cast<const char*>(pointer);
    if (address >= running.stack && address < running.stack_end) return;
    const char* verb = write ? "writes" : "reads";
    Cell* cells;
    size_t offset;
    const bool global = address < shared_memory() || address >= shared_memory() + kSharedBytes;
    if (!global) {
        offset = size_t(address - shared_memory());
        if (offset + bytes > running.shared_bytes)
            fail(at, nullptr, "%s %zu bytes at byte %zu of %zu bytes of shared memory", verb, bytes,
                 offset, running.shared_bytes);
        cells = shared_cells();
    } else {
        const bool constant = (address >= &__ehdr_start && address < &_end) ||
                              (address >= running.arguments && address < running.arguments_end);
        if (constant && !write) return;
        Region* region = region_of(address);
        if (!region || address + bytes > region->begin + region->bytes)
            fail(at, nullptr, "%s %zu bytes at %p, outside of all tensors; the one before it has "
                 "%zu bytes and begins %td bytes before", verb, bytes, pointer,
                 region ? region->bytes : 0, region ? address - region->begin : 0);
        if (write && !region->writable) fail(at, nullptr, "writes to a tensor that is an input");
        offset = size_t(address - region->begin);
        cells = region->cells.get();
    }
    for (size_t i = offset / kCellBytes; i * kCellBytes < offset + bytes; ++i)
        check_races(cells[i], write, global, at);
}

}  // namespace
}  // namespace shim

// For the tests: the tensors that kernels may touch from now on, until forget().
extern "C" int shim_watch(const void* begin, size_t bytes, int writable) {
    using namespace shim;
    const char* address = static_cast<const char*>(begin);
    auto after = std::upper_bound(regions.begin(), regions.end(), address,
                                  [](const char* a, const Region& r) { return a < r.begin; });
    if (after != regions.begin() && after[-1].begin + after[-1].bytes > address) return -1;
    if (after != regions.end() && address + bytes > after->begin) return -1;
    regions.insert(after, {address, bytes, writable != 0,
                           std::make_unique<Cell[]>(bytes / kCellBytes + 1)});
    return 0;
}

extern "C" void shim_forget() { shim::regions.clear(); }

// --- What -fsanitize=thread calls ----------------------------------------------------------------

#define SHIM_ACCESS(size)                                                                        \
    extern "C" void __tsan_read##size(void* p) {                                                 \
        shim::access(p, size, false, __builtin_return_address(0));                               \
    }                                                                                            \
    extern "C" void __tsan_write##size(void* p) {                                                \
        shim::access(p, size, true, __builtin_return_address(0));                                \
    }                                                                                            \
    extern "C" void __tsan_unaligned_read##size(void* p) {                                       \
        shim::access(p, size, false, __builtin_return_address(0));                               \
    }                                                                                            \
    extern "C" void __tsan_unaligned_write##size(void* p) {                                      \
        shim::access(p, size, true, __builtin_return_address(0));                                \
    }
SHIM_ACCESS(1)
SHIM_ACCESS(2)
SHIM_ACCESS(4)
SHIM_ACCESS(8)
SHIM_ACCESS(16)

extern "C" void __tsan_read_range(void* p, size_t bytes) {
    shim::access(p, bytes, false, __builtin_return_address(0));
}
extern "C" void __tsan_write_range(void* p, size_t bytes) {
    shim::access(p, bytes, true, __builtin_return_address(0));
}
extern "C" void __tsan_init() {}

// The linker gives every call of memcpy to this (--wrap); the compiler inserts nothing for them.
extern "C" void* __real_memcpy(void* to, const void* from, size_t bytes);
extern "C" void* __wrap_memcpy(void* to, const void* from, size_t bytes) {
    shim::access(from, bytes, false, __builtin_return_address(0));
    shim::access(to, bytes, true, __builtin_return_address(0));
    return __real_memcpy(to, from, bytes);
}

// --- What -fsanitize=undefined calls -------------------------------------------------------------

namespace {

struct Location {  // what the data of each of these calls begins with
    const char* file;
    uint32_t line, column;
};

[[noreturn]] void undefined(const Location& where, const char* what) {
    if (shim::running.kernel)
        shim::fail(nullptr, nullptr, "%s at %s:%u", what, where.file, where.line);
    std::fprintf(stderr, "%s:%u: %s\n", where.file, where.line, what);
    std::abort();
}

}  // namespace

#define SHIM_UNDEFINED(name, text, ...) \
    extern "C" void __ubsan_handle_##name(Location* where, __VA_ARGS__) { undefined(*where, text); }
SHIM_UNDEFINED(type_mismatch_v1, "misaligned or null pointer", uintptr_t)
SHIM_UNDEFINED(out_of_bounds, "index out of bounds", uintptr_t)
SHIM_UNDEFINED(shift_out_of_bounds, "shift out of range", uintptr_t, uintptr_t)
SHIM_UNDEFINED(add_overflow, "overflow of a sum", uintptr_t, uintptr_t)
SHIM_UNDEFINED(sub_overflow, "overflow of a difference", uintptr_t, uintptr_t)
SHIM_UNDEFINED(mul_overflow, "overflow of a product", uintptr_t, uintptr_t)
SHIM_UNDEFINED(negate_overflow, "overflow of a negation", uintptr_t)
SHIM_UNDEFINED(divrem_overflow, "division by zero", uintptr_t, uintptr_t)
