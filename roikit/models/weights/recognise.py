"""Whose file it is, and what system, by the names and shapes in it. It is for sentences to people, beside the names."""

import re
from collections.abc import Iterable

from torch import Tensor

__all__ = ["described", "library_of"]

State = dict[str, Tensor]

# What only one library calls so, the first that occurs counts.
_MARKS = (
    ("detectron2", ("proposal_generator.", "backbone.bottom_up.", "backbone.stem.", "roi_heads.box_head.fc1.")),
    ("mmdetection", ("rpn_head.", "roi_head.", "neck.lateral_convs.")),
    ("YOLACT", ("prediction_layers.", "proto_net.")),
)

# Blocks of the four stages.
_DEPTHS = {(2, 2, 2, 2): "18", (3, 4, 6, 3): "50", (3, 4, 23, 3): "101", (3, 8, 36, 3): "152"}


def library_of(names: Iterable[str]) -> str:
    """"detectron2", "mmdetection", "YOLACT", or "roikit", whose names are torchvision's, too."""
    text = "\n".join(names)
    return next((library for library, marks in _MARKS if any(
        re.search(rf"(^|\.){re.escape(mark)}", text, re.M) for mark in marks)), "roikit")


def described(state: State) -> str:
    """The system of a state dict with roikit's names, say "Cascade Mask R-CNN on ResNet-50 with FPN, 80 classes"."""
    dense = _any(r"^protonet\.", state)
    if not dense and not _any(r"^roi_heads\.", state):
        body = _any(r"^(conv1|layer1\.0\.conv1|features\.0|_conv_stem)\.", state)
        if _any(r"^classifier\.", state) and _any(r"^backbone\.", state):
            return "a segmenter"
        return "a classification network, which load_backbone reads" if body else "no region-based detector"
    words = f"{_system(state)} on {_body(state)}"
    if any(name.startswith("backbone.fpn.") for name in state):
        words += " with FPN"
    elif any(name.startswith("roi_heads.res5.") for name in state):
        words += " C4"
    extras = [text for mark, text in ((r"conv2_offset\.", "deformable convolutions"),
                                      (r"semantic_head\.", "a semantic branch")) if _any(mark, state)]
    if not _any(r"backbone\.body\..*running_mean", state) and _any(r"backbone\.body\.bn1\.", state):
        extras.append("GroupNorm")
    count = _dense_classes(state) if dense else _classes(state)
    classes = f", {count} class{'' if count == 1 else 'es'}" if count else ""
    return words + "".join(f", {extra}" for extra in extras) + classes


def _classes(state: State) -> int:
    """Without background; 0 where nothing tells."""
    logits = next((value for name, value in state.items()
                   if re.fullmatch(r"roi_heads\.box_predictor(\.0)?\.cls_score\.bias", name)), None)
    return 0 if logits is None or logits.ndim != 1 else len(logits) - 1


def _dense_classes(state: State) -> int:
    """As `_classes`, of a head that predicts for several priors a cell."""
    logits, deltas = (state.get(f"head.{name}.bias") for name in ("cls_logits", "bbox_pred"))
    if logits is None or deltas is None or logits.ndim != 1 or deltas.ndim != 1 or len(deltas) < 4:
        return 0
    return len(logits) // (len(deltas) // 4) - 1


def _any(pattern: str, state: State) -> bool:
    return any(re.search(pattern, name) for name in state)


def _system(state: State) -> str:
    if _any(r"^protonet\.", state):
        return "YOLACT++" if _any(r"^mask_score_head\.", state) else "YOLACT"
    masks = _any(r"^roi_heads\.mask_predictor\.", state)
    if _any(r"^sem_seg_head\.", state):
        return "Panoptic FPN"
    if _any(r"^roi_heads\.(mask_flow|semantic_head)\.", state):
        return "Hybrid Task Cascade"
    if _any(r"^roi_heads\.box_predictor\.\d", state):
        return "Cascade Mask R-CNN" if masks else "Cascade R-CNN"
    if _any(r"^roi_heads\.mask_score_head\.", state):
        return "Mask Scoring R-CNN"
    if _any(r"^roi_heads\.keypoint_predictor\.", state):
        return "Keypoint R-CNN with masks" if masks else "Keypoint R-CNN"
    return "Mask R-CNN" if masks else "Faster R-CNN"


def _body(state: State) -> str:
    blocks = [len({found[1] for name in state if (found := re.match(rf"{stage}\.(\d+)\.", name))})
              for stage in (r"backbone\.body\.layer1", r"backbone\.body\.layer2", r"backbone\.body\.layer3",
                            r"(?:backbone\.body\.layer4|roi_heads\.res5)")]
    if tuple(blocks) == (3, 9, 9, 5) and _any(r"^backbone\.body\.stem\.", state):
        return "Darknet-53"
    kernel = state.get("backbone.body.layer1.0.conv2.weight")
    depth = _DEPTHS.get(tuple(blocks))
    if depth is None or kernel is None or kernel.ndim != 4:
        return "another body"
    width, inputs = kernel.shape[:2]
    if width != inputs:
        return f"ResNeXt-{depth} {width // inputs}x{inputs}d"
    plain = "backbone.body.layer1.0.conv3.weight" not in state
    return f"ResNet-{'34' if plain and depth == '50' else depth}"
