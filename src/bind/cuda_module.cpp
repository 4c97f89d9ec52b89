// roikit._cuda: the same bindings as _core's, over the CUDA kernels. Imports without a GPU and without a driver.
#include <pybind11/pybind11.h>

#include "bind/bind.h"
#include "core/anchors.h"
#include "core/box_codec.h"
#include "core/boxes.h"
#include "core/deform_conv.h"
#include "core/keypoints.h"
#include "core/mask_paste.h"
#include "core/mask_target.h"
#include "core/matching.h"
#include "core/nms.h"
#include "core/ps_roi.h"
#include "core/roi_align_integral.h"
#include "core/roi_align_max.h"
#include "core/roi_pool.h"
#include "core/roi_warp.h"
#include "core/rotated.h"
#include "core/rotated_align.h"
#include "core/rotated_codec.h"
#include "core/soft_nms.h"
#include "cuda/error.h"

PYBIND11_MODULE(_cuda, m) {
  using namespace roikit;
  m.doc() = "roikit's CUDA kernels. Use roikit.ops.";
  py::module_::import("roikit._core");  // registers View and Launch
  py::register_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const cuda::CudaError& e) {
      py::set_error(py::module_::import("roikit.errors").attr("CudaError"), e.what());
    }
  });
  m.attr("runtime") = CUDART_VERSION;

  bind_grid_anchors(m, cuda::grid_anchors);
  bind_box_codec(m, {cuda::encode_boxes, cuda::decode_boxes});
  bind_boxes(m, {cuda::box_iou, cuda::generalized_box_iou, cuda::distance_box_iou, cuda::complete_box_iou});
  bind_deform_conv_steps(m, {cuda::deform_conv2d_columns, cuda::deform_conv2d_scatter, cuda::deform_conv2d_keys,
                             cuda::deform_conv2d_gather, cuda::deform_conv2d_positions});
  bind_keypoints(m, {cuda::encode_keypoints, cuda::decode_keypoints});
  bind_matching(m, {cuda::match_boxes});
  bind_matching_workspace(m, cuda::match_boxes_workspace);
  bind_mask_paste_steps(m, {cuda::paste_masks_workspace, cuda::paste_masks, cuda::paste_masks_rle_chunks,
                            cuda::paste_masks_rle_count, cuda::paste_masks_rle_write});
  bind_mask_target_of_ends(m, {cuda::mask_targets, cuda::mask_targets_of_ends});
  bind_nms_steps(m, {cuda::score_keys, cuda::nms_workspace, cuda::nms_in_order, cuda::batched_nms_in_order});
  bind_ps_roi(m, {cuda::ps_roi, cuda::ps_roi_backward});
  bind_ps_roi_workspace(m, cuda::ps_roi_backward_workspace);
  bind_roi_align(m, {cuda::roi_align, cuda::roi_align_backward, cuda::roi_align_boxes_backward});
  bind_roi_align_max(m, {cuda::roi_align_max, cuda::roi_align_max_backward});
  bind_roi_align_workspace(m, cuda::roi_align_backward_workspace);
  bind_roi_align_max_workspace(m, cuda::roi_align_max_backward_workspace);
  bind_roi_pool(m, {cuda::roi_pool, cuda::roi_pool_backward});
  bind_roi_pool_workspaces(m, {cuda::roi_pool_workspace, cuda::roi_pool_backward_workspace});
  bind_roi_warp(m, {cuda::roi_warp, cuda::roi_warp_backward});
  bind_roi_warp_workspace(m, cuda::roi_warp_backward_workspace);
  bind_rotated_steps(m, {cuda::box_iou_rotated_workspace, cuda::box_iou_rotated, cuda::nms_rotated_workspace,
                         cuda::nms_rotated_in_order, cuda::batched_nms_rotated_in_order});
  bind_rotated_align(m, {cuda::roi_align_rotated, cuda::roi_align_rotated_backward});
  bind_rotated_align_workspace(m, cuda::roi_align_rotated_backward_workspace);
  bind_rotated_codec(m, {cuda::encode_boxes_rotated, cuda::decode_boxes_rotated});
  bind_soft_nms(m, cuda::soft_nms);
  bind_class_nms_steps(m, {cuda::soft_nms_workspace, cuda::fast_nms_in_order, cuda::matrix_nms_in_order});
}
