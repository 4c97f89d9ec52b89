"""The guard against slow-downs: fails on a real one, not on noise. Needs valgrind; NumPy only, x86-64.

    python -m benchmarks.guard [counts] [levels] [copies]    all three if none is named; status 1 if one is slower
    python -m benchmarks.guard --update [NAME ...]           count, and write benchmarks/guard_counts.json: of these
                                                             works or ops, or all

counts: instructions of each op at ROIKIT_SIMD=v3 on one thread under callgrind, against the committed ones of this
        compiler. More than 3 % above fails; more than 3 % below asks for --update. Counted is what roikit's compiled
        modules execute, and what they call in the C and C++ libraries: Python and NumPy do not matter, and neither does
        the processor: the C library is told to choose its functions as on the first x86-64.
levels: time of each op at v4 over its time at v3.
copies: time of each op on large inputs over the time of a copy of as many bytes as the result has, and the page faults
        of a call, which instructions do not show.

What is timed and found too slow is timed again, twice at most: a slow-down stays, noise does not.
"""

import argparse
import io
import json
import mmap
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["compare_counts", "compare_ratios", "compiler_key", "counts_of_parts", "main"]

COUNTS = Path(__file__).parent / "guard_counts.json"
PARTS = ("counts", "levels", "copies")
TOLERANCE = 0.03
SLOWER_THAN_V3 = 1.25
TRIES = 3
MARK = "getppid"
KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
OWN = ("_core.", "_rle.", "_polygon.")
ALLOCATORS = ("malloc", "calloc", "realloc", "free", "aligned_alloc", "posix_memalign", "operator new",
              "operator delete")
ALLOCATION = 100  # the price of one of their calls, instructions
# glibc chooses its functions by the processor. On every x86-64 these settings leave the same ones: without AVX, without
# `rep movs`, of which callgrind counts each byte, and with stores that pass by the caches for no size.
PLAIN_C_LIBRARY = ("glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM,-SSSE3,-FMA,-FMA4"
                   ":glibc.cpu.x86_non_temporal_threshold=0x40000000")
LIBRARIES = ("libc.", "libm.", "libstdc++.", "libc++.", "libgcc_s.")


def environment(**more):
    """The fixed environment of a child: neither the caller's settings nor their size matter."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
                   "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "ROIKIT_NUM_THREADS": "1",
                   "ROIKIT_HUGE_PAGES": "on"} | more


def compiler_key(name):
    """'gcc 12.2.0' -> 'gcc 12.2': patch releases share their counts."""
    words = name.split()
    return " ".join([*words[:-1], ".".join(words[-1].split(".")[:2])])


def this_compiler():
    import roikit

    text = io.StringIO()
    roikit.show_config(text)
    return compiler_key(next(line for line in text.getvalue().splitlines() if line.startswith("compiler"))[12:].strip())


def count_of(text):
    """Instructions of one of callgrind's parts: roikit's own, and those of the C and C++ libraries that it calls.

    Lines of a part: ob= the file of the functions that follow, a line with a cost, cob= and cfn= the file and the name
    of a called function, calls= and after it a line with the call's inclusive cost. What the allocator takes depends on
    all that was allocated before, down to the length of paths, so each of its calls has one price.
    """
    total, own, library, function, calls = 0, False, "", "", 0
    for line in text.splitlines():
        if line.startswith("ob="):
            path = Path(line[3:])
            own = path.parent.name == "roikit" and path.name.startswith(OWN)
        elif line.startswith("cob="):
            library = Path(line[4:]).name
        elif line.startswith("cfn="):
            function = line[4:]
        elif line.startswith("calls="):
            calls = int(line[6:].split()[0])
        elif line[:1].isdigit():
            if own and (not calls or library.startswith(LIBRARIES)):
                total += calls * ALLOCATION if function.startswith(ALLOCATORS) else int(line.split()[-1])
            library, function, calls = "", "", 0
    return total


def counts_of_parts(names, parts):
    """name -> instructions. ``parts``: callgrind's files in order, one before each mark and one after the last.

    Raises:
        RuntimeError: their number is another, so callgrind did not see the marks.
    """
    if len(parts) != 2 * len(names) + 1:
        raise RuntimeError(f"guard: expected {2 * len(names) + 1} parts from callgrind for {len(names)} works, got "
                           f"{len(parts)}: it did not see the calls of {MARK}")
    return {name: count_of(part) for name, part in zip(names, parts[1::2], strict=True)}


def measure_counts(names):
    """name -> instructions of the works, which are counted ones."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", "--vgdb=no", f"--dump-before={MARK}", "--compress-strings=no",
             "--compress-pos=no", "--dump-line=no", f"--callgrind-out-file={folder}/out", sys.executable, "-m",
             "benchmarks.guard_process", "marked", *names],
            env=environment(ROIKIT_SIMD="v3", GLIBC_TUNABLES=PLAIN_C_LIBRARY), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"guard: the count under valgrind failed:\n{done.stderr[-2000:]}")
        numbered = sorted((p for p in Path(folder).iterdir() if p.name != "out"), key=lambda p: int(p.suffix[1:]))
        parts = [p.read_text() for p in [*numbered, Path(folder, "out")]]
    return counts_of_parts(names, parts)


