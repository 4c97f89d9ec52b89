"""A detector rearranged for inference on a CPU: the same detections in less time.

What is done: a norm with fixed statistics goes into the weights of its convolution; each convolution is computed in the
way that is the fastest for the sizes at hand: with ReLU and the addition of a residual as it writes its result, on maps
that lie channels-last, or by Winograd's algorithm, which needs fewer multiplications, or otherwise. Sums are taken in
another order than by the model itself, hence differences of float32's last digits.
"""

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from roikit.models.bodies.darknet import Darknet53
from roikit.models.bodies.efficientnet import EfficientNetLite0
from roikit.models.bodies.resnet import BasicBlock, Bottleneck, ResNet
from roikit.models.bodies.vgg import VGG16
from roikit.models.dense.head import DenseHead, ProtoNet
from roikit.models.dense.rescoring import MaskRescorer
from roikit.models.detectors.cascade import CascadeRoIHeads
from roikit.models.detectors.hybrid import HybridRoIHeads, MaskFlow
from roikit.models.detectors.integral import IntegralPredictor, IntegralRoIHeads
from roikit.models.detectors.iterative import IterativeRoIHeads
from roikit.models.necks.fpn import BackboneWithFPN, FeaturePyramidNetwork
from roikit.models.necks.single import BackboneWithoutNeck
from roikit.models.parts.bf16 import native_bf16
from roikit.models.parts.detector import Detector
from roikit.models.parts.fused import FusedConv2d, fuse, require_bf16
from roikit.models.parts.inference_layer import refuse_prepared
from roikit.models.parts.int8 import require_int8
from roikit.models.parts.norm import ConvBlock
from roikit.models.plan import InferencePlan
from roikit.models.prepared.bodies import PreparedFPN, darknet, efficientnet, residual_block, resnet, vgg
from roikit.models.prepared.dense import PreparedDenseHead, protonet
from roikit.models.prepared.heads import (
    PreparedKeypointPredictor,
    PreparedMaskPredictor,
    PreparedRPNHead,
    box_head,
)
from roikit.models.prepared.int8 import quantize
from roikit.models.prepared.parts import InFloat32, ToFloat32, conv_block, is_conv_block, twin
from roikit.models.prepared.segmentation import fcn_head, psp_head, semantic_fpn_head, skip_head
from roikit.models.proposals.rpn import RegionProposalNetwork, RPNHead
from roikit.models.ranges import InferenceRanges
from roikit.models.roi.box import AverageHead, FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from roikit.models.roi.heads import RoIHeads
from roikit.models.roi.keypoint import KeypointRCNNHeads, KeypointRCNNPredictor
from roikit.models.roi.mask import MaskRCNNHeads, MaskRCNNPredictor
from roikit.models.roi.mask_score import MaskScoreHead
from roikit.models.roi.mask_variants import MaskMLPHead, MaskMLPPredictor
from roikit.models.roi.pooling import PyramidRoIAlign, PyramidRoIAlignRotated, PyramidRoIPool
from roikit.models.roi.semantic import SemanticHead, SemanticRoIPool
from roikit.models.segmentation.fcn import FCNHead, FCNSkipHead, FCNSkips
from roikit.models.segmentation.pspnet import PSPHead
from roikit.models.segmentation.segmenter import Segmenter
from roikit.models.segmentation.semantic_fpn import SemanticFPNHead

__all__ = ["prepare_for_inference"]


