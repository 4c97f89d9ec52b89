#include "bind/bind.h"

namespace roikit {

void bind_keypoints(py::module_& module, const KeypointsKernels& kernels) {
  module.def("encode_keypoints", kernels.encode_keypoints, py::arg("keypoints"), py::arg("boxes"), py::arg("size"),
             py::arg("target"), py::arg("valid"), py::arg("launch"), Release());
  module.def("decode_keypoints", kernels.decode_keypoints, py::arg("maps"), py::arg("boxes"), py::arg("xy"),
             py::arg("scores"), py::arg("launch"), Release());
}

}  // namespace roikit
