// What the recurrence and its backward pass share: the layout of a block's memory, its sequences, the
// gates.
#pragma once

#include "cuda/approximate.cuh"
#include "cuda/temporal_adapter/launch.cuh"

namespace peclip_fast {

constexpr int kMostRecurrenceThreads = 384;

// The plain form of the recurrence's kernels is compiled for the paper's h, in 16 bits, with weights
// that lie in shared memory: all of them forward, three of four backward. It may give a block 32
// sequences, so that each weight is read half as often.
constexpr int kPlainHidden = 96;
constexpr int kPlainResident = 2, kPlainResidentBackward = 3;
enum Part { kInput, kState };  // of a frame's tile
enum Block { kReset, kUpdate, kHiddenNew, kInputNew, kBlocks };  // of the gradients'

// Two neighbouring numbers, as a lane owns them in a product.
template <class T>
__device__ inline void load_pair(const T* from, float (&values)[2]) {
    T pair[2];
    if constexpr (sizeof(T) == 2) {
        const uint32_t bits = *reinterpret_cast<const uint32_t*>(from);
        memcpy(pair, &bits, sizeof(bits));
    } else {
        memcpy(pair, from, sizeof(pair));
    }
    values[0] = to_float(pair[0]), values[1] = to_float(pair[1]);
}

template <class T>
__device__ inline void store_pair(T* to, float a, float b) {
    T pair[2];
    round_pair(pair, a, b);
    if constexpr (sizeof(T) == 2) {
        uint32_t bits;
        memcpy(&bits, pair, sizeof(bits));
        *reinterpret_cast<uint32_t*>(to) = bits;
    } else {
        to[0] = pair[0], to[1] = pair[1];
    }
}

// How a block's shared memory is laid out; numbers are of T.
template <class T>
struct Layout {
    int hidden;
    int rows;    // sequences of a block
    int depth;   // tiles of 32 that h fills
    int tiles;   // of 8 hidden numbers
    int weight;  // numbers of one packed weight, which has three gates
    int part;    // pitch of a part of a frame's tile
    int grads;   // pitch of the gradients' tile

    __host__ __device__ Layout(int hidden, int rows)
        : hidden(hidden),
          rows(rows),
          depth(ceil_divide(hidden, kTileDepth)),
          tiles(hidden / kTileColumns),
          weight(3 * tiles * depth * kWarp * kChunk),
          part(pitch(depth)),
          grads(pitch(kBlocks * depth)) {}

    // Rows of 16-bit numbers whose pitch is an odd multiple of 64 bytes are read 16 bytes a lane
    // without bank conflicts.
    __host__ __device__ static int pitch(int depth) {
        return (sizeof(T) == 2 ? depth | 1 : depth) * kTileDepth;
    }
    // Numbers of a frame's tile, both parts, and of the gradients'.
    __host__ __device__ int frame() const { return 2 * rows * part; }
    __host__ __device__ int gradients() const { return rows * grads; }
};

// One of a block's sequences; the last one stands in for those that do not exist.
struct Sequence {
    int first, tokens;  // its row at frame 0, and how far the next frame's is
    bool exists;

