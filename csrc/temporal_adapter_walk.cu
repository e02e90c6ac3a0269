// The recurrence, forward and backward. A block owns 16 sequences (a token position of a clip each)
// and walks all T frames with no other synchronisation than its own barriers, one a frame. Per frame
// it multiplies the tile [d_t | g_{t-1}] (16 x 2h) with W_ih and W_hh; a warp owns tiles of 8 hidden
// numbers, all three gates of them, so that the gates meet in registers, where the state stays in
// float32. The weights lie in shared memory, as many as fit; the others come through the cache.
// While a frame is being computed the next one is being loaded.
//
// Backward, the last frame first, the gates are computed again, then the gradients of the gates
// (16 x 3h) are multiplied with W_hh^T, onto the gradient of the state before, and with W_ih^T.
#include "launch.cuh"
#include "temporal_adapter_math.h"

namespace peclip_fast {
namespace {

constexpr int kMostThreads = 384;
enum Part { kInput, kState };                                            // of a frame's tile
enum Block { kReset, kUpdate, kHiddenNew, kInputNew, kActivated, kBlocks };  // of the gradients'

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

// How a block's shared memory is laid out; numbers are of T. Rows whose pitch is an odd multiple of
// 64 bytes are read 16 bytes a lane without bank conflicts.
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
          part((depth | 1) * kTileDepth),
          grads((kBlocks * depth | 1) * kTileDepth) {}

