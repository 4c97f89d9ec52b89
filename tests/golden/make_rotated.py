"""The golden file of detectron2's rotated detector, RRPN and RROIHeads on a pyramid: `python make_rotated.py`.

Needs what make_detectron2.py needs. detectron2 has no such configuration in its zoo; this one is its Faster R-CNN with
the parts of its configuration that make it rotated, and the angles of Rotated Mask R-CNN. Its suppression takes
roikit's overlaps, because its own are off where two boxes nearly coincide (facebookresearch/detectron2#2154).
"""

import sys

import torch
from compare import DETECTIONS
from detectron2 import model_zoo
from detectron2.modeling import build_model
from make_detectron2 import DEVIATIONS, detections
from making import make

import roikit.ops

NAME = "rotated_faster_rcnn_R_50_FPN"
ANGLES = (-90, -60, -30)
WEIGHTS = (10.0, 10.0, 5.0, 5.0, 1.0)


def detector():
    config = model_zoo.get_config("COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml")
    config.MODEL.DEVICE = "cpu"
    config.TEST.DETECTIONS_PER_IMAGE = DETECTIONS
    config.MODEL.PROPOSAL_GENERATOR.NAME = "RRPN"
    config.MODEL.RPN.BBOX_REG_WEIGHTS = (1.0,) * 5
    config.MODEL.ANCHOR_GENERATOR.NAME = "RotatedAnchorGenerator"
    config.MODEL.ANCHOR_GENERATOR.ANGLES = [list(ANGLES)]
    config.MODEL.ROI_HEADS.NAME = "RROIHeads"
    config.MODEL.ROI_BOX_HEAD.POOLER_TYPE = "ROIAlignRotated"
    config.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS = WEIGHTS
    sys.modules["detectron2.layers.nms"].nms_rotated = roikit.ops.nms_rotated
    return build_model(config).eval()


def main():
    model = detector()
    deviations = {layer: deviation for layer, _ in model.named_modules()
                  for end, deviation in DEVIATIONS.items() if layer.endswith(end)}
    make("detectron2", NAME, model, deviations, lambda image: detections(model, image))


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
