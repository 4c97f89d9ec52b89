"""A detector in an ONNX file, and everything after it in NumPy: boxes, classes, scores and masks, without torch.

    pip install roikit onnx onnxruntime
    python onnx_detector.py

The network finds bright ellipses, red ones and blue ones. Nobody trained it: its convolutions measure how bright an
anchor is beside its surroundings, and where the light in it lies. What it gives is what single-stage detectors give,
scores and deltas for every anchor of a grid, and what follows is what follows them, too: anchors, decoding, clipping,
suppression by class, masks.
"""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from roikit.kernels import (
    batched_nms,
    cell_anchors,
    clip_boxes_to_image,
    decode_boxes,
    grid_anchors,
    paste_masks_rle,
    roi_align,
)

CLASSES = ("red", "blue")
CHANNELS = (0, 2)  # of each class in an RGB image
SIZES = (16, 32)  # of the anchors, pixels
STRIDE = 8  # image pixels between anchors
WINDOW = 64  # pixels that the network sees around each anchor


def filters():
    """The weights of the two convolutions, for a window around the centre of a grid cell.

    Returns:
        score (SIZES * CLASSES, 3, WINDOW, WINDOW): the mean brightness of a class in the anchor, less that around it.
        moments (5, 3, WINDOW, WINDOW): the sums of the light b, x b, y b, x^2 b, y^2 b, from the centre.
    """
    place = np.arange(WINDOW) + 0.5 - WINDOW / 2
    score = np.zeros((len(SIZES), len(CLASSES), 3, WINDOW, WINDOW), np.float32)
    for a, size in enumerate(SIZES):
        inside = (np.abs(place) < size / 2)[:, None] & (np.abs(place) < size / 2)
        kernel = np.where(inside, 1 / inside.sum(), -2 / (~inside).sum())
        for c, channel in enumerate(CHANNELS):
            score[a, c, channel] = 12 * kernel
    one, x, y = np.ones((WINDOW, WINDOW)), np.tile(place, (WINDOW, 1)), np.tile(place[:, None], WINDOW)
    moments = np.repeat(np.stack([one, x, y, x * x, y * y])[:, None], 3, axis=1)
    return score.reshape(-1, 3, WINDOW, WINDOW), moments.astype(np.float32)


