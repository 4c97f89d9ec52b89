"""Works of RoIAlign, on one map and on a pyramid, forward and backward."""

import torch

import roikit.ops as ops

from .. import inputs
from ..work import Work, only
from ._pooling import C4, P2, Case, rows, with_backward, without_gradient

__all__ = ["works"]

STRIDES = (4, 8, 16, 32)


def works(peers, device):
    few, many = inputs.rois(1000, 16, 224), inputs.rois(8000, 16, 224, images=8)
    deep = inputs.rois(300, 32, 512, 2)
    cases = [Case("1000 rois 7x7", [P2], few, goals=(10, 12), cuda_goal=2),
             Case("1000 rois 7x7", [P2], few, dtype=torch.bfloat16, cuda_goal=2, devices=("cuda",)),
             Case("1000 rois 7x7 channels_last", [P2], few, last=True, cuda_goal=2),
             Case("1000 rois 7x7 adaptive", [P2], few, samples=0, goals=(10, 15), quick=False),
             Case("C4 300 rois 14x14", [C4], deep, 14, 1 / 16, goals=(8, 20), quick=False),
             Case("8000 rois of 8 images", [P2], many, images=8, cuda_goal=2, devices=("cuda",), quick=False),
             Case("8000 rois of 8 images", [P2], many, images=8, dtype=torch.bfloat16, cuda_goal=2, devices=("cuda",),
                  quick=False)]
    libraries = only(torchvision=peers.get("torchvision"))
    for case in cases:
        def call(library, case=case):
            # mmcv's adaptive sampling takes seconds a run
            if library is peers.get("mmcv"):
                return lambda x, rois: library.ops.roi_align(x, rois, (case.size,) * 2, case.scale, case.samples,
                                                             "avg", True)
            align = library.roi_align if library is ops else library.ops.roi_align
            return lambda x, rois: align(x, rois, case.size, case.scale, case.samples, True)

        others = only(mmcv=case.samples and case.dtype == torch.float32 and peers.get("mmcv"))
        yield from rows("roi_align", "roi_align", case, call, libraries | others, device)
    case = Case("C4 300 rois 14x14 256 channels", [(256, *C4[1:])], deep, 14, 1 / 16)
    for kind, wrap in (("fwd", without_gradient), ("fwd+bwd", with_backward)):  # no peer has it in this form
        yield Work("roi_align", f"roi_align max {case.label} {kind}", case.make, wrap(
            lambda x, rois: ops.roi_align(x, rois, 14, 1 / 16, 2, True, reduce="max")))
    yield from multiscale_works(peers, device)


def multiscale_works(peers, device):
    shapes, scales = [(256, inputs.HEIGHT // s, inputs.WIDTH // s) for s in STRIDES], [1 / s for s in STRIDES]
    tv, d2, size = peers.get("torchvision"), peers.get("detectron2"), (inputs.HEIGHT, inputs.WIDTH)
    if d2:
        from detectron2.modeling.poolers import ROIPooler
        from detectron2.structures import Boxes
        pooler2 = ROIPooler(7, tuple(scales), 2, "ROIAlignV2")
    if tv:
        pooler = tv.ops.MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)

    def call(library):
        def align(*given):
            maps, rois = list(given[:-1]), given[-1]
            if library is ops:
                return ops.multiscale_roi_align(maps, rois, 7, scales)
            lists = list(rois[:, 1:].reshape(maps[0].shape[0], -1, 4).unbind())  # image by image, as many of each
            if library is d2:
                return pooler2(maps, [Boxes(boxes) for boxes in lists])
            return pooler({str(i): m for i, m in enumerate(maps)}, lists, [size] * len(lists))
        return align

    def rois(images):
        index = torch.arange(images).repeat_interleave(1000).float()
        return torch.cat([index[:, None], inputs.boxes(1000 * images, 16, 800, 4)], 1)

    libraries = only(torchvision=tv, detectron2=d2)
    cases = [Case("1000 rois", shapes, rois(1), goals=(8, 12), cuda_goal=3),
             Case("1000 rois", shapes, rois(1), dtype=torch.bfloat16, cuda_goal=3, devices=("cuda",)),
             Case("1000 rois channels_last", shapes, rois(1), last=True, cuda_goal=3, devices=("cuda",)),
             Case("8000 rois of 8 images", shapes, rois(8), images=8, cuda_goal=3, devices=("cuda",), quick=False),
             Case("8000 rois of 8 images", shapes, rois(8), images=8, dtype=torch.bfloat16, cuda_goal=3,
                  devices=("cuda",), quick=False)]
    for case in cases:
        both = libraries if case.dtype == torch.float32 else only(torchvision=tv)
        yield from rows("roi_align", "multiscale", case, call, both, device)
