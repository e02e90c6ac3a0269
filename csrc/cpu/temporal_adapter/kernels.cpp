// The CPU kernels of the temporal adapter, compiled once for each instruction set: CMake sets
// PECLIP_ISA (the namespace) and PECLIP_VECTOR (floats in a vector register).
//
// Everything here has internal linkage and uses no library template, see elementary.h.
#include "cpu/numbers.h"
#include "cpu/temporal_adapter/kernels.h"
#include "common/temporal_adapter_math.h"

namespace peclip_fast {
namespace PECLIP_ISA {
namespace {

template <class T>
inline T* at(const Strided& tensor, int64_t b, int64_t t, int64_t l) {
    return static_cast<T*>(tensor.data) + b * tensor.b + t * tensor.t + l * tensor.l;
}

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// --- Down ----------------------------------------------------------------------------------------

typedef float Vector __attribute__((vector_size(4 * PECLIP_VECTOR), aligned(4), may_alias));

// The sum of numbers that come kLanes at a time: vector code, in one order for all instruction sets.
constexpr int kLanes = 32;
struct Sum {
    Vector parts[kLanes / PECLIP_VECTOR] = {};

    void add(const float* terms) {
        for (int v = 0; v < kLanes / PECLIP_VECTOR; ++v)
            parts[v] += *reinterpret_cast<const Vector*>(terms + v * PECLIP_VECTOR);
    }
    float total() const {
        float lanes[kLanes];
        __builtin_memcpy(lanes, parts, sizeof lanes);
        for (int half = kLanes / 2; half; half /= 2)
            for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
        return lanes[0];
    }
};

template <class F>
inline float sum_over(int64_t width, F term) {
    Sum sum;
    float terms[kLanes];
    int64_t i = 0;
    for (; i + kLanes <= width; i += kLanes) {
        for (int j = 0; j < kLanes; ++j) terms[j] = term(i + j);
        sum.add(terms);
    }
    if (i < width) {
        for (int j = 0; j < kLanes; ++j) terms[j] = i + j < width ? term(i + j) : 0.0f;
        sum.add(terms);
    }
    return sum.total();
}

template <class X, class Z, class R>
void down(const DownArguments& a, int64_t first, int64_t last) {
    const int64_t D = a.width, rows = a.batch * a.frames * a.tokens;
    for (int64_t row = first * kRowsPerChunk; row < smaller(last * kRowsPerChunk, rows); ++row) {
        const int64_t l = row % a.tokens, t = row / a.tokens % a.frames,
                      b = row / a.tokens / a.frames;
        const X* x = at<const X>(a.x, b, t, l);
        Z* z = static_cast<Z*>(a.z) + row * D;
        const float mean = sum_over(D, [&](int64_t i) { return load(x[i]); }) / float(D);
        const float variance = sum_over(D, [&](int64_t i) {
            const float centred = load(x[i]) - mean;
            return centred * centred;
        }) / float(D);
        const float rstd = 1.0f / __builtin_sqrtf(variance + a.epsilon);
        for (int64_t i = 0; i < D; ++i)
            store(z + i, (load(x[i]) - mean) * rstd * a.norm_weight[i] + a.norm_bias[i]);
        a.mean[row] = mean;
        a.rstd[row] = rstd;
        float s = 1.0f;
        if (a.s) {
            s = *a.scale_bias +
                sum_over(D, [&](int64_t i) { return load(z[i]) * a.scale_weight[i]; });
            s = s < 0.0f ? 0.0f : s;
            a.s[row] = s;
        }
        if (!a.base) continue;
        R* base = static_cast<R*>(a.base) + row * D;
        if (!a.scaled_up_bias) s = 1.0f;
        if (a.residual.data) {
            const R* residual = at<const R>(a.residual, b, t, l);
            for (int64_t i = 0; i < D; ++i)
                store(base + i, load(residual[i]) + load(x[i]) + s * a.up_bias[i]);
        } else {
            for (int64_t i = 0; i < D; ++i) store(base + i, load(x[i]) + s * a.up_bias[i]);
        }
    }
}

template <class X, class Z, class R>
void down_backward(const DownArguments& a, int64_t first, int64_t last) {
    const int64_t D = a.width, rows = a.batch * a.frames * a.tokens;
    for (int64_t chunk = first; chunk < last; ++chunk) {
        float *dweight = a.sums + chunk * 3 * D, *dbias = dweight + D, *dup_bias = dbias + D;
        for (int64_t i = 0; i < 3 * D; ++i) dweight[i] = 0.0f;
        const int64_t end = smaller((chunk + 1) * kRowsPerChunk, rows);
        for (int64_t row = chunk * kRowsPerChunk; row < end; ++row) {
            const int64_t l = row % a.tokens, t = row / a.tokens % a.frames,
                          b = row / a.tokens / a.frames;
            const X* x = at<const X>(a.x, b, t, l);
            const Z* dz = static_cast<const Z*>(a.dz) + row * D;
            const R* grad = static_cast<const R*>(a.grad) + row * D;
            X* dx = static_cast<X*>(a.dx) + row * D;
            const float mean = a.mean[row], rstd = a.rstd[row];
            const float ds = a.ds ? a.ds[row] : 0.0f, s = a.scaled_up_bias ? a.s[row] : 1.0f;
            const float* scale = a.ds ? a.scale_weight : a.norm_weight;  // ds = 0: any numbers do
            Sum sum_one, sum_x;
            for (int64_t first_lane = 0; first_lane < D; first_lane += kLanes) {
                const int64_t lanes = smaller(kLanes, D - first_lane);
                float by_one[kLanes] = {}, by_x[kLanes] = {};
                const auto take = [&](int lane) {
                    const int64_t i = first_lane + lane;
                    const float centred = (load(x[i]) - mean) * rstd;
                    const float dzi = load(dz[i]) + ds * scale[i];
                    by_one[lane] = dzi * a.norm_weight[i];
                    by_x[lane] = by_one[lane] * centred;
                    dweight[i] += dzi * centred;
                    dbias[i] += dzi;
                    dup_bias[i] += s * load(grad[i]);
                };
                if (lanes == kLanes)
#pragma GCC ivdep
                    for (int lane = 0; lane < kLanes; ++lane) take(lane);
                else
                    for (int lane = 0; lane < lanes; ++lane) take(lane);
                sum_one.add(by_one);
                sum_x.add(by_x);
            }
            const float mean_one = sum_one.total() / float(D), mean_x = sum_x.total() / float(D);
            for (int64_t i = 0; i < D; ++i) {
                const float centred = (load(x[i]) - mean) * rstd;
                const float dnormed = (load(dz[i]) + ds * scale[i]) * a.norm_weight[i];
                store(dx + i, load(grad[i]) + rstd * (dnormed - mean_one - centred * mean_x));
            }
        }
    }
}

// The type combinations that PyTorch's promotion and autocast give.
template <template <class, class, class> class Kernel>
void choose(const DownArguments& a, int64_t first, int64_t last) {
    const auto is = [&](Type x, Type z, Type out) {
        return a.x_type == x && a.z_type == z && a.out_type == out;
    };
    constexpr Type f = Type::kFloat32, b = Type::kBFloat16, h = Type::kFloat16;
    if (is(f, f, f)) return Kernel<float, float, float>::run(a, first, last);
    if (is(b, b, b)) return Kernel<BFloat16, BFloat16, BFloat16>::run(a, first, last);
    if (is(b, b, f)) return Kernel<BFloat16, BFloat16, float>::run(a, first, last);
    if (is(f, b, f)) return Kernel<float, BFloat16, float>::run(a, first, last);
    if (is(h, h, h)) return Kernel<Float16, Float16, Float16>::run(a, first, last);
    if (is(h, h, f)) return Kernel<Float16, Float16, float>::run(a, first, last);
    if (is(f, h, f)) return Kernel<float, Float16, float>::run(a, first, last);
}

template <class X, class Z, class R>
struct Down {
    static void run(const DownArguments& a, int64_t i, int64_t n) { down<X, Z, R>(a, i, n); }
};
template <class X, class Z, class R>
struct DownBackward {
    static void run(const DownArguments& a, int64_t i, int64_t n) {
        down_backward<X, Z, R>(a, i, n);
    }
};

// --- Small matrix products -----------------------------------------------------------------------

// As many rows as leave the accumulators of three vectors each in registers.
constexpr int kTileRows = PECLIP_VECTOR == 16 ? 8 : 4;

template <int kVectors>
inline void multiply_tile(const float* A, int64_t lda, const float* W, int64_t depth, float* C,
                          int64_t ldc) {
    Vector sums[kTileRows][kVectors];
    for (int r = 0; r < kTileRows; ++r)
        for (int v = 0; v < kVectors; ++v)
            sums[r][v] = *reinterpret_cast<const Vector*>(C + r * ldc + v * PECLIP_VECTOR);
    for (int64_t k = 0; k < depth; ++k, W += kVectors * PECLIP_VECTOR) {
        Vector w[kVectors];
        for (int v = 0; v < kVectors; ++v)
            w[v] = *reinterpret_cast<const Vector*>(W + v * PECLIP_VECTOR);
        for (int r = 0; r < kTileRows; ++r)
            for (int v = 0; v < kVectors; ++v) sums[r][v] += A[r * lda + k] * w[v];
    }
    for (int r = 0; r < kTileRows; ++r)
        for (int v = 0; v < kVectors; ++v)
            *reinterpret_cast<Vector*>(C + r * ldc + v * PECLIP_VECTOR) = sums[r][v];
}

// C (rows, columns) += A (rows, depth) W (depth, columns). Rows up to a multiple of kTileRows are
// touched; W comes in panels of kPanel columns, each (depth, its columns) on its own.
constexpr int kPanel = 3 * PECLIP_VECTOR;

void multiply(int64_t rows, int64_t columns, int64_t depth, const float* A, int64_t lda,
              const float* W, float* C, int64_t ldc) {
    for (int64_t c = 0; c < columns; c += kPanel) {
        const int64_t width = smaller(kPanel, columns - c);
        for (int64_t r = 0; r < rows; r += kTileRows) {
            const float *a = A + r * lda, *w = W + c * depth;
            float* out = C + r * ldc + c;
            if (width == 3 * PECLIP_VECTOR) multiply_tile<3>(a, lda, w, depth, out, ldc);
            if (width == 2 * PECLIP_VECTOR) multiply_tile<2>(a, lda, w, depth, out, ldc);
            if (width == 1 * PECLIP_VECTOR) multiply_tile<1>(a, lda, w, depth, out, ldc);
        }
    }
}

// --- The recurrence ------------------------------------------------------------------------------

// A block of neighbouring tokens of one clip; its rows at one frame are contiguous.
struct Block {
    int64_t b, l, rows;
};

inline Block block_at(const RecurrenceArguments& a, int64_t index) {
    const int64_t per_clip = (a.tokens + kSequencesPerBlock - 1) / kSequencesPerBlock;
    const int64_t l = index % per_clip * kSequencesPerBlock;
    return {index / per_clip, l, smaller(kSequencesPerBlock, a.tokens - l)};
}

template <class T>
void forward_frame(const RecurrenceArguments& a, int64_t row, int64_t rows, const float* gates,
                   float* state) {
    const int64_t h = a.hidden, hp = padded(h);
    const Scaling scaling = Scaling(a.scaling);
    for (int64_t r = 0; r < rows; ++r) {
        const T* input = static_cast<const T*>(a.input) + (row + r) * 3 * h;
        const float* hidden = gates + r * 3 * hp;
        float* g = state + r * hp;
        T* states = static_cast<T*>(a.states) + (row + r) * h;
        T* activated = static_cast<T*>(a.activated) + (row + r) * h;
        const float s = a.s ? a.s[row + r] : 1.0f;
#pragma GCC ivdep
        for (int64_t j = 0; j < h; ++j) {
            const GruGates in = {load(input[j]), load(input[h + j]), load(input[2 * h + j])};
            g[j] = gru_state(gru_gates(in, {hidden[j], hidden[hp + j], hidden[2 * hp + j]}), g[j]);
            store(states + j, g[j]);
        }
        if (scaling == Scaling::kNone)
#pragma GCC ivdep
            for (int64_t j = 0; j < h; ++j) store(activated + j, activate(Scaling::kNone, g[j], s));
        else if (scaling == Scaling::kRecurrence)
#pragma GCC ivdep
            for (int64_t j = 0; j < h; ++j)
                store(activated + j, activate(Scaling::kRecurrence, g[j], s));
        else
#pragma GCC ivdep
            for (int64_t j = 0; j < h; ++j)
                store(activated + j, activate(Scaling::kAfterUp, g[j], s));
    }
}

template <class T>
void recurrence(const RecurrenceArguments& a, int64_t first, int64_t last, float* scratch) {
    const int64_t hp = padded(a.hidden);
    const float* weight = static_cast<const float*>(a.weight);  // (h, 3 hp), in panels
    float *state = scratch, *gates = state + kSequencesPerBlock * hp,
          *bias = gates + kSequencesPerBlock * 3 * hp;
    for (int64_t i = 0; i < 3 * hp; ++i) bias[i] = 0.0f;
    for (int64_t i = 0; i < 3 * a.hidden; ++i) bias[i / a.hidden * hp + i % a.hidden] = a.bias[i];
    for (int64_t index = first; index < last; ++index) {
        const Block block = block_at(a, index);
        for (int64_t i = 0; i < kSequencesPerBlock * hp; ++i) state[i] = 0.0f;
        for (int64_t t = 0; t < a.frames; ++t) {
            for (int64_t r = 0; r < kSequencesPerBlock; ++r)
                __builtin_memcpy(gates + r * 3 * hp, bias, 3 * hp * sizeof(float));
            if (t) multiply(block.rows, 3 * hp, a.hidden, state, hp, weight, gates, 3 * hp);
            const int64_t row = (block.b * a.frames + t) * a.tokens + block.l;
            forward_frame<T>(a, row, block.rows, gates, state);
        }
    }
}

// Writes the gradients of one frame's gates, and leaves in `carried` what reaches the previous
// state around them.
template <class T, Scaling scaling>
void backward_frame(const RecurrenceArguments& a, int64_t row, int64_t rows, float* gates,
                    float* carried) {
    const int64_t h = a.hidden, hp = padded(h);
    for (int64_t r = 0; r < rows; ++r) {
        const T* input = static_cast<const T*>(a.input) + (row + r) * 3 * h;
        const T* recurrent = static_cast<const T*>(a.recurrent) + (row + r) * 3 * h;
        const T* previous = static_cast<const T*>(a.previous) + (row + r) * h;
        const T* grad = static_cast<const T*>(a.grad) + (row + r) * h;
        const T* states = static_cast<const T*>(a.states) + (row + r) * h;
        T* activated = static_cast<T*>(a.activated) + (row + r) * h;
        T* out = static_cast<T*>(a.dgates) + (row + r) * 4 * h;
        float *dr = gates + r * 3 * hp, *dz = dr + hp, *dn = dz + hp, *dg = carried + r * hp;
        const float s = a.s ? a.s[row + r] : 1.0f;
        float* by_s = gates + kSequencesPerBlock * 3 * hp;  // each number's share of ds
#pragma GCC ivdep
        for (int64_t j = 0; j < h; ++j) {
            const ActivateGradients up =
                activate_gradients(scaling, load(grad[j]), load(states[j]), s);
            store(activated + j, up.output);
            by_s[j] = up.s;
            const GruGates in = {load(input[j]), load(input[h + j]), load(input[2 * h + j])};
            const GruGates hidden = {load(recurrent[j]), load(recurrent[h + j]),
                                     load(recurrent[2 * h + j])};
            const GruGradients d = gru_gradients(dg[j] + up.g, gru_gates(in, hidden), hidden.n,
                                                 load(previous[j]));
            dr[j] = d.r, dz[j] = d.z, dn[j] = d.hidden_n, dg[j] = d.previous;
            store(out + j, d.hidden_n);
            store(out + h + j, d.r);
            store(out + 2 * h + j, d.z);
            store(out + 3 * h + j, d.input_n);
        }
        if (a.ds) a.ds[row + r] = sum_over(h, [&](int64_t j) { return by_s[j]; });
    }
}

template <class T, Scaling scaling>
void recurrence_backward(const RecurrenceArguments& a, int64_t first, int64_t last,
                         float* scratch) {
    const int64_t h = a.hidden, hp = padded(h);
    const float* weight = static_cast<const float*>(a.weight);  // (3 hp, hp), in panels
    float *carried = scratch, *gates = carried + kSequencesPerBlock * hp;
    for (int64_t index = first; index < last; ++index) {
        const Block block = block_at(a, index);
        for (int64_t i = 0; i < kSequencesPerBlock * 4 * hp; ++i) scratch[i] = 0.0f;
        for (int64_t t = a.frames; t-- > 0;) {
            const int64_t row = (block.b * a.frames + t) * a.tokens + block.l;
            backward_frame<T, scaling>(a, row, block.rows, gates, carried);
            if (t) multiply(block.rows, hp, 3 * hp, gates, 3 * hp, weight, carried, hp);
        }
    }
}

template <class T>
void recurrence_backward(const RecurrenceArguments& a, int64_t first, int64_t last,
                         float* scratch) {
    if (Scaling(a.scaling) == Scaling::kNone)
        recurrence_backward<T, Scaling::kNone>(a, first, last, scratch);
    else if (Scaling(a.scaling) == Scaling::kRecurrence)
        recurrence_backward<T, Scaling::kRecurrence>(a, first, last, scratch);
    else
        recurrence_backward<T, Scaling::kAfterUp>(a, first, last, scratch);
}

void choose_recurrence(const RecurrenceArguments& a, int64_t first, int64_t last, float* scratch) {
    if (a.type == Type::kFloat32) return recurrence<float>(a, first, last, scratch);
    if (a.type == Type::kBFloat16) return recurrence<BFloat16>(a, first, last, scratch);
    recurrence<Float16>(a, first, last, scratch);
}

void choose_recurrence_backward(const RecurrenceArguments& a, int64_t first, int64_t last,
                                float* scratch) {
    if (a.type == Type::kFloat32) return recurrence_backward<float>(a, first, last, scratch);
    if (a.type == Type::kBFloat16) return recurrence_backward<BFloat16>(a, first, last, scratch);
    recurrence_backward<Float16>(a, first, last, scratch);
}

}  // namespace

const CpuKernels kernels = {kPanel, choose<Down>, choose<DownBackward>, choose_recurrence,
                            choose_recurrence_backward};

}  // namespace PECLIP_ISA
}  // namespace peclip_fast
