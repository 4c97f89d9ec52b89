#include "core/deform_conv.h"

#include <pybind11/stl.h>

#include "bind/bind.h"

namespace roikit {

void bind_deform_conv(py::module_& module) {
#if ROIKIT_ON_CUDA  // in steps: the caller multiplies matrices, and sorts, in between
  def(module, "deform_conv2d_columns", device::deform_conv2d_columns, "input", "offset", "mask", "weight", "stride",
      "padding", "dilation", "columns", "launch");
  def(module, "deform_conv2d_scatter", device::deform_conv2d_scatter, "columns", "offset", "mask", "weight", "stride",
      "padding", "dilation", "sums", "launch");
  def(module, "deform_conv2d_keys", device::deform_conv2d_keys, "input", "offset", "weight", "stride", "padding",
      "dilation", "keys", "launch");
  def(module, "deform_conv2d_gather", device::deform_conv2d_gather, "columns", "offset", "mask", "weight", "stride",
      "padding", "dilation", "order", "starts", "sums", "launch");
  def(module, "deform_conv2d_positions", device::deform_conv2d_positions, "columns", "input", "offset", "mask",
      "weight", "stride", "padding", "dilation", "offset_gradient", "mask_gradient", "launch");
#else
  def(module, "deform_conv2d", device::deform_conv2d, "input", "offset", "mask", "weight", "bias", "stride", "padding",
      "dilation", "output", "launch");
  def(module, "deform_conv2d_backward", device::deform_conv2d_backward, "grad", "input", "offset", "mask", "weight",
      "stride", "padding", "dilation", "input_gradient", "offset_gradient", "mask_gradient", "weight_gradient",
      "bias_gradient", "launch");
#endif
}

}  // namespace roikit
