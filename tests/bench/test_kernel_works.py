"""What asv finds of the kernels' works: a class in each op's file, at every level, on one thread and on two."""

import importlib
import inspect
import os
from pathlib import Path

import pytest

from roikit import simd_level, simd_levels
from roikit.testing.table import OPS

ROOT = Path(__file__).resolve().parent.parent.parent
KERNELS = [op for op, entry in OPS.items() if entry["kind"] != "torch"]


@pytest.fixture
def bench(monkeypatch):
    """A module of the benchmarks by its name."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def classes(bench, op):
    module, timed = bench(f"bench_{op}"), bench("kernel_works").Timed
    return module, [thing for thing in vars(module).values()
                    if isinstance(thing, type) and issubclass(thing, timed) and thing is not timed]


@pytest.mark.parametrize("op", KERNELS)
def test_contract_an_ops_file_has_its_works_for_asv(bench, op):
    module, (found,) = classes(bench, op)
    assert found.works.items() >= module.WORKS.items() and found.params[0] == list(found.works)
    assert len(found.params) == len(found.param_names)
    assert all((work.limit is None) == (name not in module.WORKS) for name, work in found.works.items())


def test_contract_a_work_is_timed_at_the_level_and_the_threads_that_are_asked_for(bench, monkeypatch):
    monkeypatch.setenv("ROIKIT_NUM_THREADS", "1")
    seen = []

    def make(*size):
        return lambda: seen.append((size, os.environ["ROIKIT_NUM_THREADS"], simd_level()))

    class Small(bench("kernel_works").Timed):
        works = {"a work": bench("kernel_works").Work(make, (1,), (7,))}

    small = Small()
    small.setup("a work", 2, "base")
    small.time_kernel("a work", 2, "base")
    assert seen == [((7,), "2", "base")]
    for level in {"base", "v3", "v4"} - set(simd_levels()):
        with pytest.raises(NotImplementedError, match=f"this processor has no {level}"):
            small.setup("a work", 1, level)


def test_contract_a_class_that_names_no_works_is_none_for_asv(bench):
    assert inspect.isabstract(bench("kernel_works").Timed)
