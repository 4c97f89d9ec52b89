"""`roikit verify` and roikit.testing: mutants are named, roikit's own floors raise no alarm, reports can be pasted."""

import importlib.util
import itertools
import json
import sys
from pathlib import Path

import click.testing
import numpy as np
import pytest
from hypothesis import given

from roikit import kernels, reference
from roikit.cli import main
from roikit.masks.polygon import rasterize
from roikit.reference.polygon import rasterize as reference_rasterize
from roikit.testing import CannotCheck, cases, catalogue, check
from roikit.testing import strategies as some
from roikit.testing.floors import own_functions
from roikit.testing.judged import JUDGED, difference

HERE = Path(__file__).resolve().parent


def load(name):
    spec = importlib.util.spec_from_file_location(f"verify_{name}", HERE / f"{name}.py")
    module = sys.modules[f"verify_{name}"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mutants, *others = (load(path.stem) for path in sorted(HERE.glob("mutants*.py")))
MUTANTS = [mutant for module in (mutants, *others) for mutant in module.MUTANTS]


def check_here(function, op, **options):
    return check(function, op, **{"cases": 1000, **options})


@pytest.mark.parametrize("function, op, name", MUTANTS, ids=lambda v: getattr(v, "__name__", None))
def test_a_mutant_is_caught_by_name(function, op, name):
    report = check_here(function, op, smallest=False)
    assert report.verdict == "differs"
    assert name in [c.name for c in report.conventions], report.text()
    assert len(report.conventions) <= 2, report.text()


@pytest.mark.parametrize("op, function, arrays", own_functions(), ids=lambda v: v)
def test_roikits_own_floors_raise_no_alarm(op, function, arrays):
    report = check(function, op, cases=25, seed=1)
    assert report.agrees, report.text()
    assert report.arrays == arrays and report.cases == 25


def unjudged(ops, judged):
    """A sentence for each function of the table that is not judged, or of which nobody has tried a wrong one."""
    tried = {op for _, op, _ in MUTANTS}
    for op in ops.values():
        for name in (f.name for f in op.functions if op.kind != "torch" and not f.is_module):
            if name not in judged:
                yield f"{name} is not judged: write an Op of it into OPS of roikit/testing/judged/{op.name}.py"
            elif name not in tried:
                yield f"{name} has no mutant: write one into MUTANTS of tests/testing/mutants_{op.name}.py"


def test_every_function_is_judged_and_has_a_mutant(monkeypatch):
    assert not (found := list(unjudged(catalogue.ops(), JUDGED))), "\n".join(found)
    without = {name: op for name, op in JUDGED.items() if name != "roi_warp"}
    assert list(unjudged(catalogue.ops(), without)) == [
        "roi_warp is not judged: write an Op of it into OPS of roikit/testing/judged/roi_warp.py"]
    monkeypatch.setitem(globals(), "MUTANTS", [mutant for mutant in MUTANTS if mutant[1] != "nms"])
    assert list(unjudged(catalogue.ops(), JUDGED)) == [
        "nms has no mutant: write one into MUTANTS of tests/testing/mutants_nms.py"]


@pytest.mark.parametrize("op", JUDGED)
def test_no_convention_is_the_reference_itself(op):
    """Each differs from it on some case, or it could never be told."""
    from roikit.testing.checker import _drawn

    few = [case for awkward in (False, True) for case in _drawn(op, 100, 0, awkward)]
    judged = JUDGED[op]
    for variant in judged.variants:
        if variant.parts > 1 or variant.name in ("rounding", "ties-in-no-order", "threshold-by-rounding"):
            continue

        def differs(case, variant=variant):
            expected = judged.reference(**case)
            return difference(variant.expected(case, expected), expected,
                              judged.tolerance(case, expected) if judged.tolerance else None)
        with np.errstate(all="ignore"):
            more = (_drawn(op, 200, seed, True) for seed in range(1, 8))
            assert any(any(map(differs, drawn)) for drawn in itertools.chain([few], more)), variant.name


def test_two_conventions_at_once_are_named_together():
    def both(boxes, scores, iou_threshold):
        return mutants.greedy(boxes, scores, iou_threshold, hits=lambda iou, t: iou >= t,
                              iou=lambda a, b: mutants.plain_iou(a, b, plus=1))

    assert "plus-one + inclusive-threshold" in [c.name for c in check_here(both, "nms").conventions]


def test_what_no_convention_explains_is_told_with_the_smallest_case():
    def every_third_is_lost(boxes, scores, iou_threshold):
        keep = kernels.nms(boxes, scores, iou_threshold)
        return keep[:2]

    report = check_here(every_third_is_lost, "nms")
    assert report.verdict == "differs" and not report.conventions
    assert len(report.failure.case["boxes"]) == 3, report.text()
    assert "No convention known here explains" in report.text()


def test_ordinary_input_is_judged_on_its_own():
    def nan_is_an_error(boxes, scores, iou_threshold):
        if not len(boxes) or not np.isfinite(boxes).all():
            raise RuntimeError("only finite boxes")
        return mutants.nms_inclusive(boxes, scores, iou_threshold)

    report = check_here(nan_is_an_error, "nms")
    assert not report.conventions and [c.name for c in report.ordinary] == ["inclusive-threshold"]
    assert "raised RuntimeError: only finite boxes" in report.failure.reason


@pytest.mark.parametrize("function, op", [(mutants.nms_inclusive, "nms"), (mutants.iou_nan_for_empty, "box_iou"),
                                          (mutants.align_flipped, "roi_align"), (mutants.paste_integer, "paste_masks"),
                                          (mutants.encode_rows_first, "rle_encode")])
def test_the_snippet_can_be_pasted(function, op):
    report = check_here(function, op, smallest=False)
    room = {}
    exec(report.failure.snippet, room)
    got = room["got"].numpy() if hasattr(room["got"], "numpy") else room["got"]
    assert difference(got, report.failure.got) is None
    assert difference(got, report.failure.expected) is not None
    assert "# expected:" in report.failure.snippet


def test_the_same_seed_gives_the_same_report():
    first, second = (check_here(mutants.area_of_reversed, "box_area", seed=5).text() for _ in range(2))
    assert first == second


def test_an_answer_that_changes_is_told():
    calls = []

    def fickle(boxes1, boxes2):
        calls.append(0)
        return reference.box_iou(boxes1, boxes2) + (len(calls) == 40)

    assert check_here(fickle, "box_iou", arrays="numpy").verdict == "unsteady"


def test_the_kind_of_arrays_is_found_out_or_said():
    assert check_here(reference.box_iou, "box_iou", cases=20).arrays == "numpy"
    assert check_here(mutants.nms_sorted_by_index, "nms", cases=5).arrays == "torch"
    assert check_here(kernels.box_iou, "box_iou", arrays="numpy", cases=10).agrees


def test_options_that_a_function_lacks_are_held_at_their_defaults():
    def short(input, boxes, output_size, spatial_scale=1.0):
        return kernels.roi_align(input, boxes, output_size, spatial_scale)

    report = check_here(short, "roi_align", cases=40)
    assert report.agrees and report.options == {"sampling_ratio": -1, "aligned": False, "reduce": "mean"}


@pytest.mark.parametrize("function, op, options, words", [
    ("roikit.kernels:nms", "nmz", {}, "op must be one of"),
    ("roikit.kernels.nms", "nms", {}, "MODULE:FUNCTION"),
    ("no_such_module:nms", "nms", {}, "cannot import no_such_module"),
    ("roikit.kernels:nmz", "nms", {}, "has no nmz"),
    ("roikit.kernels:nms", "nms", {"cases": 0}, "at least 1"),
    (lambda boxes: boxes, "nms", {}, "no place for scores"),
    (lambda boxes, scores, iou_threshold: 1 / 0, "nms", {}, "neither torch nor NumPy"),
])
def test_what_cannot_be_checked_is_said(function, op, options, words):
    with pytest.raises(CannotCheck, match=words):
        check(function, op, **options)


def test_cases_are_public():
    with pytest.raises(ValueError, match="op must be one of"):
        cases("nmz")
    assert cases("nms").is_empty is False


@given(some.polygons())
def test_polygons_are_what_a_rasteriser_takes(polygons):
    np.testing.assert_array_equal(rasterize(polygons, 9, 9), reference_rasterize(polygons, 9, 9))


def command(*words):
    return click.testing.CliRunner().invoke(main, ["verify", *words])


def test_the_command_prints_the_verdict_and_ends_with_its_status(tmp_path):
    agreed = command("roikit.kernels:nms", "--op", "nms", "--cases", "50", "--json", str(tmp_path / "a.json"))
    assert agreed.exit_code == 0 and "AGREES with the reference on 50 cases" in agreed.output
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["verdict"] == "agrees" and found["failure"] is None and found["op"] == "nms"
    differing = command("verify_mutants:nms_inclusive", "--op", "nms", "--cases", "1000", "--json",
                        str(tmp_path / "b.json"))
    assert differing.exit_code == 1 and "inclusive-threshold" in differing.output
    found = json.loads((tmp_path / "b.json").read_text())
    assert [c["name"] for c in found["conventions"]] == ["inclusive-threshold"]
    assert set(found["failure"]["inputs"]) == {"boxes", "scores", "iou_threshold"}


@pytest.mark.parametrize("words", [[], ["roikit.kernels:nms"], ["--self", "--op", "nms"],
                                   ["roikit.kernels:nms", "--self"],
                                   ["roikit.kernels:nms", "--op", "nothing"], ["nothing:nms", "--op", "nms"]])
def test_wrong_usage_ends_with_2(words):
    assert command(*words).exit_code == 2


@pytest.mark.parametrize("text", ["raise RuntimeError('no')", "def nms(:", "raise SystemExit(0)"])
def test_a_module_that_cannot_be_imported_ends_with_2(tmp_path, monkeypatch, text):
    (tmp_path / "verify_broken.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    done = command("verify_broken:nms", "--op", "nms", "--cases", "5")
    assert done.exit_code == 2 and "cannot import verify_broken" in done.output


def test_a_report_that_cannot_be_written_ends_with_2(tmp_path):
    done = command("roikit.kernels:nms", "--op", "nms", "--cases", "5", "--json", str(tmp_path / "none" / "a.json"))
    assert done.exit_code == 2 and "cannot write" in done.output


def test_a_function_that_leaves_by_exit_differs():
    """With its status 0 it would pass for one that agrees."""
    def leaving(boxes, scores, iou_threshold):
        if len(boxes) > 1:
            raise SystemExit(0)
        return reference.nms(boxes, scores, iou_threshold)

    report = check(leaving, "nms", cases=100, arrays="numpy")
    assert not report.agrees and report.failure.reason == "it raised SystemExit: 0"


def test_a_result_of_the_wrong_kind_is_called_by_its_name():
    torch = pytest.importorskip("torch")
    kinds = {"a list": (lambda *given: reference.nms(*given).tolist(), "got list"),
             "a sparse tensor": (lambda *given: torch.zeros(2).to_sparse(), "it raised TypeError")}
    for function, reason in kinds.values():
        report = check(function, "nms", cases=20, arrays="numpy")
        assert not report.agrees and reason in report.failure.reason


def test_self_checks_every_floor(tmp_path):
    done = command("--self", "--cases", "3", "--json", str(tmp_path / "self.json"))
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "self.json").read_text())
    assert {report["op"] for report in found} == set(JUDGED)
    assert {"roikit.kernels:nms", "roikit.ops:nms", "roikit.masks:encode"} <= {report["function"] for report in found}


def test_without_hypothesis_the_command_says_how_to_install_it(run_python):
    text = run_python("import sys; sys.modules['hypothesis'] = None\n"
                      "import click.testing; from roikit.cli import main\n"
                      "done = click.testing.CliRunner().invoke(main, ['verify', '--self'])\n"
                      "print(done.exit_code, done.output)")
    assert text.startswith("2 ") and "pip install hypothesis" in text