def counted(words=()):
    """The counted works of the names, each of a work or of an op; all where there are none.

    Raises:
        ValueError: a name is of neither.
    """
    from .kernel_works import guarded

    works = {op: [name for name, work in of_op.items() if work.counted] for op, of_op in guarded().items()}
    every = [name for names in works.values() for name in names]
    if unknown := [word for word in words if word not in every and word not in works]:
        raise ValueError(f"there is no work or op {', '.join(unknown)}; works are {', '.join(every)}")
    return [name for op, names in works.items() for name in names if not words or name in words or op in words]


def compare_counts(counts, committed):
    """Sentences on what is wrong, and on what has become better. ``committed``: None for an unknown compiler's."""
    if committed is None:
        return [], ["no committed counts of this compiler, so nothing to compare with"]
    wrong, better = [], []
    for name in sorted(counts.keys() | committed.keys()):
        if name not in counts or name not in committed:
            where = "not counted, but has a" if name in committed else "counted, but has no"
            wrong.append(f"{name}: {where} committed count; run python -m benchmarks.guard --update"
                         f"{'' if name in committed else ' ' + shlex.quote(name)}")
            continue
        change = counts[name] / committed[name] - 1
        line = f"{name}: {counts[name]:,} instructions, {100 * change:+.1f} % against {committed[name]:,}"
        if change > TOLERANCE:
            wrong.append(f"{line}; at most {100 * TOLERANCE:+.0f} % is allowed")
        elif change < -TOLERANCE:
            better.append(f"{line}; python -m benchmarks.guard --update keeps the gain")
    return wrong, better


def run_counts(update=None):
    """Counts, and compares with what is committed; or writes the counts of the works that ``update`` lists."""
    if shutil.which("valgrind") is None:
        print("counts: skipped, valgrind is not installed")
        return update is None
    import roikit

    if "v3" not in roikit.simd_levels():
        print("counts: skipped, this processor has no v3")
        return update is None
    known, compiler = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}, this_compiler()
    every, committed = counted(), known.get(compiler)
    counts = measure_counts(every if update is None else update)
    for name, count in counts.items():
        before = f"{100 * (count / committed[name] - 1):+8.2f} %" if name in (committed or {}) else ""
        print(f"counts: {name:36} {count:12,} {before}")
    if update is None:
        return report("counts", *compare_counts(counts, committed), f"with {compiler}")
    kept = {name: count for name, count in (committed or {}).items() if name in every}
    COUNTS.write_text(json.dumps(known | {compiler: kept | counts}, indent=1, sort_keys=True) + "\n")
    print(f"counts: wrote {len(counts)} of {compiler} to {COUNTS.name}")
    return True


