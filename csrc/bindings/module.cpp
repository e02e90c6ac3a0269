// The Python module peclip_fast._C: facts about the build, and the kernels on raw pointers.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "cpu/attention/attention.h"
#include "cpu/feed_forward/feed_forward.h"
#include "cpu/instruction_set.h"
#include "cpu/linear/linear.h"
#include "cpu/temporal_adapter/temporal_adapter.h"
#ifdef PECLIP_FAST_CUDA
#include "bindings/cuda.h"
#include "cuda/probe.h"
#endif

namespace py = pybind11;

namespace {

#ifdef PECLIP_FAST_CUDA
constexpr bool kCuda = true;
constexpr const char* kCudaVersion = PECLIP_FAST_CUDA_VERSION;
constexpr const char* kCudaArchitectures = PECLIP_FAST_CUDA_ARCHS;
std::string cuda_problem() { return peclip_fast::cuda_problem(); }
#else
constexpr bool kCuda = false;
constexpr const char* kCudaVersion = "";
constexpr const char* kCudaArchitectures = "";
std::string cuda_problem() { return "built without CUDA (PECLIP_FAST_CUDA=0)"; }
#endif

py::tuple cuda_architectures() {
    std::vector<int> capabilities;
    std::stringstream list(kCudaArchitectures);
    for (std::string name; std::getline(list, name, ',');) capabilities.push_back(std::stoi(name));
    return py::tuple(py::cast(capabilities));
}

// Tensors come as addresses; 0 stands for None. Types are peclip_fast::Type.
using peclip_fast::DownArguments;
using peclip_fast::RecurrenceArguments;
using peclip_fast::Type;
using Address = uintptr_t;
using Shape = std::array<int64_t, 4>;    // (B, T, L, D or h)
using Strides = std::array<int64_t, 3>;  // of B, T and L, in elements

template <class T>
T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
}

DownArguments down_arguments(Shape shape, std::array<int, 3> types, Address x, Strides x_strides) {
    DownArguments a = {};
    a.batch = shape[0], a.frames = shape[1], a.tokens = shape[2], a.width = shape[3];
    a.x_type = Type(types[0]), a.z_type = Type(types[1]), a.out_type = Type(types[2]);
    a.x = {pointer<void>(x), x_strides[0], x_strides[1], x_strides[2]};
    return a;
}

void cpu_down(Shape shape, std::array<int, 3> types, Address x, Strides x_strides, Address residual,
              Strides residual_strides, Address norm_weight, Address norm_bias,
              Address scale_weight, Address scale_bias, Address up_bias, bool scaled_up_bias,
              float epsilon, Address z, Address base, Address mean, Address rstd, Address s,
              int threads) {
    DownArguments a = down_arguments(shape, types, x, x_strides);
    a.residual = {pointer<void>(residual), residual_strides[0], residual_strides[1],
                  residual_strides[2]};
    a.norm_weight = pointer<float>(norm_weight), a.norm_bias = pointer<float>(norm_bias);
    a.scale_weight = pointer<float>(scale_weight), a.scale_bias = pointer<float>(scale_bias);
    a.up_bias = pointer<float>(up_bias), a.scaled_up_bias = scaled_up_bias, a.epsilon = epsilon;
    a.z = pointer<void>(z), a.base = pointer<void>(base);
    a.mean = pointer<float>(mean), a.rstd = pointer<float>(rstd), a.s = pointer<float>(s);
    peclip_fast::temporal_adapter_cpu_down(a, threads);
}

void cpu_down_backward(Shape shape, std::array<int, 3> types, Address x, Strides x_strides,
                       Address norm_weight, Address norm_bias, Address scale_weight, Address mean,
                       Address rstd, Address dz, Address grad, bool scaled_up_bias, Address s,
                       Address ds, Address dx, Address sums, int threads) {
    DownArguments a = down_arguments(shape, types, x, x_strides);
    a.norm_weight = pointer<float>(norm_weight), a.norm_bias = pointer<float>(norm_bias);
    a.scale_weight = pointer<float>(scale_weight), a.ds = pointer<float>(ds);
    a.mean = pointer<float>(mean), a.rstd = pointer<float>(rstd);
    a.dz = pointer<void>(dz), a.grad = pointer<void>(grad);
    a.scaled_up_bias = scaled_up_bias, a.s = pointer<float>(s);
    a.dx = pointer<void>(dx), a.sums = pointer<float>(sums);
    peclip_fast::temporal_adapter_cpu_down_backward(a, threads);
}

