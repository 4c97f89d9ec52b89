"""The ops of roikit, an entry each: what tests, `roikit verify`, benchmarks and pages need to know of them stands here.

A plain table of literals: importing it runs nothing else, and `ast.literal_eval` reads it; `roikit.testing.catalogue`
parses the signatures. The key is the name of the op's files on every floor and of its page. An entry has

kind       "elementwise": each output element comes from a few inputs; "sorted": boxes are taken in the order of their
           scores; "sampled": maps are read under boxes or offsets, and have a gradient; "torch": torch's operations
           alone, so that there is nothing but `roikit.ops`.
tolerance  "exact": the compiled kernels have the bits of the reference; "bound": some results lie within a bound, which
           the reference states.
functions  their signatures, which hold on every floor, and those of torch modules, which only `roikit.ops` has. After a
           colon stands an example: a value, or a word of `roikit.testing.examples` for a tensor, such as boxes, rois,
           scores, maps or floats(6, 8, 3, 3). Arguments without one are left at their defaults. "-> varying": the size
           of the result depends on the data.
entries    where the compiled entry points of a function are not one of its name, or several that begin with it (and
           one of its name with "_backward" where the op is sampled) in each module: function -> their names in `_core`
           and in `_cuda`.
"""

__all__ = ["FORMATS", "OPS"]

