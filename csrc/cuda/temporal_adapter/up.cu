// h -> D: the stage up, the states through GELU, up-projection and scale onto residual + x; and the
// backward pass of down, the gradient of the recurrence's input through the transposed
// down-projection and the LayerNorm onto dy (kBackward).
//
// A warp holds the h numbers of 16 rows and goes along D. Backward, the two means over D that the
// LayerNorm's derivative needs are sums over h: with V = W_d gamma and the normalised x^,
//     sum(gamma dz) = dd . sum(V) and sum(gamma dz x^) = dd . (d - W_d beta - b_d),
// and the same for s with w_s, so that D is gone along once.
#include "cuda/temporal_adapter/launch.cuh"
#include "common/temporal_adapter_math.h"

namespace peclip_fast {
namespace {

// A chunk of a tensor that is float32 or of T, as it lies in memory, so that nothing waits for it.
struct Raw {
    uint4 bits[2];
};

// What is known of the three D-wide tensors: nothing, or that they are aligned and whole chunks
// wide, all of T, or x of T and the others, which are there, of float32.
enum Form { kGeneral, kAllOfT, kOthersSingle };

template <class T>
__device__ inline void* start_of(const Wide& tensor, bool single, const Place& place) {
    return single ? static_cast<void*>(row_of<float>(tensor, place)) : row_of<T>(tensor, place);
}

// Of a row's start; `whole` if no number of the chunk lies behind the row's end.
template <class T>
__device__ inline Raw load_raw(const void* row, bool single, int column, int width, bool aligned,
                               bool whole) {
    Raw raw = {};
    if (single) {
        const float* from = static_cast<const float*>(row);
        const auto chunk = whole ? load_aligned(from + column)
                                 : load_chunk(from, column, width, aligned);
        raw.bits[0] = chunk.bits[0], raw.bits[1] = chunk.bits[1];
    } else {
        const T* from = static_cast<const T*>(row);
        const auto chunk = whole ? load_aligned(from + column)
                                 : load_chunk(from, column, width, aligned);
        memcpy(&raw, &chunk, sizeof(chunk));
    }
    return raw;
}

template <class T>
__device__ inline void unpack_raw(const Raw& raw, bool single, float (&values)[kChunk]) {
    if (single) {
        memcpy(values, &raw, sizeof(values));
    } else {
        Chunk<T> chunk;
        memcpy(&chunk, &raw, sizeof(chunk));
        unpack(chunk, values);
    }
}

template <class T>
__device__ inline void store_raw(void* row, bool single, int column, int width, bool aligned,
                                 const float (&values)[kChunk]) {
    if (single)
        store_chunk(static_cast<float*>(row), column, width, aligned, pack<float>(values));
    else
        store_chunk(static_cast<T*>(row), column, width, aligned, pack<T>(values));
}

// What the LayerNorm's derivative needs of a row apart from its D numbers.
struct Row {
    float s, mean, rstd, ds;
    float factor;                  // of dd: s where the scale is on the input
    float mean_dz, mean_dz_x;  // over D, of gamma dz and of gamma dz x^
};

template <class T, int kDepth>
__device__ Row backward_row(const CudaUpArguments& a, int row, bool exists,
                            const Chunk<T> (&dd)[kDepth]) {
    const int c = threadIdx.x % 4, h = a.sizes.hidden;
    const T* inputs = static_cast<const T*>(a.inputs) + row * a.inputs_stride;
    float with_d = 0.0f, with_sums = 0.0f, with_offsets = 0.0f;
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
        const int from = k * kTileDepth + c * kChunk;
        if (from >= h) continue;
        float gradient[kChunk], d[kChunk], sums[kChunk], offsets[kChunk];
        unpack(dd[k], gradient), unpack(load_aligned(inputs + from), d);
        unpack(load_aligned(a.weight_sums + from), sums);
        unpack(load_aligned(a.offsets + from), offsets);
#pragma unroll
        for (int j = 0; j < kChunk; ++j) {
            with_d += gradient[j] * d[j];
            with_sums += gradient[j] * sums[j];
            with_offsets += gradient[j] * offsets[j];
        }
    }
    with_d = sum_of_row(with_d);
    with_sums = sum_of_row(with_sums), with_offsets = sum_of_row(with_offsets);

