// D -> h: the stage down, x through LayerNorm, scale and down-projection; and the backward pass of
// up, dy through the transposed up-projection (kNormalise false).
//
// One pass over x. The LayerNorm is folded into the product: with V = W_d gamma,
//     W_d LN(x) = rstd (V x - mean sum(V)) + W_d beta,
// so that x itself goes into the tile products while its sums are being formed. That loses nothing
// as long as x goes in exactly; where it would be rounded, or sums are to have float32's precision,
// the mean is taken first, in a pass of its own, and x - mean goes in.
#include "cuda/temporal_adapter/launch.cuh"

namespace peclip_fast {
namespace {

template <class X>
constexpr int kStages = sizeof(X) == 4 ? 2 : 4;  // loads in flight, of 32 columns of x

// The means of the lane's two rows.
template <class X>
__device__ void means(const X* const (&rows)[2], int width, int depth, bool aligned,
                      float (&mean)[2]) {
    const int c = threadIdx.x % 4;
    float sums[2] = {};
    for (int k = 0; k < depth; ++k) {
        for (int i = 0; i < 2; ++i) {
            float values[kChunk];
            unpack(load_chunk(rows[i], k * kTileDepth + c * kChunk, width, aligned), values);
            for (int j = 0; j < kChunk; ++j) sums[i] += values[j];
        }
    }
    for (int i = 0; i < 2; ++i) mean[i] = sum_of_row(sums[i]) / float(width);
}

// X is T or float.
template <class T, class X, bool kNormalise, bool kPlain>
__global__ void __launch_bounds__(kProjectionThreads<T, 0, kPlain>, 1)
down_kernel(CudaDownArguments a) {
    extern __shared__ uint4 shared[];
    constexpr bool kExact = sizeof(T) == 2 && sizeof(X) == 2;
    const Sizes n = a.sizes;
    const int lane = threadIdx.x % kWarp, c = lane % 4, warps = blockDim.x / kWarp;
    const int total = n.batch * n.frames * n.tokens, depth = ceil_divide(n.width, kTileDepth);
    const int first = blockIdx.y * a.groups;
    const int groups = kPlain ? kDownGroups : min(a.groups, ceil_divide(n.hidden, 32) - first);
    const bool aligned = kPlain || a.x.aligned;
    const T* weight = stage<T>(a.weight, int64_t(first) * 4 * depth * kWarp,
                               groups * 4 * depth * kWarp, kPlain || a.resident, shared);
    __syncthreads();  // the weights are there

    const int tiles = ceil_divide(total, kTileRows);
    // The tiles of a last round that isn't full are spread over the multiprocessors.
    for (int tile = threadIdx.x / kWarp * gridDim.x + blockIdx.x; tile < tiles;
         tile += gridDim.x * warps) {
        int row[2];
        const X* rows[2];
        for (int i = 0; i < 2; ++i) {
            row[i] = tile * kTileRows + lane / 4 + 8 * i;
            rows[i] = row_of<const X>(a.x, Place(n, min(row[i], total - 1)));
        }
        float pivot[2] = {}, sum[2] = {}, square[2] = {}, product[2] = {};
        if (kNormalise && !kExact) means(rows, n.width, depth, aligned, pivot);
        float sums[kDownGroups][4][4] = {};
        for (int k0 = 0; k0 < depth; k0 += kStages<X>) {
            Chunk<X> x[kStages<X>][2];
#pragma unroll
            for (int stage = 0; stage < kStages<X>; ++stage) {
                const int from = (k0 + stage) * kTileDepth + c * kChunk;
                for (int i = 0; i < 2; ++i)
                    x[stage][i] = kPlain ? load_aligned(rows[i] + from)
                                         : load_chunk(rows[i], from, n.width, aligned);
            }
#pragma unroll
            for (int stage = 0; stage < kStages<X>; ++stage) {
                const int k = k0 + stage, from = k * kTileDepth + c * kChunk;
                if (!kPlain && k >= depth) continue;
                float v[kChunk] = {};
                if (a.vector) unpack(load_aligned(a.vector + from), v);
                Chunk<T> operand[2];
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    float values[kChunk];
                    unpack(x[stage][i], values);
#pragma unroll
                    for (int j = 0; j < kChunk; ++j) {
                        if (kNormalise && !kExact)
                            values[j] = kPlain || from + j < n.width ? values[j] - pivot[i] : 0.0f;
                        if (kNormalise) {
                            sum[i] += values[j];
                            square[i] += values[j] * values[j];
                        }
                        product[i] += values[j] * v[j];
                    }
                    operand[i] = pack<T>(values);
                }
#pragma unroll
                for (int group = 0; group < kDownGroups; ++group) {
                    if (group >= groups) continue;
#pragma unroll
                    for (int i = 0; i < 4; ++i)
                        multiply(sums[group][i], operand[0], operand[1],
                                 column_chunk(weight, group * 4 + i, depth, k));
                }
            }
        }

        T* out[2];
        float factor[2] = {1.0f, 1.0f}, shift[2] = {}, rstd[2] = {1.0f, 1.0f};
        for (int i = 0; i < 2; ++i) {
            product[i] = sum_of_row(product[i]);
            if (kNormalise) {
                // x - pivot has this mean, so many times sum(V) is to be taken off.
                shift[i] = sum_of_row(sum[i]) / float(n.width);
                const float square_mean = sum_of_row(square[i]) / float(n.width);
                const float variance = fmaxf(square_mean - shift[i] * shift[i], 0.0f);
                rstd[i] = 1.0f / sqrtf(variance + a.epsilon);
                if (a.vector) {
                    const float scale = rstd[i] * (product[i] - shift[i] * a.vector_sums[0]);
                    product[i] = fmaxf(scale + a.vector_sums[1], 0.0f);
                }
                if (a.scale_input) factor[i] = product[i];
            }
            const bool writes = row[i] < total && c == 0 && blockIdx.y == 0;
            if (writes && a.vector) a.products[row[i]] = product[i];
            if (writes && kNormalise) a.mean[row[i]] = pivot[i] + shift[i], a.rstd[row[i]] = rstd[i];
            out[i] = static_cast<T*>(a.out) + row[i] * a.out_stride;
            if (writes && kNormalise && a.augment) {
                const float one[kChunk] = {1.0f};
                store_chunk(out[i], 2 * n.hidden, 2 * n.hidden + kChunk, true, pack<T>(one));
            }
        }
#pragma unroll
        for (int group = 0; group < kDownGroups; ++group) {
            const int column = (first + group) * 32 + c * kChunk;
            if (group >= groups || column >= n.hidden) continue;
            float v[kChunk] = {}, offset[kChunk] = {};
            if (kNormalise) unpack(load_aligned(a.weight_sums + column), v);
            if (kNormalise) unpack(load_aligned(a.offsets + column), offset);
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                float values[kChunk];
#pragma unroll
                for (int j = 0; j < kChunk; ++j) {
                    const float value = sums[group][j / 2][2 * i + j % 2];
                    values[j] = factor[i] * (rstd[i] * (value - shift[i] * v[j]) + offset[j]);
                }
                if (row[i] < total) store_chunk(out[i], column, n.hidden, true, pack<T>(values));
            }
        }
    }
}

