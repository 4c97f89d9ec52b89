"""What a training run is made of, as frozen dataclasses; YAML and overrides put values in."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from roikit.data.remote import is_address, local_path
from roikit.models import DetectorConfig, SegmenterConfig
from roikit.trainer.extras import extra
from roikit.trainer.fields import ConfigError, UserPath, merge, parse_overrides, plain
from roikit.trainer.written import read_written

__all__ = ["AugmentConfig", "DataConfig", "EvalConfig", "OptimizerConfig", "PartConfig",
           "RunConfig", "ScheduleConfig", "TrainConfig", "config_text", "load_config",
           "preset_names"]

PRESETS = Path(__file__).parent / "presets"


def _require(right, text):
    if not right:
        raise ValueError(text)


@dataclass(frozen=True)
class PartConfig:
    """A COCO instances file and the folder of its images; ``limit`` keeps the lowest image ids.

    ``source`` stands for both: a file or folder of any layout that `roikit.data.layouts` reads, with its images where
    they are looked for; ``data.train=PATH`` is short for ``data.train.source=PATH``. Of a data set with parts, the part
    of the same name is meant. ``fraction`` is of ``data.val``: so many of the training images are its, and not learnt.

    For a segmenter, ``semantic`` and the folder of the images do without ``annotations``, and ``annotations`` without
    ``semantic`` are the classes of the objects' masks.

    ``keep_empty`` false leaves out images without a single object: they teach, or ask, what is nothing.
    ``semantic`` is a folder of PNG label maps or a COCO panoptic file, for a model that learns a class for each pixel;
    without, such a model learns the union of the objects' masks.
    """

    SHORT: ClassVar[str] = "source"  # what a bare value stands for

    annotations: UserPath | None = None
    images: UserPath | None = None
    limit: int | None = None
    semantic: UserPath | None = None
    keep_empty: bool = True
    source: UserPath | None = None
    fraction: float | None = None

    def __post_init__(self):
        _require(self.limit is None or self.limit >= 1,
                 f"limit must be at least 1, got {self.limit}")
        _require(self.fraction is None or 0 < self.fraction < 1,
                 f"fraction must be above 0 and below 1, got {self.fraction}")
        if self.source is not None:
            _require(self.annotations is self.images is None,
                     f"source stands for annotations and images, got {self.annotations} and {self.images} beside it")
            return
        named = self.annotations if self.semantic is None else self.semantic
        _require((named is None) == (self.images is None),
                 "annotations and images must be given together, "
                 f"got {self.annotations} and {self.images}" if self.semantic is None else
                 "semantic needs annotations and images, or for a segmenter images alone, "
                 f"got semantic={self.semantic} and images={self.images}")
        _require(self.keep_empty or self.images is None or self.annotations is not None,
                 "keep_empty=false looks at objects, and so needs annotations")


@dataclass(frozen=True)
class DataConfig:
    """The data and how it is fetched.

    ``bundled`` stands for the set inside the package wherever a part names no files.
    ``batch_size`` counts the images of a step over all processes. ``workers`` are data-loading
    processes beside each training process, "auto" as many as the cores allow. ``classes`` are the names of the values
    0, 1, ... of a segmenter's label maps, where they are PNG files. ``on_error`` "skip" puts the next image in the
    place of a training image that cannot be read, up to 1 % of them. ``repeat_below`` shows images more often whose
    classes are on less than that part of all images, a class on the part f by the square root of repeat_below / f.
    """

    bundled: Literal["nuclei-mini"] | None = None
    train: PartConfig = field(default_factory=PartConfig)
    val: PartConfig = field(default_factory=PartConfig)
    batch_size: int = 2
    workers: int | Literal["auto"] = 0
    classes: tuple[str, ...] | None = None
    on_error: Literal["stop", "skip"] = "stop"
    repeat_below: float | None = None

    def __post_init__(self):
        _require(self.train.fraction is None, "fraction is of data.val: data.val.fraction=0.2 keeps a fifth for it")
        named = (self.val.source, self.val.annotations, self.val.images, self.val.semantic)
        _require(self.val.fraction is None or named == (None,) * 4,
                 "val.fraction takes images of data.train, beside which val's own source, annotations, images and "
                 "semantic are of no use")
        _require(self.batch_size >= 1, f"batch_size must be at least 1, got {self.batch_size}")
        _require(self.workers == "auto" or self.workers >= 0,
                 f"workers must be auto or not negative, got {self.workers}")
        _require(self.repeat_below is None or 0 < self.repeat_below <= 1,
                 f"repeat_below must be above 0 and at most 1, a part of the images, got {self.repeat_below}")
        _require(self.classes is None or 2 <= len(self.classes) <= 255,
                 f"classes must be 2 to 255 names, got {self.classes}")


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of the training images; ``per_image_normalize`` acts on every image.

    ``flip`` and ``vertical_flip`` are probabilities; ``rotate`` turns by a random multiple of 90
    degrees. ``crop`` (height, width) cuts or pads to that size after resizing by a random factor
    from ``scale`` (low, high), where at 1 the image just fits, or with ``scale_of`` "pixels" keeps its own
    pixels. ``brightness`` and ``contrast``
    shift and stretch the values by up to that part of their range. ``degrees`` turns by any angle up to that, either
    way, about the centre. ``copy_paste`` and ``mosaic`` are the probabilities that objects of another image are pasted
    on one, and that an image is made of windows of four. Random sizes without a crop are
    the model's ``image.min_size``. ``keypoint_pairs`` are names of keypoints that change places in a
    mirror; null for those that are the same but for "left" and "right".
    """

    flip: float = 0.5
    vertical_flip: float = 0.0
    rotate: bool = False
    scale: tuple[float, float] | None = None
    crop: tuple[int, int] | None = None
    brightness: float = 0.0
    contrast: float = 0.0
    per_image_normalize: bool = False
    keypoint_pairs: tuple[tuple[str, str], ...] | None = None
    scale_of: Literal["fit", "pixels"] = "fit"
    degrees: float = 0.0
    copy_paste: float = 0.0
    mosaic: float = 0.0

    def __post_init__(self):
        _require(0 <= self.degrees <= 180, f"degrees must be within 0 and 180, got {self.degrees}")
        for name in ("flip", "vertical_flip", "copy_paste", "mosaic"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"{name} must be within 0 and 1, got {value}")
        _require(self.scale is None or self.crop is not None, "scale needs a crop")
        _require(self.scale is None or 0 < self.scale[0] <= self.scale[1],
                 f"scale must be two rising factors above 0, got {self.scale}")
        _require(self.scale_of == "fit" or self.crop is not None, "scale_of needs a crop")
        _require(self.crop is None or min(self.crop) >= 1,
                 f"crop must be a height and a width of at least 1, got {self.crop}")


