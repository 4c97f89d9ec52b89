#include "core/rotated_codec.h"

#include <pybind11/stl.h>

#include "bind/bind.h"

namespace roikit {

void bind_rotated_codec(py::module_& module) {
  def(module, "encode_boxes_rotated", device::encode_boxes_rotated, "boxes", "anchors", "weights", "out", "launch");
  def(module, "decode_boxes_rotated", device::decode_boxes_rotated, "deltas", "anchors", "weights", "clip", "out",
      "launch");
}

}  // namespace roikit
