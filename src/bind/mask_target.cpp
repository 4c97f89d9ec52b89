#include "bind/bind.h"

namespace roikit {

void bind_mask_target(py::module_& module, const MaskTargetKernels& kernels) {
  module.def("mask_targets", kernels.of_bitmaps, py::arg("masks"), py::arg("boxes"), py::arg("matched"),
             py::arg("binary"), py::arg("out"), py::arg("launch"), Release());
  module.def("mask_targets_of_runs", kernels.of_runs, py::arg("counts"), py::arg("offsets"), py::arg("sizes"),
             py::arg("boxes"), py::arg("matched"), py::arg("binary"), py::arg("out"), py::arg("launch"), Release());
}

}  // namespace roikit
