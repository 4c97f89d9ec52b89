"""Weights from files into models: roikit's own, torchvision's, detectron2's, mmdetection's and YOLACT's authors'.

No code in a file is ever executed.

Every tensor is accounted for: what is in the file but not in the model, or the other way round, or
of another shape, is an error unless the caller allows it, and is listed in any case.
"""

import functools
import hashlib
import os
import re
import warnings
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from roikit.errors import RoikitWarning
from roikit.models.bodies.vgg import VGG16
from roikit.models.parts.inference_layer import refuse_prepared
from roikit.models.parts.norm import FrozenBatchNorm2d
from roikit.models.roi.box import TwoMLPHead
from roikit.models.segmentation.fcn import FCNSkipHead
from roikit.models.weights import detectron2, mmdetection, yolact
from roikit.models.weights.files import read_state
from roikit.models.weights.layouts import obstacle
from roikit.models.weights.recognise import described, library_of

__all__ = ["LoadReport", "load_backbone", "load_checkpoint", "published_norm_eps"]

State = dict[str, Tensor]

# What depends on the number of classes or keypoints, and so cannot be taken over when that changes.
_PREDICTORS = re.compile(r"roi_heads\.(box_predictor\.(\d+\.)?(cls_score|bbox_pred)"
                         r"|mask_predictor\.(\d+\.)?mask_fcn_logits|mask_score_head\.predictor"
                         r"|keypoint_predictor\.kps_score_lowres)\.|(head\.cls_logits|semantic_head"
                         r"|mask_score_head\.predictor|sem_seg_head\.predictor)\."
                         r"|(aux_)?classifier\.(4|5|predictor|score_\w+|upscore\w+)\.")

# Of one stage, of the first of several.
_CLASSES = ("roi_heads.box_predictor.cls_score.bias", "roi_heads.box_predictor.0.cls_score.bias")
_KEYPOINTS = "roi_heads.keypoint_predictor.kps_score_lowres.bias"

# torchvision renamed these layers in 0.13 (2022); files of either age are in use.
_RENAMED = (
    (re.compile(r"^rpn\.head\.conv\.(weight|bias)$"), r"rpn.head.conv.0.0.\1"),
    (re.compile(r"^backbone\.fpn\.(inner|layer)_blocks\.(\d+)\.(weight|bias)$"),
     r"backbone.fpn.\1_blocks.\2.0.\3"),
    (re.compile(r"^roi_heads\.mask_head\.mask_fcn([1-9]\d*)\.(weight|bias)$"),
     lambda m: f"roi_heads.mask_head.{int(m[1]) - 1}.0.{m[2]}"),
)

# EfficientNet-Lite0's published names, inside and outside a block.
_LITE_BLOCK = {"_expand_conv": "expand_conv", "_bn0": "expand_norm",
               "_depthwise_conv": "depthwise_conv", "_bn1": "depthwise_norm",
               "_project_conv": "project_conv", "_bn2": "project_norm"}
_LITE_STEM = {"_conv_stem": "stem_conv", "_bn0": "stem_norm"}
_LITE_CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")
# Those of torchvision's ResNets and VGG-16.
_CLASSIFIERS = ("fc.", "classifier.")
# What no classification network has: its convolutions are where they are.
_OFFSETS = re.compile(r"\.conv2_offset\.(weight|bias)$")

# What torch's wrappers put between the dots of a model's names: DataParallel and its distributed and averaging kin,
# torch.compile. AveragedModel counts in a tensor of its own.
_WRAPPERS = ("module", "_orig_mod")
_COUNTER = "n_averaged"

# sha256 prefixes of torchvision's COCO files of 2019 (they stand in the files' names as well): masks, boxes, keypoints.
# Those networks were trained with frozen batch norm without an eps, which no tensor shows. torchvision gives its other
# file of keypoints (9f466800), an earlier state of the training, the eps.
_TRAINED_WITHOUT_EPS = ("bf2d0c1e", "258fb6c6", "fc266e95")

# What is in files of other libraries and of no use here.
_CONSTANTS = {"detectron2": detectron2.CONSTANTS, "mmdetection": mmdetection.CONSTANTS, "YOLACT": yolact.UNUSED}
# How tensors of a detector begin, and of no other network.
_DETECTORS = ("roi_heads.", "protonet.")
# What builds the model of a library's file.
_DOORS = {"detectron2": "detectron2_model", "mmdetection": "mmdetection_model", "YOLACT": "yolact_config"}