RecurrenceArguments recurrence_arguments(Shape shape, int type, int scaling, Address input,
                                         Address weight, Address bias, Address s, Address states,
                                         Address activated) {
    RecurrenceArguments a = {};
    a.batch = shape[0], a.frames = shape[1], a.tokens = shape[2], a.hidden = shape[3];
    a.type = Type(type), a.scaling = scaling, a.input = pointer<void>(input);
    a.weight = pointer<void>(weight), a.bias = pointer<float>(bias), a.s = pointer<float>(s);
    a.states = pointer<void>(states), a.activated = pointer<void>(activated);
    return a;
}

void cpu_recurrence(Shape shape, int type, int scaling, Address input, Address weight, Address bias,
                    Address s, Address states, Address activated, int threads) {
    peclip_fast::temporal_adapter_cpu_recurrence(
        recurrence_arguments(shape, type, scaling, input, weight, bias, s, states, activated),
        threads);
}

void cpu_recurrence_backward(Shape shape, int type, int scaling, Address input, Address weight,
                             Address bias, Address s, Address states, Address activated,
                             Address previous, Address recurrent, Address grad, Address dgates,
                             Address ds, int threads) {
    RecurrenceArguments a =
        recurrence_arguments(shape, type, scaling, input, weight, bias, s, states, activated);
    a.previous = pointer<void>(previous), a.recurrent = pointer<void>(recurrent);
    a.grad = pointer<void>(grad), a.dgates = pointer<void>(dgates), a.ds = pointer<float>(ds);
    peclip_fast::temporal_adapter_cpu_recurrence_backward(a, threads);
}

peclip_fast::AttentionArguments attention_arguments(Shape shape, bool causal, Address qkv,
                                                    Address output, Address lse) {
    peclip_fast::AttentionArguments a = {};
    a.images = shape[0], a.tokens = shape[1], a.heads = shape[2], a.width = shape[3];
    a.causal = causal, a.qkv = pointer<uint16_t>(qkv), a.output = pointer<uint16_t>(output);
    a.lse = pointer<float>(lse);
    return a;
}

void attention(Shape shape, bool causal, Address qkv, Address output, Address lse, int threads) {
    peclip_fast::attention_cpu(attention_arguments(shape, causal, qkv, output, lse), threads);
}

void attention_backward(Shape shape, bool causal, Address qkv, Address lse, Address grad,
                        Address dqkv, int threads) {
    auto a = attention_arguments(shape, causal, qkv, dqkv, lse);
    a.grad = pointer<uint16_t>(grad);
    peclip_fast::attention_cpu_backward(a, threads);
}

using WeightParts = std::tuple<int64_t, int64_t, Address, bool, bool>;  // as in struct Weight

peclip_fast::Weight weight(const WeightParts& parts) {
    const auto [depth, columns, data, by_rows, wide] = parts;
    return {depth, columns, pointer<void>(data), by_rows, wide};
}

void linear(int64_t rows, Address x, WeightParts parts, Address bias, std::array<Address, 2> added,
            Address output, int threads) {
    peclip_fast::linear_cpu({rows,
                             pointer<uint16_t>(x),
                             weight(parts),
                             pointer<float>(bias),
                             {pointer<uint16_t>(added[0]), pointer<uint16_t>(added[1])},
                             pointer<uint16_t>(output)},
                            threads);
}

void weight_gradient(std::array<int64_t, 3> shape, Address dy, int64_t dy_stride, Address x,
                     int64_t x_stride, Address dweight, int threads) {
    peclip_fast::weight_gradient_cpu(
        {shape[0], shape[1], shape[2], pointer<uint16_t>(dy), dy_stride, pointer<uint16_t>(x),
         x_stride, pointer<uint16_t>(dweight)},
        threads);
}

