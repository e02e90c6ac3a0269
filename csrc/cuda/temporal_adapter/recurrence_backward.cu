// The recurrence's gradient, last frame first, in the shape of recurrence.cu: the gates are computed
// again, then the gradients of the gates (16 x 3h) are multiplied with W_hh^T, onto the
// gradient of the state before, and with W_ih^T, for the gradient of the recurrence's input.
#include "cuda/temporal_adapter/recurrence.cuh"

namespace peclip_fast {
namespace {

template <class T, int kTiles>
__global__ void __launch_bounds__(kMostRecurrenceThreads, 1)
recurrence_backward_kernel(CudaRecurrenceArguments a) {
    extern __shared__ uint4 shared[];
    const Sizes n = a.sizes;
    const Layout<T> layout(n.hidden);
    const int warps = blockDim.x / kWarp, warp = threadIdx.x / kWarp;
    T* frame = reinterpret_cast<T*>(shared);
    T* grads = frame + layout.frame();
    float* share = reinterpret_cast<float*>(grads + layout.gradients());  // (warps, 16): of ds
    const T* weights[4];
    stage_weights(a, layout, reinterpret_cast<T*>(share + warps * kTileRows), weights);
    for (int i = threadIdx.x; i < layout.frame() + layout.gradients(); i += blockDim.x)
        frame[i] = T(0.0f);  // columns behind h stay so
    __syncthreads();  // nothing is zeroed any more

    const int copied = threadIdx.x / layout.tiles, column = threadIdx.x % layout.tiles * kChunk;
    const Sequence sequence(n, copied);
    const bool copies = copied < kTileRows && sequence.exists;
    const T* const inputs = static_cast<const T*>(a.inputs) + column;
    const int part = kTileRows * layout.part, place = copied * layout.part + column;
    const int last = n.frames - 1;
    if (copies) {
        const T* from = inputs + sequence.at(last) * a.inputs_stride;
        store_chunk(frame + place, 0, kChunk, true, load_aligned(from));
        store_chunk(frame + part + place, 0, kChunk, true, load_aligned(from + n.hidden));
    }

    const int lane = threadIdx.x % kWarp, g = lane / 4, tile0 = warp * kTiles;
    const Sequence owned[2] = {Sequence(n, g), Sequence(n, g + 8)};
    const Scaling scaling = Scaling(a.scaling);
    float carried[kTiles][4] = {};  // the gradient of the states
    __syncthreads();  // the last frame and the weights are there

    for (int t = last; t >= 0; --t) {
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
            float grad[2][2], previous[2][2], out[kBlocks][4], activated[4];
            for (int half = 0; half < 2; ++half) {
                load_pair(static_cast<const T*>(a.grad) + owned[half].at(t) * n.hidden + unit,
                          grad[half]);
                load_pair(frame + part + (g + 8 * half) * layout.part + unit, previous[half]);
            }
            const Biases bias = biases_of(a.bias, layout, tile);
            const Sums sums = gates_of(frame, layout, tile, weights[2], weights[1]);
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
                out[kInputNew][j] = d.input_n, activated[j] = up.output;
                carried[i][j] = d.previous;
                ds[half] += up.s;
            }
#pragma unroll
            for (int block = 0; block < kBlocks; ++block) {
                T* to = grads + block * layout.depth * kTileDepth + unit;
                store_pair(to + g * layout.grads, out[block][0], out[block][1]);
                store_pair(to + (g + 8) * layout.grads, out[block][2], out[block][3]);
            }
            for (int half = 0; half < 2; ++half)
                if (owned[half].exists)
                    store_pair(static_cast<T*>(a.activated) +
                                   owned[half].at(t) * (n.hidden + kChunk) + unit,
                               activated[2 * half], activated[2 * half + 1]);
        }
        for (int i = 0; i < 2; ++i) {
            ds[i] = sum_of_row(ds[i]);
            if (lane % 4 == 0) share[warp * kTileRows + g + 8 * i] = ds[i];
        }
        __syncthreads();  // the gradients are whole, and the frame's tile may be overwritten

        if (copies) {
            store_chunk(frame + place, 0, kChunk, true, coming[kInput]);
            store_chunk(frame + part + place, 0, kChunk, true, coming[kState]);
            const int64_t to = sequence.at(t);
            T* dgates = static_cast<T*>(a.dgates) + to * 4 * n.hidden + column;
            const T* from = grads + copied * layout.grads + column;
            for (int block = 0; block < kBlocks; ++block)
                store_chunk(dgates + block * n.hidden, 0, kChunk, true,
                            read(from + block * layout.depth * kTileDepth));
            if (column == 0) {
                // Once a row: what b_u was multiplied with, and ds.
                T* activated = static_cast<T*>(a.activated) + to * (n.hidden + kChunk);
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
#pragma unroll 2  // four would spill on sm_100 and sm_120
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
        __syncthreads();  // the next frame's tile is whole, and the gradients may be overwritten
    }
}

}  // namespace

void temporal_adapter_cuda_recurrence_backward(Type type, CudaRecurrenceArguments a, uintptr_t stream) {
    with_type(type, [&](auto number) {
        using T = decltype(number);
        const RecurrencePlan plan =
            recurrence_plan<T>(a.sizes.hidden, 4, true, shared_memory_limit());
        launch_recurrence<T>(recurrence_backward_kernel<T, 1>, recurrence_backward_kernel<T, 2>, a,
                             plan, stream);
    });
}

}  // namespace peclip_fast
