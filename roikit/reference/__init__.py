"""The specification: every op in short, slow, obvious NumPy. It judges the compiled kernels and is
never a fallback for them. Names, argument order and defaults are those of ``roikit.ops``.
"""

from roikit.reference.anchors import *
from roikit.reference.box_codec import *
from roikit.reference.boxes import *
from roikit.reference.deform_conv import *
from roikit.reference.focal_loss import *
from roikit.reference.keypoints import *
from roikit.reference.mask_assembly import *
from roikit.reference.mask_paste import *
from roikit.reference.mask_rotated import *
from roikit.reference.mask_target import *
from roikit.reference.matching import *
from roikit.reference.nms import *
from roikit.reference.ps_roi import *
from roikit.reference.roi_align import *
from roikit.reference.roi_pool import *
from roikit.reference.roi_warp import *
from roikit.reference.rotated import *
from roikit.reference.rotated_align import *
from roikit.reference.rotated_boxes import *
from roikit.reference.rotated_codec import *
from roikit.reference.soft_nms import *
from roikit.reference.weighted_boxes_fusion import *

# What the star imports bound: the functions and modules of each op's own __all__, in order.
__all__ = [_name for _name in dir() if _name[0] != "_" and callable(globals()[_name])]
