"""roikit's ops on NumPy arrays: compiled, threaded, without torch.

Same names, argument order, defaults and meaning as roikit.ops and roikit.reference. Anything that `np.asarray` takes
without a copy will do, CPU tensors included. Half boxes are cast to float32, and arrays that are computed together to
the wider of their dtypes.

``out`` is a contiguous array for the result, which is returned. ``threads`` is how many threads may work; no result
depends on it. None means ROIKIT_NUM_THREADS, else the processors at hand.
"""

from roikit.kernels.anchors import *
from roikit.kernels.box_codec import *
from roikit.kernels.boxes import *
from roikit.kernels.deform_conv import *
from roikit.kernels.focal_loss import *
from roikit.kernels.keypoints import *
from roikit.kernels.mask_assembly import *
from roikit.kernels.mask_paste import *
from roikit.kernels.mask_rotated import *
from roikit.kernels.mask_target import *
from roikit.kernels.matching import *
from roikit.kernels.nms import *
from roikit.kernels.ps_roi import *
from roikit.kernels.roi_align import *
from roikit.kernels.roi_pool import *
from roikit.kernels.roi_warp import *
from roikit.kernels.rotated import *
from roikit.kernels.rotated_align import *
from roikit.kernels.rotated_boxes import *
from roikit.kernels.rotated_codec import *
from roikit.kernels.soft_nms import *
from roikit.kernels.weighted_boxes_fusion import *

# What the star imports bound: the functions and modules of each op's own __all__, in order.
__all__ = [_name for _name in dir() if _name[0] != "_" and callable(globals()[_name])]
