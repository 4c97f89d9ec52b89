"""The categories that published weights tell apart, by the data set: facts of the data sets, ids and names."""

from typing import Any

from roikit.models.weights.published import Published

__all__ = ["categories_of"]

_COCO = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train", 8: "truck", 9: "boat",
    10: "traffic light", 11: "fire hydrant", 13: "stop sign", 14: "parking meter", 15: "bench", 16: "bird", 17: "cat",
    18: "dog", 19: "horse", 20: "sheep", 21: "cow", 22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe",
    27: "backpack", 28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis",
    36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat", 40: "baseball glove", 41: "skateboard",
    42: "surfboard", 43: "tennis racket", 44: "bottle", 46: "wine glass", 47: "cup", 48: "fork", 49: "knife",
    50: "spoon", 51: "bowl", 52: "banana", 53: "apple", 54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot",
    58: "hot dog", 59: "pizza", 60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed",
    67: "dining table", 70: "toilet", 72: "tv", 73: "laptop", 74: "mouse", 75: "remote", 76: "keyboard",
    77: "cell phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink", 82: "refrigerator", 84: "book",
    85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear", 89: "hair drier", 90: "toothbrush",
}
_COCO_STUFF = {
    92: "banner", 93: "blanket", 95: "bridge", 100: "cardboard", 107: "counter", 109: "curtain", 112: "door-stuff",
    118: "floor-wood", 119: "flower", 122: "fruit", 125: "gravel", 128: "house", 130: "light", 133: "mirror-stuff",
    138: "net", 141: "pillow", 144: "platform", 145: "playingfield", 147: "railroad", 148: "river", 149: "road",
    151: "roof", 154: "sand", 155: "sea", 156: "shelf", 159: "snow", 161: "stairs", 166: "tent", 168: "towel",
    171: "wall-brick", 175: "wall-stone", 176: "wall-tile", 177: "wall-wood", 178: "water-other", 180: "window-blind",
    181: "window-other", 184: "tree-merged", 185: "fence-merged", 186: "ceiling-merged", 187: "sky-other-merged",
    188: "cabinet-merged", 189: "table-merged", 190: "floor-other-merged", 191: "pavement-merged",
    192: "mountain-merged", 193: "grass-merged", 194: "dirt-merged", 195: "paper-merged", 196: "food-other-merged",
    197: "building-other-merged", 198: "rock-merged", 199: "wall-other-merged", 200: "rug-merged",
}
_CITYSCAPES = {24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train", 32: "motorcycle",
               33: "bicycle"}
_VOC = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
        "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")

_PARTS = ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
          "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
          "right_ankle")
# Numbers of parts, from 1.
_LIMBS = ((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11),
          (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7))


def categories_of(entry: Published, num_classes: int) -> list[dict[str, Any]]:
    """What the labels 1, 2, ... of published weights mean; of a segmenter the values 0, 1, ... of its label maps.

    Args:
        entry: the weights.
        num_classes: of their model, with the background.

    Returns:
        list of COCO's category records, `id` and `name`, in the order of the labels, and of persons with keypoints
        `keypoints` and `skeleton`; of a panoptic model `isthing`, and the categories of stuff after those of things.
        Labels of torchvision's weights are COCO's ids, of which some do not occur: their name is "N/A". LVIS's
        categories have their numbers as names.
    """
    if entry.system == "keypoint_rcnn":
        return [{"id": 1, "name": "person", "keypoints": list(_PARTS), "skeleton": [list(limb) for limb in _LIMBS]}]
    if entry.system == "fcn":
        return [{"id": i, "name": name} for i, name in enumerate(("background", *_VOC))]
    if entry.source == "torchvision":
        return [{"id": i, "name": _COCO.get(i, "N/A")} for i in range(1, num_classes)]
    if entry.system == "panoptic_fpn":
        return [{"id": i, "name": name, "isthing": isthing} for isthing, names in ((1, _COCO), (0, _COCO_STUFF))
                for i, name in names.items()]
    names = {"COCO": _COCO, "Cityscapes": _CITYSCAPES, "PASCAL VOC": dict(enumerate(_VOC, 1))}.get(
        entry.data, {i: str(i) for i in range(1, num_classes)})
    return [{"id": i, "name": name} for i, name in names.items()]
