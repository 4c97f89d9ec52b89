"""Golden files of detectron2's model zoo: `python make_detectron2.py NAME...`, all of MODELS by default.

Needs detectron2 with its compiled module, torchvision, pycocotools and roikit (for its run-length codec).
"""

import sys

import numpy as np
import torch
from compare import DETECTIONS, PANOPTIC
from detectron2 import model_zoo
from detectron2.modeling import build_model
from making import make

MODELS = ("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x", "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x",
          "COCO-InstanceSegmentation/mask_rcnn_R_50_DC5_3x", "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x",
          "Misc/mask_rcnn_R_50_FPN_3x_gn", "Misc/mask_rcnn_R_50_FPN_3x_dconv_c3-c5",
          "Misc/mask_rcnn_R_50_FPN_1x_cls_agnostic", "Misc/cascade_mask_rcnn_R_50_FPN_3x",
          "COCO-Keypoints/keypoint_rcnn_R_50_FPN_3x", "COCO-Detection/faster_rcnn_R_101_FPN_3x",
          "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x")
# By the end of a layer's name, the deviation of its output.
# GroupNorm magnifies rounding: lower scores there.
DEVIATIONS = {"stem.conv1": 1.0, "conv2_offset": 1.0, "objectness_logits": 1.5, "anchor_deltas": 0.3, "cls_score": 1.2,
              "bbox_pred": 0.4, "mask_head.predictor": 3.0, "score_lowres": 2.0,
              "sem_seg_head.predictor": 2.0}


def detector(name):
    config = model_zoo.get_config(f"{name}.yaml")
    config.MODEL.DEVICE = "cpu"
    config.TEST.DETECTIONS_PER_IMAGE = DETECTIONS
    combine = config.MODEL.PANOPTIC_FPN.COMBINE
    combine.INSTANCES_CONFIDENCE_THRESH = PANOPTIC["score_threshold"]
    combine.OVERLAP_THRESH = PANOPTIC["overlap_threshold"]
    combine.STUFF_AREA_LIMIT = PANOPTIC["stuff_area"]
    return build_model(config).eval()


def detections(model, image):
    """Of an RGB image in 0..255, which detectron2 takes as BGR."""
    height, width = image.shape[1:]
    batch = [{"image": torch.from_numpy(image[::-1].copy()), "height": height, "width": width}]
    result = model(batch)[0]
    found = result["instances"]
    arrays = {"boxes": found.pred_boxes.tensor.numpy(), "scores": found.scores.numpy(),
              "labels": found.pred_classes.numpy()}
    if found.has("pred_masks"):
        arrays["masks"] = found.pred_masks.numpy()
    if found.has("pred_keypoints"):
        points = found.pred_keypoints.numpy()
        arrays.update(keypoints=points[..., :2], keypoints_scores=points[..., 2])
    if "panoptic_seg" in result:
        arrays.update(panoptic(*result["panoptic_seg"], result["sem_seg"]))
    return arrays


def panoptic(ids, segments, logits):
    """The map of segments, their rows (id, whether a thing, category, index of the detection or -1), and the classes of
    pixels."""
    rows = [[one["id"], one["isthing"], one["category_id"], one.get("instance_id", -1)] for one in segments]
    return {"panoptic": ids.numpy().astype(np.uint8), "segments": np.array(rows, dtype=np.int64).reshape(-1, 4),
            "classes": logits.argmax(0).numpy().astype(np.uint8)}


def main(names):
    for name in names or MODELS:
        model = detector(name)
        print(f"{name}: {sum(p.numel() for p in model.parameters()):,} trainable or frozen parameters, norms' buffers "
              "not counted")
        deviations = {layer: deviation for layer, _ in model.named_modules()
                      for end, deviation in DEVIATIONS.items() if layer.endswith(end)}
        if name.endswith("_gn"):
            deviations["roi_heads.box_predictor.cls_score"] = 0.8
        make("detectron2", name, model, deviations, lambda image, model=model: detections(model, image),
             labels=1 if "keypoint" in name else 3)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main(sys.argv[1:])