template <class T, class X, bool kNormalise>
void run(const CudaDownArguments& a, uintptr_t stream) {
    const int width = a.sizes.width, hidden = a.sizes.hidden;
    const ProjectionPlan plan = down_plan<T>(width, hidden, shared_memory_limit());
    if constexpr (sizeof(T) == 2)
        if (a.x.aligned && down_is_plain<T>(plan, width, hidden))
            return launch_projection(down_kernel<T, X, kNormalise, true>, a, plan,
                                     kProjectionThreads<T, 0, true>, stream);
    launch_projection(down_kernel<T, X, kNormalise, false>, a, plan,
                      kProjectionThreads<T, 0, false>, stream);
}

template <bool kNormalise>
void project(Type type, const CudaDownArguments& a, uintptr_t stream) {
    with_type(type, [&](auto number) {
        using T = decltype(number);
        a.x.single ? run<T, float, kNormalise>(a, stream) : run<T, T, kNormalise>(a, stream);
    });
}

}  // namespace

void temporal_adapter_cuda_down(Type type, CudaDownArguments a, uintptr_t stream) {
    project<true>(type, a, stream);
}

void temporal_adapter_cuda_up_backward(Type type, CudaDownArguments a, uintptr_t stream) {
    project<false>(type, a, stream);
}

}  // namespace peclip_fast
