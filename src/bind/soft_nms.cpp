#include "bind/bind.h"

namespace roikit {
namespace {

Decay decay_of(int method) {
  require(method >= 0 && method <= 2, "soft_nms: the method must be 0, 1 or 2");
  return Decay(method);
}

}  // namespace

void bind_soft_nms(py::module_& module, SoftNmsKernel kernel) {
  module.def(
      "soft_nms",
      [kernel](const View& boxes, const View& scores, double threshold, double sigma, double min_score, int method,
               const View& keep, const View& decayed, const View& count, const Launch& launch) {
        kernel(boxes, scores, threshold, sigma, min_score, decay_of(method), keep, decayed, count, launch);
      },
      py::arg("boxes"), py::arg("scores"), py::arg("iou_threshold"), py::arg("sigma"), py::arg("min_score"),
      py::arg("method"), py::arg("keep"), py::arg("decayed"), py::arg("count"), py::arg("launch"), Release());
}

void bind_class_nms(py::module_& module, const ClassNmsKernels& kernels) {
  module.def("fast_nms", kernels.fast_nms, py::arg("boxes"), py::arg("scores"), py::arg("idxs"),
             py::arg("iou_threshold"), py::arg("top_k"), py::arg("keep"), py::arg("count"), py::arg("launch"),
             Release());
  module.def(
      "matrix_nms",
      [kernel = kernels.matrix_nms](const View& boxes, const View& scores, const View& idxs, double sigma,
                                    double min_score, int method, const View& keep, const View& decayed,
                                    const View& count, const Launch& launch) {
        kernel(boxes, scores, idxs, sigma, min_score, decay_of(method), keep, decayed, count, launch);
      },
      py::arg("boxes"), py::arg("scores"), py::arg("idxs"), py::arg("sigma"), py::arg("min_score"),
      py::arg("method"), py::arg("keep"), py::arg("decayed"), py::arg("count"), py::arg("launch"), Release());
}

void bind_class_nms_steps(py::module_& module, const ClassNmsSteps& kernels) {
  module.def("soft_nms_workspace", kernels.workspace, py::arg("boxes"), "Bytes of scratch for these functions.");
  module.def("fast_nms_in_order", kernels.fast_nms, py::arg("boxes"), py::arg("by_score"), py::arg("classes"),
             py::arg("ranks"), py::arg("iou_threshold"), py::arg("top_k"), py::arg("kept"), py::arg("launch"),
             Release());
  module.def(
      "matrix_nms_in_order",
      [kernel = kernels.matrix_nms](const View& boxes, const View& scores, const View& by_score, const View& classes,
                                    const View& ranks, double sigma, int method, const View& decayed,
                                    const Launch& launch) {
        kernel(boxes, scores, by_score, classes, ranks, sigma, decay_of(method), decayed, launch);
      },
      py::arg("boxes"), py::arg("scores"), py::arg("by_score"), py::arg("classes"), py::arg("ranks"),
      py::arg("sigma"), py::arg("method"), py::arg("decayed"), py::arg("launch"), Release());
}

}  // namespace roikit
