"""Optimizers from the configuration, and a running average of the weights."""

import copy

import torch
from torch import nn

__all__ = ["WeightAverage", "build_optimizer"]


def build_optimizer(config, model):
    """SGD or AdamW over the model's parameters that want gradients.

    With ``decay_norm_and_bias`` False every parameter of fewer than two dimensions (biases, the
    scale and shift of norms) is in a group without weight decay.
    """
    wanted = [p for p in model.parameters() if p.requires_grad]
    if config.decay_norm_and_bias:
        groups = [{"params": wanted}]
    else:
        groups = [{"params": [p for p in wanted if p.ndim >= 2]},
                  {"params": [p for p in wanted if p.ndim < 2], "weight_decay": 0.0}]
        groups = [g for g in groups if g["params"]]
    # One pass over memory instead of ten: on two cores a step of AdamW takes a quarter of the time.
    fused = all(p.device.type in ("cpu", "cuda") for p in wanted)
    if config.kind == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum,
                               weight_decay=config.weight_decay, nesterov=config.nesterov,
                               fused=fused)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas,
                             weight_decay=config.weight_decay, fused=fused)


class WeightAverage:
    """An exponential running average of a model's parameters; buffers are copied.

    After t updates the decay is min(decay, (1 + t) / (10 + t)), so that the random start is
    forgotten early in short runs (the rule of TensorFlow's ExponentialMovingAverage).

    ``model`` holds the averaged weights and is in evaluation mode.
    """

    def __init__(self, model, decay):
        self.decay = decay
        self.updates = 0
        self.model = copy.deepcopy(model).eval()
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module):
        """Take in the weights of one more step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        # All at once: on a GPU a call for each would take longer than the work.
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1.0 - decay)
        buffers = list(self.model.buffers())
        if buffers:
            torch._foreach_copy_(buffers, list(model.buffers()))
