// What the bindings of the codecs share.
#pragma once

#include <array>
#include <string>

#include <pybind11/stl.h>

#include "bind/bind.h"

namespace roikit {

// encode_boxes and decode_boxes with an ending, and `count` weights.
template <size_t count>
void bind_codec(py::module_& module, const std::string& ending, const BoxCodecKernels& kernels) {
  using Weights = std::array<double, count>;
  module.def(
      ("encode_boxes" + ending).c_str(),
      [run = kernels.encode_boxes](const View& boxes, const View& anchors, const Weights& weights, const View& out,
                                   const Launch& launch) { run(boxes, anchors, weights.data(), out, launch); },
      py::arg("boxes"), py::arg("anchors"), py::arg("weights"), py::arg("out"), py::arg("launch"), Release());
  module.def(
      ("decode_boxes" + ending).c_str(),
      [run = kernels.decode_boxes](const View& deltas, const View& anchors, const Weights& weights, double clip,
                                   const View& out, const Launch& launch) {
        run(deltas, anchors, weights.data(), clip, out, launch);
      },
      py::arg("deltas"), py::arg("anchors"), py::arg("weights"), py::arg("clip"), py::arg("out"), py::arg("launch"),
      Release());
}

}  // namespace roikit
