"""The guard against slow-downs: what it compares and what it says. Neither valgrind nor a clock is needed."""

import importlib
import json
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PART = """\
ob=/usr/lib/libpython3.11.so.1.0
fn=call
0 1000
cob=/site/roikit/_core.cpython-311-x86_64-linux-gnu.so
cfn=box_iou
calls=1 0
0 5000

ob=/site/roikit/_core.cpython-311-x86_64-linux-gnu.so
fn=box_iou
0 300
cob=/usr/lib/x86_64-linux-gnu/libc.so.6
cfn=memset
calls=2 0
0 70
cfn=another_of_its_own
calls=1 0
0 40
cob=/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30
cfn=operator new(unsigned long)
calls=3 0
0 12345
cob=/usr/lib/libpython3.11.so.1.0
cfn=PyErr_Occurred
calls=1 0
0 9
0 5

ob=/usr/lib/x86_64-linux-gnu/libc.so.6
fn=memset
0 70
"""


@pytest.fixture
def guard(monkeypatch):
    import roikit.kernels  # noqa: F401  - the roikit under test, before the checkout comes first on the path

    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.guard")


def test_contract_counted_is_what_the_modules_do_and_what_they_call_in_the_c_library(guard):
    assert guard.count_of(PART) == 300 + 70 + 3 * guard.ALLOCATION + 5


def test_contract_each_work_lies_between_two_marks(guard):
    assert guard.counts_of_parts(["a", "b"], ["", PART, "", PART.replace("0 300", "0 400"), ""]) == {"a": 675, "b": 775}
    with pytest.raises(RuntimeError, match="expected 5 parts .* got 4"):
        guard.counts_of_parts(["a", "b"], ["", PART, PART, ""])


def test_contract_more_than_three_per_cent_fails_and_less_asks_for_an_update(guard):
    committed = dict.fromkeys(["box_iou", "decode", "encode", "nms"], 10_000)
    counts = {"box_iou": 10_301, "decode": 10_299, "encode": 9_701, "nms": 9_699}
    wrong, better = guard.compare_counts(counts, committed)
    assert wrong == ["box_iou: 10,301 instructions, +3.0 % against 10,000; at most +3 % is allowed"]
    assert better == ["nms: 9,699 instructions, -3.0 % against 10,000; "
                      "python -m benchmarks.guard --update keeps the gain"]


def test_contract_an_unknown_compiler_passes_with_a_sentence(guard):
    wrong, better = guard.compare_counts({"nms": 1}, None)
    assert wrong == [] and better == ["no committed counts of this compiler, so nothing to compare with"]


def test_contract_works_and_committed_counts_must_be_the_same(guard):
    wrong, _ = guard.compare_counts({"new": 1}, {"old": 1})
    assert wrong == ["new: counted, but has no committed count; run python -m benchmarks.guard --update new",
                     "old: not counted, but has a committed count; run python -m benchmarks.guard --update"]


def test_contract_a_compiler_is_known_by_its_minor_release(guard):
    assert guard.compiler_key("gcc 12.2.0") == "gcc 12.2" and guard.compiler_key("clang 17.0.6") == "clang 17.0"


def test_contract_a_figure_above_its_limit_is_named(guard):
    limits = {"nms": {"time over a copy": 7, "page faults": 1200}}
    assert guard.compare_ratios({"nms": {"time over a copy": 7.0, "page faults": 1200}}, limits) == {}
    assert guard.compare_ratios({"nms": {"time over a copy": 7.5, "page faults": 30}}, limits) == {
        "nms": "time over a copy 7.50, at most 7.00 is allowed"}


def test_contract_only_what_stays_slow_fails(guard, capsys):
    figures = {"quick": [1.0], "noisy": [3.0, 1.0], "slow": [3.0, 2.5, 2.75]}

    def measure(names):
        return {name: {"ratio": figures[name].pop(0)} for name in names}

    assert not guard.timed("copies", {name: {"ratio": 2.0} for name in figures}, measure)
    assert figures == {"quick": [], "noisy": [], "slow": []}
    failed = [line for line in capsys.readouterr().out.splitlines() if "FAILED," in line]
    assert failed == ["copies: FAILED, slow: ratio 2.75, at most 2.00 is allowed"]


