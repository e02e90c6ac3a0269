// The recurrence's gradient, last frame first, in the shape of recurrence.cu: the gates are computed
// again, then the gradients of the gates (16 x 3h) are multiplied with W_hh^T, onto the
// gradient of the state before, and with W_ih^T, for the gradient of the recurrence's input.
#include "cuda/temporal_adapter/recurrence.cuh"

namespace peclip_fast {
namespace {

template <class T, int kTiles, int kTilesOfRows, bool kPlain>
__global__ void __launch_bounds__(kMostRecurrenceThreads, 1)
recurrence_backward_kernel(CudaRecurrenceArguments a) {
    extern __shared__ uint4 shared[];
    using Form = RecurrenceForm<kTilesOfRows, kPlain>;
    constexpr int kRows = Form::rows;
    const Sizes n = a.sizes;
    const Layout<T> layout(Form::hidden(n), kRows);
    const int hidden = layout.hidden;
    const int warps = blockDim.x / kWarp, warp = threadIdx.x / kWarp;
    T* frame = reinterpret_cast<T*>(shared);
    T* grads = frame + layout.frame();
    float* share = reinterpret_cast<float*>(grads + layout.gradients());  // (warps, rows): of ds
    const T* weights[4];
    stage_weights<T, kPlain ? kPlainResidentBackward : 0>(
        a, layout, reinterpret_cast<T*>(share + warps * kRows), weights);
    for (int i = threadIdx.x; i < layout.frame() + layout.gradients(); i += blockDim.x)
        frame[i] = T(0.0f);  // columns behind h stay so
    __syncthreads();  // nothing is zeroed any more

    const int copied = threadIdx.x / layout.tiles, column = threadIdx.x % layout.tiles * kChunk;
    const Sequence sequence(n, kRows, copied);
    const bool copies = copied < kRows && sequence.exists;
    const T* const inputs = static_cast<const T*>(a.inputs) + column;
    const int part = kRows * layout.part, place = copied * layout.part + column;
    const int last = n.frames - 1;
    if (copies) {
        const T* from = inputs + sequence.at(last) * a.inputs_stride;
        store_chunk(frame + place, 0, kChunk, true, load_aligned(from));
        store_chunk(frame + part + place, 0, kChunk, true, load_aligned(from + hidden));
    }

    const int lane = threadIdx.x % kWarp, g = lane / 4, tile0 = warp * kTiles;
    const Scaling scaling = Scaling(a.scaling);
    float carried[kTiles][kTilesOfRows][4] = {};  // the gradient of the states
    __syncthreads();  // the last frame and the weights are there

    for (int t = last; t >= 0; --t) {
        Chunk<T> coming[2] = {};
        if (copies && t > 0) {
            const T* from = inputs + sequence.at(t - 1) * a.inputs_stride;
            coming[kInput] = load_aligned(from);
            coming[kState] = load_aligned(from + hidden);
        }
        float ds[kTilesOfRows][2] = {};
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
            const int tile = tile0 + i, unit = tile * kTileColumns + lane % 4 * 2;
            if (tile >= layout.tiles) continue;
            const Biases bias = biases_of(a.bias, layout, tile);
            Sums sums[kTilesOfRows];
            gates_of<kTilesOfRows, Form::unroll>(sums, frame, layout, tile, weights[2],
                                                 weights[1]);
#pragma unroll
            for (int m = 0; m < kTilesOfRows; ++m) {
                float grad[2][2], previous[2][2], s[2], out[kBlocks][4], activated[4];
                int64_t row[2];
                bool exists[2];
                for (int half = 0; half < 2; ++half) {
                    const int within = kTileRows * m + g + 8 * half;
                    const Sequence owned(n, kRows, within);
                    row[half] = owned.at(t), exists[half] = owned.exists;
                    load_pair(static_cast<const T*>(a.grad) + row[half] * hidden + unit,
                              grad[half]);
                    load_pair(frame + part + within * layout.part + unit, previous[half]);
                    s[half] = a.s ? a.s[row[half]] : 1.0f;
                }
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    const int half = j / 2, e = j % 2;
                    const GruGates gates = gates_at<T>(sums[m], bias, j);
                    const ActivateGradients up = activate_gradients(
                        scaling, grad[half][e], gru_state(gates, previous[half][e]), s[half]);
                    const GruGradients d = gru_gradients(carried[i][m][j] + up.g, gates,
                                                         hidden_new(sums[m], bias, j),
                                                         previous[half][e]);
                    out[kReset][j] = d.r, out[kUpdate][j] = d.z, out[kHiddenNew][j] = d.hidden_n;
                    out[kInputNew][j] = d.input_n, activated[j] = up.output;
                    carried[i][m][j] = d.previous;
                    ds[m][half] += up.s;
                }
                T* tile_grads = grads + kTileRows * m * layout.grads + unit;
#pragma unroll
                for (int block = 0; block < kBlocks; ++block) {
                    T* to = tile_grads + block * layout.depth * kTileDepth;
                    store_pair(to + g * layout.grads, out[block][0], out[block][1]);
                    store_pair(to + (g + 8) * layout.grads, out[block][2], out[block][3]);
                }
                for (int half = 0; half < 2; ++half)
                    if (exists[half])
                        store_pair(static_cast<T*>(a.activated) +
                                       row[half] * (hidden + kChunk) + unit,
                                   activated[2 * half], activated[2 * half + 1]);
            }
        }
#pragma unroll
        for (int m = 0; m < kTilesOfRows; ++m) {
            for (int i = 0; i < 2; ++i) {
                const float sum = sum_of_row(ds[m][i]);
                if (lane % 4 == 0) share[warp * kRows + kTileRows * m + g + 8 * i] = sum;
            }
        }
        __syncthreads();  // the gradients are whole, and the frame's tile may be overwritten