@dataclass(frozen=True)
class OptimizerConfig:
    """SGD or AdamW. ``decay_norm_and_bias`` False keeps weight decay off all vectors.

    ``clip_norm`` bounds the Euclidean norm of all gradients together. ``ema`` is the decay of a
    running average of the weights (0.99 to 0.9999), evaluated and saved in their place.

    ``lr`` "auto" is ``reference_lr`` times ``data.batch_size`` by ``reference_batch``: a preset says which rate is good
    for which number of images a step.
    """

    kind: Literal["sgd", "adamw"] = "sgd"
    lr: float | Literal["auto"] = 0.005
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    decay_norm_and_bias: bool = True
    clip_norm: float | None = None
    ema: float | None = None
    reference_lr: float = 0.005
    reference_batch: int = 2

    def __post_init__(self):
        _require(self.lr == "auto" or self.lr > 0, f"lr must be auto or above 0, got {self.lr}")
        _require(self.reference_lr > 0, f"reference_lr must be above 0, got {self.reference_lr}")
        _require(self.reference_batch >= 1, f"reference_batch must be at least 1, got {self.reference_batch}")
        _require(self.ema is None or 0 <= self.ema < 1,
                 f"ema must be within 0 and 1, got {self.ema}")
        _require(self.clip_norm is None or self.clip_norm > 0,
                 f"clip_norm must be above 0, got {self.clip_norm}")