def prepare_for_inference(model: Detector | Segmenter, precision: str = "float32", *, example: Any = None,
                          plan: InferencePlan | None = None, ranges: InferenceRanges | None = None
                          ) -> Detector | Segmenter:
    """A copy of a detector, or of a segmenter, that gives its results in less time on a CPU.

    In which way a convolution is the fastest depends on its sizes, the processor and the number of threads: it is
    measured, once for sizes that are alike, and `InferencePlan.of(prepared)` tells what was chosen; so does printing
    the model. Ways differ in the last digits of float32. Where the same bits are wanted each time, give the plan again.

    Args:
        model: a float32 detector or segmenter on the CPU. It is left as it is, and may be trained on.
        precision: "float32", or "bf16": weights and maps of the network in bfloat16; boxes, scores and the last layers
            of the box head and of a segmenter in float32. Needs a CPU for which oneDNN has bfloat16 (on x86 one with
            AVX-512), and pays on one that multiplies it in hardware. Then nothing is measured. "auto" is "bf16" there,
            and "float32" elsewhere and for a model with a part that is not of `roikit.models`. "int8": convolutions and
            the box head on 8-bit integers, what is between and after them in float32; it needs `ranges`, and a
            processor with VNNI or AMX. Grouped convolutions, and layers that no image of the calibration reached, stay
            in float32, in one way.
        example: an image, (3, H, W) float32, or a list of some, of the sizes that are to come: the model is called on
            them and measures its ways, and never again. Without it the first call measures, and so does each later one
            for sizes that differ from all before by a factor of two or more; such a call takes several times as long.
        plan: the ways of another prepared model of these layers; then nothing is measured.
        ranges: what `measure_ranges` found for this model, for "int8" alone.

    Returns:
        A model of the same class with the same `config`, in evaluation mode, called in the same way. It has the weights
        as they were at this call, no gradients and no state to load or save; asked to train, it raises RuntimeError and
        stays as it is. Parts that are not of `roikit.models`, and those with activations or convolutions of another
        kind than they are built with, are copied as they are, and run in float32.

    Raises:
        TypeError: `model` is no detector or segmenter, has weights other than float32, a plan or ranges are something
            else, or `precision` is "bf16" and a part is not of `roikit.models`.
        ValueError: `precision` is unknown, `model` is prepared already or not on the CPU, the plan is of another torch
            or of other layers, or there are both a plan and an example; or what the model raises for the example.
        BackendError: `precision` is "bf16" and this processor, or what ONEDNN_MAX_CPU_ISA leaves of it, has too little
        for oneDNN's bfloat16. A prepared model that is unpickled on such a processor raises it as well.
    """
    if precision == "auto":
        with contextlib.suppress(TypeError):  # of a part that takes float32 alone; any other comes again below
            if native_bf16("cpu"):
                return prepare_for_inference(model, "bf16", example=example, plan=plan, ranges=ranges)
        precision = "float32"
    if precision not in ("float32", "bf16", "int8"):
        raise ValueError("prepare_for_inference: precision must be one of float32, bf16, int8, auto, "
                         f"got {precision!r}")
    if (ranges is None) == (precision == "int8"):
        raise ValueError("prepare_for_inference: precision 'int8' needs the ranges of measure_ranges, and no other "
                         f"takes any, got {precision!r} with{'out' if ranges is None else ''} ranges")
    if not isinstance(model, Detector | Segmenter):
        raise TypeError("prepare_for_inference: model must be a detector or a segmenter of roikit.models, "
                        f"got {type(model).__name__}")
    refuse_prepared("prepare_for_inference", model)
    for name, given, kind in (("plan", plan, InferencePlan), ("ranges", ranges, InferenceRanges)):
        if given is not None and not isinstance(given, kind):
            raise TypeError(f"prepare_for_inference: {name} must be an {kind.__name__}, got {type(given).__name__}; "
                            f"{kind.__name__}.load reads a file")
    for name, weight in model.named_parameters():
        if weight.device.type != "cpu":
            raise ValueError(f"prepare_for_inference: model must be on the CPU, got {name} on {weight.device}")
        if weight.dtype != torch.float32:
            raise TypeError(f"prepare_for_inference: model must be float32, got {name} of {weight.dtype}")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if precision == "bf16":
        require_bf16("prepare_for_inference")
    if ranges is not None:
        require_int8("prepare_for_inference")
        if plan is not None:
            raise ValueError("prepare_for_inference: precision 'int8' takes no plan: it has one way")
    if plan is not None and example is not None:
        raise ValueError("prepare_for_inference: there must be a plan or an example to measure one, got both")
    with torch.no_grad():
        prepared = _prepare(model, dtype)
        if ranges is not None:
            ranges.check(model, prepared)
            quantize(prepared, ranges)
        prepared.requires_grad_(False)  # of the parts that are copied: results have no graph, whoever asks for them
        layers, measured = [], {} if precision == "float32" else None
        for module in prepared.modules():
            module.training = False
            if isinstance(module, FusedConv2d):
                module.measured = measured
                layers.append(module)
        if plan is not None:
            plan.put_into(prepared)
        elif example is not None:
            prepared(example if isinstance(example, list | tuple) else [example])
            for layer in layers:
                layer.measured = None
    return prepared


def _prepare(module: Any, dtype: torch.dtype) -> Any:
    """The prepared counterpart of a part, by its exact class: a subclass may compute something else."""
    if type(module) in (Segmenter, FCNSkips):
        return twin(module, transform=copy.deepcopy(module.transform), **_children(module, dtype, ("transform",)))
    if isinstance(module, Detector):
        # A layer that only training asks for stays out of it.
        kept = {"transform": copy.deepcopy(module.transform)} | {name: None for name in module.only_trained}
        return twin(module, **kept, **_children(module, dtype, tuple(kept)))
    kind = type(module)
    if kind in _PARTS:
        return _PARTS[kind](module, dtype)
    if kind in _OF_PARTS:
        return twin(module, **_children(module, dtype))
    if kind in _HEADS:
        return _heads(module, dtype)
    if module is not None and dtype != torch.float32 and kind not in _FLOAT32:
        raise TypeError(f"prepare_for_inference: with precision 'bf16' every part must be of roikit.models, "
                        f"got a {kind.__name__}")
    return copy.deepcopy(module)


