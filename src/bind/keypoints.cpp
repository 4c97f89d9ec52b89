#include "core/keypoints.h"

#include "bind/bind.h"

namespace roikit {

void bind_keypoints(py::module_& module) {
  def(module, "encode_keypoints", device::encode_keypoints, "keypoints", "boxes", "size", "target", "valid", "launch");
  def(module, "decode_keypoints", device::decode_keypoints, "maps", "boxes", "xy", "scores", "launch");
}

}  // namespace roikit