@dataclass(frozen=True)
class ScheduleConfig:
    """Length of the run in ``steps`` or ``epochs`` and the course of the learning rate.

    ``milestones`` are parts of the run (0.67 is two thirds), ``warmup_steps`` are steps, ``power`` is that of "poly".
    """

    steps: int | None = None
    epochs: float | None = None
    kind: Literal["constant", "step", "cosine", "poly"] = "cosine"
    warmup_steps: int = 0
    warmup_factor: float = 0.001
    milestones: tuple[float, ...] = (0.67, 0.92)
    gamma: float = 0.1
    final_factor: float = 0.0
    power: float = 0.9

    def __post_init__(self):
        _require(self.steps is None or self.steps >= 0,
                 f"steps must not be negative, got {self.steps}")
        _require(self.epochs is None or self.epochs > 0,
                 f"epochs must be above 0, got {self.epochs}")
        _require(self.warmup_steps >= 0,
                 f"warmup_steps must not be negative, got {self.warmup_steps}")
        _require(self.power > 0, f"power must be above 0, got {self.power}")
        _require(all(0 <= m <= 1 for m in self.milestones),
                 f"milestones are parts of the run, within 0 and 1, got {self.milestones}")


@dataclass(frozen=True)
class EvalConfig:
    """COCO's metric on the val part, ``every`` so many steps (null: at the end only).

    AP counts the last of ``max_detections``, and the model is told to give as many; AP of keypoints
    counts ``max_keypoint_detections``. ``sigmas`` are needed for keypoints other than COCO's 17: of each, how
    far annotators differ on it as a part of the object's size. ``best`` names the figure that picks
    the checkpoint ``best``, any of ``metrics.json``: "segm/AP50", or of a class "segm/per_class/NAME"; for a
    segmenter "segm/AP" means "semantic/mIoU". ``patience`` ends the run after so many evaluations in a row that did not
    better that figure.
    """

    every: int | None = None
    max_detections: tuple[int, ...] = (1, 10, 100)
    max_keypoint_detections: int = 20
    sigmas: tuple[float, ...] | None = None
    batch_size: int = 1
    best: str = "segm/AP"
    patience: int | None = None

    def __post_init__(self):
        _require(self.every is None or self.every >= 1,
                 f"every must be at least 1, got {self.every}")
        _require(self.patience is None or self.patience >= 1, f"patience must be at least 1, got {self.patience}")
        _require(self.patience is None or self.every is not None,
                 "patience counts evaluations, and so needs every, the steps between them")
        _require(self.batch_size >= 1, f"batch_size must be at least 1, got {self.batch_size}")
        _require(bool(self.max_detections)
                 and list(self.max_detections) == sorted(set(self.max_detections))
                 and self.max_detections[0] >= 1,
                 f"max_detections must be ascending positive numbers, got {self.max_detections}")
        _require(self.max_keypoint_detections >= 1,
                 f"max_keypoint_detections must be at least 1, got {self.max_keypoint_detections}")
        _require(self.sigmas is None or bool(self.sigmas) and min(self.sigmas) > 0,
                 f"sigmas must be numbers above 0, got {self.sigmas}")


