"""Calls of every op, forward and backward, on inputs that are made on any device from a seed.

The tests of this folder run them on streams, in graphs, at odd addresses and under compute-sanitizer; `conftest.py`
hands them out. Each function of the table of ops has the cases that follow from its examples. What an op has besides
stands in the file of its name here, if there is one:

OPTIONS: function -> arguments, with which its examples are called once more.
CASES: calls of its own: other dtypes and formats, sizes that cross the kernels' tiles.
"""

import importlib
from pathlib import Path

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from roikit import ops
from roikit.testing import catalogue

from ._case import Case

FUNCTIONS = {name: function for name, function in catalogue.functions().items() if function.words}
ROWS = 500  # of the examples: more than a block has threads


def own(op, what, otherwise):
    """What the file of an op has under a name."""
    if not Path(__file__).with_name(f"{op}.py").is_file():
        return otherwise
    return getattr(importlib.import_module(f".{op}", __package__), what, otherwise)


def ways(function):
    """(words, arguments): the function's examples as they are, and with each of its op's options."""
    yield "", {}
    for options in own(function.op, "OPTIONS", {}).get(function.name, ()):
        yield "".join(f" {name}={value}" for name, value in options.items()), options


def flattened(arguments):
    """The tensors among arguments, and a function that puts others into their places."""
    leaves, form = tree_flatten(arguments)
    places = [i for i, x in enumerate(leaves) if isinstance(x, torch.Tensor)]

    def filled(tensors):
        given = list(leaves)
        for place, x in zip(places, tensors, strict=True):
            given[place] = x
        return tree_unflatten(given, form)

    return [leaves[i] for i in places], filled


def called(function, filled):
    """Tensors -> the function's results, one, or a list of several."""
    def call(*tensors):
        result = getattr(ops, function.name)(**filled(tensors))
        return list(result) if isinstance(result, tuple) else [result] if isinstance(result, list) else result
    return call


def differentiated(call):
    """Tensors -> the gradients of the sum of the squares of a call's results, by the tensors that have one."""
    def backward(*tensors):
        result = call(*tensors)
        total = sum(x.square().sum() for x in (result if isinstance(result, list) else [result]) if x.requires_grad)
        leaves = [x for x in tensors if x.requires_grad]
        return [g for g in torch.autograd.grad(total, leaves, allow_unused=True) if g is not None]
    return backward


def has_gradient(call, tensors):
    result = call(*tensors)
    return any(isinstance(x, torch.Tensor) and x.requires_grad for x in (result if isinstance(result, list) else
                                                                         [result]))


def leaves(tensors):
    return [x.detach().requires_grad_() if x.is_floating_point() else x for x in tensors]


def derived(function, **drawn):
    """The cases that follow from the examples of a function; ``drawn`` is for its `arguments`."""
    exact = catalogue.OPS[function.op]["tolerance"] == "exact"
    for words, options in ways(function):
        def arguments(seed, options=options):
            return catalogue.as_tensors(function.arguments(seed, **drawn)) | options

        call = called(function, flattened(arguments(0))[1])

        def make(seed, arguments=arguments):
            return flattened(arguments(seed))[0]

        def make_leaves(seed, make=make):
            return leaves(make(seed))

        name = f"{function.name} example{words}"
        yield Case(name, make, call, not function.varying, exact)
        if has_gradient(call, make_leaves(0)):
            yield Case(f"{name} backward", make_leaves, differentiated(call), not function.varying, False)


CASES = [case for function in FUNCTIONS.values() for case in derived(function, rows=ROWS)]
CASES += [case for op in catalogue.ops() for case in own(op, "CASES", ())]


def kind(case):
    """The kind of a case's op."""
    return catalogue.OPS[FUNCTIONS[case.function].op]["kind"]


def on_host(result):
    """A result as a list of what can be compared: detached tensors in the host's memory, and anything else."""
    result = result if isinstance(result, (list, tuple)) else [result]
    return [x.detach().cpu() if isinstance(x, torch.Tensor) else x for x in result]


def assert_same(case, result, expected):
    """``result`` is ``expected``: bit by bit for an exact case, else within rounding; both as `on_host` gives them."""
    assert len(result) == len(expected), case.name
    for mine, theirs in zip(result, expected, strict=True):
        if not isinstance(theirs, torch.Tensor):
            assert mine == theirs, case.name
        elif case.exact:
            assert mine.dtype == theirs.dtype and torch.equal(mine, theirs), case.name
        else:
            loose = {torch.float16: 1e-2, torch.bfloat16: 8e-2}.get(theirs.dtype, 1e-4)
            torch.testing.assert_close(mine, theirs, rtol=loose, atol=loose, equal_nan=True, msg=lambda text:
                                       f"{case.name}: {text}")
