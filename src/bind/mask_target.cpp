#include "bind/bind.h"

namespace roikit {

namespace {

void bind_bitmaps(py::module_& module,
                  void (*targets)(const View&, const View&, const View&, bool, const View&, const Launch&)) {
  module.def("mask_targets", targets, py::arg("masks"), py::arg("boxes"), py::arg("matched"), py::arg("binary"),
             py::arg("out"), py::arg("launch"), Release());
}

}  // namespace

void bind_mask_target(py::module_& module, const MaskTargetKernels& kernels) {
  bind_bitmaps(module, kernels.of_bitmaps);
  module.def("mask_targets_of_runs", kernels.of_runs, py::arg("counts"), py::arg("offsets"), py::arg("sizes"),
             py::arg("boxes"), py::arg("matched"), py::arg("binary"), py::arg("out"), py::arg("launch"), Release());
}

void bind_mask_target_of_ends(py::module_& module, const MaskTargetOfEnds& kernels) {
  bind_bitmaps(module, kernels.of_bitmaps);
  module.def("mask_targets_of_ends", kernels.of_ends, py::arg("ends"), py::arg("offsets"), py::arg("sizes"),
             py::arg("boxes"), py::arg("matched"), py::arg("binary"), py::arg("out"), py::arg("launch"), Release());
}

}  // namespace roikit
