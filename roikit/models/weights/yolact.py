"""The tensors of YOLACT's authors as roikit's, and back.

Their pyramid stores its layers coarse first. Older files hold the body's stages twice and a third layer that makes
coarser levels. A deformable convolution has a bias there, before the norm: here it is in the norm's mean.
"""

import re
from collections.abc import Iterable

from torch import Tensor

from roikit.models.weights.renaming import Renaming

__all__ = ["UNUSED", "from_yolact", "renaming", "to_yolact"]

State = dict[str, Tensor]

# Names in a file that no network of theirs has any more.
UNUSED = re.compile(r"backbone\.layer\d.*|fpn\.downsample_layers\.([2-9]|\d\d+)\..*")

_OFFSET_BIAS = re.compile(r"(backbone\.body\.layer\d\.\d+)\.conv2\.bias")
# Of a state dict that holds three levels of the body, as all of theirs do.
_LEVELS = 3


def renaming(theirs: Iterable[str]) -> Renaming:
    """Between the names in a file of theirs and ours.

    Args:
        theirs: the names in the file, or ours: those of Darknet-53 are told from a ResNet's.
    """
    text = "\n".join(theirs)
    darknet = re.search(r"backbone\.(_preconv|body\.stem)\.", text) is not None
    return Renaming([
        *(_darknet() if darknet else _resnet()),
        *((f"fpn.{their}_layers.{k}", f"backbone.fpn.{our}_blocks.{_LEVELS - 1 - k}.0")
          for their, our in (("lat", "inner"), ("pred", "layer")) for k in range(_LEVELS)),
        ("fpn.downsample_layers.{a}", "backbone.fpn.extra_blocks.{a}.0"),
        ("prediction_layers.0.upfeature.0", "head.conv.0.0"),
        ("prediction_layers.0.conf_layer", "head.cls_logits"),
        ("prediction_layers.0.bbox_layer", "head.bbox_pred"),
        ("prediction_layers.0.mask_layer", "head.coefficients"),
        # Layers and ReLUs count, and so does the doubling between the third and the fourth.
        *((f"proto_net.{2 * k}", f"protonet.coarse.{k}.0") for k in range(3)),
        ("proto_net.8", "protonet.fine.0.0"),
        ("proto_net.10", "protonet.predictor"),
        ("semantic_seg_conv", "semantic_head"),
        *((f"maskiou_net.maskiou_net.{2 * k}", f"mask_score_head.convs.{k}.0") for k in range(5)),
        ("maskiou_net.maskiou_net.10", "mask_score_head.predictor"),
    ])


def _resnet() -> list[tuple[str, str]]:
    stage, ours = "backbone.layers.{a}.{b}", "backbone.body.layer{a+1}.{b}"
    return [("backbone.conv1", "backbone.body.conv1"), ("backbone.bn1", "backbone.body.bn1"),
            (f"{stage}.conv2.conv_offset_mask", f"{ours}.conv2_offset"),
            *((f"{stage}.{layer}", f"{ours}.{layer}") for layer in ("conv{c}", "bn{c}", "downsample.{c}"))]


def _darknet() -> list[tuple[str, str]]:
    pairs = []
    # Their first stage stands in the stem here.
    stages = [("backbone.layers.0", "backbone.body.stem", 1)]
    stages += [(f"backbone.layers.{k}", f"backbone.body.layer{k}", 0) for k in range(1, 5)]
    for number, layer in ((0, "conv"), (1, "bn")):
        pairs.append((f"backbone._preconv.{number}", f"backbone.body.stem.0.{layer}"))
        for theirs, ours, shift in stages:
            pairs.append((f"{theirs}.0.{number}", f"{ours}.{shift}.{layer}"))
            place = f"{{b+{shift}}}" if shift else "{b}"
            pairs.append((f"{theirs}.{{b}}.conv{{c}}.{number}", f"{ours}.{place}.conv{{c}}.{layer}"))
    return pairs


def from_yolact(state: State) -> State:
    """Our names, their values -> our values: the biases of deformable convolutions go into the norms' means."""
    found = dict(state)
    for name in state:
        if place := _OFFSET_BIAS.fullmatch(name):
            mean = f"{place[1]}.bn2.running_mean"
            if mean in found:
                found[mean] = found[mean] - found.pop(name).to(found[mean])
    return found


def to_yolact(state: State) -> State:
    """A model's state dict with their names and a bias, 0, of each deformable convolution."""
    names = renaming(state)
    found = {names.theirs(name): value for name, value in state.items()}
    for name, value in state.items():
        if name.endswith(".conv2_offset.weight"):
            start = name.removesuffix("conv2_offset.weight")
            found[names.theirs(f"{start}conv2.bias")] = value.new_zeros(state[f"{start}conv2.weight"].shape[0])
    return found