    // Of two frames' tiles.
    __host__ __device__ int frames() const { return 2 * 2 * kTileRows * part; }
    // Of two gradients' tiles.
    __host__ __device__ int gradients() const { return 2 * kTileRows * grads; }
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
__device__ Sums gates_of(const T* frame, const Layout& layout, int tile, const T* weight_ih,
                         const T* weight_hh) {
    const int g = threadIdx.x % kWarp / 4, next = layout.tiles;
    Sums sums = {};
    for (int k = 0; k < layout.depth; ++k) {
        const Chunk<T> top = row_chunk(frame, layout.part, g, k);
        const Chunk<T> bottom = row_chunk(frame, layout.part, g + 8, k);
        multiply(sums.r, top, bottom, column_chunk(weight_ih, tile, layout.depth, k));
        multiply(sums.z, top, bottom, column_chunk(weight_ih, next + tile, layout.depth, k));
        multiply(sums.input_n, top, bottom,
                 column_chunk(weight_ih, 2 * next + tile, layout.depth, k));
    }
    const T* state = frame + kTileRows * layout.part;
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

__device__ inline Biases biases_of(const float* bias, const Layout& layout, int tile) {
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
__device__ void stage_weights(const WalkArguments& a, const Layout& layout, T* shared,
                              const T* (&weights)[kWeights]) {
#pragma unroll
    for (int i = 0; i < kWeights; ++i)
        weights[i] = stage<T>(a.weights[i], 0, layout.weight / kChunk, i < a.resident,
                              shared + i * layout.weight);
}

// kTiles: tiles of 8 hidden numbers that a warp owns.
template <class T, int kTiles>
__global__ void __launch_bounds__(kMostThreads, 1) walk_kernel(WalkArguments a) {
    extern __shared__ uint4 shared[];
    const Sizes n = a.sizes;
    const Layout layout(n.hidden);
    T* frames = reinterpret_cast<T*>(shared);
    const T* weights[2];
    stage_weights(a, layout, frames + layout.frames(), weights);
    // Columns behind h stay zero, and so does the state before the first frame.
    for (int i = threadIdx.x; i < layout.frames(); i += blockDim.x) frames[i] = T(0.0f);
    __syncthreads();  // nothing is zeroed any more

    // What a thread copies of each frame: a chunk of a row.
    const int copied = threadIdx.x / layout.tiles, column = threadIdx.x % layout.tiles * kChunk;
    const Sequence sequence(n, copied);
    const bool copies = copied < kTileRows && sequence.exists;
    T* const inputs = static_cast<T*>(a.inputs) + column;
    T* const states = static_cast<T*>(a.states) + column;
    const int part = kTileRows * layout.part, place = copied * layout.part + column;
    if (copies)
        store_chunk(frames + place, 0, kChunk, true,
                    load_aligned(inputs + sequence.at(0) * a.inputs_stride));

    const int lane = threadIdx.x % kWarp, g = lane / 4, tile0 = threadIdx.x / kWarp * kTiles;
    float state[kTiles][4] = {};
    Biases biases[kTiles];
    for (int i = 0; i < kTiles; ++i) biases[i] = biases_of(a.bias, layout, tile0 + i);
    __syncthreads();  // the first frame and the weights are there

    for (int t = 0; t < n.frames; ++t) {
        const T* now = frames + (t & 1) * 2 * part;
        T* next = frames + ((t + 1) & 1) * 2 * part;
        Chunk<T> coming = {};
        if (copies) {
            if (t + 1 < n.frames)
                coming = load_aligned(inputs + sequence.at(t + 1) * a.inputs_stride);
            const Chunk<T> before = read(now + part + place);
            if (t > 0)
                store_chunk(states + sequence.at(t - 1) * n.hidden, 0, kChunk, true,
                            before);
            if (a.save)
                store_chunk(inputs + sequence.at(t) * a.inputs_stride + n.hidden, 0,
                            kChunk, true, before);
        }
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
            const int tile = tile0 + i, unit = tile * kTileColumns + lane % 4 * 2;
            if (tile >= layout.tiles) continue;
            const Sums sums = gates_of(now, layout, tile, weights[1], weights[0]);
#pragma unroll
            for (int j = 0; j < 4; ++j)
                state[i][j] = gru_state(gates_at(sums, biases[i], j), state[i][j]);
            T* to = next + part + unit;
            store_pair(to + g * layout.part, state[i][0], state[i][1]);
            store_pair(to + (g + 8) * layout.part, state[i][2], state[i][3]);
        }
        if (copies) store_chunk(next + place, 0, kChunk, true, coming);
        __syncthreads();  // the next frame's tile is whole, and this one's may be overwritten
    }
    if (copies) {
        const T* last = frames + (n.frames & 1) * 2 * part;
        store_chunk(states + sequence.at(n.frames - 1) * n.hidden, 0, kChunk, true,
                    read(last + part + place));
    }
}

template <class T, int kTiles>
__global__ void __launch_bounds__(kMostThreads, 1) walk_backward_kernel(WalkArguments a) {
    extern __shared__ uint4 shared[];
    const Sizes n = a.sizes;
    const Layout layout(n.hidden);
    const int warps = blockDim.x / kWarp, warp = threadIdx.x / kWarp;
    T* frames = reinterpret_cast<T*>(shared);
    T* gradients = frames + layout.frames();
    float* shares = reinterpret_cast<float*>(gradients + layout.gradients());  // (2, warps, 16)
    const T* weights[4];
    stage_weights(a, layout, reinterpret_cast<T*>(shares + 2 * warps * kTileRows), weights);
    for (int i = threadIdx.x; i < layout.frames() + layout.gradients(); i += blockDim.x)
        frames[i] = T(0.0f);  // columns behind h stay so
    __syncthreads();  // nothing is zeroed any more

    const int copied = threadIdx.x / layout.tiles, column = threadIdx.x % layout.tiles * kChunk;
    const Sequence sequence(n, copied);
    const bool copies = copied < kTileRows && sequence.exists;
    const T* const inputs = static_cast<const T*>(a.inputs) + column;
    const int part = kTileRows * layout.part, place = copied * layout.part + column;
    const int last = n.frames - 1;
    if (copies) {
        const T* from = inputs + sequence.at(last) * a.inputs_stride;
        T* to = frames + (last & 1) * 2 * part + place;
        store_chunk(to, 0, kChunk, true, load_aligned(from));
        store_chunk(to + part, 0, kChunk, true, load_aligned(from + n.hidden));
    }

    const int lane = threadIdx.x % kWarp, g = lane / 4, tile0 = warp * kTiles;
    const Sequence owned[2] = {Sequence(n, g), Sequence(n, g + 8)};
    const Scaling scaling = Scaling(a.scaling);
    float carried[kTiles][4] = {};  // the gradient of the states
    __syncthreads();  // the last frame and the weights are there

    for (int t = last; t >= 0; --t) {
        const T* now = frames + (t & 1) * 2 * part;
        T* next = frames + ((t + 1) & 1) * 2 * part;
        T* grads = gradients + (t & 1) * kTileRows * layout.grads;
        float* share = shares + (t & 1) * warps * kTileRows;
        Chunk<T> coming[2] = {};
        if (copies && t > 0) {
            const T* from = inputs + sequence.at(t - 1) * a.inputs_stride;
            coming[kInput] = load_aligned(from);
            coming[kState] = load_aligned(from + n.hidden);
        }
        float s[2] = {1.0f, 1.0f}, ds[2] = {};
        if (a.s) s[0] = a.s[owned[0].at(t)], s[1] = a.s[owned[1].at(t)];
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
            const int tile = tile0 + i, unit = tile * kTileColumns + lane % 4 * 2;
            if (tile >= layout.tiles) continue;
            float grad[2][2], previous[2][2], out[kBlocks][4];
            for (int half = 0; half < 2; ++half) {
                load_pair(static_cast<const T*>(a.grad) + owned[half].at(t) * n.hidden + unit,
                          grad[half]);
                load_pair(now + part + (g + 8 * half) * layout.part + unit, previous[half]);
            }
            const Biases bias = biases_of(a.bias, layout, tile);
            const Sums sums = gates_of(now, layout, tile, weights[2], weights[1]);
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const int half = j / 2, e = j % 2;
                const GruGates gates = gates_at(sums, bias, j);
                const ActivateGradients up = activate_gradients(
                    scaling, grad[half][e], gru_state(gates, previous[half][e]), s[half]);
                const GruGradients d =
                    gru_gradients(carried[i][j] + up.g, gates, hidden_new(sums, bias, j),
                                  previous[half][e]);
                out[kReset][j] = d.r, out[kUpdate][j] = d.z, out[kHiddenNew][j] = d.hidden_n;
                out[kInputNew][j] = d.input_n, out[kActivated][j] = up.output;
                carried[i][j] = d.previous;
                ds[half] += up.s;
            }
#pragma unroll
            for (int block = 0; block < kBlocks; ++block) {
                T* to = grads + block * layout.depth * kTileDepth + unit;
                store_pair(to + g * layout.grads, out[block][0], out[block][1]);
                store_pair(to + (g + 8) * layout.grads, out[block][2], out[block][3]);
            }
        }
        for (int i = 0; i < 2; ++i) {
            ds[i] = sum_of_row(ds[i]);
            if (lane % 4 == 0) share[warp * kTileRows + g + 8 * i] = ds[i];
        }
        if (copies) {
            store_chunk(next + place, 0, kChunk, true, coming[kInput]);
            store_chunk(next + part + place, 0, kChunk, true, coming[kState]);
        }
        __syncthreads();  // the gradients and the next frame's tile are whole

        if (copies) {
            const int64_t to = sequence.at(t);
            T* dgates = static_cast<T*>(a.dgates) + to * 4 * n.hidden + column;
            T* activated = static_cast<T*>(a.activated) + to * (n.hidden + kChunk);
            const T* from = grads + copied * layout.grads + column;
            for (int block = 0; block < kActivated; ++block)
                store_chunk(dgates + block * n.hidden, 0, kChunk, true,
                            read(from + block * layout.depth * kTileDepth));
            store_chunk(activated + column, 0, kChunk, true,
                        read(from + kActivated * layout.depth * kTileDepth));
            if (column == 0) {
                // Once a row: the rest of activated, and ds.
                const float factor = scaling == Scaling::kAfterUp ? a.s[to] : 1.0f;
                const float end[kChunk] = {factor};
                store_chunk(activated + n.hidden, 0, kChunk, true, pack<T>(end));
                if (a.ds) {
                    float sum = a.products ? a.products[to] : 0.0f;
                    for (int i = 0; i < warps; ++i) sum += share[i * kTileRows + copied];
                    a.ds[to] = a.s[to] > 0.0f ? sum : 0.0f;
                }
            }
        }
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
            const int tile = tile0 + i, unit = tile * kTileColumns + lane % 4 * 2;
            if (tile >= layout.tiles) continue;
            float dinput[4] = {};
            for (int k = 0; k < 3 * layout.depth; ++k) {
                // The hidden part takes the gates r, z and hidden n, the input's part input n.
                const int other = k < 2 * layout.depth ? k : k + layout.depth;
                const Chunk<T> top = row_chunk(grads, layout.grads, g, k);
                const Chunk<T> bottom = row_chunk(grads, layout.grads, g + 8, k);
                multiply(carried[i], top, bottom,
                         column_chunk(weights[0], tile, 3 * layout.depth, k));
                multiply(dinput, row_chunk(grads, layout.grads, g, other),
                         row_chunk(grads, layout.grads, g + 8, other),
                         column_chunk(weights[3], tile, 3 * layout.depth, k));
            }
            for (int half = 0; half < 2; ++half)
                if (owned[half].exists)
                    store_pair(static_cast<T*>(a.dinput) + owned[half].at(t) * n.hidden + unit,
                               dinput[2 * half], dinput[2 * half + 1]);
        }
    }
}

