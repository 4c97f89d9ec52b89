"""What changes while a run goes on, as one thing that a checkpoint holds and gives back."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from roikit.models.parts.winograd import take_ways, ways_of
from roikit.trainer import checkpoint
from roikit.trainer.optim import WeightAverage

__all__ = ["TrainState"]


@dataclass
class TrainState:
    """The moving parts of a run.

    Attributes:
        model: the weights being trained.
        optimizer: over them.
        scaler: of the gradients; does nothing without fp16.
        average: running average of the weights, or None.
        step: steps done.
        best: {"name", "value", "step"} of the best evaluation so far, or None.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: WeightAverage | None = None
    step: int = 0
    best: dict[str, Any] | None = None

    @property
    def judged(self):
        """The model that is evaluated: the averaged one where there is one."""
        return self.model if self.average is None else self.average.model

    def note_best(self, name, value):
        """Whether this figure of an evaluation is the best so far, which ``best`` then notes."""
        if self.best is not None and self.best["name"] == name and value <= self.best["value"]:
            return False
        self.best = {"name": name, "value": value, "step": self.step}
        return True

    def to_checkpoint(self, *, process, batches, config, categories):
        """The dict of ``checkpoint.save``; every process must call this, for its random state."""
        rng, ways = process.gather(checkpoint.read_rng()), process.gather(ways_of(self.model))
        return {
            "model": self.judged.state_dict(),
            "average": None if self.average is None else {
                "updates": self.average.updates, "trained": self.model.state_dict()},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler.is_enabled() else None,
            "step": self.step,
            "epoch": self.step // batches.steps_per_epoch,
            "sampler": {"start": self.step, "seed": batches.seed,
                        "steps_per_epoch": batches.steps_per_epoch},
            "rng": rng,
            "ways": ways,
            "best": self.best,
            "config": config,
            "categories": categories,
        }

    def from_checkpoint(self, state, *, process, batches, categories):
        """Take over a checkpoint.

        The random state comes back where the number of processes is what it was, and so does how convolutions are
        computed.

        Raises:
            ValueError: the checkpoint is of another data set, another model or optimizer, or of a
                run without the averaged weights that this one has; or it is malformed.
        """
        try:
            self._take_over(state, process, batches, categories)
        except (TypeError, KeyError, AttributeError, IndexError, OverflowError) as error:
            raise ValueError(f"resume: the checkpoint is malformed: {type(error).__name__}: {error}") from error

    def _take_over(self, state, process, batches, categories):
        if state["categories"] != categories:
            raise ValueError("resume: the checkpoint was trained on the categories "
                             f"{state['categories']}, the data have {categories}")
        if state["sampler"]["steps_per_epoch"] != batches.steps_per_epoch:
            raise ValueError(
                "resume: the checkpoint's epochs have "
                f"{state['sampler']['steps_per_epoch']} steps, these data and this batch size "
                f"make {batches.steps_per_epoch}")
        if (state["average"] is None) != (self.average is None):
            raise ValueError("resume: optimizer.ema must stay on or off as it was")
        kept = [set(group) for group in state["optimizer"]["param_groups"]]
        if kept != [set(group) for group in self.optimizer.state_dict()["param_groups"]]:
            raise ValueError("resume: optimizer.kind and optimizer.decay_norm_and_bias must stay as they were")
        try:
            self.judged.load_state_dict(state["model"])
            if self.average is not None:
                self.average.updates = state["average"]["updates"]
                self.model.load_state_dict(state["average"]["trained"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise ValueError("resume: the checkpoint was made with another model or optimizer than the configuration "
                             f"has: {error}") from error
        if state["scaler"] is not None and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.step, best = state["step"], state["best"]
        self.best = None if best is None else {"name": best["name"], "value": best["value"] + 0.0, "step": best["step"]}
        if len(state["rng"]) == process.world:
            checkpoint.restore_rng(state["rng"][process.rank])
            if "ways" in state:  # of an earlier version there are none
                take_ways(self.model, state["ways"][process.rank])
