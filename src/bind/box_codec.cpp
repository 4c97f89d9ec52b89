#include <array>

#include <pybind11/stl.h>

#include "bind/bind.h"

namespace roikit {

void bind_box_codec(py::module_& module, const BoxCodecKernels& kernels) {
  using Weights = std::array<double, 4>;
  module.def(
      "encode_boxes",
      [run = kernels.encode_boxes](const View& boxes, const View& anchors, const Weights& weights, const View& out,
                                   const Launch& launch) { run(boxes, anchors, weights.data(), out, launch); },
      py::arg("boxes"), py::arg("anchors"), py::arg("weights"), py::arg("out"), py::arg("launch"), Release());
  module.def(
      "decode_boxes",
      [run = kernels.decode_boxes](const View& deltas, const View& anchors, const Weights& weights, double clip,
                                   const View& out, const Launch& launch) {
        run(deltas, anchors, weights.data(), clip, out, launch);
      },
      py::arg("deltas"), py::arg("anchors"), py::arg("weights"), py::arg("clip"), py::arg("out"), py::arg("launch"),
      Release());
}

}  // namespace roikit