struct WalkPlan {
    int tiles_per_warp, threads, resident, bytes;
};

template <class T>
WalkPlan walk_plan(int hidden, int weights, bool backward, int limit) {
    const Layout layout(hidden);
    const int per_warp = layout.tiles * kWarp <= kMostThreads ? 1 : 2;
    const int threads = ceil_divide(layout.tiles, per_warp) * kWarp;
    int bytes = layout.frames() * int(sizeof(T)), resident = 0;
    if (backward)
        bytes += layout.gradients() * int(sizeof(T)) +
                 2 * threads / kWarp * kTileRows * int(sizeof(float));
    while (resident < weights && bytes + layout.weight * int(sizeof(T)) <= limit) {
        bytes += layout.weight * int(sizeof(T));
        ++resident;
    }
    return {per_warp, threads, resident, bytes};
}

template <class T>
void launch_walk(void (*one)(WalkArguments), void (*two)(WalkArguments), WalkArguments a,
                 const WalkPlan& plan, uintptr_t stream) {
    a.resident = plan.resident;
    launch(plan.tiles_per_warp == 1 ? one : two, a,
           dim3(unsigned(ceil_divide(a.sizes.batch * a.sizes.tokens, kTileRows))), plan.threads,
           plan.bytes, stream);
}

}  // namespace