def _children(module: nn.Module, dtype: torch.dtype, but: tuple[str, ...] = ()) -> dict[str, nn.Module]:
    return {name: _prepare(part, dtype) for name, part in module._modules.items() if name not in but}


def _heads(heads: RoIHeads, dtype: torch.dtype) -> RoIHeads:
    # A box head takes pooled boxes as they lie in memory, for which it must know how many cells they have.
    pool = heads.box_roi_pool
    pool = pool.pool if type(pool) is SemanticRoIPool else pool
    size = pool.output_size if type(pool) in _POOLERS else None

    def prepare_box_head(head: nn.Module) -> nn.Module:
        known = size is not None and type(head) in (TwoMLPHead, FastRCNNConvFCHead)
        return box_head(head, size, dtype) if known else _prepare(head, dtype)

    own = heads.box_head
    stages = nn.ModuleList(map(prepare_box_head, own)) if type(own) is nn.ModuleList else prepare_box_head(own)
    return twin(heads, box_head=stages, **_children(heads, dtype, ("box_head",)))


def _sequential(module: nn.Sequential, dtype: torch.dtype) -> nn.Module:
    if is_conv_block(module):
        return conv_block(module, dtype)
    return nn.Sequential(*(_prepare(part, dtype) for part in module))


def _keypoint_head(module: KeypointRCNNHeads, dtype: torch.dtype) -> nn.Module:
    if any(type(layer) is not nn.ReLU for layer in module if not isinstance(layer, nn.Conv2d)):
        return InFloat32(module)
    return nn.Sequential(*(fuse(layer, None, "relu", dtype) for layer in module if isinstance(layer, nn.Conv2d)))


def _mask_score_head(module: MaskScoreHead, dtype: torch.dtype) -> nn.Module:
    convs = [conv_block(block, dtype) for block in module.convs]
    return twin(module, convs=nn.Sequential(*convs, ToFloat32()), **{
        name: copy.deepcopy(getattr(module, name)) for name in ("fc1", "fc2", "predictor")})


def _semantic_head(module: SemanticHead, dtype: torch.dtype) -> nn.Module:
    return twin(module, predictor=nn.Sequential(ToFloat32(), copy.deepcopy(module.predictor)),
                **_children(module, dtype, ("predictor",)))


# How a part is prepared that has a faster counterpart.
_PARTS: dict[type, Callable[[Any, torch.dtype], nn.Module]] = {
    ResNet: resnet,
    EfficientNetLite0: efficientnet,
    VGG16: vgg,
    Darknet53: darknet,
    BasicBlock: residual_block,
    Bottleneck: residual_block,
    FeaturePyramidNetwork: PreparedFPN,
    RPNHead: PreparedRPNHead,
    AverageHead: lambda module, dtype: nn.Sequential(ToFloat32(), AverageHead()),
    MaskRCNNHeads: _sequential,
    MaskRCNNPredictor: PreparedMaskPredictor,
    MaskMLPHead: lambda module, dtype: InFloat32(module),
    MaskFlow: _sequential,
    MaskScoreHead: _mask_score_head,
    KeypointRCNNHeads: _keypoint_head,
    KeypointRCNNPredictor: PreparedKeypointPredictor,
    SemanticHead: _semantic_head,
    FCNHead: fcn_head,
    FCNSkipHead: skip_head,
    PSPHead: psp_head,
    SemanticFPNHead: semantic_fpn_head,
    DenseHead: PreparedDenseHead,
    ProtoNet: protonet,
    MaskRescorer: lambda module, dtype: InFloat32(module),
    nn.Sequential: _sequential,
    ConvBlock: _sequential,
    nn.ModuleList: lambda module, dtype: nn.ModuleList(_prepare(part, dtype) for part in module),
}
# What is only made of parts.
_OF_PARTS = (BackboneWithFPN, BackboneWithoutNeck, RegionProposalNetwork, SemanticRoIPool)
_HEADS = (RoIHeads, CascadeRoIHeads, HybridRoIHeads, IterativeRoIHeads, IntegralRoIHeads)
# What stays in float32, and takes that or has no weights.
_POOLERS = (PyramidRoIAlign, PyramidRoIAlignRotated, PyramidRoIPool)
_FLOAT32 = (*_POOLERS, FastRCNNPredictor, IntegralPredictor, MaskMLPPredictor)