OPS = {
    "anchors": {"kind": "elementwise", "tolerance": "exact", "functions": [
        "cell_anchors(sizes: (32, 64), aspect_ratios: (0.5, 1.0, 2.0), *, rounded=False, order='ratio', dtype=float32)",
        "grid_anchors(cell_anchors: boxes, feature_size: (37, 53), stride: (4, 8), *, offset=0.0)"],
        "entries": {"cell_anchors": ("cell_anchors", "")}},  # a few numbers, computed on the host for every device
    "boxes": {"kind": "elementwise", "tolerance": "exact", "functions": [
        "box_area(boxes: boxes)", "box_iou(boxes1: boxes, boxes2: boxes)",
        "generalized_box_iou(boxes1: boxes, boxes2: boxes)", "distance_box_iou(boxes1: boxes, boxes2: boxes, eps=1e-7)",
        "complete_box_iou(boxes1: boxes, boxes2: boxes, eps=1e-7)",
        "box_convert(boxes: boxes, in_fmt: 'xyxy', out_fmt: 'cxcywh')",
        "clip_boxes_to_image(boxes: boxes, size: (7, 9))", "remove_small_boxes(boxes: boxes, min_size: 2.0) -> varying",
        "masks_to_boxes(masks: bitmaps, *, inclusive=True)"],
        "entries": {"box_area": ("", ""), "box_convert": ("", ""), "clip_boxes_to_image": ("", ""),
                    "remove_small_boxes": ("", ""), "masks_to_boxes": ("", "")}},  # NumPy's and torch's own operations
    "box_codec": {"kind": "elementwise", "tolerance": "bound", "functions": [
        "encode_boxes(boxes: boxes, anchors: boxes, weights=(1, 1, 1, 1))",
        "decode_boxes(deltas: deltas, anchors: boxes, weights=(1, 1, 1, 1), *, clip=log(1000 / 16))"]},
    "matching": {"kind": "elementwise", "tolerance": "exact", "functions": [
        "match_boxes(anchors: boxes, gt_boxes: boxes, high: 0.7, low: 0.3, *, allow_low_quality=True)"]},
    "nms": {"kind": "sorted", "tolerance": "exact", "functions": [
        "nms(boxes: boxes, scores: scores, iou_threshold: 0.5) -> varying",
        "batched_nms(boxes: boxes, scores: scores, idxs: classes, iou_threshold: 0.5) -> varying",
        "nms_padded(boxes: boxes, scores: scores, iou_threshold: 0.5, max_output: 3)"],
        "entries": {"nms": ("nms", "nms_in_order"), "batched_nms": ("batched_nms", "batched_nms_in_order"),
                    "nms_padded": ("nms", "nms_in_order")}},  # on CUDA the boxes come in the order of their scores
    "soft_nms": {"kind": "sorted", "tolerance": "exact", "functions": [
        "soft_nms(boxes: boxes, scores: scores, iou_threshold=0.3, *, sigma=0.5, min_score=1e-3, method='linear')"
        " -> varying",
        "fast_nms(boxes: boxes, scores: scores, idxs: classes, iou_threshold: 0.5, *, top_k=200, cross_class=False)"
        " -> varying",
        "matrix_nms(boxes: boxes, scores: scores, idxs: classes, *, sigma=2.0, min_score=1e-3, method='gaussian')"
        " -> varying"],
        "entries": {"fast_nms": ("fast_nms", "fast_nms_in_order"),
                    "matrix_nms": ("matrix_nms", "matrix_nms_in_order")}},
    "rotated": {"kind": "sorted", "tolerance": "exact", "functions": [
        "box_iou_rotated(boxes1: rotated_boxes, boxes2: rotated_boxes)",
        "nms_rotated(boxes: rotated_boxes, scores: scores, iou_threshold: 0.5) -> varying",
        "batched_nms_rotated(boxes: rotated_boxes, scores: scores, idxs: classes, iou_threshold: 0.5) -> varying"],
        "entries": {"nms_rotated": ("nms_rotated", "nms_rotated_in_order"),
                    "batched_nms_rotated": ("batched_nms_rotated", "batched_nms_rotated_in_order")}},
    "rotated_boxes": {"kind": "elementwise", "tolerance": "exact", "functions": [
        "min_area_boxes(masks: bitmaps, *, dtype=float32)",
        "flip_boxes_rotated(boxes: rotated_boxes, size: (7, 9), direction='horizontal')",
        "rotate_boxes_rotated(boxes: rotated_boxes, degrees: 30.0, center: (4.0, 3.0))"],
        "entries": {"min_area_boxes": ("min_area_boxes min_area_boxes_of_points min_area_boxes_of_runs",
                                       "min_area_boxes"),
                    "flip_boxes_rotated": ("", ""), "rotate_boxes_rotated": ("", "")}},  # NumPy's and torch's own
    "rotated_codec": {"kind": "elementwise", "tolerance": "bound", "functions": [
        "encode_boxes_rotated(boxes: rotated_boxes, anchors: rotated_boxes, weights=(1, 1, 1, 1, 1))",
        "decode_boxes_rotated(deltas: rotated_deltas, anchors: rotated_boxes, weights=(1, 1, 1, 1, 1), *, "
        "clip=log(1000 / 16))",
        "cell_anchors_rotated(sizes: (32, 64), aspect_ratios: (0.5, 1.0), angles: (-30.0, 30.0), *, dtype=float32)"],
        "entries": {"cell_anchors_rotated": ("cell_anchors", "")}},
    "roi_pool": {"kind": "sampled", "tolerance": "exact", "functions": [
        "roi_pool(input: maps, boxes: rois, output_size: 2, spatial_scale=1.0)",
        "RoIPool(output_size: 2, spatial_scale: 1.0)"]},
    "roi_align": {"kind": "sampled", "tolerance": "bound", "functions": [
        "roi_align(input: maps, boxes: rois, output_size: 2, spatial_scale=1.0, sampling_ratio=-1, aligned=False, *, "
        "rule='samples', reduce='mean')",
        "multiscale_roi_align(features: pyramid, boxes: rois, output_size: 2, scales: (1.0, 0.5), *, sampling_ratio=2, "
        "aligned=False, canonical_scale=224, canonical_level=4, reduce='mean')",
        "RoIAlign(output_size: 2, spatial_scale: 1.0, sampling_ratio: 2, aligned=False, *, rule='samples', "
        "reduce='mean')",
        "MultiScaleRoIAlign(featmap_names: ['a', 'b'], output_size: 2, sampling_ratio: 2, *, canonical_scale=224, "
        "canonical_level=4, reduce='mean')"],
        "entries": {"multiscale_roi_align": ("roi_align roi_align_backward roi_align_max roi_align_max_backward",
                                             "roi_align roi_align_backward roi_align_max roi_align_max_backward")}},
    "rotated_align": {"kind": "sampled", "tolerance": "bound", "functions": [
        "roi_align_rotated(input: maps, boxes: rotated_rois, output_size: 2, spatial_scale=1.0, sampling_ratio=-1)",
        "multiscale_roi_align_rotated(features: pyramid, boxes: rotated_rois, output_size: 2, scales: (1.0, 0.5), *, "
        "sampling_ratio=2, canonical_scale=224, canonical_level=4)",
        "RoIAlignRotated(output_size: 2, spatial_scale: 1.0, sampling_ratio: 2)",
        "MultiScaleRoIAlignRotated(featmap_names: ['a', 'b'], output_size: 2, sampling_ratio: 2, *, "
        "canonical_scale=224, canonical_level=4)"],
        "entries": {"multiscale_roi_align_rotated": ("roi_align_rotated roi_align_rotated_backward",
                                                     "roi_align_rotated roi_align_rotated_backward")}},
    "ps_roi": {"kind": "sampled", "tolerance": "bound", "functions": [
        "ps_roi_align(input: maps, boxes: rois, output_size: 2, spatial_scale=1.0, sampling_ratio=-1)",
        "ps_roi_pool(input: maps, boxes: rois, output_size: 2, spatial_scale=1.0)",
        "PSRoIAlign(output_size: 2, spatial_scale: 1.0, sampling_ratio: 2)",
        "PSRoIPool(output_size: 2, spatial_scale: 1.0)"],
        "entries": {"ps_roi_align": ("ps_roi ps_roi_backward", "ps_roi ps_roi_backward"),
                    "ps_roi_pool": ("ps_roi ps_roi_backward", "ps_roi ps_roi_backward")}},
    "roi_warp": {"kind": "sampled", "tolerance": "exact", "functions": [
        "roi_warp(input: maps, boxes: rois, output_size: 2, spatial_scale=1.0, *, reduce='max')"]},
    "deform_conv": {"kind": "sampled", "tolerance": "bound", "functions": [
        "deform_conv2d(input: maps, offset: floats(2, 18, 5, 7), weight: floats(6, 8, 3, 3), bias: floats(6) = None, "
        "stride=(1, 1), padding=(0, 0), dilation=(1, 1), mask: floats(2, 9, 5, 7) = None)",
        "DeformConv2d(in_channels: 8, out_channels: 6, kernel_size: 3, stride=1, padding=0, dilation=1, groups=1, "
        "bias=True)"],
        "entries": {"deform_conv2d": (
            "deform_conv2d deform_conv2d_backward",  # on CUDA torch multiplies the matrices
            "deform_conv2d_columns deform_conv2d_gather deform_conv2d_keys deform_conv2d_positions "
            "deform_conv2d_scatter")}},
    "mask_paste": {"kind": "elementwise", "tolerance": "exact", "functions": [
        "paste_masks(masks: masks, boxes: boxes, image_size: (7, 9), *, threshold=0.5, rule='continuous')",
        "paste_masks_rle(masks: masks, boxes: boxes, image_size: (7, 9), *, threshold=0.5, rule='continuous')"
        " -> varying"],
        "entries": {"paste_masks_rle": ("paste_masks_rle", "paste_masks_rle_count paste_masks_rle_write")}},
    "mask_assembly": {"kind": "elementwise", "tolerance": "exact", "functions": [
        "assemble_masks(prototypes: floats(4, 5, 6), coefficients: deltas, boxes: boxes, image_size: (7, 9), *, "
        "extent=None, threshold=0.5)",
        "assemble_masks_rle(prototypes: floats(4, 5, 6), coefficients: deltas, boxes: boxes, image_size: (7, 9), *, "
        "extent=None, threshold=0.5) -> varying"],
        "entries": {"assemble_masks_rle": ("assemble_masks_rle",
                                           "assemble_masks_rle_count assemble_masks_rle_write")}},
    "mask_target": {"kind": "elementwise", "tolerance": "bound", "functions": [
        "mask_targets(masks: bitmaps, boxes: boxes, matched: matches, size: 3, *, rule='soft', image_size=None)"],
        "entries": {"mask_targets": ("mask_targets mask_targets_of_runs", "mask_targets mask_targets_of_ends")}},
    "mask_rotated": {"kind": "elementwise", "tolerance": "exact", "functions": [
        "mask_targets_rotated(masks: bitmaps, boxes: rotated_boxes, matched: matches, size: 3, *, rule='soft', "
        "image_size=None)",
        "paste_masks_rotated(masks: masks, boxes: rotated_boxes, image_size: (7, 9), *, threshold=0.5)",
        "paste_masks_rotated_rle(masks: masks, boxes: rotated_boxes, image_size: (7, 9), *, threshold=0.5) -> varying"],
        "entries": {"mask_targets_rotated": ("mask_targets_rotated mask_targets_rotated_of_runs",
                                             "mask_targets_rotated mask_targets_rotated_of_ends"),
                    "paste_masks_rotated_rle": ("paste_masks_rotated_rle",
                                                "paste_masks_rotated_rle_count paste_masks_rotated_rle_write")}},
    "keypoints": {"kind": "elementwise", "tolerance": "exact", "functions": [
        "encode_keypoints(keypoints: keypoints, boxes: boxes, size: 7)",
        "decode_keypoints(maps: heatmaps, boxes: boxes)"]},
    "focal_loss": {"kind": "elementwise", "tolerance": "bound", "functions": [
        "sigmoid_focal_loss(inputs: scores, targets: scores, alpha=0.25, gamma=2, reduction='none')"]},
    "losses": {"kind": "torch", "tolerance": "bound", "functions": [
        "generalized_box_iou_loss(boxes1: boxes, boxes2: boxes, reduction='none', eps=1e-7)",
        "distance_box_iou_loss(boxes1: boxes, boxes2: boxes, reduction='none', eps=1e-7)",
        "complete_box_iou_loss(boxes1: boxes, boxes2: boxes, reduction='none', eps=1e-7)"]},
    "weighted_boxes_fusion": {"kind": "sorted", "tolerance": "exact", "functions": [
        "weighted_boxes_fusion(boxes: boxes, scores: scores, idxs: classes, models: matches, weights=None, "
        "iou_threshold=0.55, *, skip_box_threshold=0.0, conf_type='avg', allows_overflow=False) -> varying"]},
}
FORMATS = ("rle", "polygon")  # of `roikit.masks`: host formats, which have a page and benchmarks as ops have