    Row r = {a.s ? a.s[row] : 0.0f, a.mean[row], a.rstd[row], 0.0f, 1.0f, 0.0f, 0.0f};
    if (a.scale_input) {
        // d came multiplied by s, and so did its product with the gradient.
        r.factor = r.s;
        r.ds = r.s > 0.0f ? with_d / r.s : 0.0f;
        if (exists && c == 0 && blockIdx.y == 0) a.ds[row] = r.ds;
    } else if (a.ds) {
        r.ds = a.ds[row];
    }
    r.mean_dz = r.factor * with_sums, r.mean_dz_x = with_d - r.factor * with_offsets;
    if (a.vector) {
        r.mean_dz += r.ds * a.vector_sums[0];
        r.mean_dz_x += r.ds * (r.s - a.vector_sums[1]);
    }
    r.mean_dz /= float(a.sizes.width), r.mean_dz_x /= float(a.sizes.width);

    if (exists && blockIdx.y == 0) {
        T* scaled = static_cast<T*>(a.scaled) + int64_t(row) * (h + kChunk);
#pragma unroll
        for (int k = 0; k < kDepth; ++k) {
            const int from = k * kTileDepth + c * kChunk;
            if (from >= h) continue;
            float values[kChunk];
            unpack(dd[k], values);
#pragma unroll
            for (int j = 0; j < kChunk; ++j) values[j] *= r.factor * r.rstd;
            store_chunk(scaled, from, h, true, pack<T>(values));
        }
        const float last[kChunk] = {r.ds * r.rstd};
        if (c == 0) store_chunk(scaled, h, h + kChunk, true, pack<T>(last));
        if (c == 1) {  // another lane's work, at the same time
            T high[2];
            const float std = 1.0f / r.rstd;
            round_pair(high, r.mean, std);
            const float moments[kChunk] = {r.mean, r.mean - to_float(high[0]), std,
                                           std - to_float(high[1])};
            store_chunk(static_cast<T*>(a.moments) + int64_t(row) * kChunk, 0, kChunk, true,
                        pack<T>(moments));
        }
    }
    return r;
}

// kDepth: tiles of 32 that h fills at most, and in a plain form exactly.
template <class T, int kDepth, bool kBackward, int kForm>
__global__ void __launch_bounds__(kProjectionThreads<T, kDepth, kForm != kGeneral>, 1)
up_kernel(CudaUpArguments a) {
    extern __shared__ uint4 shared[];
    constexpr bool kPlain = kForm != kGeneral;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    if (kPlain && std::is_same_v<T, __nv_bfloat16>) return;  // it is never started: up_is_plain
#endif
    const bool x_single = !kPlain && a.x.single;
    const bool other_single = kPlain ? kForm == kOthersSingle : a.other.single;
    const bool out_single = kPlain ? kForm == kOthersSingle : a.out.single;
    const bool has_other = kPlain || a.other.data;
    const Sizes n = a.sizes;
    const int lane = threadIdx.x % kWarp, c = lane % 4, warps = blockDim.x / kWarp;
    const int total = n.batch * n.frames * n.tokens;
    const int depth = kPlain ? kDepth : ceil_divide(n.hidden, kTileDepth);
    const int first = blockIdx.y * a.groups;
    const int groups = min(a.groups, ceil_divide(n.width, 32) - first);
    const T* weight = stage<T>(a.weight, int64_t(first) * 4 * depth * kWarp,
                               groups * 4 * depth * kWarp, kPlain || a.resident, shared);
    __syncthreads();  // the weights are there

    const int tiles = ceil_divide(total, kTileRows);
    // The tiles of a last round that isn't full are spread over the multiprocessors.
    for (int tile = threadIdx.x / kWarp * gridDim.x + blockIdx.x; tile < tiles;
         tile += gridDim.x * warps) {
        int row[2];
        bool exists[2];
        const void *x_row[2], *other_row[2];
        void* out_row[2];
        Chunk<T> operand[2][kDepth] = {};
        Row of[2] = {};
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            row[i] = tile * kTileRows + lane / 4 + 8 * i;
            exists[i] = row[i] < total;
            row[i] = min(row[i], total - 1);
            const Place place(n, row[i]);
            x_row[i] = start_of<T>(a.x, x_single, place);
            other_row[i] = has_other ? start_of<T>(a.other, other_single, place) : nullptr;
            out_row[i] = start_of<T>(a.out, out_single, place);
            const T* from = static_cast<const T*>(a.hidden) + int64_t(row[i]) * n.hidden;
#pragma unroll
            for (int k = 0; k < kDepth; ++k)
                operand[i][k] = load_chunk(from, k * kTileDepth + c * kChunk, n.hidden, true);
            if (kBackward) {
                of[i] = backward_row(a, row[i], exists[i], operand[i]);
                continue;
            }
            const Scaling scaling = Scaling(a.scaling);
            const float s = a.s ? a.s[row[i]] : 1.0f;
            of[i].factor = scaling == Scaling::kAfterUp ? s : 1.0f;
#pragma unroll
            for (int k = 0; k < kDepth; ++k) {
                if (!kPlain && k >= depth) continue;
                float values[kChunk];
                unpack(operand[i][k], values);
#pragma unroll
                for (int j = 0; j < kChunk; ++j) values[j] = activate(scaling, values[j], s);
                operand[i][k] = pack<T>(values);
            }
        }

        for (int group = 0; group < groups; ++group) {
            const int column = (first + group) * 32 + c * kChunk;
            Raw x[2], other[2] = {};
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                x[i] = load_raw<T>(x_row[i], x_single, column, n.width, a.x.aligned, kPlain);
                if (has_other)
                    other[i] = load_raw<T>(other_row[i], other_single, column, n.width,
                                           a.other.aligned, kPlain);
            }
            float v[kChunk] = {}, sums[4][4] = {};
            if (a.vector) unpack(load_aligned(a.vector + column), v);
#pragma unroll
            for (int k = 0; k < kDepth; ++k) {
                if (!kPlain && k >= depth) continue;
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    multiply(sums[i], operand[0][k], operand[1][k],
                             column_chunk(weight, group * 4 + i, depth, k));
            }
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                float values[kChunk], onto[kChunk] = {};
                unpack_raw<T>(x[i], x_single, values);
                if (has_other) unpack_raw<T>(other[i], other_single, onto);
#pragma unroll
                for (int j = 0; j < kChunk; ++j) {
                    const float product = sums[j / 2][2 * i + j % 2];
                    if (kBackward) {
                        const float normalised = (values[j] - of[i].mean) * of[i].rstd;
                        const float dz = of[i].factor * product + of[i].ds * v[j];
                        values[j] = onto[j] + of[i].rstd * (dz - of[i].mean_dz -
                                                            normalised * of[i].mean_dz_x);
                    } else {
                        values[j] = onto[j] + values[j] + (product + of[i].factor * v[j]);
                    }
                }
                if (exists[i])
                    store_raw<T>(out_row[i], out_single, column, kPlain ? column + kChunk : n.width,
                                 kPlain || a.out.aligned, values);
            }
        }
    }
}

