"""match_boxes: the anchors of an FPN against the objects of an image."""

import roikit.kernels
import roikit.ops

from . import _inputs


class MatchBoxes:
    params = [[1, 50, 1000], ["cpu", "cuda"]]
    param_names = ["objects", "device"]

    def setup(self, objects, device):
        self.anchors, self.objects = _inputs.on(device, _inputs.anchors(), _inputs.boxes(objects, 32, 400, seed=2))

    def time_match_boxes(self, objects, device):
        roikit.ops.match_boxes(self.anchors, self.objects, 0.7, 0.3)
        _inputs.wait(device)

    def time_match_boxes_without_low_quality(self, objects, device):
        roikit.ops.match_boxes(self.anchors, self.objects, 0.7, 0.3, allow_low_quality=False)
        _inputs.wait(device)


class MatchBoxesKernel:
    params = [[1, 2], ["base", "v3", "v4"]]
    param_names = ["threads", "simd"]

    def setup(self, threads, simd):
        if simd not in roikit.simd_levels():
            raise NotImplementedError(f"this processor has no {simd}")
        self.anchors, self.objects = _inputs.anchors().numpy(), _inputs.boxes(50, 32, 400, seed=2).numpy()

    def time_match_boxes(self, threads, simd):
        with roikit.simd(simd):
            roikit.kernels.match_boxes(self.anchors, self.objects, 0.7, 0.3, threads=threads)

    def peakmem_match_boxes(self, threads, simd):
        roikit.kernels.match_boxes(self.anchors, self.objects, 0.7, 0.3, threads=threads)
