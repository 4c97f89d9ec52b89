"""torchvision on roikit's kernels, in two ways.

For code that imports torchvision, its operators on roikit's kernels:

    import roikit.compat.torchvision
    roikit.compat.torchvision.install()                   # where torchvision's binary does not load
    roikit.compat.torchvision.install(prefer="roikit")    # also where it does
    import torchvision

torchvision registers shapes and gradients for its operators from Python and counts on its binary to have defined
them. Where the binary does not fit the installed torch, `import torchvision` ends in "operator torchvision::nms does
not exist". `install` defines those operators, with the same schemas, at the moment when torchvision has found that
its binary is not there.

For code that has no torchvision, the names of torchvision.ops, with its arguments, defaults and dtypes:

    from roikit.compat.torchvision import MultiScaleRoIAlign, box_iou, nms, roi_align
"""

from roikit.compat.torchvision.boxes import (
    batched_nms,
    box_area,
    box_convert,
    box_iou,
    clip_boxes_to_image,
    complete_box_iou,
    distance_box_iou,
    generalized_box_iou,
    masks_to_boxes,
    nms,
    remove_small_boxes,
)
from roikit.compat.torchvision.loading import install, uninstall
from roikit.compat.torchvision.losses import (
    complete_box_iou_loss,
    distance_box_iou_loss,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)
from roikit.compat.torchvision.misc import FrozenBatchNorm2d
from roikit.compat.torchvision.poolers import MultiScaleRoIAlign
from roikit.ops import (
    DeformConv2d,
    PSRoIAlign,
    PSRoIPool,
    RoIAlign,
    RoIPool,
    deform_conv2d,
    ps_roi_align,
    ps_roi_pool,
    roi_align,
    roi_pool,
)

__all__ = [
    "DeformConv2d",
    "FrozenBatchNorm2d",
    "MultiScaleRoIAlign",
    "PSRoIAlign",
    "PSRoIPool",
    "RoIAlign",
    "RoIPool",
    "batched_nms",
    "box_area",
    "box_convert",
    "box_iou",
    "clip_boxes_to_image",
    "complete_box_iou",
    "complete_box_iou_loss",
    "deform_conv2d",
    "distance_box_iou",
    "distance_box_iou_loss",
    "generalized_box_iou",
    "generalized_box_iou_loss",
    "install",
    "masks_to_boxes",
    "nms",
    "ps_roi_align",
    "ps_roi_pool",
    "remove_small_boxes",
    "roi_align",
    "roi_pool",
    "sigmoid_focal_loss",
    "uninstall",
]
