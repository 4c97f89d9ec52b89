"""The codec of rotated boxes: one class a row, and many."""

import roikit.ops

from . import _inputs


class RotatedCodec:
    params = [[1, 91], ["cpu", "cuda"]]
    param_names = ["classes", "device"]

    def setup(self, classes, device):
        n = 268569 // classes
        boxes, anchors = _inputs.rotated(n, seed=1), _inputs.rotated(n, seed=2)
        deltas = roikit.ops.encode_boxes_rotated(boxes, anchors).repeat(1, classes)
        self.boxes, self.anchors, self.deltas = _inputs.on(device, boxes, anchors, deltas)

    def time_encode_boxes_rotated(self, classes, device):
        roikit.ops.encode_boxes_rotated(self.boxes, self.anchors)
        _inputs.wait(device)

    def time_decode_boxes_rotated(self, classes, device):
        roikit.ops.decode_boxes_rotated(self.deltas, self.anchors)
        _inputs.wait(device)