void temporal_adapter_cuda_walk(Type type, WalkArguments a, uintptr_t stream) {
    with_type(type, [&](auto number) {
        using T = decltype(number);
        launch_walk<T>(walk_kernel<T, 1>, walk_kernel<T, 2>, a,
                       walk_plan<T>(a.sizes.hidden, 2, false, shared_memory_limit()), stream);
    });
}

void temporal_adapter_cuda_walk_backward(Type type, WalkArguments a, uintptr_t stream) {
    with_type(type, [&](auto number) {
        using T = decltype(number);
        launch_walk<T>(walk_backward_kernel<T, 1>, walk_backward_kernel<T, 2>, a,
                       walk_plan<T>(a.sizes.hidden, 4, true, shared_memory_limit()), stream);
    });
}

std::vector<Plan> temporal_adapter_cuda_plan(Type type, int width, int hidden, int limit) {
    std::vector<Plan> plans;
    with_type(type, [&](auto number) {
        using T = decltype(number);
        const int threads = kProjectionThreads<T, 0>;
        const int widen_threads = hidden <= 3 * kTileDepth ? kProjectionThreads<T, 3>
                                                           : kProjectionThreads<T, 6>;
        const int narrow = narrow_plan<T>(width, hidden, limit).bytes;
        const int widen = widen_plan<T>(width, hidden, limit).bytes;
        const WalkPlan walk = walk_plan<T>(hidden, 2, false, limit);
        const WalkPlan back = walk_plan<T>(hidden, 4, true, limit);
        plans = {{"narrow", threads, narrow},
                 {"walk", walk.threads, walk.bytes},
                 {"widen", widen_threads, widen},
                 {"narrow_backward", threads, narrow},
                 {"walk_backward", back.threads, back.bytes},
                 {"widen_backward", widen_threads, widen}};
    });
    return plans;
}

}  // namespace peclip_fast