def test_contract_without_valgrind_the_count_says_so_and_passes(guard, monkeypatch, capsys):
    monkeypatch.setattr(guard.shutil, "which", lambda name: None)
    assert guard.main(["counts"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "counts: skipped, valgrind is not installed"
    assert guard.main(["--update"]) == 1


def test_contract_the_guard_says_which_levels_it_saw(guard, monkeypatch, capsys):
    monkeypatch.setattr(guard.shutil, "which", lambda name: None)
    monkeypatch.setattr("roikit._config.simd_levels", lambda: ("base", "v3"))
    assert guard.main(["counts", "levels"]) == 0
    seen, *_, skipped = capsys.readouterr().out.splitlines()
    assert seen == "guard: this processor has the levels base v3; counts and copies are taken at v3"
    assert skipped == "levels: skipped, this processor has no v4"


def test_contract_update_keeps_other_compilers_and_a_slow_down_is_the_status(guard, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(guard, "COUNTS", tmp_path / "counts.json")
    monkeypatch.setattr(guard.shutil, "which", lambda name: "/usr/bin/valgrind")
    monkeypatch.setattr("roikit._config.simd_levels", lambda: ("base", "v3"))
    monkeypatch.setattr(guard, "this_compiler", lambda: "gcc 99.1")
    counts = {"nms": 100}
    monkeypatch.setattr(guard, "counted", lambda words=(): list(words or counts))
    monkeypatch.setattr(guard, "measure_counts", lambda names: {name: counts[name] for name in names})
    guard.COUNTS.write_text(json.dumps({"gcc 1.0": {"nms": 7}}))
    assert guard.main(["counts"]) == 0 and "no committed counts of this compiler" in capsys.readouterr().out
    assert guard.main(["--update"]) == 0
    assert json.loads(guard.COUNTS.read_text()) == {"gcc 1.0": {"nms": 7}, "gcc 99.1": {"nms": 100}}
    counts |= {"nms": 104, "box_iou": 7}
    assert guard.main(["counts"]) == 1
    said = capsys.readouterr().out
    assert "counts: FAILED, nms: 104 instructions, +4.0 %" in said and "box_iou: counted, but has no" in said
    assert guard.main(["--update", "box_iou"]) == 0
    assert json.loads(guard.COUNTS.read_text())["gcc 99.1"] == {"nms": 100, "box_iou": 7}
    del counts["nms"]
    assert guard.main(["--update", "box_iou"]) == 0  # what there is no longer goes
    assert json.loads(guard.COUNTS.read_text())["gcc 99.1"] == {"box_iou": 7}


def test_contract_a_part_that_there_is_not(guard, capsys):
    with pytest.raises(SystemExit):
        guard.main(["count"])
    assert "parts are counts, levels, copies, got count" in capsys.readouterr().err


def test_contract_every_counted_work_has_a_committed_count(guard):
    works = importlib.import_module("benchmarks.guard_process").WORKS
    for compiler, counts in json.loads(guard.COUNTS.read_text()).items():
        counted = {name for name, work in works.items() if work.counted}
        assert not (missing := counted - counts.keys()), f"python -m benchmarks.guard --update {shlex.join(missing)}"
        assert set(counts) == counted, compiler


def test_contract_names_are_of_works_or_of_ops(guard, capsys):
    assert guard.counted(["rle iou", "box_codec"]) == ["encode", "decode", "rle iou"]
    assert len(guard.counted()) > 50 and "clip" not in guard.counted()
    with pytest.raises(SystemExit):
        guard.main(["--update", "nmz"])
    assert "there is no work or op nmz; works are anchors, box_iou, " in capsys.readouterr().err


def test_contract_works_need_no_torch(guard, run_python):
    run_python(f"import sys; sys.modules['torch'] = None; sys.path.append({str(ROOT)!r}); "
               "from benchmarks.kernel_works import guarded; assert len(guarded()['nms']) == 2")


def test_contract_the_c_library_is_told_what_to_choose(guard, monkeypatch):
    """Whatever the processor and the caller have it choose: memory functions without AVX and without `rep movs`."""
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.cpu.hwcaps=ERMS")
    seen = {}

    def run(command, env, **options):
        seen.update(env)
        return subprocess.CompletedProcess(command, 1, "", "stopped here")

    monkeypatch.setattr(guard.subprocess, "run", run)
    with pytest.raises(RuntimeError, match="stopped here"):
        guard.measure_counts(["nms"])
    assert seen["GLIBC_TUNABLES"] == guard.PLAIN_C_LIBRARY and "-ERMS" in guard.PLAIN_C_LIBRARY
    assert seen["ROIKIT_SIMD"] == "v3"


# NumPy's own work, or the kernel of another name.
NO_WORK = {"box_area", "box_convert", "cell_anchors_rotated", "masks_to_boxes", "remove_small_boxes",
           "batched_nms_rotated", "nms_padded"}


def test_contract_every_kernel_has_a_work(guard, monkeypatch):
    import roikit.kernels as kernels
    works = importlib.import_module("benchmarks.guard_process").WORKS
    called = set()

    def noting(name, function):
        return lambda *args, **kwargs: called.add(name) or function(*args, **kwargs)

    for name in kernels.__all__:
        monkeypatch.setattr(kernels, name, noting(name, getattr(kernels, name)))
    for work in works.values():
        work.make(*work.small)()
    assert not (without := set(kernels.__all__) - called - NO_WORK), (
        f"no work calls {sorted(without)}: write one into WORKS of benchmarks/bench_<op>.py")
    assert set(kernels.__all__) - called == NO_WORK
