"""Every op on small awkward inputs, for compute-sanitizer: `compute-sanitizer python sanitized.py [part of a name]`.

PYTORCH_NO_CUDA_MEMORY_CACHING=1 gives each tensor an allocation of its own, so that a step beyond its end shows.
`--device cpu` tries the script on the CPU kernels.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

import torch


def load_cases():
    """The folder of cases as a package: this script has none around it."""
    folder = Path(__file__).with_name("cases")
    spec = importlib.util.spec_from_file_location("roikit_gpu_cases", folder / "__init__.py",
                                                  submodule_search_locations=[str(folder)])
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shifted(x):
    """A copy one element after an aligned address."""
    y = torch.empty(x.numel() + 1, dtype=x.dtype, device=x.device)[1:].view(x.shape).copy_(x.detach())
    return y.requires_grad_(x.requires_grad)


def last(x):
    """A map with its channels last, anything else as it is."""
    x = x.detach().contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
    return x.requires_grad_(x.is_floating_point())


def everything(cases, device):
    """Names and calls: each case in both orders of addition and at an odd address, and what is wrong or empty."""
    for case in cases.CASES:
        yield from forms(case, case.inputs(device))
        inputs = case.inputs(device)
        yield f"{case.name} at an odd address", lambda case=case, inputs=inputs: case.call(*map(shifted, inputs))
    strays = device != "cpu"  # on the CPU an index of nothing is an error
    compiled = [function for function in cases.FUNCTIONS.values() if function.entries[1]]
    for case in (case for function in compiled for case in cases.derived(function, awkward=True, strays=strays)):
        yield from forms(case, case.inputs(device), " of awkward")
        if cases.kind(case) == "sampled":
            yield from forms(case, [last(x) for x in case.inputs(device)], " of awkward, channels last")
    for case in (case for function in compiled for case in cases.derived(function, rows=0)):
        yield f"{case.name} of nothing", lambda case=case: case.call(*case.inputs(device))


def forms(case, inputs, words=""):
    yield f"{case.name}{words}", lambda: case.call(*inputs)
    if "backward" in case.name:
        yield f"{case.name}{words}, deterministic", lambda: in_order(case.call, inputs)


def in_order(call, inputs):
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        return call(*inputs)
    finally:
        torch.use_deterministic_algorithms(False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", default="", help="only calls with this in their name")
    parser.add_argument("--device", default="cuda")
    chosen = parser.parse_args()
    count = 0
    for name, call in everything(load_cases(), chosen.device):
        if chosen.part in name:
            print(name, flush=True)
            call()
            if chosen.device == "cuda":
                torch.cuda.synchronize()  # so that a report follows the name of its call
            count += 1
    print(f"{count} calls")


if __name__ == "__main__":
    main()