        if (copies) {
            store_chunk(frame + place, 0, kChunk, true, coming[kInput]);
            store_chunk(frame + part + place, 0, kChunk, true, coming[kState]);
            const int64_t to = sequence.at(t);
            T* dgates = static_cast<T*>(a.dgates) + to * 4 * hidden + column;
            const T* from = grads + copied * layout.grads + column;
            for (int block = 0; block < kBlocks; ++block)
                store_chunk(dgates + block * hidden, 0, kChunk, true,
                            read(from + block * layout.depth * kTileDepth));
            if (column == 0) {
                // Once a row: what b_u was multiplied with, and ds.
                T* activated = static_cast<T*>(a.activated) + to * (hidden + kChunk);
                const float factor = scaling == Scaling::kAfterUp ? a.s[to] : 1.0f;
                const float end[kChunk] = {factor};
                store_chunk(activated + hidden, 0, kChunk, true, pack<T>(end));
                if (a.ds) {
                    float sum = a.products ? a.products[to] : 0.0f;
                    for (int i = 0; i < warps; ++i) sum += share[i * kRows + copied];
                    a.ds[to] = a.s[to] > 0.0f ? sum : 0.0f;
                }
            }
        }
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
            const int tile = tile0 + i, unit = tile * kTileColumns + lane % 4 * 2;
            if (tile >= layout.tiles) continue;
            float dinput[kTilesOfRows][4] = {};
#pragma unroll(kPlain ? 3 : 2)  // four would spill on sm_100 and sm_120
            for (int k = 0; k < 3 * layout.depth; ++k) {
                // The hidden part takes the gates r, z and hidden n, the input's part input n.
                const int other = k < 2 * layout.depth ? k : k + layout.depth;
                const Chunk<T> hh = column_chunk(weights[0], tile, 3 * layout.depth, k);
                const Chunk<T> ih = column_chunk(weights[3], tile, 3 * layout.depth, k);
#pragma unroll
                for (int m = 0; m < kTilesOfRows; ++m) {
                    const int top = kTileRows * m + g;
                    multiply(carried[i][m], row_chunk(grads, layout.grads, top, k),
                             row_chunk(grads, layout.grads, top + 8, k), hh);
                    multiply(dinput[m], row_chunk(grads, layout.grads, top, other),
                             row_chunk(grads, layout.grads, top + 8, other), ih);
                }
            }
#pragma unroll
            for (int m = 0; m < kTilesOfRows; ++m) {
                for (int half = 0; half < 2; ++half) {
                    const Sequence owned(n, kRows, kTileRows * m + g + 8 * half);
                    if (owned.exists)
                        store_pair(static_cast<T*>(a.dinput) + owned.at(t) * hidden + unit,
                                   dinput[m][2 * half], dinput[m][2 * half + 1]);
                }
            }
        }
        __syncthreads();  // the next frame's tile is whole, and the gradients may be overwritten
    }
}

}  // namespace

void temporal_adapter_cuda_recurrence_backward(Type type, CudaRecurrenceArguments a, uintptr_t stream) {
    with_type(type, [&](auto number) {
        using T = decltype(number);
        const RecurrencePlan plan = recurrence_plan<T>(a.sizes, true);
        auto* kernel = plan.tiles_per_warp == 1 ? recurrence_backward_kernel<T, 1, 1, false>
                                                : recurrence_backward_kernel<T, 2, 1, false>;
        if constexpr (sizeof(T) == 2)
            if (plan.plain)
                kernel = plan.rows == kTileRows ? recurrence_backward_kernel<T, 1, 1, true>
                                                : recurrence_backward_kernel<T, 1, 2, true>;
        launch_recurrence(kernel, a, plan, stream);
    });
}

}  // namespace peclip_fast
