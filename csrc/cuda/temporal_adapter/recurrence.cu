// The recurrence. A block owns 16 or 32 sequences (a token position of a clip each) and goes through all T
// frames with no other synchronisation than its own barriers, one a frame. Per frame
// it multiplies the tile [d_t | g_{t-1}] (16 x 2h) with W_ih and W_hh; a warp owns tiles of 8 hidden
// numbers, all three gates of them, so that the gates meet in registers, where the state stays in
// float32. The weights lie in shared memory, as many as fit; the others come through the cache.
// While a frame is being computed the next one is being loaded.
#include "cuda/temporal_adapter/recurrence.cuh"

namespace peclip_fast {
namespace {

// kTiles: tiles of 8 hidden numbers that a warp owns; kTilesOfRows: of 16 sequences that a block does.
template <class T, int kTiles, int kTilesOfRows, bool kPlain>
__global__ void __launch_bounds__(kMostRecurrenceThreads, 1)
recurrence_kernel(CudaRecurrenceArguments a) {
    extern __shared__ uint4 shared[];
    using Form = RecurrenceForm<kTilesOfRows, kPlain>;
    const Sizes n = a.sizes;
    const Layout<T> layout(Form::hidden(n), Form::rows);
    T* frames = reinterpret_cast<T*>(shared);
    const T* weights[2];
    stage_weights<T, kPlain ? kPlainResident : 0>(a, layout, frames + 2 * layout.frame(), weights);
    // Columns behind h stay zero, and so does the state before the first frame.
    for (int i = threadIdx.x; i < 2 * layout.frame(); i += blockDim.x) frames[i] = T(0.0f);
    __syncthreads();  // nothing is zeroed any more

    // What a thread copies of each frame: a chunk of a row.
    const int copied = threadIdx.x / layout.tiles, column = threadIdx.x % layout.tiles * kChunk;
    const Sequence sequence(n, Form::rows, copied);
    const bool copies = copied < Form::rows && sequence.exists;
    T* const inputs = static_cast<T*>(a.inputs) + column;
    T* const states = static_cast<T*>(a.states) + column;
    const int part = layout.rows * layout.part, place = copied * layout.part + column;
    if (copies)
        store_chunk(frames + place, 0, kChunk, true,
                    load_aligned(inputs + sequence.at(0) * a.inputs_stride));

    const int lane = threadIdx.x % kWarp, g = lane / 4, tile0 = threadIdx.x / kWarp * kTiles;
    float state[kTiles][kTilesOfRows][4] = {};
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
                store_chunk(states + sequence.at(t - 1) * layout.hidden, 0, kChunk, true,
                            before);
            if (a.save)
                store_chunk(inputs + sequence.at(t) * a.inputs_stride + layout.hidden, 0,
                            kChunk, true, before);
        }
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
            const int tile = tile0 + i, unit = tile * kTileColumns + lane % 4 * 2;
            if (tile >= layout.tiles) continue;
            Sums sums[kTilesOfRows];
            gates_of<kTilesOfRows, Form::unroll>(sums, now, layout, tile, weights[1], weights[0]);
#pragma unroll
            for (int m = 0; m < kTilesOfRows; ++m) {
                float(&of)[4] = state[i][m];
#pragma unroll
                for (int j = 0; j < 4; ++j)
                    of[j] = gru_state(gates_at<T>(sums[m], biases[i], j), of[j]);
                T* to = next + part + kTileRows * m * layout.part + unit;
                store_pair(to + g * layout.part, of[0], of[1]);
                store_pair(to + (g + 8) * layout.part, of[2], of[3]);
            }
        }
        if (copies) store_chunk(next + place, 0, kChunk, true, coming);
        __syncthreads();  // the next frame's tile is whole, and this one's may be overwritten
    }
    if (copies) {
        const T* last = frames + (n.frames & 1) * layout.frame();
        store_chunk(states + sequence.at(n.frames - 1) * layout.hidden, 0, kChunk, true,
                    read(last + part + place));
    }
}

}  // namespace

void temporal_adapter_cuda_recurrence(Type type, CudaRecurrenceArguments a, uintptr_t stream) {
    with_type(type, [&](auto number) {
        using T = decltype(number);
        const RecurrencePlan plan = recurrence_plan<T>(a.sizes, false);
        auto* kernel = plan.tiles_per_warp == 1 ? recurrence_kernel<T, 1, 1, false>
                                                : recurrence_kernel<T, 2, 1, false>;
        if constexpr (sizeof(T) == 2)
            if (plan.plain)
                kernel = plan.rows == kTileRows ? recurrence_kernel<T, 1, 1, true>
                                                : recurrence_kernel<T, 1, 2, true>;
        launch_recurrence(kernel, a, plan, stream);
    });
}

std::vector<Plan> temporal_adapter_cuda_plan(Type type, int width, int hidden, int limit) {
    std::vector<Plan> plans;
    with_type(type, [&](auto number) {
        using T = decltype(number);
        const ProjectionPlan down = down_plan<T>(width, hidden, limit);
        const ProjectionPlan up = up_plan<T>(width, hidden, limit);
        const bool narrow = hidden <= 3 * kTileDepth;
        const bool down_plain = down_is_plain<T>(down, width, hidden);
        const bool up_plain = up_is_plain<T>(up, width, hidden, limit);
        const int threads = down_plain ? kProjectionThreads<T, 0, true>
                                       : kProjectionThreads<T, 0, false>;
        const int up_threads = up_plain ? kProjectionThreads<T, kPlainDepth, true>
                               : narrow ? kProjectionThreads<T, 3, false>
                                        : kProjectionThreads<T, 6, false>;
        plans = {{"down", threads, down.bytes, down_plain},
                 {"up", up_threads, up.bytes, up_plain},
                 {"up_backward", threads, down.bytes, down_plain},
                 {"down_backward", up_threads, up.bytes, up_plain}};
        for (const bool backward : {false, true}) {
            const std::string name = backward ? "recurrence_backward" : "recurrence";
            for (const int rows : {kTileRows, 2 * kTileRows}) {
                const RecurrencePlan plan = recurrence_plan<T>(hidden, backward, rows, limit);
                if (rows == kTileRows || plan.plain)
                    plans.push_back({rows == kTileRows ? name : name + " of 32", plan.threads,
                                     plan.bytes, plan.plain});
            }
        }
    });
    return plans;
}

}  // namespace peclip_fast