void feed_forward(int64_t rows, int activation, Address x, WeightParts in, Address in_bias,
                  WeightParts out, Address out_bias, std::array<Address, 2> added, Address hidden,
                  Address output, int threads) {
    peclip_fast::FeedForwardArguments a = {};
    a.rows = rows, a.activation = peclip_fast::Activation(activation);
    a.input = pointer<uint16_t>(x), a.first = weight(in), a.second = weight(out);
    a.first_bias = pointer<float>(in_bias), a.second_bias = pointer<float>(out_bias);
    a.added[0] = pointer<uint16_t>(added[0]), a.added[1] = pointer<uint16_t>(added[1]);
    a.hidden = pointer<uint16_t>(hidden), a.output = pointer<uint16_t>(output);
    peclip_fast::feed_forward_cpu(a, threads);
}

void feed_forward_backward(int64_t rows, int activation, Address grad, WeightParts in,
                           Address in_bias, WeightParts out, Address added, Address hidden,
                           Address activated, Address slope, Address dx, int threads) {
    peclip_fast::FeedForwardArguments a = {};
    a.rows = rows, a.activation = peclip_fast::Activation(activation);
    a.input = pointer<uint16_t>(grad), a.first = weight(out), a.second = weight(in);
    a.first_bias = pointer<float>(in_bias), a.added[0] = pointer<uint16_t>(added);
    a.hidden = pointer<uint16_t>(hidden), a.activated = pointer<uint16_t>(activated);
    a.slope = pointer<uint16_t>(slope), a.output = pointer<uint16_t>(dx);
    peclip_fast::feed_forward_cpu_backward(a, threads);
}

peclip_fast::ActivationArguments activation_arguments(int64_t rows, int64_t width, int type,
                                                      int activation, Address input,
                                                      Address bias, Address output) {
    peclip_fast::ActivationArguments a = {};
    a.rows = rows, a.width = width, a.type = Type(type);
    a.activation = peclip_fast::Activation(activation);
    a.input = pointer<void>(input), a.bias = pointer<float>(bias);
    a.output = pointer<void>(output);
    return a;
}

void activate(int64_t rows, int64_t width, int type, int activation, Address input, Address bias,
              Address output, int threads) {
    peclip_fast::feed_forward_cpu_activate(
        activation_arguments(rows, width, type, activation, input, bias, output), threads);
}

void activate_backward(int64_t rows, int64_t width, int type, int activation, Address input,
                       Address bias, Address grad, Address output, int threads) {
    auto a = activation_arguments(rows, width, type, activation, input, bias, output);
    a.grad = pointer<void>(grad);
    peclip_fast::feed_forward_cpu_activate_backward(a, threads);
}

}  // namespace

PYBIND11_MODULE(_C, m) {
    m.doc() = "Compiled kernels of peclip_fast and facts about their build.";
    m.attr("version") = PECLIP_FAST_VERSION;
    m.attr("cuda") = kCuda;
    m.attr("cuda_version") = kCuda ? py::object(py::str(kCudaVersion)) : py::object(py::none());
    m.attr("cuda_architectures") = cuda_architectures();  // e.g. (75, 90); empty without CUDA
    m.def("cuda_problem", &cuda_problem,
          "Empty when the CUDA kernels run on the current device, else the reason why not.");

    using Unlocked = py::call_guard<py::gil_scoped_release>;
    m.def("cpu_instruction_set", &peclip_fast::cpu_instruction_set);
    m.def("is_intel", &peclip_fast::is_intel, "Whether the processor is one of Intel's.");
    m.def("bf16_missing", &peclip_fast::bf16_missing, "What it lacks where nothing does, else empty.");
    m.def("attention_cpu", &attention, Unlocked());
    m.def("attention_cpu_backward", &attention_backward, Unlocked());
    m.def("linear_cpu", &linear, Unlocked());
    m.def("weight_gradient_cpu", &weight_gradient, Unlocked());
    m.def("feed_forward_cpu", &feed_forward, Unlocked());
    m.def("feed_forward_cpu_backward", &feed_forward_backward, Unlocked());
    m.def("feed_forward_cpu_activate", &activate, Unlocked());
    m.def("feed_forward_cpu_activate_backward", &activate_backward, Unlocked());
    m.def("temporal_adapter_cpu_down", &cpu_down, Unlocked());
    m.def("temporal_adapter_cpu_down_backward", &cpu_down_backward, Unlocked());
    m.def("temporal_adapter_cpu_recurrence", &cpu_recurrence, Unlocked());
    m.def("temporal_adapter_cpu_recurrence_backward", &cpu_recurrence_backward, Unlocked());
#ifdef PECLIP_FAST_CUDA
    peclip_fast::bind_cuda(m);
#endif
}
