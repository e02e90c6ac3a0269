// What the recurrence and its backward pass share: the layout of a block's memory, its sequences, the
// gates.
#pragma once

#include "cuda/temporal_adapter/launch.cuh"
#include "common/temporal_adapter_math.h"

namespace peclip_fast {

constexpr int kMostRecurrenceThreads = 384;
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
    int depth;   // tiles of 32 that h fills
    int tiles;   // of 8 hidden numbers
    int weight;  // numbers of one packed weight, which has three gates
    int part;    // pitch of a part of a frame's tile
    int grads;   // pitch of the gradients' tile

    __host__ __device__ explicit Layout(int hidden)
        : depth(ceil_divide(hidden, kTileDepth)),
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
    __host__ __device__ int frame() const { return 2 * kTileRows * part; }
    __host__ __device__ int gradients() const { return kTileRows * grads; }
};

// One of a block's sequences; the last one stands in for those that do not exist.
struct Sequence {
    int first, tokens;  // its row at frame 0, and how far the next frame's is
    bool exists;

    __device__ Sequence(const Sizes& n, int row) : tokens(n.tokens) {
        const int total = n.batch * n.tokens, wanted = int(blockIdx.x) * kTileRows + row;
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

// All gates of the hidden numbers of `tile`, without biases.
template <class T>
__device__ Sums gates_of(const T* frame, const Layout<T>& layout, int tile, const T* weight_ih,
                         const T* weight_hh) {
    const int g = threadIdx.x % kWarp / 4, next = layout.tiles;
    Sums sums = {};
#pragma unroll 2
    for (int k = 0; k < layout.depth; ++k) {
        const Chunk<T> top = row_chunk(frame, layout.part, g, k);
        const Chunk<T> bottom = row_chunk(frame, layout.part, g + 8, k);
        multiply(sums.r, top, bottom, column_chunk(weight_ih, tile, layout.depth, k));
        multiply(sums.z, top, bottom, column_chunk(weight_ih, next + tile, layout.depth, k));
        multiply(sums.input_n, top, bottom,
                 column_chunk(weight_ih, 2 * next + tile, layout.depth, k));
    }
    const T* state = frame + kTileRows * layout.part;
#pragma unroll 2
    for (int k = 0; k < layout.depth; ++k) {
        const Chunk<T> top = row_chunk(state, layout.part, g, k);
        const Chunk<T> bottom = row_chunk(state, layout.part, g + 8, k);
        multiply(sums.r, top, bottom, column_chunk(weight_hh, tile, layout.depth, k));
        multiply(sums.z, top, bottom, column_chunk(weight_hh, next + tile, layout.depth, k));
        multiply(sums.hidden_n, top, bottom,
                 column_chunk(weight_hh, 2 * next + tile, layout.depth, k));
    }
    return sums;
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
__device__ inline GruGates gates_at(const Sums& sums, const Biases& bias, int j) {
    const int e = j % 2;
    return gru_gates({sums.r[j] + bias.r[e], sums.z[j] + bias.z[e], sums.input_n[j] + bias.input_n[e]},
                     {0.0f, 0.0f, hidden_new(sums, bias, j)});
}

// Copies the resident weights behind `shared` and gives the places of all.
template <class T, int kWeights>
__device__ void stage_weights(const CudaRecurrenceArguments& a, const Layout<T>& layout, T* shared,
                              const T* (&weights)[kWeights]) {
#pragma unroll
    for (int i = 0; i < kWeights; ++i)
        weights[i] = stage<T>(a.weights[i], 0, layout.weight / kChunk, i < a.resident,
                              shared + i * layout.weight);
}

struct RecurrencePlan {
    int tiles_per_warp, threads, resident, bytes;
};

template <class T>
RecurrencePlan recurrence_plan(int hidden, int weights, bool backward, int limit) {
    const Layout<T> layout(hidden);
    const int per_warp = layout.tiles * kWarp <= kMostRecurrenceThreads ? 1 : 2;
    const int threads = ceil_divide(layout.tiles, per_warp) * kWarp;
    const int numbers = layout.frame() + (backward ? layout.gradients() : layout.frame());
    const int shares = backward ? threads / kWarp * kTileRows : 0;
    int bytes = numbers * int(sizeof(T)) + shares * int(sizeof(float)), resident = 0;
    while (resident < weights && bytes + layout.weight * int(sizeof(T)) <= limit) {
        bytes += layout.weight * int(sizeof(T));
        ++resident;
    }
    return {per_warp, threads, resident, bytes};
}

template <class T>
void launch_recurrence(void (*one)(CudaRecurrenceArguments), void (*two)(CudaRecurrenceArguments),
                       CudaRecurrenceArguments a, const RecurrencePlan& plan, uintptr_t stream) {
    a.resident = plan.resident;
    launch(plan.tiles_per_warp == 1 ? one : two, a,
           dim3(unsigned(ceil_divide(a.sizes.batch * a.sizes.tokens, kTileRows))), plan.threads,
           plan.bytes, stream);
}

}  // namespace peclip_fast
