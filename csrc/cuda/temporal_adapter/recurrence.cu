// The recurrence. A block owns 16 sequences (a token position of a clip each) and goes through all T
// frames with no other synchronisation than its own barriers, one a frame. Per frame
// it multiplies the tile [d_t | g_{t-1}] (16 x 2h) with W_ih and W_hh; a warp owns tiles of 8 hidden
// numbers, all three gates of them, so that the gates meet in registers, where the state stays in
// float32. The weights lie in shared memory, as many as fit; the others come through the cache.
// While a frame is being computed the next one is being loaded.
#include "cuda/temporal_adapter/recurrence.cuh"

namespace peclip_fast {
namespace {

// kTiles: tiles of 8 hidden numbers that a warp owns.
template <class T, int kTiles>
__global__ void __launch_bounds__(kMostRecurrenceThreads, 1)
recurrence_kernel(CudaRecurrenceArguments a) {
    extern __shared__ uint4 shared[];
    const Sizes n = a.sizes;
    const Layout<T> layout(n.hidden);
    T* frames = reinterpret_cast<T*>(shared);
    const T* weights[2];
    stage_weights(a, layout, frames + 2 * layout.frame(), weights);
    // Columns behind h stay zero, and so does the state before the first frame.
    for (int i = threadIdx.x; i < 2 * layout.frame(); i += blockDim.x) frames[i] = T(0.0f);
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
        const T* now = frames + (t & 1) * layout.frame();
        T* next = frames + ((t + 1) & 1) * layout.frame();
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
        const T* last = frames + (n.frames & 1) * layout.frame();
        store_chunk(states + sequence.at(n.frames - 1) * n.hidden, 0, kChunk, true,
                    read(last + part + place));
    }
}

}  // namespace

void temporal_adapter_cuda_recurrence(Type type, CudaRecurrenceArguments a, uintptr_t stream) {
    with_type(type, [&](auto number) {
        using T = decltype(number);
        const RecurrencePlan plan =
            recurrence_plan<T>(a.sizes.hidden, 2, false, shared_memory_limit());
        launch_recurrence<T>(recurrence_kernel<T, 1>, recurrence_kernel<T, 2>, a, plan, stream);
    });
}

std::vector<Plan> temporal_adapter_cuda_plan(Type type, int width, int hidden, int limit) {
    std::vector<Plan> plans;
    with_type(type, [&](auto number) {
        using T = decltype(number);
        const int threads = kProjectionThreads<T, 0>;
        const int up_threads =
            hidden <= 3 * kTileDepth ? kProjectionThreads<T, 3> : kProjectionThreads<T, 6>;
        const int down = down_plan<T>(width, hidden, limit).bytes;
        const int up = up_plan<T>(width, hidden, limit).bytes;
        const RecurrencePlan forward = recurrence_plan<T>(hidden, 2, false, limit);
        const RecurrencePlan back = recurrence_plan<T>(hidden, 4, true, limit);
        plans = {{"down", threads, down},
                 {"recurrence", forward.threads, forward.bytes},
                 {"up", up_threads, up},
                 {"up_backward", threads, down},
                 {"recurrence_backward", back.threads, back.bytes},
                 {"down_backward", up_threads, up}};
    });
    return plans;
}

}  // namespace peclip_fast
