"""The works of `roikit bench`, one by one, with its inputs: roikit's side of every row of its table."""

import torch

from roikit.bench import WORKS

from . import _inputs


def works(op, device):
    return [work for work in WORKS[op]({}, device) if device in work.devices]


class Works:
    # The CPU's works; the larger ones are for a GPU, where `roikit bench --device cuda` takes them.
    params = [[f"{op}: {work.name}" for op in WORKS for work in works(op, "cpu")], ["cpu", "cuda"]]
    param_names = ["work", "device"]

    def setup(self, name, device):
        _inputs.on(device)
        op, name = name.split(": ", 1)
        found = [work for work in works(op, device) if work.name == name]
        if not found:
            raise NotImplementedError(f"{name} is not for {device}")
        torch.manual_seed(0)
        self.call = found[0].ours(*found[0].make(device))

    def time_work(self, name, device):
        self.call()
        _inputs.wait(device)
