"""One optimisation step, and the stop when a loss is not finite."""

import math

import torch

from roikit.trainer.running import autocast

__all__ = ["NonFiniteLoss", "optimise"]


class NonFiniteLoss(FloatingPointError):
    """A loss became NaN or infinite.

    Attributes:
        losses: name -> value of those that are not finite.
        image_ids: of the images of that step.
        step: the step, counted from 1.
    """

    def __init__(self, losses, image_ids, step, lr):
        self.losses, self.image_ids, self.step = losses, image_ids, step
        values = ", ".join(f"{name} = {value}" for name, value in losses.items())
        super().__init__(
            f"train: {values} at step {step} (learning rate {lr:.3g}), image ids {image_ids}. "
            "A lower optimizer.lr, a longer schedule.warmup_steps or optimizer.clip_norm are the "
            "usual remedies; `roikit doctor` looks for degenerate boxes")


def optimise(wrapped, state, images, targets, config, *, device, process, stop):
    """Forward, backward and one step of the optimizer, whose learning rate is set already.

    Args:
        wrapped: the model, or DistributedDataParallel around it.
        state: ``TrainState``; its optimizer and average move on, ``step`` does not.
        images, targets: of this process, on the device.
        config: ``TrainConfig``.
        stop: whether this process was asked to stop.

    Returns:
        dict name -> loss, the mean over all processes, with ``loss`` for the sum; the norm of the
        gradients or None; whether any process was asked to stop.

    Raises:
        NonFiniteLoss: on every process, before any weight has changed.
    """
    with autocast(device, config.run.amp):
        losses = wrapped(images, targets)
        total = sum(losses.values())
    names = [*losses, "loss"]
    told = torch.stack([v.detach().float() for v in (*losses.values(), total)]
                       + [total.new_tensor(float(stop), dtype=torch.float32)])
    own = dict(zip(names, told.tolist(), strict=False))
    *values, stops = process.sum(told).tolist()
    means = {name: value / process.world for name, value in zip(names, values, strict=True)}
    if not all(map(math.isfinite, means.values())):
        _stop(own, targets, state, process)
    state.optimizer.zero_grad(set_to_none=True)
    state.scaler.scale(total).backward()
    norm = None
    if config.optimizer.clip_norm is not None or state.scaler.is_enabled():
        state.scaler.unscale_(state.optimizer)
        limit = config.optimizer.clip_norm
        norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), math.inf if limit is None else limit)
        if state.scaler.is_enabled() and not math.isfinite(norm.item()):
            # The scale was too high for fp16: nothing is left to step on. The scaler skips such a
            # step, too, but leaves the test to fused optimizers, which are not all alike in it.
            state.optimizer.zero_grad(set_to_none=True)
            norm = None
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.average is not None:
        state.average.update(state.model)
    # The device is waited for when all that this step asks of it is on its way.
    return means, None if norm is None else norm.item(), stops > 0


def _stop(own, targets, state, process):
    """Raise on every process with what those with the bad losses saw."""
    bad = {name: value for name, value in own.items()
           if name != "loss" and not math.isfinite(value)}
    ids = [int(target["image_id"]) for target in targets]
    losses, images = {}, []
    for their_bad, their_ids in process.gather((bad, ids)):
        losses |= their_bad
        images += their_ids if their_bad else []
    if not losses:  # each is finite, their sum is not
        losses, images = {"loss": own["loss"]}, ids
    raise NonFiniteLoss(losses, images, state.step + 1, state.optimizer.param_groups[0]["lr"])
