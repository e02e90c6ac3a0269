// The CUDA kernels in the Python module peclip_fast._C. Tensors come as addresses; 0 is none.
#include "bindings/cuda.h"

#include <pybind11/stl.h>

#include <stdexcept>

#include "cuda/temporal_adapter/temporal_adapter.h"

namespace py = pybind11;

namespace peclip_fast {
namespace {

using Address = uintptr_t;
using Shape = std::array<int, 5>;  // B, T, L, D and h rounded up to a multiple of 8
using Tensor = std::tuple<Address, std::array<int64_t, 3>, bool>;  // strides of B, T, L; float32
using AxisOf = std::tuple<int, int, int, int64_t>;                 // as in struct Axis
using Job = std::tuple<Address, Address, bool, bool, AxisOf, AxisOf>;  // as in struct PackJob

template <class T>
T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
}

Sizes sizes(const Shape& shape) { return {shape[0], shape[1], shape[2], shape[3], shape[4]}; }

Wide wide(const Tensor& tensor, Type type, int width) {
    const auto& [address, strides, single] = tensor;
    const int64_t size = single || type == Type::kFloat32 ? 4 : 2;
    bool aligned = address % 16 == 0 && width % 8 == 0;
    for (const int64_t stride : strides) aligned = aligned && stride * size % 16 == 0;
    return {pointer<void>(address), strides[0], strides[1], strides[2], single, aligned};
}

Axis axis(const AxisOf& from) {
    const auto& [size, padded, blocks, stride] = from;
    return {size, padded, blocks, stride};
}

int numbers(const Axis& a) { return a.padded * a.blocks; }

void pack(int type, const std::vector<Job>& jobs, Address stream) {
    if (jobs.size() > kPackJobs) throw std::invalid_argument("too many weights to pack");
    PackArguments a = {};
    for (size_t i = 0; i < jobs.size(); ++i) {
        const auto& [from, to, single, spread, n, k] = jobs[i];
        a.jobs[i] = {pointer<void>(from), pointer<void>(to), single, spread, axis(n), axis(k)};
        a.chunks[i] = numbers(a.jobs[i].n) * numbers(a.jobs[i].k) / 8;
    }
    temporal_adapter_cuda_pack(Type(type), a, int(jobs.size()), stream);
}

using WeightOf = std::pair<Address, bool>;  // as in struct Weight

Weight weight_of(const WeightOf& from) { return {pointer<void>(from.first), from.second}; }

void fold(int type, std::array<int, 4> sizes, std::array<WeightOf, 9> weights, Address folded,
          Address sums, Address offsets, Address folded_scale, Address scale_sums,
          Address gate_biases, Address padded_up_bias, Address stream) {
    FoldArguments a = {};
    a.h = sizes[0], a.hidden = sizes[1], a.width = sizes[2], a.padded_width = sizes[3];
    Weight* const places[] = {&a.gamma, &a.beta, &a.down, &a.down_bias, &a.scale,
                              &a.scale_bias, &a.bias_ih, &a.bias_hh, &a.up_bias};
    for (size_t i = 0; i < weights.size(); ++i) *places[i] = weight_of(weights[i]);
    a.folded = pointer<void>(folded), a.sums = pointer<float>(sums);
    a.offsets = pointer<float>(offsets), a.folded_scale = pointer<float>(folded_scale);
    a.scale_sums = pointer<float>(scale_sums), a.gate_biases = pointer<float>(gate_biases);
    a.padded_up_bias = pointer<float>(padded_up_bias);
    temporal_adapter_cuda_fold(Type(type), a, stream);
}

void finish(int type, std::array<int, 3> sizes, std::array<Address, 4> products, bool subtract,
            std::array<WeightOf, 4> weights, std::array<WeightOf, 12> gradients, Address stream) {
    FinishArguments a = {};
    a.h = sizes[0], a.hidden = sizes[1], a.width = sizes[2], a.subtract = subtract;
    a.gates = pointer<float>(products[0]), a.up = pointer<float>(products[1]);
    a.normalised = pointer<float>(products[2]), a.moments = pointer<float>(products[3]);
    Weight* const places[] = {
        &a.gamma, &a.beta, &a.down, &a.scale, &a.dgamma, &a.dbeta, &a.dscale, &a.dscale_bias,
        &a.ddown, &a.ddown_bias, &a.dweight_ih, &a.dweight_hh, &a.dbias_ih, &a.dbias_hh, &a.dup,
        &a.dup_bias};
    for (size_t i = 0; i < weights.size(); ++i) *places[i] = weight_of(weights[i]);
    for (size_t i = 0; i < gradients.size(); ++i)
        *places[weights.size() + i] = weight_of(gradients[i]);
    temporal_adapter_cuda_finish(Type(type), a, stream);
}

void down(int type, Shape shape, Tensor x, Address weight, Address vector, Address products,
          Address out, int64_t out_stride, Address weight_sums, Address offsets,
          Address vector_sums, float epsilon, bool scale_input, bool augment, Address mean,
          Address rstd, Address stream) {
    CudaDownArguments a = {};
    a.sizes = sizes(shape), a.x = wide(x, Type(type), shape[3]);
    a.weight = pointer<void>(weight), a.vector = pointer<float>(vector);
    a.products = pointer<float>(products);
    a.out = pointer<void>(out), a.out_stride = out_stride;
    a.weight_sums = pointer<float>(weight_sums), a.offsets = pointer<float>(offsets);
    a.vector_sums = pointer<float>(vector_sums), a.epsilon = epsilon;
    a.scale_input = scale_input, a.augment = augment;
    a.mean = pointer<float>(mean), a.rstd = pointer<float>(rstd);
    temporal_adapter_cuda_down(Type(type), a, stream);
}

void up_backward(int type, Shape shape, Tensor dy, Address weight, Address vector, Address products,
                 Address out, Address stream) {
    CudaDownArguments a = {};
    a.sizes = sizes(shape), a.x = wide(dy, Type(type), shape[3]);
    a.weight = pointer<void>(weight), a.vector = pointer<float>(vector);
    a.products = pointer<float>(products);
    a.out = pointer<void>(out), a.out_stride = shape[4];
    temporal_adapter_cuda_up_backward(Type(type), a, stream);
}

void recurrence(int type, Shape shape, std::array<Address, 2> weights, Address bias, Address inputs,
                int64_t inputs_stride, bool save, Address states, Address stream) {
    CudaRecurrenceArguments a = {};
    a.sizes = sizes(shape);
    for (int i = 0; i < 2; ++i) a.weights[i] = pointer<void>(weights[i]);
    a.bias = pointer<float>(bias), a.inputs = pointer<void>(inputs);
    a.inputs_stride = inputs_stride, a.save = save, a.states = pointer<void>(states);
    temporal_adapter_cuda_recurrence(Type(type), a, stream);
}

void recurrence_backward(int type, Shape shape, int scaling, std::array<Address, 4> weights,
                         Address bias, Address inputs, int64_t inputs_stride, Address s,
                         Address grad, Address products, Address dgates, Address dinput,
                         Address activated, Address ds, Address stream) {
    CudaRecurrenceArguments a = {};
    a.sizes = sizes(shape), a.scaling = scaling;
    for (int i = 0; i < 4; ++i) a.weights[i] = pointer<void>(weights[i]);
    a.bias = pointer<float>(bias), a.inputs = pointer<void>(inputs);
    a.inputs_stride = inputs_stride;
    a.s = pointer<float>(s), a.grad = pointer<void>(grad), a.products = pointer<float>(products);
    a.dgates = pointer<void>(dgates), a.dinput = pointer<void>(dinput);
    a.activated = pointer<void>(activated), a.ds = pointer<float>(ds);
    temporal_adapter_cuda_recurrence_backward(Type(type), a, stream);
}

void up(int type, Shape shape, int scaling, Tensor x, Tensor residual, Tensor out, Address weight,
        Address states, Address up_bias, Address s, Address stream) {
    CudaUpArguments a = {};
    a.sizes = sizes(shape), a.scaling = scaling;
    a.x = wide(x, Type(type), shape[3]), a.other = wide(residual, Type(type), shape[3]);
    a.out = wide(out, Type(type), shape[3]);
    a.weight = pointer<void>(weight), a.hidden = pointer<void>(states);
    a.vector = pointer<float>(up_bias), a.s = pointer<float>(s);
    temporal_adapter_cuda_up(Type(type), a, stream);
}

void down_backward(int type, Shape shape, bool scale_input, Tensor x, Tensor dy, Tensor dx,
                   Address weight, Address dinput, Address vector, Address s, Address mean,
                   Address rstd, Address ds, Address inputs, int64_t inputs_stride,
                   Address weight_sums, Address offsets, Address vector_sums, Address scaled,
                   Address moments, Address stream) {
    CudaUpArguments a = {};
    a.sizes = sizes(shape), a.scale_input = scale_input;
    a.x = wide(x, Type(type), shape[3]), a.other = wide(dy, Type(type), shape[3]);
    a.out = wide(dx, Type(type), shape[3]);
    a.weight = pointer<void>(weight), a.hidden = pointer<void>(dinput);
    a.vector = pointer<float>(vector), a.s = pointer<float>(s);
    a.mean = pointer<float>(mean), a.rstd = pointer<float>(rstd), a.ds = pointer<float>(ds);
    a.inputs = pointer<void>(inputs), a.inputs_stride = inputs_stride;
    a.weight_sums = pointer<float>(weight_sums), a.offsets = pointer<float>(offsets);
    a.vector_sums = pointer<float>(vector_sums), a.scaled = pointer<void>(scaled);
    a.moments = pointer<void>(moments);
    temporal_adapter_cuda_down_backward(Type(type), a, stream);
}

std::vector<Plan> plan(int type, int width, int hidden, int limit) {
    return temporal_adapter_cuda_plan(Type(type), width, hidden, limit);
}

}  // namespace

void bind_cuda(py::module_& m) {
    using Unlocked = py::call_guard<py::gil_scoped_release>;
    m.def("temporal_adapter_cuda_fold", &fold, Unlocked());
    m.def("temporal_adapter_cuda_finish", &finish, Unlocked());
    m.def("temporal_adapter_cuda_pack", &pack);
    m.def("temporal_adapter_cuda_down", &down, Unlocked());
    m.def("temporal_adapter_cuda_up_backward", &up_backward, Unlocked());
    m.def("temporal_adapter_cuda_recurrence", &recurrence, Unlocked());
    m.def("temporal_adapter_cuda_recurrence_backward", &recurrence_backward, Unlocked());
    m.def("temporal_adapter_cuda_up", &up, Unlocked());
    m.def("temporal_adapter_cuda_down_backward", &down_backward, Unlocked());
    m.def("temporal_adapter_cuda_plan", &plan,
          "(kernel, threads, bytes of dynamic shared memory, whether plain) where a block may have "
          "`limit` bytes; `hidden` is a multiple of 8.",
          py::arg("type"), py::arg("width"), py::arg("hidden"), py::arg("limit"));
}

}  // namespace peclip_fast
