"""roikit's ops on torch tensors, on the CPU and on CUDA, with autograd.

Names, argument order and defaults are torchvision's; roikit's own extra arguments are keyword-only. torch.fx traces the
modules, and ``roikit.ops.nms(...)`` and the like, as one call each.
"""

import torch

from roikit.ops.anchors import *
from roikit.ops.box_codec import *
from roikit.ops.boxes import *
from roikit.ops.deform_conv import *
from roikit.ops.focal_loss import *
from roikit.ops.keypoints import *
from roikit.ops.losses import *
from roikit.ops.mask_assembly import *
from roikit.ops.mask_paste import *
from roikit.ops.mask_rotated import *
from roikit.ops.mask_target import *
from roikit.ops.matching import *
from roikit.ops.nms import *
from roikit.ops.ps_roi import *
from roikit.ops.roi_align import *
from roikit.ops.roi_pool import *
from roikit.ops.roi_warp import *
from roikit.ops.rotated import *
from roikit.ops.rotated_align import *
from roikit.ops.rotated_boxes import *
from roikit.ops.rotated_codec import *
from roikit.ops.soft_nms import *
from roikit.ops.weighted_boxes_fusion import *

# What the star imports bound: the functions and modules of each op's own __all__, in order.
__all__ = [_name for _name in dir() if _name[0] != "_" and callable(globals()[_name])]

for _name in __all__:
    if _name[0].islower():
        torch.fx.wrap(_name)
