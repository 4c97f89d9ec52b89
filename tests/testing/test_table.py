"""The table of ops: literals, signatures that parse, and examples that every floor takes."""

import ast
import importlib
import inspect
from pathlib import Path

import numpy as np
import pytest

from roikit.testing import catalogue, examples, table

TEXT = Path(table.__file__).read_text()
OPS, FUNCTIONS = catalogue.ops(), catalogue.functions()


def assignments():
    return {node.targets[0].id: node.value for node in ast.parse(TEXT).body if isinstance(node, ast.Assign)}


def test_the_table_is_literals():
    kinds = [type(node) for node in ast.parse(TEXT).body[1:]]
    assert set(kinds) == {ast.Assign}, "roikit/testing/table.py holds literals and nothing else"
    assert {name: ast.literal_eval(value) for name, value in assignments().items()} == {
        "__all__": table.__all__, "OPS": table.OPS, "FORMATS": table.FORMATS}


def test_an_op_of_one_function_takes_three_lines():
    entries = assignments()["OPS"]
    for key, value in zip(entries.keys, entries.values, strict=True):
        few = [line for line in table.OPS[key.value]["functions"] if line[0].islower()]
        assert len(few) > 1 or "entries" in table.OPS[key.value] or value.end_lineno - key.lineno < 4, key.value


@pytest.mark.parametrize("op", OPS)
def test_an_entry_says_what_it_may(op):
    entry = table.OPS[op]
    assert set(entry) - {"entries"} == {"kind", "tolerance", "functions"}, op
    assert entry["kind"] in catalogue.KINDS and entry["tolerance"] in catalogue.TOLERANCES, op
    assert set(entry.get("entries", ())) <= {f.name for f in OPS[op].functions}, op
    for function in OPS[op].functions:
        for name, parameter in function.signature.parameters.items():
            needed = parameter.default is parameter.empty
            assert not needed or parameter.annotation is not parameter.empty, (
                f"{op}: {name} of {function.name} has neither a default nor an example; write one after a colon")


def shapes(result):
    if isinstance(result, (tuple, list)):
        return [shapes(part) for part in result]
    return tuple(result.shape) if hasattr(result, "shape") else type(result)


@pytest.mark.parametrize("awkward", [False, True], ids=["plain", "awkward"])
@pytest.mark.parametrize("name", FUNCTIONS)
@np.errstate(all="ignore")
def test_every_floor_takes_the_examples(name, awkward):
    function, found = FUNCTIONS[name], []
    given = function.arguments(awkward=awkward)
    for floor in OPS[function.op].floors:
        arguments = catalogue.as_tensors(given) if floor == "ops" else given
        found.append(shapes(getattr(importlib.import_module(f"roikit.{floor}"), name)(**arguments)))
    assert all(shape == found[0] for shape in found)


def test_a_plain_example_of_a_varying_result_is_not_empty():
    from roikit import kernels

    for function in FUNCTIONS.values():
        if function.varying:
            result = getattr(kernels, function.name)(**function.arguments())
            assert len(result[0] if isinstance(result, tuple) else result), function.name


def test_examples_repeat_and_differ_by_seed_and_argument():
    first, again, other = (FUNCTIONS["box_iou"].arguments(seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["boxes1"], again["boxes1"])
    assert not np.array_equal(first["boxes1"], other["boxes1"])
    assert not np.array_equal(first["boxes1"], first["boxes2"])


def test_strays_name_no_image_and_no_mask():
    images, masks = (examples.example(word, strays=True, awkward=True) for word in ("rois", "matches"))
    assert {-1, examples.IMAGES} < set(images[:, 0]) and {-1, examples.MASKS} < set(masks)
    assert set(examples.example("rois", awkward=True)[:, 0]) <= set(range(examples.IMAGES))


def test_an_unknown_word_is_named():
    with pytest.raises(ValueError, match=r"example: word must be one of boxes, .*, or floats\(...\), got 'boxen'"):
        examples.example("boxen")


def test_a_function_says_what_it_takes():
    function = FUNCTIONS["deform_conv2d"]
    assert function.words == {"input": "maps", "offset": "floats(2, 18, 5, 7)", "weight": "floats(6, 8, 3, 3)",
                              "bias": "floats(6)", "mask": "floats(2, 9, 5, 7)"}
    assert function.arguments()["weight"].shape == (6, 8, 3, 3)
    assert function.signature.parameters["bias"].default is None
    assert FUNCTIONS["nms"].varying and not FUNCTIONS["nms_padded"].varying
    assert FUNCTIONS["clip_boxes_to_image"].arguments()["size"] == (7, 9)
    assert inspect.signature(catalogue.functions).parameters["table"].default is table.OPS
