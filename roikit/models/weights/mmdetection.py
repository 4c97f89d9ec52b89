"""mmdetection's tensors as roikit's.

As in detectron2 the background is the last class, without deltas and masks. Networks that started from Caffe's weights
take BGR, others RGB.
"""

import re
from collections.abc import Iterable

from torch import Tensor

from roikit.models.configs import DetectorConfig
from roikit.models.weights.background import background_first
from roikit.models.weights.detectron2 import STEM
from roikit.models.weights.renaming import Renaming

__all__ = ["CONSTANTS", "from_mmdetection", "renaming", "takes_bgr"]

State = dict[str, Tensor]

# Names in a file that are no weights.
CONSTANTS = re.compile(r"data_preprocessor\.(mean|std)")


def renaming(theirs: Iterable[str]) -> Renaming:
    """From the names in a file of mmdetection, which may share a prefix."""
    text = "\n".join(theirs)
    convs = len(set(re.findall(r"shared_convs\.(\d+)", text)))
    layers = len(set(re.findall(r"shared_fcs\.(\d+)", text)))
    box = ".{s}" if re.search(r"bbox_head\.\d", text) else ""
    mask = ".{s}" if re.search(r"mask_head\.\d", text) else ""
    pairs = [
        ("backbone.conv1", "backbone.body.conv1"),
        ("backbone.{n}1", "backbone.body.bn1"),
        *_blocks("backbone.layer{a}", "backbone.body.layer{a}"),
        *_blocks("roi_head.shared_head.layer4", "roi_heads.res5"),
        *_conv("neck.lateral_convs.{a}", "backbone.fpn.inner_blocks.{a}"),
        *_conv("neck.fpn_convs.{a}", "backbone.fpn.layer_blocks.{a}"),
        ("rpn_head.rpn_conv", "rpn.head.conv.0.0"),
        ("rpn_head.rpn_cls", "rpn.head.cls_logits"),
        ("rpn_head.rpn_reg", "rpn.head.bbox_pred"),
        (f"roi_head.bbox_head{box}.fc_cls", f"roi_heads.box_predictor{box}.cls_score"),
        (f"roi_head.bbox_head{box}.fc_reg", f"roi_heads.box_predictor{box}.bbox_pred"),
        *_conv(f"roi_head.bbox_head{box}.shared_convs.{{a}}", f"roi_heads.box_head{box}.{{a}}"),
        *_conv(f"roi_head.mask_head{mask}.convs.{{a}}", f"roi_heads.mask_head{mask}.{{a}}"),
        (f"roi_head.mask_head{mask}.upsample", f"roi_heads.mask_predictor{mask}.conv5_mask"),
        (f"roi_head.mask_head{mask}.conv_logits", f"roi_heads.mask_predictor{mask}.mask_fcn_logits"),
        ("roi_head.mask_head.{s+1}.conv_res.conv", "roi_heads.mask_flow.{s}.0"),
        *_conv("roi_head.semantic_head.lateral_convs.{a}", "roi_heads.semantic_head.lateral.{a}"),
        *_conv("roi_head.semantic_head.convs.{a}", "roi_heads.semantic_head.convs.{a}"),
        *_conv("roi_head.semantic_head.conv_embedding", "roi_heads.semantic_head.embedding"),
        ("roi_head.semantic_head.conv_logits", "roi_heads.semantic_head.predictor"),
        ("roi_head.mask_iou_head.convs.{a}", "roi_heads.mask_score_head.convs.{a}.0"),
        ("roi_head.mask_iou_head.fcs.{a}", "roi_heads.mask_score_head.fc{a+1}"),
        ("roi_head.mask_iou_head.fc_mask_iou", "roi_heads.mask_score_head.predictor"),
    ]
    # Two layers alone have torchvision's names; after convolutions comes a layer that flattens.
    numbers = ("fc6", "fc7") if not convs and layers == 2 else [convs + 1 + 2 * k for k in range(layers)]
    pairs += [(f"roi_head.bbox_head{box}.shared_fcs.{k}", f"roi_heads.box_head{box}.{number}")
              for k, number in enumerate(numbers)]
    norm = "gn" if re.search(r"\bgn1\.", text) else "bn"
    return Renaming((theirs.replace("{n}", norm), ours) for theirs, ours in pairs)


def _conv(theirs: str, ours: str) -> list[tuple[str, str]]:
    """A convolution with its norm."""
    return [(f"{theirs}.conv", f"{ours}.0"), (f"{theirs}.{{n}}", f"{ours}.1")]


def _blocks(theirs: str, ours: str) -> list[tuple[str, str]]:
    """The residual blocks of a stage. Offsets of deformable convolutions had another name before 2020."""
    return [(f"{theirs}.{{b}}.conv{{c}}", f"{ours}.{{b}}.conv{{c}}"),
            (f"{theirs}.{{b}}.{{n}}{{c}}", f"{ours}.{{b}}.bn{{c}}"),
            (f"{theirs}.{{b}}.downsample.{{c}}", f"{ours}.{{b}}.downsample.{{c}}"),
            (f"{theirs}.{{b}}.conv2.conv_offset", f"{ours}.{{b}}.conv2_offset"),
            (f"{theirs}.{{b}}.conv2_offset", f"{ours}.{{b}}.conv2_offset")]


def takes_bgr(config: DetectorConfig) -> bool:
    """Whether mmdetection's network of this configuration takes BGR, which no tensor shows.

    So do those whose deviations are 1 of 0..255, and the ResNeXt-101 32x8d, which came from Caffe with others.
    """
    return config.backbone.name == "resnext101_32x8d" or all(s == 1 / 255 for s in config.image.std)


def from_mmdetection(state: State, own: State, bgr: bool) -> State:
    """Tensors of mmdetection, under roikit's names already, as the model with the tensors `own` has them.

    Args:
        bgr: whether their network takes BGR.
    """
    return {name: value.flip(1) if bgr and name == STEM and value.ndim == 4 else value
            for name, value in background_first(state, own).items()}