    __device__ Sequence(const Sizes& n, int rows, int row) : tokens(n.tokens) {
        const int total = n.batch * n.tokens, wanted = int(blockIdx.x) * rows + row;
        const int sequence = min(wanted, total - 1);
        first = sequence / tokens * n.frames * tokens + sequence % tokens;
        exists = wanted < total;
    }
    __device__ int64_t at(int t) const { return first + t * tokens; }
};

template <class T>
__device__ inline Chunk<T> row_chunk(const T* tile, int pitch, int row, int k) {
    return read(tile + row * pitch + k * kTileDepth + threadIdx.x % 4 * kChunk);
}

struct Sums {
    float r[4], z[4], hidden_n[4], input_n[4];
};

// One half of the gates' sums: of a part of the frames' tiles with W_ih or W_hh.
template <int kTilesOfRows, int kUnroll, class T>
__device__ inline void add_half(Sums (&sums)[kTilesOfRows], float (Sums::*of_new)[4], const T* part,
                                const Layout<T>& layout, int tile, const T* weight) {
    const int g = threadIdx.x % kWarp / 4, next = layout.tiles;
#pragma unroll kUnroll
    for (int k = 0; k < layout.depth; ++k) {
        Chunk<T> top[kTilesOfRows], bottom[kTilesOfRows];
#pragma unroll
        for (int m = 0; m < kTilesOfRows; ++m) {
            top[m] = row_chunk(part, layout.part, kTileRows * m + g, k);
            bottom[m] = row_chunk(part, layout.part, kTileRows * m + g + 8, k);
        }
        const Chunk<T> r = column_chunk(weight, tile, layout.depth, k);
        const Chunk<T> z = column_chunk(weight, next + tile, layout.depth, k);
        const Chunk<T> of_n = column_chunk(weight, 2 * next + tile, layout.depth, k);
#pragma unroll
        for (int m = 0; m < kTilesOfRows; ++m) {
            multiply(sums[m].r, top[m], bottom[m], r);
            multiply(sums[m].z, top[m], bottom[m], z);
            multiply(sums[m].*of_new, top[m], bottom[m], of_n);
        }
    }
}

// All gates of the hidden numbers of `tile`, without biases, for each tile of 16 rows.
template <int kTilesOfRows, int kUnroll, class T>
__device__ inline void gates_of(Sums (&sums)[kTilesOfRows], const T* frame,
                                const Layout<T>& layout, int tile, const T* weight_ih,
                                const T* weight_hh) {
#pragma unroll
    for (int m = 0; m < kTilesOfRows; ++m) sums[m] = {};
    const T* state = frame + layout.rows * layout.part;
    add_half<kTilesOfRows, kUnroll>(sums, &Sums::input_n, frame, layout, tile, weight_ih);
    add_half<kTilesOfRows, kUnroll>(sums, &Sums::hidden_n, state, layout, tile, weight_hh);
}

// The gates' biases of the two hidden numbers of `tile` that a lane owns.
struct Biases {
    float r[2], z[2], hidden_n[2], input_n[2];
};

template <class T>
__device__ inline Biases biases_of(const float* bias, const Layout<T>& layout, int tile) {
    Biases b = {};
    if (tile >= layout.tiles) return b;
    const int hidden = layout.tiles * kTileColumns;
    const float* from = bias + tile * kTileColumns + threadIdx.x % 4 * 2;
    for (int e = 0; e < 2; ++e) {
        b.r[e] = __ldg(from + e), b.z[e] = __ldg(from + hidden + e);
        b.hidden_n[e] = __ldg(from + 2 * hidden + e), b.input_n[e] = __ldg(from + 3 * hidden + e);
    }
    return b;
}

// Of number j of a lane's four: rows g, g, g + 8, g + 8 and columns 2c, 2c + 1, 2c, 2c + 1.
__device__ inline float hidden_new(const Sums& sums, const Biases& bias, int j) {
    return sums.hidden_n[j] + bias.hidden_n[j % 2];
}
template <class T>
__device__ inline GruGates gates_at(const Sums& sums, const Biases& bias, int j) {
    const int e = j % 2;
    return gru_gates<Gate<T>>({sums.r[j] + bias.r[e], sums.z[j] + bias.z[e], sums.input_n[j] + bias.input_n[e]},
                              {0.0f, 0.0f, hidden_new(sums, bias, j)});
}

// Copies the resident weights behind `shared` and gives the places of all. So many are resident, or
// as many as the plan says if kResident is 0.
template <class T, int kResident, int kWeights>
__device__ inline void stage_weights(const CudaRecurrenceArguments& a, const Layout<T>& layout,
                                     T* shared, const T* (&weights)[kWeights]) {
#pragma unroll
    for (int i = 0; i < kWeights; ++i)
        weights[i] = stage<T>(a.weights[i], 0, layout.weight / kChunk,
                              i < (kResident ? kResident : a.resident),
                              shared + i * layout.weight);
}

// What the kernels differ by in their two forms.
template <int kTilesOfRows, bool kPlain>
struct RecurrenceForm {
    static constexpr int rows = kTileRows * kTilesOfRows;
    static constexpr int unroll = kPlain ? kPlainHidden / kTileDepth : 2;
    __device__ static int hidden(const Sizes& n) { return kPlain ? kPlainHidden : n.hidden; }
};

struct RecurrencePlan {
    int tiles_per_warp, threads, resident, bytes;
    int rows;    // sequences of a block
    bool plain;  // whether that form is to be launched
};

template <class T>
RecurrencePlan recurrence_plan(int hidden, bool backward, int rows, int limit) {
    const Layout<T> layout(hidden, rows);
    const int per_warp = layout.tiles * kWarp <= kMostRecurrenceThreads ? 1 : 2;
    const int threads = ceil_divide(layout.tiles, per_warp) * kWarp;
    const int numbers = layout.frame() + (backward ? layout.gradients() : layout.frame());
    const int shares = backward ? threads / kWarp * rows : 0;
    const int wanted = backward ? kPlainResidentBackward : kPlainResident;
    int bytes = numbers * int(sizeof(T)) + shares * int(sizeof(float)), resident = 0;
    const int most = hidden == kPlainHidden && sizeof(T) == 2 ? wanted : backward ? 4 : 2;
    while (resident < most && bytes + layout.weight * int(sizeof(T)) <= limit) {
        bytes += layout.weight * int(sizeof(T));
        ++resident;
    }
    const bool plain = sizeof(T) == 2 && hidden == kPlainHidden && resident == wanted;
    return {per_warp, threads, resident, bytes, rows, plain};
}

// With 32 sequences a block where blocks of 16 would be more than there are multiprocessors.
template <class T>
RecurrencePlan recurrence_plan(const Sizes& n, bool backward) {
    const int limit = shared_memory_limit(), sequences = n.batch * n.tokens;
    const RecurrencePlan narrow = recurrence_plan<T>(n.hidden, backward, kTileRows, limit);
    const RecurrencePlan wide = recurrence_plan<T>(n.hidden, backward, 2 * kTileRows, limit);
    const bool many = ceil_divide(sequences, kTileRows) >
                      device_attribute(cudaDevAttrMultiProcessorCount);
    return wide.plain && many ? wide : narrow;
}

inline void launch_recurrence(void (*kernel)(CudaRecurrenceArguments), CudaRecurrenceArguments a,
                              const RecurrencePlan& plan, uintptr_t stream) {
    a.resident = plan.resident;
    launch(kernel, a, dim3(unsigned(ceil_divide(a.sizes.batch * a.sizes.tokens, plan.rows))),
           plan.threads, plan.bytes, stream);
}

}  // namespace peclip_fast
