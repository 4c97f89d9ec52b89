#include <pybind11/stl.h>

#include <array>

#include "bind/bind.h"

namespace roikit {
namespace {

using Pair = std::array<int64_t, 2>;

DeformRule rule_of(Pair stride, Pair padding, Pair dilation) {
  return {{stride[0], stride[1]}, {padding[0], padding[1]}, {dilation[0], dilation[1]}};
}

}  // namespace

void bind_deform_conv(py::module_& module, const DeformConvKernels& kernels) {
  module.def(
      "deform_conv2d",
      [forward = kernels.forward](const View& input, const View& offset, const View* mask, const View& weight,
                                  const View* bias, Pair stride, Pair padding, Pair dilation, const View& output,
                                  const Launch& launch) {
        forward(input, offset, mask, weight, bias, rule_of(stride, padding, dilation), output, launch);
      },
      py::arg("input"), py::arg("offset"), py::arg("mask"), py::arg("weight"), py::arg("bias"), py::arg("stride"),
      py::arg("padding"), py::arg("dilation"), py::arg("output"), py::arg("launch"), Release());
  module.def(
      "deform_conv2d_backward",
      [backward = kernels.backward](const View& grad, const View& input, const View& offset, const View* mask,
                                    const View& weight, Pair stride, Pair padding, Pair dilation,
                                    const View* input_gradient, const View* offset_gradient,
                                    const View* mask_gradient, const View* weight_gradient,
                                    const View* bias_gradient, const Launch& launch) {
        backward(grad, input, offset, mask, weight, rule_of(stride, padding, dilation),
                 {input_gradient, offset_gradient, mask_gradient, weight_gradient, bias_gradient}, launch);
      },
      py::arg("grad"), py::arg("input"), py::arg("offset"), py::arg("mask"), py::arg("weight"), py::arg("stride"),
      py::arg("padding"), py::arg("dilation"), py::arg("input_gradient"), py::arg("offset_gradient"),
      py::arg("mask_gradient"), py::arg("weight_gradient"), py::arg("bias_gradient"), py::arg("launch"), Release());
}

void bind_deform_conv_steps(py::module_& module, const DeformConvSteps& kernels) {
  module.def(
      "deform_conv2d_columns",
      [columns_of = kernels.columns](const View& input, const View& offset, const View* mask, const View& weight,
                                     Pair stride, Pair padding, Pair dilation, const View& columns,
                                     const Launch& launch) {
        columns_of(input, offset, mask, weight, rule_of(stride, padding, dilation), columns, launch);
      },
      py::arg("input"), py::arg("offset"), py::arg("mask"), py::arg("weight"), py::arg("stride"), py::arg("padding"),
      py::arg("dilation"), py::arg("columns"), py::arg("launch"), Release());
  module.def(
      "deform_conv2d_scatter",
      [scatter = kernels.scatter](const View& columns, const View& offset, const View* mask, const View& weight,
                                  Pair stride, Pair padding, Pair dilation, const View& sums, const Launch& launch) {
        scatter(columns, offset, mask, weight, rule_of(stride, padding, dilation), sums, launch);
      },
      py::arg("columns"), py::arg("offset"), py::arg("mask"), py::arg("weight"), py::arg("stride"),
      py::arg("padding"), py::arg("dilation"), py::arg("sums"), py::arg("launch"), Release());
  module.def(
      "deform_conv2d_keys",
      [keys_of = kernels.keys](const View& input, const View& offset, const View& weight, Pair stride, Pair padding,
                               Pair dilation, const View& keys, const Launch& launch) {
        keys_of(input, offset, weight, rule_of(stride, padding, dilation), keys, launch);
      },
      py::arg("input"), py::arg("offset"), py::arg("weight"), py::arg("stride"), py::arg("padding"),
      py::arg("dilation"), py::arg("keys"), py::arg("launch"), Release());
  module.def(
      "deform_conv2d_gather",
      [gather = kernels.gather](const View& columns, const View& offset, const View* mask, const View& weight,
                                Pair stride, Pair padding, Pair dilation, const View& order, const View& starts,
                                const View& sums, const Launch& launch) {
        gather(columns, offset, mask, weight, rule_of(stride, padding, dilation), order, starts, sums, launch);
      },
      py::arg("columns"), py::arg("offset"), py::arg("mask"), py::arg("weight"), py::arg("stride"),
      py::arg("padding"), py::arg("dilation"), py::arg("order"), py::arg("starts"), py::arg("sums"),
      py::arg("launch"), Release());
  module.def(
      "deform_conv2d_positions",
      [positions = kernels.positions](const View& columns, const View& input, const View& offset, const View* mask,
                                      const View& weight, Pair stride, Pair padding, Pair dilation,
                                      const View* offset_gradient, const View* mask_gradient, const Launch& launch) {
        positions(columns, input, offset, mask, weight, rule_of(stride, padding, dilation), offset_gradient,
                  mask_gradient, launch);
      },
      py::arg("columns"), py::arg("input"), py::arg("offset"), py::arg("mask"), py::arg("weight"), py::arg("stride"),
      py::arg("padding"), py::arg("dilation"), py::arg("offset_gradient"), py::arg("mask_gradient"),
      py::arg("launch"), Release());
}

}  // namespace roikit
