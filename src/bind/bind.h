// The bindings: bind_<op>(module, kernels) defines an op's functions from the function pointers it is given, so that
// _core and _cuda share every line of it. The GIL is released while a kernel runs.
#pragma once

#include <pybind11/pybind11.h>

#include "core/deform_conv.h"
#include "core/launch.h"
#include "core/mask_paste.h"
#include "core/ps_roi.h"
#include "core/roi_align.h"
#include "core/roi_warp.h"
#include "core/soft_nms.h"
#include "core/view.h"

namespace roikit {

namespace py = pybind11;

using Release = py::call_guard<py::gil_scoped_release>;

using GridAnchorsKernel = void (*)(const View&, int64_t, int64_t, double, double, double, const View&, const Launch&);
struct AnchorsKernels {
  void (*cell_anchors)(const View&, const View&, bool, bool, const View&, const Launch&);
  GridAnchorsKernel grid_anchors;
};
void bind_anchors(py::module_& module, const AnchorsKernels& kernels);
void bind_grid_anchors(py::module_& module, GridAnchorsKernel kernel);  // cells are made on the host alone

struct BoxCodecKernels {
  void (*encode_boxes)(const View&, const View&, const double*, const View&, const Launch&);
  void (*decode_boxes)(const View&, const View&, const double*, double, const View&, const Launch&);
};
void bind_box_codec(py::module_& module, const BoxCodecKernels& kernels);

struct BoxesKernels {
  void (*box_iou)(const View&, const View&, const View&, const Launch&);
  void (*generalized_box_iou)(const View&, const View&, const View&, const Launch&);
  void (*distance_box_iou)(const View&, const View&, double, const View&, const Launch&);
  void (*complete_box_iou)(const View&, const View&, double, const View&, const Launch&);
};
void bind_boxes(py::module_& module, const BoxesKernels& kernels);

struct DeformConvKernels {
  void (*forward)(const View&, const View&, const View*, const View&, const View*, const DeformRule&, const View&,
                  const Launch&);
  void (*backward)(const View&, const View&, const View&, const View*, const View&, const DeformRule&,
                   const DeformGradients&, const Launch&);
};
void bind_deform_conv(py::module_& module, const DeformConvKernels& kernels);

struct DeformConvSteps {  // CUDA: the caller multiplies matrices, and sorts, in between
  void (*columns)(const View&, const View&, const View*, const View&, const DeformRule&, const View&, const Launch&);
  void (*scatter)(const View&, const View&, const View*, const View&, const DeformRule&, const View&, const Launch&);
  void (*keys)(const View&, const View&, const View&, const DeformRule&, const View&, const Launch&);
  void (*gather)(const View&, const View&, const View*, const View&, const DeformRule&, const View&, const View&,
                 const View&, const Launch&);
  void (*positions)(const View&, const View&, const View&, const View*, const View&, const DeformRule&, const View*,
                    const View*, const Launch&);
};
void bind_deform_conv_steps(py::module_& module, const DeformConvSteps& kernels);

struct KeypointsKernels {
  void (*encode_keypoints)(const View&, const View&, int64_t, const View&, const View&, const Launch&);
  void (*decode_keypoints)(const View&, const View&, const View&, const View&, const Launch&);
};
void bind_keypoints(py::module_& module, const KeypointsKernels& kernels);

struct MaskPasteKernels {
  void (*paste_masks)(const View&, const View&, double, PasteRule, const View&, const Launch&);
  void (*paste_masks_rle)(const View&, const View&, int64_t, int64_t, double, PasteRule, std::vector<uint32_t>&,
                          const View&, const Launch&);
};
void bind_mask_paste(py::module_& module, const MaskPasteKernels& kernels);

struct MaskPasteSteps {  // CUDA: the caller allocates what the runs need, once they are counted
  int64_t (*workspace)(const View&);
  void (*paste_masks)(const View&, const View&, double, PasteRule, const View&, const Launch&);
  int64_t (*chunks)(int64_t);
  void (*count)(const View&, const View&, int64_t, int64_t, double, PasteRule, const View&, const Launch&);
  void (*write)(const View&, int64_t, int64_t, double, const View&, const View&, const View&, const Launch&);
};
void bind_mask_paste_steps(py::module_& module, const MaskPasteSteps& kernels);

struct MaskTargetKernels {
  void (*of_bitmaps)(const View&, const View&, const View&, bool, const View&, const Launch&);
  void (*of_runs)(const View&, const View&, const View&, const View&, const View&, bool, const View&, const Launch&);
};
void bind_mask_target(py::module_& module, const MaskTargetKernels& kernels);

struct MaskTargetOfEnds {  // CUDA: runs are summed up by the caller
  void (*of_bitmaps)(const View&, const View&, const View&, bool, const View&, const Launch&);
  void (*of_ends)(const View&, const View&, const View&, const View&, const View&, bool, const View&, const Launch&);
};
void bind_mask_target_of_ends(py::module_& module, const MaskTargetOfEnds& kernels);

struct MatchingKernels {
  void (*match_boxes)(const View&, const View&, double, double, bool, const View&, const View&, const View&,
                      const Launch&);
};
void bind_matching(py::module_& module, const MatchingKernels& kernels);
void bind_matching_workspace(py::module_& module, int64_t (*workspace)(const View&, bool));  // CUDA alone has one

struct NmsKernels {
  void (*nms)(const View&, const View&, double, const View&, const View&, const Launch&);
  void (*batched_nms)(const View&, const View&, const View&, double, const View&, const View&, const Launch&);
};
void bind_nms(py::module_& module, const NmsKernels& kernels);

struct NmsSteps {  // CUDA: the caller sorts in between
  void (*score_keys)(const View&, const View&, const Launch&);
  int64_t (*workspace)(const View&);
  void (*nms)(const View&, const View&, double, const View&, const View&, const Launch&);
  void (*batched_nms)(const View&, const View&, const View&, const View&, double, const View&, const View&,
                      const Launch&);
};
void bind_nms_steps(py::module_& module, const NmsSteps& kernels);

struct PsRoiKernels {
  void (*forward)(const View&, const View&, double, const PsRule&, const View&, const Launch&);
  void (*backward)(const View&, const View&, double, const PsRule&, const View&, const Launch&);
};
void bind_ps_roi(py::module_& module, const PsRoiKernels& kernels);
void bind_ps_roi_workspace(py::module_& module, int64_t (*backward)(const View&));

struct RoiAlignKernels {
  void (*forward)(const RoiAlignLevels&, const View&, const View&, const RoiAlignRule&, const Launch&);
  void (*backward)(const View&, const View&, const RoiAlignLevels&, const RoiAlignRule&, const Launch&);
  void (*boxes_backward)(const View&, const View&, const View&, double, bool, const View&, const Launch&);
};
void bind_roi_align(py::module_& module, const RoiAlignKernels& kernels);
void bind_roi_align_workspace(py::module_& module, int64_t (*backward)(const View&, const std::vector<View>&, bool));

struct RoiAlignMaxKernels {
  void (*forward)(const RoiAlignLevels&, const View&, const View&, const View&, bool, const RoiAlignRule&,
                  const Launch&);
  void (*backward)(const View&, const View&, const View&, const RoiAlignLevels&, const RoiAlignRule&, const Launch&);
};
void bind_roi_align_max(py::module_& module, const RoiAlignMaxKernels& kernels);
void bind_roi_align_max_workspace(py::module_& module, int64_t (*backward)(const std::vector<View>&));

struct RoiPoolKernels {
  void (*forward)(const View&, const View&, double, const View&, const View&, const Launch&);
  void (*backward)(const View&, const View&, const View&, const View&, const Launch&);
};
void bind_roi_pool(py::module_& module, const RoiPoolKernels& kernels);
struct RoiPoolWorkspaces {
  int64_t (*forward)(int64_t, int64_t, int64_t);
  int64_t (*backward)(const View&, const View&, bool);
};
void bind_roi_pool_workspaces(py::module_& module, const RoiPoolWorkspaces& workspaces);

struct RoiWarpKernels {
  void (*forward)(const View&, const View&, double, WarpReduce, const View&, const View&, const Launch&);
  void (*backward)(const View&, const View&, const View&, double, const View&, const Launch&);
};
void bind_roi_warp(py::module_& module, const RoiWarpKernels& kernels);
void bind_roi_warp_workspace(py::module_& module, int64_t (*backward)(const View&));

struct RotatedKernels {
  void (*box_iou)(const View&, const View&, const View&, const Launch&);
  void (*nms)(const View&, const View&, double, const View&, const View&, const Launch&);
  void (*batched_nms)(const View&, const View&, const View&, double, const View&, const View&, const Launch&);
};
void bind_rotated(py::module_& module, const RotatedKernels& kernels);

struct RotatedSteps {  // CUDA: the caller sorts before, and picks the chosen ones after
  int64_t (*box_iou_workspace)(const View&, const View&);
  void (*box_iou)(const View&, const View&, const View&, const Launch&);
  int64_t (*nms_workspace)(const View&);
  void (*nms)(const View&, const View&, double, const View&, const Launch&);
  void (*batched_nms)(const View&, const View&, const View&, const View&, double, const View&, const Launch&);
};
void bind_rotated_steps(py::module_& module, const RotatedSteps& kernels);

struct RotatedAlignKernels {
  void (*forward)(const View&, const View&, double, int64_t, const View&, const Launch&);
  void (*backward)(const View&, const View&, double, int64_t, const View&, const Launch&);
};
void bind_rotated_align(py::module_& module, const RotatedAlignKernels& kernels);
void bind_rotated_align_workspace(py::module_& module, int64_t (*backward)(const View&));

void bind_rotated_codec(py::module_& module, const BoxCodecKernels& kernels);

using SoftNmsKernel = void (*)(const View&, const View&, double, double, double, Decay, const View&, const View&,
                               const View&, const Launch&);
void bind_soft_nms(py::module_& module, SoftNmsKernel kernel);

struct ClassNmsKernels {
  void (*fast_nms)(const View&, const View&, const View&, double, int64_t, const View&, const View&, const Launch&);
  void (*matrix_nms)(const View&, const View&, const View&, double, double, Decay, const View&, const View&,
                     const View&, const Launch&);
};
void bind_class_nms(py::module_& module, const ClassNmsKernels& kernels);

struct ClassNmsSteps {  // CUDA: the caller sorts around them
  int64_t (*workspace)(const View&);
  void (*fast_nms)(const View&, const View&, const View&, const View&, double, int64_t, const View&, const Launch&);
  void (*matrix_nms)(const View&, const View&, const View&, const View&, const View&, double, Decay, const View&,
                     const Launch&);
};
void bind_class_nms_steps(py::module_& module, const ClassNmsSteps& kernels);

}  // namespace roikit
