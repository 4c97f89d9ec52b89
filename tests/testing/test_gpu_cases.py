"""The calls that tests/gpu makes on a GPU, tried on the CPU kernels: here they run everywhere."""

import pytest
import torch

from ..gpu import cases

DERIVED = [case for function in cases.FUNCTIONS.values() for case in cases.derived(function)]


@pytest.mark.parametrize("case", DERIVED, ids=lambda case: case.name)
def test_a_call_of_the_examples_gives_something(case):
    result = cases.on_host(case.call(*case.inputs("cpu")))
    assert result and any(x.numel() if isinstance(x, torch.Tensor) else x for x in result)


def test_every_function_has_its_calls_and_what_has_a_gradient_has_two():
    names = {case.name for case in cases.CASES}
    for name, function in cases.FUNCTIONS.items():
        assert f"{name} example" in names, name
        assert cases.catalogue.OPS[function.op]["kind"] != "sampled" or f"{name} example backward" in names, name


def test_an_op_adds_calls_in_a_file_of_its_own():
    assert "roi_warp mean 12 float16" in {case.name for case in cases.CASES}
    assert "roi_warp example reduce=mean backward" in {case.name for case in DERIVED}
