"""Times a segmenter beside its convolutions alone, on a CPU.

    python -m benchmarks.convolutions_table [--model pspnet_resnet50] [--size 473,473] [--threads 2] [--rounds 7]

The convolutions are those of the plain network, each with its own weights on an input of the shape that it gets there,
channels last and without norms, activations, pooling or resizing: the part of a call that no arrangement of the rest
can save. Random weights, 21 classes, one picture at its own size. The models take turns, so that noise hits them alike;
printed are each one's median, 10th to 90th percentile, and how many times as fast as the convolutions it is.
"""

import argparse
from functools import partial

import torch
from torch import nn

from roikit.models import (
    fcn_resnet50,
    fcn_resnet101,
    prepare_for_inference,
    pspnet_resnet50,
    pspnet_resnet101,
    semantic_fpn_resnet18,
)

from . import _inputs
from .turns import print_beside, taken_in_turns

BUILDERS = {build.__name__: build for build in (fcn_resnet50, fcn_resnet101, pspnet_resnet50, pspnet_resnet101,
                                                semantic_fpn_resnet18)}


def convolutions(model, image, dtype):
    """A function that runs each convolution of a call once; and how many there are."""
    shapes = []
    hooks = [module.register_forward_hook(lambda module, inputs, _: shapes.append((module, inputs[0].shape)))
             for module in model.modules() if isinstance(module, nn.Conv2d)]
    model([image])
    for hook in hooks:
        hook.remove()
    layers = []
    for module, shape in shapes:
        own = nn.Conv2d(module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding,
                        module.dilation, module.groups, bias=module.bias is not None)
        own.load_state_dict(module.state_dict())
        x = torch.rand(shape, generator=_inputs.generator(1))
        layers.append((own.to(dtype, memory_format=torch.channels_last),
                       x.to(dtype, memory_format=torch.channels_last)))

    def run():
        return sum(float(layer(x)[0, 0, 0, 0]) for layer, x in layers)

    return run, len(layers)


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=BUILDERS, default="pspnet_resnet50")
    parser.add_argument("--size", default="473,473", help="height,width")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size = tuple(map(int, options.size.split(",")))
    image = torch.rand(3, *size, generator=_inputs.generator(0))
    torch.manual_seed(0)
    model = BUILDERS[options.model](num_classes=21).eval()
    kinds = [("", torch.float32)]
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        kinds.append((" bf16", torch.bfloat16))
    for words, dtype in kinds:
        alone, count = convolutions(model, image, dtype)
        prepared = prepare_for_inference(model, "bf16" if words else "float32")
        works = {f"convolutions{words}": alone, f"prepared{words}": partial(prepared, [image])}
        if not words:
            works["plain"] = partial(model, [image])
        for work in works.values():
            work()
        times = taken_in_turns(works, options.rounds)
        print(f"{options.model}: one picture of {size[0]} x {size[1]}, {count} convolutions, "
              f"{torch.get_num_threads()} threads, torch {torch.__version__}, {options.rounds} rounds")
        print_beside(f"convolutions{words}", times, dict.fromkeys(works, ""))


if __name__ == "__main__":
    main()