@dataclass(frozen=True)
class LoadReport:
    """Where each tensor of a file and of a model went. All are sorted names.

    Attributes:
        loaded: copied from the file.
        reinitialised: the model's own values kept on purpose: predictors of another number of
            classes or keypoints, and batch counters that the file lacks.
        missing: in the model, but not in the file with that shape.
        unexpected: in the file, but not in the model with that shape.
        dropped: in the file and of no use here: a classifier's last layers, batch counters of
            frozen layers.
        prefix: what every name in the file began with, "model." say, and was taken off. What torch's wrappers put into
            names ("module.", "_orig_mod.") goes without saying.
    """

    loaded: tuple[str, ...]
    reinitialised: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    prefix: str = ""

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} tensors loaded" + (f", names without {self.prefix!r}" if self.prefix else "")]
        for name in ("reinitialised", "missing", "unexpected", "dropped"):
            names = getattr(self, name)
            if names:
                lines.append(f"{len(names)} {name}: {', '.join(names)}")
        return "\n".join(lines)


def load_checkpoint(model: nn.Module, path: str | os.PathLike, *, strict: bool = True,
                    allow_new_classes: bool = False) -> LoadReport:
    """Load a detector's weights from a file into `model`.

    Whose file it is shows in the names in it, and its tensors are brought into roikit's names and conventions. What no
    tensor shows, how pixels are normalised say, is the model's own: `detectron2_model` and `mmdetection_model` build
    what belongs to such a file.

    Args:
        model: a detector of this package, or any module for a file with its names.
        path: a file that `read_state` reads: of `torch.save`, a pickle of NumPy arrays, .safetensors. Its state dict is
            roikit's, torchvision's of any age, detectron2's, mmdetection's or YOLACT's authors'. Its names may be those
            of a model inside DataParallel, DistributedDataParallel, AveragedModel or torch.compile, or share another
            prefix.
        strict: True raises when a tensor of the model or of the file stays without its partner;
            False loads the rest and reports.
        allow_new_classes: True keeps the model's own predictors where they differ from the file's
            in shape, that is in the number of classes or keypoints.

    Raises:
        OSError: the file cannot be read.
        ValueError: something does not fit, listed by name with both shapes, with the system that the file looks like;
            the model is one of `prepare_for_inference`, which takes no other weights; or the file holds something other
            than tensors. The model is unchanged then.

    Warns:
        RoikitWarning: the file is one of torchvision's of 2019, whose frozen batch norms had no
            eps, and the model's have one; or it is another library's, and the model follows other conventions than
            that library.
    """
    refuse_prepared("load_checkpoint", model)
    state, dropped = {}, []
    own = model.state_dict()
    content = read_state(path)
    library = library_of(content) if any(name.startswith(_DETECTORS) for name in own) else "roikit"
    renamed = _renaming(library, content)
    found, prefix = _unwrapped(content, own, renamed)
    for name, value in found.items():
        new = renamed(name)
        if new not in own and (new.endswith(".num_batches_tracked") or new == _COUNTER
                               or library in _CONSTANTS and _CONSTANTS[library].fullmatch(name)):
            dropped.append(new)
        elif new in state:
            raise ValueError(f"load_checkpoint: {path} must hold one tensor for each of the model's, got two for {new}")
        else:
            state[new] = value
    hint = _system_hint(library, own, state)
    config = getattr(model, "config", None)
    if library == "detectron2":
        state = detectron2.from_detectron2(state, own)
    elif library == "mmdetection":
        state = mmdetection.from_mmdetection(state, own, config is not None and mmdetection.takes_bgr(config))
    elif library == "YOLACT":
        state = yolact.from_yolact(state)
    fresh = _PREDICTORS if allow_new_classes else None
    hint += "" if allow_new_classes else _class_hint(own, state)
    report = _copy(model, state, dropped, strict, fresh, f"load_checkpoint: {path}", hint)
    if library == "roikit" and (getattr(state.get(_CLASSES[0]), "shape", None) == (91,) or _KEYPOINTS in state):
        _warn_of_eps(model, path)
    if config is not None and library != "roikit" and (reason := obstacle(config, library)):
        warnings.warn(f"load_checkpoint: {path} is {library}'s, and the model follows other conventions ({reason}), so "
                      f"that it will detect worse; {_DOORS[library]} builds the one of a file", RoikitWarning,
                      stacklevel=2)
    return replace(report, prefix=prefix)