template <class T>
Form form_of(const CudaUpArguments& a, const ProjectionPlan& plan, int limit) {
    const bool known = a.other.data && !a.x.single && a.other.single == a.out.single;
    const bool aligned = a.x.aligned && a.other.aligned && a.out.aligned;
    if (!known || !aligned || !up_is_plain<T>(plan, a.sizes.width, a.sizes.hidden, limit))
        return kGeneral;
    return a.out.single ? kOthersSingle : kAllOfT;
}

template <class T, int kDepth, bool kBackward, int kForm>
void run(const CudaUpArguments& a, const ProjectionPlan& plan, uintptr_t stream) {
    launch_projection(up_kernel<T, kDepth, kBackward, kForm>, a, plan,
                      kProjectionThreads<T, kDepth, kForm != kGeneral>, stream);
}

template <bool kBackward>
void project(Type type, const CudaUpArguments& a, uintptr_t stream) {
    with_type(type, [&](auto number) {
        using T = decltype(number);
        const int limit = shared_memory_limit();
        const ProjectionPlan plan = up_plan<T>(a.sizes.width, a.sizes.hidden, limit);
        if constexpr (sizeof(T) == 2) {
            const Form form = form_of<T>(a, plan, limit);
            if (form == kAllOfT)
                return run<T, kPlainDepth, kBackward, kAllOfT>(a, plan, stream);
            if (form == kOthersSingle)
                return run<T, kPlainDepth, kBackward, kOthersSingle>(a, plan, stream);
        }
        a.sizes.hidden <= 3 * kTileDepth ? run<T, 3, kBackward, kGeneral>(a, plan, stream)
                                         : run<T, 6, kBackward, kGeneral>(a, plan, stream);
    });
}

}  // namespace

void temporal_adapter_cuda_up(Type type, CudaUpArguments a, uintptr_t stream) {
    project<false>(type, a, stream);
}

void temporal_adapter_cuda_down_backward(Type type, CudaUpArguments a, uintptr_t stream) {
    project<true>(type, a, stream);
}

}  // namespace peclip_fast
