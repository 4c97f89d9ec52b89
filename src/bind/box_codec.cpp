#include "core/box_codec.h"

#include <pybind11/stl.h>

#include "bind/bind.h"

namespace roikit {

void bind_box_codec(py::module_& module) {
  def(module, "encode_boxes", device::encode_boxes, "boxes", "anchors", "weights", "out", "launch");
  def(module, "decode_boxes", device::decode_boxes, "deltas", "anchors", "weights", "clip", "out", "launch");
}

}  // namespace roikit