def load_backbone(body: nn.Module, path: str | os.PathLike, heads: nn.Module | None = None) -> LoadReport:
    """Load a classification network's weights into a body, dropping its classifier and the stages that are not built.

    Args:
        body: as `build_backbone(...).body`.
        path: torchvision's state dict of that ResNet, ResNeXt or VGG-16, the published EfficientNet-Lite0 state dict,
            timm's of that network, or any of them as .safetensors; wrapped as in `load_checkpoint`, as training scripts
            save them. Offsets of deformable convolutions, which no classifier has, stay as they are.
        heads: the `RoIHeads` of the body's detector, or None. What of the network stands there is loaded as well: the
            last stage of a ResNet as `res5`, and the two fully connected layers of a VGG-16 where the box head's have
            their sizes. Or the `FCNSkipHead` of a segmenter, whose fc6 and fc7 are those layers as convolutions.

    Raises:
        OSError, ValueError: as `load_checkpoint`.
    """
    refuse_prepared("load_backbone", body)
    network = _with_heads(body, heads)
    own = network.state_dict()
    unbuilt = tuple(name for name in getattr(body, "unbuilt", ()) if not any(n.startswith(name) for n in own))
    state, dropped = {}, []
    rename = getattr(body, "own_name", _body_name)
    found, prefix = _unwrapped(read_state(path), own, rename)
    for name, value in found.items():
        new = rename(name)
        counts = new is not None and (new.endswith(".num_batches_tracked") or new == _COUNTER)
        if new not in own and (new is None or counts or new.startswith((*_CLASSIFIERS, *unbuilt))):
            dropped.append(name)
        elif new in own and new.startswith("classifier.") and value.numel() == own[new].numel():
            state[new] = value.reshape(own[new].shape)  # a fully connected layer may be a convolution here
        else:
            state[new] = value
    kept = {name for name in own.keys() - state.keys() if _OFFSETS.search(name)}
    state |= {name: own[name] for name in kept}
    report = _copy(network, state, dropped, True, None, f"load_backbone: {path}", "")
    return replace(report, loaded=tuple(name for name in report.loaded if name not in kept),
                   reinitialised=tuple(sorted({*report.reinitialised, *kept})), prefix=prefix)


def _with_heads(body: nn.Module, heads: nn.Module | None) -> nn.Module:
    """The body, beside what the heads have of its network, under the names of the whole network."""
    further: dict[str, nn.Module] = {}
    if hasattr(heads, "res5"):
        further["layer4"] = heads.res5
    layers = heads if isinstance(heads, FCNSkipHead) else getattr(heads, "box_head", None)
    if isinstance(body, VGG16) and isinstance(layers, TwoMLPHead | FCNSkipHead):
        sizes = tuple(layer.weight[0].numel() for layer in (layers.fc6, layers.fc7))
        if sizes == (512 * 7 * 7, 4096) and len(layers.fc6.weight) == len(layers.fc7.weight) == 4096:
            further["classifier"] = nn.ModuleDict({"0": layers.fc6, "3": layers.fc7})
    if not further:
        return body
    network = nn.Module()
    for name, part in (*body.named_children(), *further.items()):
        network.add_module(name, part)
    return network


def published_norm_eps(path: str | os.PathLike) -> float:
    """The eps of the frozen batch norms of a torchvision detection file: 0 for the three of 2019."""
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return 0.0 if digest.startswith(_TRAINED_WITHOUT_EPS) else 1e-5


def _renamed(name: str) -> str:
    """A detector's tensor name of any age as it is today."""
    for pattern, new in _RENAMED:
        name = pattern.sub(new, name)
    return name


def _unwrapped(state: State, own: Container[str], renamed: Callable[[str], str | None]) -> tuple[State, str]:
    """The tensors under the names that they have outside of wrappers, and the common prefix that was taken off.

    Args:
        state: what the file holds.
        own: the model's names. What stands in them is no wrapper's, and the prefix is taken off that makes most fit.
        renamed: a file's name -> the model's.
    """
    wrappers = {part for part in _WRAPPERS if not any(part in name.split(".") for name in own)}
    names = {name: ".".join(part for part in name.split(".") if part not in wrappers) for name in state}
    if len(set(names.values())) < len(names):  # two of one name: these parts tell them apart
        names = {name: name for name in state}
    common = os.path.commonprefix([name.split(".")[:-1] for name in names.values() if name != _COUNTER])
    prefixes = ["".join(f"{part}." for part in common[:k]) for k in range(len(common) + 1)]
    prefix = max(prefixes, key=lambda start: sum(renamed(n.removeprefix(start)) in own for n in names.values()))
    return {names[name].removeprefix(prefix): value for name, value in state.items()}, prefix