def build_model():
    """The network as an ONNX model (opset 16).

    Input: image (1, 3, H, W) float32 in [0, 1], H and W multiples of STRIDE. Outputs, with h = H / STRIDE and w alike:
        scores (1, SIZES * CLASSES, h, w): the probability of each class in each anchor.
        deltas (1, SIZES * 4, h, w): dx, dy, dw, dh, as Faster R-CNN's.
        light (1, 1, H, W): how bright each pixel is.
    """
    score, moments = filters()
    constants = {"score": score, "bias": np.full(len(score), -5, np.float32), "moments": moments,
                 "little": np.float32(1e-3), "least": np.float32(1), "sixteen": np.float32(16)}
    pads = [(WINDOW - STRIDE) // 2] * 4
    node = helper.make_node
    nodes = [
        node("ReduceMax", ["image"], ["light"], axes=[1], keepdims=1),
        node("Conv", ["image", "score", "bias"], ["logits"], strides=[STRIDE, STRIDE], pads=pads),
        node("Sigmoid", ["logits"], ["scores"]),
        node("Conv", ["image", "moments"], ["sums"], strides=[STRIDE, STRIDE], pads=pads),
        node("Split", ["sums"], ["mass", "mx", "my", "mxx", "myy"], axis=1),
        node("Add", ["mass", "little"], ["weight"]),
    ]
    for axis in "xy":  # the centre of the light, and the width of the ellipse that spreads it so: 4 deviations
        nodes += [
            node("Div", [f"m{axis}", "weight"], [f"centre_{axis}"]),
            node("Div", [f"m{axis}{axis}", "weight"], [f"square_{axis}"]),
            node("Mul", [f"centre_{axis}", f"centre_{axis}"], [f"shift_{axis}"]),
            node("Sub", [f"square_{axis}", f"shift_{axis}"], [f"spread_{axis}"]),
            node("Mul", [f"spread_{axis}", "sixteen"], [f"width2_{axis}"]),
            node("Max", [f"width2_{axis}", "least"], [f"some_{axis}"]),
            node("Sqrt", [f"some_{axis}"], [f"width_{axis}"]),
        ]
    deltas = []
    for size in SIZES:
        constants[f"size_{size}"] = np.float32(size)
        for axis in "xy":
            nodes += [
                node("Div", [f"centre_{axis}", f"size_{size}"], [f"d{axis}_{size}"]),
                node("Div", [f"width_{axis}", f"size_{size}"], [f"ratio_{axis}_{size}"]),
                node("Log", [f"ratio_{axis}_{size}"], [f"log_{axis}_{size}"]),
            ]
        deltas += [f"dx_{size}", f"dy_{size}", f"log_x_{size}", f"log_y_{size}"]
    nodes.append(node("Concat", deltas, ["deltas"], axis=1))

    def tensor(name, *shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes, "blobs", [tensor("image", 1, 3, "H", "W")],
        [tensor("scores", 1, len(score), "h", "w"), tensor("deltas", 1, 4 * len(SIZES), "h", "w"),
         tensor("light", 1, 1, "H", "W")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def detect(session, image, score_threshold=0.5, iou_threshold=0.5):
    """From an image (3, H, W) float32 to boxes (N, 4) xyxy, scores (N,), labels (N,) and N masks in COCO's format."""
    scores, deltas, light = session.run(["scores", "deltas", "light"], {"image": image[None]})
    height, width = scores.shape[2:]
    # The network's channels are anchor by anchor; roikit's anchors come in the order y, x, anchor.
    scores = scores.reshape(len(SIZES), len(CLASSES), height, width).transpose(2, 3, 0, 1).reshape(-1, len(CLASSES))
    deltas = deltas.reshape(len(SIZES), 4, height, width).transpose(2, 3, 0, 1).reshape(-1, 4)
    anchors = grid_anchors(cell_anchors(SIZES, [1.0]), (height, width), STRIDE, offset=0.5)

    anchor, labels = np.nonzero(scores > score_threshold)
    scores = scores[anchor, labels]
    boxes = clip_boxes_to_image(decode_boxes(deltas[anchor], anchors[anchor]), image.shape[1:])
    keep = batched_nms(boxes, scores, labels, iou_threshold)
    boxes, scores, labels = boxes[keep], scores[keep], labels[keep]

    # The mask of a box is the light in it, as a mask head's 28 x 28 probabilities, pasted straight into COCO's strings.
    masks = roi_align(light, [boxes], 28, aligned=True)
    return boxes, scores, labels, paste_masks_rle(masks, boxes, image.shape[1:], threshold=0.5)


def draw(ellipses, size):
    """An image (3, H, W) float32 with ellipses (class, x1, y1, x2, y2) on a black ground."""
    image = np.zeros((3, *size), np.float32)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    for label, x1, y1, x2, y2 in ellipses:
        inside = ((x - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 + ((y - (y1 + y2) / 2) / ((y2 - y1) / 2)) ** 2 <= 1
        image[CHANNELS[label]][inside] = 1
    return image


ELLIPSES = ((0, 20, 24, 60, 52), (1, 130, 16, 150, 40), (0, 200, 90, 218, 108), (1, 40, 110, 76, 146))


def main():
    session = onnxruntime.InferenceSession(build_model().SerializeToString(), providers=["CPUExecutionProvider"])
    image = draw(ELLIPSES, (160, 240))
    boxes, scores, labels, masks = detect(session, image)
    for box, score, label, mask in zip(boxes, scores, labels, masks, strict=True):
        print(f"{CLASSES[label]:5} {score:.2f}  {box.round(1).tolist()}  {len(mask['counts'])} characters of mask")


if __name__ == "__main__":
    main()
