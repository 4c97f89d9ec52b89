"""Times the GroupNorms of a model, with the addition and the ReLU behind them, beside torch's three operations.

    python -m benchmarks.norm_table [--preset nuclei-mini] [--images 4] [--size 320,320]
                                    [--format contiguous|channels_last] [--threads 2] [--rounds 20]

The sizes are those of a training step of the preset's model on random images with 20 objects each. Each is timed
forward without a gradient, and forward and backward, in turns with torch.group_norm, an addition in place and a ReLU in
place; printed are the least times in milliseconds, torch's over roikit's, and the sums over all layers of the model.
With one thread the time is the processor's, which other work on the machine touches less.
"""

import argparse
import collections
import math
import time

import torch
from torch.nn import functional as F

import roikit
from roikit.models import build_detector
from roikit.models.parts.norm import GroupNorm
from roikit.trainer.config import load_config

from .gpu_step import scenes


def layers_of(model, images, size):
    """(shape, groups, whether something is added, whether a ReLU follows) -> how many layers of the model it is."""
    found = collections.Counter()

    def note(layer, given, named):
        onto, relu = ([*given[1:], None, False])[:2]
        found[tuple(given[0].shape), layer.num_groups, named.get("onto", onto) is not None,
              bool(named.get("relu", relu))] += 1

    for part in model.modules():
        if isinstance(part, GroupNorm):
            part.register_forward_pre_hook(note, with_kwargs=True)
    pictures, targets = [], []
    while len(pictures) < images:
        more, truths = scenes(size, 20)
        pictures += more
        targets += [truth | {"labels": torch.ones_like(truth["labels"])} for truth in truths]
    torch.manual_seed(0)
    model.train()(pictures[:images], targets[:images])
    return found


def rivals(shape, groups, added, relu, form):
    """What is timed: forward and a whole step of torch's operations and of the layer."""
    layer = GroupNorm(groups, shape[1])
    x, onto, grad = (torch.randn(shape).contiguous(memory_format=form) for _ in range(3))

    def plain(x, onto):
        out = torch.group_norm(x, groups, layer.weight, layer.bias, layer.eps)
        if added:
            out += onto
        return F.relu(out, inplace=True) if relu else out

    def ours(x, onto):
        return layer(x, onto if added else None, relu)

    def forward(run):
        with torch.no_grad():
            run(x, onto)

    own, sum_of = x.clone().requires_grad_(), onto.clone().requires_grad_()
    leaves = [own, *layer.parameters(), *([sum_of] if added else [])]

    def step(run):
        torch.autograd.grad(run(own, sum_of), leaves, grad)

    return [lambda how=how, run=run: how(run) for how in (forward, step) for run in (plain, ours)]


def least(works, rounds, clock):
    times = [math.inf] * len(works)
    for _ in range(rounds):
        for place, work in enumerate(works):
            begun = clock()
            work()
            times[place] = min(times[place], clock() - begun)
    return [1e3 * seconds for seconds in times]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="nuclei-mini")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--size", default="320,320", help="height,width")
    parser.add_argument("--format", choices=("contiguous", "channels_last"), default="contiguous")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    roikit.keep_freed_memory()
    form = torch.channels_last if options.format == "channels_last" else torch.contiguous_format
    clock = time.process_time if options.threads == 1 else time.perf_counter
    size = tuple(map(int, options.size.split(",")))
    layers = layers_of(build_detector(load_config(options.preset).model), options.images, size)
    print(f"{options.preset}, {options.images} images of {size[0]} x {size[1]}, {options.format}, {options.threads} "
          f"threads, torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {options.rounds} rounds")
    sums = [0.0] * 4
    for (shape, groups, added, relu), count in sorted(layers.items(), key=lambda item: -math.prod(item[0][0])):
        times = least(rivals(shape, groups, added, relu, form), options.rounds, clock)
        sums = [total + count * taken for total, taken in zip(sums, times, strict=True)]
        print(line(f"{count} of {'x'.join(map(str, shape))}" + " + map" * added + ", ReLU" * relu, times), flush=True)
    print(line(f"all {sum(layers.values())}", sums))


def line(what, times):
    return f"{what:34}" + "  ".join(
        f"{name} {theirs:8.3f} {ours:8.3f} {theirs / ours:5.2f}x"
        for name, theirs, ours in (("forward", *times[:2]), ("step", *times[2:])))


if __name__ == "__main__":
    main()