def _body_name(name: str) -> str | None:
    """A classification network's tensor name in the body, None for its classifier."""
    if name.startswith(_LITE_CLASSIFIER):
        return None
    parts = name.split(".")
    if parts[0] in _LITE_STEM:
        return ".".join((_LITE_STEM[parts[0]], *parts[1:]))
    if parts[0] == "_blocks" and len(parts) > 2 and parts[2] in _LITE_BLOCK:
        return ".".join(("blocks", parts[1], _LITE_BLOCK[parts[2]], *parts[3:]))
    return name


def _renaming(library: str, state: State) -> Callable[[str], str]:
    """From the names in a file to those here."""
    if library == "detectron2":
        return functools.cache(detectron2.renaming(state).ours)
    if library == "mmdetection":
        return functools.cache(mmdetection.renaming(state).ours)
    if library == "YOLACT":
        return functools.cache(yolact.renaming(state).ours)
    return _renamed


def _system_hint(library: str, own: State, state: State) -> str:
    """Which system a file looks like, where it is not the model's; for a detector's model only."""
    if not any(name.startswith(_DETECTORS) for name in own):
        return ""
    if library not in ("roikit", *_CONSTANTS):
        return f"\nThe file looks like {library}'s."
    theirs, ours = described(state), described(own)
    if library == "roikit" and theirs == ours:
        return ""
    whose = "" if library == "roikit" else f"{library}'s, but " if theirs.startswith("no ") else f"{library}'s "
    return f"\nThe file looks like {whose}{theirs}; the model is {ours}."


def _class_hint(own: State, state: State) -> str:
    differ = [f"{len(state[name])} {what} and the model {len(own[name])}"
              for name, what in (*((name, "classes") for name in _CLASSES), (_KEYPOINTS, "keypoints"),
                                 ("semantic_head.bias", "classes without background"))
              if name in own and name in state and own[name].shape != state[name].shape and state[name].ndim == 1]
    if not differ:
        return ""
    return f"\nThe file has {', and '.join(differ)}; allow_new_classes=True starts the predictors afresh."


def _warn_of_eps(model: nn.Module, path: str | os.PathLike) -> None:
    eps = {module.eps for module in model.modules()
           if isinstance(module, FrozenBatchNorm2d | nn.BatchNorm2d)}
    if eps - {0.0} and published_norm_eps(path) == 0.0:
        warnings.warn(f"load_checkpoint: {path} was trained with frozen batch norms without an "
                      f"eps, but the model's have {max(eps)}; build it with weights={str(path)!r} "
                      "or BackboneConfig(norm_eps=0.0)", RoikitWarning, stacklevel=3)


def _copy(module: nn.Module, state: State, dropped: list[str], strict: bool,
          fresh: re.Pattern | None, what: str, hint: str) -> LoadReport:
    own = module.state_dict()
    loaded = {name for name in own if name in state and own[name].shape == state[name].shape}
    other_shape = {name for name in own if name in state} - loaded
    new = {name for name in other_shape if fresh.match(name)} if fresh else set()
    counters = {name for name in own if name.endswith(".num_batches_tracked")} - state.keys()
    missing = own.keys() - loaded - new - counters
    unexpected = state.keys() - loaded - new
    if strict and (missing or unexpected):
        lines = [f"shape {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the "
                 f"model: {name}" for name in sorted(other_shape - new)]
        lines += [f"not in the file: {name}" for name in sorted(missing - other_shape)]
        lines += [f"not in the model: {name}" for name in sorted(unexpected - other_shape)]
        raise ValueError(f"{what} does not fit the model:\n" + "\n".join(lines) + hint)
    module.load_state_dict({name: state[name] for name in loaded}, strict=False)
    return LoadReport(*(tuple(sorted(names)) for names in
                        (loaded, new | counters, missing, unexpected, dropped)))
