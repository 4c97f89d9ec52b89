"""How much memory a step of training takes, told before the first one.

Weights, gradients, the optimizer's state and the average are counted. What the layers keep for the backward pass is
counted by letting tensors without memory pass through them: the body, the pyramid and the heads, for as many boxes as
the heads learn from at most. Not counted are the program itself, the images and targets in memory and what single
operations need for themselves while they run. On the CPU the allocator holds more than is used at any time: `ON_CPU`
times the activations, as measured.
"""

from dataclasses import dataclass

import numpy as np
import torch

from roikit.trainer.running import autocast

__all__ = ["StepMemory", "resized_sizes", "step_memory"]

# The peak of resident memory over seven steps, less what the process had before and less weights and optimizer, was 2.3
# to 3.6 times the activations for the bundled presets.
ON_CPU = 3.0


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a step in one process.

    Attributes:
        weights: parameters and buffers, with the running average of them.
        optimizer: gradients and the optimizer's state.
        activations: what the layers keep for the backward pass; None where they do not let themselves be counted.
        images, size: so many images of (height, width) pixels.
    """

    weights: int
    optimizer: int
    activations: int | None
    images: int
    size: tuple[int, int]

    @property
    def total(self):
        return self.weights + self.optimizer + (self.activations or 0)

    def line(self):
        """A sentence for the log."""
        (height, width), count = self.size, f"{self.images} image{'s' * (self.images != 1)}"
        known = self.activations is not None
        return (f"memory: a step of {count} of {width}x{height} is estimated at {'' if known else 'more than '}"
                f"{_amount(self.total)} beside the program ({_amount(self.weights)} for weights, "
                f"{_amount(self.optimizer)} for gradients and optimizer, "
                f"{_amount(self.activations) if known else 'an unknown amount'} for activations)")


def step_memory(model, config, sizes, device, world=1):
    """The memory of the largest step.

    Args:
        model: as it is to be trained, on the device; it is left as it is.
        config: ``TrainConfig``.
        sizes: (N, 2) heights and widths of the training images, pixels.
        device: torch.device.
        world: processes that share a batch.

    Returns:
        StepMemory.
    """
    images, size = max(1, config.data.batch_size // world), batch_size_of(config, sizes)
    parameters = list(model.parameters())
    weights = _bytes([*parameters, *model.buffers()])
    learnt = _bytes([p for p in parameters if p.requires_grad])
    states = 2 if config.optimizer.kind == "adamw" else int(config.optimizer.momentum > 0)
    try:
        activations = _activations(model, (images, 3, *size), device, config.run.amp)
    except Exception:  # a layer of one's own that cannot do without numbers; nothing depends on the estimate
        activations = None
    if activations is not None and device.type == "cpu":
        activations = round(activations * ON_CPU)
    return StepMemory(weights * (1 if config.optimizer.ema is None else 2), learnt * (1 + states),
                      activations, images, size)


def batch_size_of(config, sizes):
    """(height, width) of the largest batch of images of these sizes, after augmentation, resizing and padding."""
    image, sizes = config.model.image, np.asarray(sizes).reshape(-1, 2)
    if config.augment.crop is not None:
        sizes = np.array([config.augment.crop])
    if config.augment.rotate:
        sizes = np.concatenate([sizes, sizes[:, ::-1]])
    unit = image.size_divisible
    return tuple(int(-(-side // unit) * unit) for side in resized_sizes(image, sizes, max(image.min_size)).max(0))


def resized_sizes(image, sizes, shortest):
    """(N, 2) float64 heights and widths that a model gives training images of (N, 2) others.

    Args:
        image: ``ImageConfig``.
        shortest: which of its ``min_size``, pixels.
    """
    sizes = np.array(sizes, np.float64).reshape(-1, 2)
    if not image.resize or not image.resize_in_training:
        return sizes
    if not image.keep_aspect:
        return np.full_like(sizes, shortest)
    scale = np.minimum(shortest / sizes.min(1), image.max_size / sizes.max(1))
    return np.maximum(np.floor(sizes * scale[:, None]), 1)


def _bytes(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


def _activations(model, shape, device, amp):
    """Bytes of what is kept for the backward pass of a batch of this shape."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # not public: a torch without it trains as well

    kept = {}

    def keep(tensor):
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage._cdata] = (storage.nbytes(), tensor)  # the tensor keeps the number from being used again
        return tensor

    random, buffers = torch.get_rng_state(), [buffer.clone() for buffer in model.buffers()]
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), autocast(device, amp), \
                torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            _through(model, torch.zeros(shape, device=device))
    finally:
        torch.set_rng_state(random)
        with torch.no_grad():
            for buffer, was in zip(model.buffers(), buffers, strict=True):
                buffer.copy_(was)  # single numbers, a norm's count of batches, do change
    return sum(size for size, _ in kept.values())


def _through(model, x):
    """Let a batch pass through a model's layers; the results that are still needed."""
    if hasattr(model, "logits_of"):  # a segmenter
        return model.logits_of(x)
    levels = list(model.backbone(x).values())
    found = [levels]
    if hasattr(model, "rpn"):
        found.append(model.rpn.head(levels))
        found += _through_boxes(model.roi_heads, len(x), levels)
    if hasattr(model, "sem_seg_head"):
        found.append(model.sem_seg_head(levels[:model.levels]))
    if hasattr(model, "protonet"):  # YOLACT
        found += [model.head(levels), model.protonet(levels[0])]
        if model.semantic_head is not None:
            found.append(model.semantic_head(levels[0]))
    return found


def _through_boxes(heads, images, levels):
    """The same for what is asked of each box."""
    found = []
    for name in ("box", "mask", "keypoint"):
        config, head = getattr(heads, name, None), getattr(heads, f"{name}_head", None)
        if config is None or head is None:
            continue
        count = images * heads.box.samples_per_image
        if name != "box":
            count = int(count * heads.box.positive_fraction)
        predictor = getattr(heads, f"{name}_predictor")
        several = isinstance(head, torch.nn.ModuleList)
        stages = zip(head, predictor, strict=True) if several else [(head, predictor)]
        for layers, last in stages:
            pooled = levels[0].new_zeros((count, levels[0].shape[1], config.pool_size, config.pool_size))
            pooled.requires_grad_()
            found.append(last(layers(heads.shared(pooled))))
    return found


def _amount(count):
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.0f} MiB"