def report(part, wrong, better, what):
    for line in better:
        print(f"{part}: {line}")
    for line in wrong:
        print(f"{part}: FAILED, {line}")
    print(f"{part}: {'FAILED' if wrong else 'passed'} {what}")
    return not wrong


def compare_ratios(measured, limits):
    """name -> sentence, of the works with a figure above its limit. Both: name -> {figure: number}."""
    return {name: "; ".join(f"{figure} {number:.2f}, at most {limits[name][figure]:.2f} is allowed"
                            for figure, number in figures.items() if number > limits[name][figure])
            for name, figures in measured.items()
            if any(number > limits[name][figure] for figure, number in figures.items())}


def timed(part, limits, measure):
    """Measures the works of ``limits``, those above theirs again; prints the figures; whether all are within."""
    names, slow = list(limits), {}
    for attempt in range(TRIES):
        measured = measure(names)
        slow = compare_ratios(measured, limits)
        for name, figures in measured.items():
            text = "  ".join(f"{figure} {number:.2f} of {limits[name][figure]:.2f}"
                             for figure, number in figures.items())
            print(f"{part}: {name:36} {text}{'  again' if name in slow and attempt + 1 < TRIES else ''}")
        names = list(slow)
        if not names:
            break
    return report(part, [f"{name}: {line}" for name, line in slow.items()], [], f"after {attempt + 1} tries")


def measured_in_child(part, **settings):
    """A function: names -> what benchmarks.guard_process measures of them in a process of its own."""
    def measure(names):
        done = subprocess.run([sys.executable, "-m", "benchmarks.guard_process", part, *names],
                              env=environment(**settings), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"guard: measuring {part} failed:\n{done.stderr[-2000:]}")
        return json.loads(done.stdout)
    return measure


def run_levels():
    import roikit

    from .guard_process import WORKS

    if "v4" not in roikit.simd_levels():
        print("levels: skipped, this processor has no v4")
        return True
    limits = {name: {"time of v4 over v3": SLOWER_THAN_V3} for name, work in WORKS.items() if work.levels}
    return timed("levels", limits, measured_in_child("levels", ROIKIT_SIMD="v4"))


def huge_pages():
    """Whether the system gives huge pages to who asks for them, by the page faults of 16 MiB."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return False
    import numpy as np

    from .guard_process import faults_of

    with mmap.mmap(-1, 16 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        block.madvise(mmap.MADV_HUGEPAGE)
        return faults_of(lambda: np.frombuffer(block, np.uint8).fill(1)) < (16 << 20) // mmap.PAGESIZE // 2


def run_copies():
    from .guard_process import WORKS

    if not huge_pages():
        print("copies: skipped, this system gives no huge pages now, and the limits are for one that does")
        return True
    limits = {name: {"time over a copy": work.limit, "page faults": work.faults} for name, work in WORKS.items()}
    # roikit asks for huge pages and NumPy does not, so that roikit's show; results of 1 MiB and more are always fresh.
    return timed("copies", limits, measured_in_child("copies", ROIKIT_SIMD="v3", NUMPY_MADVISE_HUGEPAGE="0",
                                                     MALLOC_MMAP_THRESHOLD_=str(1 << 20)))


def main(words=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="counts|levels|copies")
    parser.add_argument("--update", nargs="*", metavar="NAME", help="write the counts of this compiler to "
                        "guard_counts.json: of these works, of the works of these ops, or of all")
    given = parser.parse_args(words)
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"parts are {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    if given.update is not None:
        try:
            works = counted(given.update)
        except ValueError as reason:
            parser.error(str(reason))
        return 0 if run_counts(works) else 1
    import roikit

    print(f"guard: this processor has the levels {' '.join(roikit.simd_levels())}; counts and copies are taken at v3")
    run = {"counts": run_counts, "levels": run_levels, "copies": run_copies}
    return 0 if all([run[part]() for part in given.parts or PARTS]) else 1


if __name__ == "__main__":
    sys.exit(main())