@dataclass(frozen=True)
class RunConfig:
    """How the run is carried out.

    ``amp`` is the dtype of autocast; "auto" is bf16 where the device multiplies it natively, else
    off. A processor without bf16 does not train with "bf16", and looks at images in float32 with what was trained so.
    ``init`` is a detector's file, or the folder of a run, to start from; its class layers are
    started anew where the number of classes differs; ``init_backbone`` is a classification network's file for the
    backbone alone. ``checkpoint_every`` counts steps between
    writes of the checkpoint ``last`` (null: at evaluations and the end). ``predictions`` val
    images are drawn at the end, with what scores at least ``score_threshold``. ``report`` is the most pictures that
    ``report.html`` shows; 0 writes none. ``doctor`` inspects
    the data first and stops at what cannot be trained on. ``batch_picture`` images of the first step are drawn as
    ``batch.png``; 0 draws none. ``memory`` says before the first step how much memory one takes. ``winograd``
    "auto" has 3x3 convolutions in float32 on a CPU take Winograd's algorithm for sizes for which it is faster; what
    was measured and chosen is kept in the checkpoints.
    """

    name: str = "run"
    seed: int = 0
    device: str = "auto"
    amp: Literal["off", "auto", "bf16", "fp16"] = "off"
    channels_last: bool = False
    init: UserPath | None = None
    init_backbone: UserPath | None = None
    checkpoint_every: int | None = None
    predictions: int = 8
    score_threshold: float = 0.5
    report: int = 1000
    doctor: bool = True
    batch_picture: int = 8
    memory: bool = True
    winograd: Literal["auto", "off"] = "auto"

    def __post_init__(self):
        for name in ("report", "batch_picture"):
            _require(getattr(self, name) >= 0, f"{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run.

    ``model`` is what is trained. In YAML a ``kind`` in it says what, "segmenter", and none means a detector.
    """

    model: DetectorConfig | SegmenterConfig = field(default_factory=DetectorConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self):
        if isinstance(self.model, DetectorConfig):  # whose classes of pixels are a help in training
            _require(self.data.val.semantic is None,
                     "data.val.semantic is of no use: a class for each pixel is learnt, and not evaluated")
            _require(self.data.classes is None, "data.classes names the values of a segmenter's label maps")
            _require(self.data.train.semantic is None or self.data.train.source is not None
                     or self.data.train.annotations is not None,
                     "data.train.semantic needs annotations and images")


def preset_names():
    """The configurations inside the package."""
    return sorted(p.stem for p in PRESETS.glob("*.yaml"))


def load_config(source, overrides=()):
    """A ``TrainConfig`` from a preset, a YAML file, a mapping or a ``TrainConfig``.

    A YAML file or mapping holds what differs from the defaults. Its key ``base`` names a preset
    or a file (relative to the file that names it) to start from instead.

    Args:
        source: preset name, path, mapping or ``TrainConfig``.
        overrides: strings ``dotted.key=value``, put in last; or a nested mapping.

    Raises:
        ConfigError: no such preset or file, an unknown key, a value of the wrong kind.
    """
    config = source if isinstance(source, TrainConfig) else _layered(source, Path.cwd(), ())
    changes = dict(overrides) if isinstance(overrides, Mapping) else parse_overrides(overrides, TrainConfig)
    return merge(config, changes)


def _layered(source, folder, seen):
    if isinstance(source, Mapping):
        data = dict(source)
    else:
        path = _find(str(source), folder)
        if path in seen:
            raise ConfigError(f"config: {path} is its own base")
        try:
            data = read_written(path.read_bytes())
        except ValueError as error:
            raise ConfigError(f"config: {path} is not YAML: {error}") from error
        data = {} if data is None else data
        if not isinstance(data, dict):
            raise ConfigError(f"config: {path} must hold a mapping, got {type(data).__name__}")
        folder, seen = path.parent, (*seen, path)
    base = data.pop("base", None)
    if base is not None and not isinstance(base, (str, os.PathLike)):
        raise ConfigError(f"config: base must be the name of a preset or of a file, got {base!r}")
    start = TrainConfig() if base is None else _layered(base, folder, seen)
    return merge(start, data)


def _find(name, folder):
    if name in preset_names():
        return PRESETS / f"{name}.yaml"
    path = Path(local_path(name)) if is_address(name) else folder / os.path.expanduser(name)
    if path.is_file():
        return path.resolve()
    near = difflib.get_close_matches(name, preset_names(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"presets are {', '.join(preset_names())}"
    raise ConfigError(f"config: {name!r} is neither a file nor a preset; {hint}")


def config_text(config):
    """The whole configuration as YAML, which ``load_config`` reads back to an equal one."""
    return extra("yaml", "writing a configuration").safe_dump(plain(config), sort_keys=False)
