"""detectron2's tensors as roikit's, and roikit's as detectron2's.

What differs, beside names: detectron2's background is the last class, and it has no deltas and no mask; its networks
take BGR, roikit's RGB, so that the first convolution's input channels are turned around; its norms may stand in a file
without statistics, which are those of the identity then. Pixel means and anchors, which may stand in a file or not, are
data of the configuration here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from roikit.models.weights.background import background_first, background_last
from roikit.models.weights.renaming import Renaming

__all__ = ["CONSTANTS", "STEM", "from_detectron2", "renaming", "renaming_back", "to_detectron2"]

State = dict[str, Tensor]

# Names in a file that are no weights.
CONSTANTS = re.compile(r"pixel_(mean|std)|proposal_generator\.anchor_generator\.cell_anchors\.\d+")

STEM = "backbone.body.conv1.weight"


@dataclass(frozen=True)
class _Layout:
    """What decides how tensors are called.

    Attributes:
        pyramid: whether there is one.
        cascade: whether there are several stages.
        rpn_convs, box_convs, box_layers, keypoint_convs: how many convolutions and fully connected layers heads have.
    """

    pyramid: bool
    cascade: bool
    rpn_convs: int
    box_convs: int
    box_layers: int
    keypoint_convs: int


def renaming(theirs: Iterable[str]) -> Renaming:
    """From the names in a file of detectron2, which may share a prefix."""
    text = "\n".join(theirs)

    def count(pattern: str) -> int:
        return len(set(re.findall(pattern, text)))

    return Renaming(_pairs(_Layout(
        "backbone.bottom_up." in text, re.search(r"box_predictor\.\d", text) is not None,
        max(1, count(r"rpn_head\.conv\.conv(\d+)")), count(r"box_head\.(?:\d+\.)?conv(\d+)"),
        count(r"box_head\.(?:\d+\.)?fc(\d+)"), count(r"keypoint_head\.conv_fcn(\d+)"))))


def renaming_back(state: State) -> Renaming:
    """From a state dict of roikit."""
    cascade = any(re.match(r"roi_heads\.box_predictor\.\d", name) for name in state)
    head = [(name, value) for name, value in state.items()
            if re.match(r"roi_heads\.box_head\.0\." if cascade else r"roi_heads\.box_head\.", name)]
    kernels = [value.ndim for name, value in head if name.endswith(".weight")]
    rpn, keypoints = (sum(re.fullmatch(rf"{layer}\.weight", name) is not None for name in state)
                      for layer in (r"rpn\.head\.conv\.\d+\.0", r"roi_heads\.keypoint_head\.\d+"))
    return Renaming(_pairs(_Layout(any(name.startswith("backbone.fpn.") for name in state), cascade, rpn,
                                   kernels.count(4), kernels.count(2), keypoints)))


def _pairs(layout: _Layout) -> list[tuple[str, str]]:
    body = "backbone.bottom_up" if layout.pyramid else "backbone"
    stage = ".{s}" if layout.cascade else ""
    pairs = [
        (f"{body}.stem.conv1", "backbone.body.conv1"),
        (f"{body}.stem.conv1.norm", "backbone.body.bn1"),
        *_blocks(f"{body}.res{{a+1}}", "backbone.body.layer{a}"),
        *_blocks("roi_heads.res5", "roi_heads.res5"),
        ("proposal_generator.rpn_head.objectness_logits", "rpn.head.cls_logits"),
        ("proposal_generator.rpn_head.anchor_deltas", "rpn.head.bbox_pred"),
        (f"roi_heads.box_predictor{stage}.cls_score", f"roi_heads.box_predictor{stage}.cls_score"),
        (f"roi_heads.box_predictor{stage}.bbox_pred", f"roi_heads.box_predictor{stage}.bbox_pred"),
        ("roi_heads.mask_head.mask_fcn{a+1}", "roi_heads.mask_head.{a}.0"),
        ("roi_heads.mask_head.mask_fcn{a+1}.norm", "roi_heads.mask_head.{a}.1"),
        ("roi_heads.mask_head.deconv", "roi_heads.mask_predictor.conv5_mask"),
        ("roi_heads.mask_head.predictor", "roi_heads.mask_predictor.mask_fcn_logits"),
        ("roi_heads.keypoint_head.score_lowres", "roi_heads.keypoint_predictor.kps_score_lowres"),
        # The ReLU after each convolution counts here, as in torchvision.
        *((f"roi_heads.keypoint_head.conv_fcn{k + 1}", f"roi_heads.keypoint_head.{2 * k}")
          for k in range(layout.keypoint_convs)),
    ]
    for kind, inside in (("lateral", "inner"), ("output", "layer")):
        pairs += [(f"backbone.fpn_{kind}{{a+2}}", f"backbone.fpn.{inside}_blocks.{{a}}.0"),
                  (f"backbone.fpn_{kind}{{a+2}}.norm", f"backbone.fpn.{inside}_blocks.{{a}}.1")]
    # Upsampling after each convolution but those of the finest level counts there.
    for level, k in ((0, 0), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)):
        theirs, own = f"sem_seg_head.p{level + 2}.{2 * k}", f"sem_seg_head.levels.{level}.{k}"
        pairs += [(theirs, f"{own}.0"), (f"{theirs}.norm", f"{own}.1")]
    convs = [""] if layout.rpn_convs == 1 else [f".conv{k}" for k in range(layout.rpn_convs)]
    pairs += [(f"proposal_generator.rpn_head.conv{conv}", f"rpn.head.conv.{k}.0") for k, conv in enumerate(convs)]
    return pairs + _box_head(f"roi_heads.box_head{stage}", layout)


def _blocks(theirs: str, ours: str) -> list[tuple[str, str]]:
    """The residual blocks of a stage."""
    return [(f"{theirs}.{{b}}.conv{{c}}", f"{ours}.{{b}}.conv{{c}}"),
            (f"{theirs}.{{b}}.conv{{c}}.norm", f"{ours}.{{b}}.bn{{c}}"),
            (f"{theirs}.{{b}}.conv2_offset", f"{ours}.{{b}}.conv2_offset"),
            (f"{theirs}.{{b}}.shortcut", f"{ours}.{{b}}.downsample.0"),
            (f"{theirs}.{{b}}.shortcut.norm", f"{ours}.{{b}}.downsample.1")]


def _box_head(head: str, layout: _Layout) -> list[tuple[str, str]]:
    pairs = [(f"{head}.conv{k + 1}", f"{head}.{k}.0") for k in range(layout.box_convs)]
    pairs += [(f"{head}.conv{k + 1}.norm", f"{head}.{k}.1") for k in range(layout.box_convs)]
    if not layout.box_convs and layout.box_layers == 2:
        return [*pairs, (f"{head}.fc1", f"{head}.fc6"), (f"{head}.fc2", f"{head}.fc7")]
    # After the convolutions comes a layer that flattens, after each layer its ReLU.
    return pairs + [(f"{head}.fc{k + 1}", f"{head}.{layout.box_convs + 1 + 2 * k}") for k in range(layout.box_layers)]


def from_detectron2(state: State, own: State) -> State:
    """Tensors of detectron2, under roikit's names already, as the model with the tensors `own` has them."""
    state = background_first(state, own)
    for name in own.keys() - state.keys():
        layer, _, tensor = name.rpartition(".")
        if tensor in ("running_mean", "running_var") and f"{layer}.weight" in state:
            like = state[f"{layer}.weight"]
            state[name] = torch.zeros_like(like) if tensor == "running_mean" else torch.ones_like(like)
    return _turned(state)


def to_detectron2(state: State) -> State:
    """roikit's state dict with detectron2's names and conventions, as it loads strictly there."""
    names = renaming_back(state)
    return {names.theirs(name): value for name, value in _turned(background_last(state)).items()}


def _turned(state: State) -> State:
    """With the first convolution's input channels in the opposite order."""
    return {name: value.flip(1) if name == STEM and value.ndim == 4 else value for name, value in state.items()}
