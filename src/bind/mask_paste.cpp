#include "core/mask_paste.h"

#include <pybind11/numpy.h>

#include <memory>

#include "bind/bind.h"

namespace roikit {
namespace {

PasteRule rule_of(int rule) {
  require(rule == 0 || rule == 1, "paste_masks: rule must be 0 (continuous) or 1 (integer)");
  return PasteRule(rule);
}

// Hands the runs over to NumPy without a copy.
py::array_t<uint32_t> owned(std::vector<uint32_t>&& runs) {
  auto kept = std::make_unique<std::vector<uint32_t>>(std::move(runs));
  std::vector<uint32_t>* const data = kept.get();
  py::capsule owner(kept.release(), [](void* p) { delete static_cast<std::vector<uint32_t>*>(p); });
  return py::array_t<uint32_t>(py::ssize_t(data->size()), data->data(), owner);
}

void bind_dense(py::module_& module,
                void (*paste)(const View&, const View&, double, PasteRule, const View&, const Launch&)) {
  module.def(
      "paste_masks",
      [paste](const View& masks, const View& boxes, double threshold, int rule, const View& out, const Launch& launch) {
        paste(masks, boxes, threshold, rule_of(rule), out, launch);
      },
      py::arg("masks"), py::arg("boxes"), py::arg("threshold"), py::arg("rule"), py::arg("out"), py::arg("launch"),
      Release());
}

}  // namespace

void bind_mask_paste(py::module_& module, const MaskPasteKernels& kernels) {
  bind_dense(module, kernels.paste_masks);
  module.def(
      "paste_masks_rle",
      [paste = kernels.paste_masks_rle](const View& masks, const View& boxes, int64_t height, int64_t width,
                                        double threshold, int rule, const View& offsets, const Launch& launch) {
        std::vector<uint32_t> counts;
        {
          py::gil_scoped_release release;
          paste(masks, boxes, height, width, threshold, rule_of(rule), counts, offsets, launch);
        }
        return owned(std::move(counts));
      },
      py::arg("masks"), py::arg("boxes"), py::arg("height"), py::arg("width"), py::arg("threshold"), py::arg("rule"),
      py::arg("offsets"), py::arg("launch"), "The flat run lengths, uint32; fills offsets.");
}

void bind_mask_paste_steps(py::module_& module, const MaskPasteSteps& kernels) {
  bind_dense(module, kernels.paste_masks);
  module.def("paste_masks_workspace", kernels.workspace, py::arg("masks"), "Bytes of scratch for all of paste_masks.");
  module.def("paste_masks_rle_chunks", kernels.chunks, py::arg("width"), "Counts a mask that are added up.");
  module.def(
      "paste_masks_rle_count",
      [count = kernels.count](const View& masks, const View& boxes, int64_t height, int64_t width, double threshold,
                              int rule, const View& changes, const Launch& launch) {
        count(masks, boxes, height, width, threshold, rule_of(rule), changes, launch);
      },
      py::arg("masks"), py::arg("boxes"), py::arg("height"), py::arg("width"), py::arg("threshold"), py::arg("rule"),
      py::arg("changes"), py::arg("launch"), Release());
  module.def("paste_masks_rle_write", kernels.write, py::arg("masks"), py::arg("height"), py::arg("width"),
             py::arg("threshold"), py::arg("upto"), py::arg("ends"), py::arg("counts"), py::arg("launch"), Release());
}

}  // namespace roikit
