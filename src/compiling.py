"""What setup.py and tests/emulation/build.py share: which files an op has, and targets that are made again exactly when
something that they are made of has changed.

Beside a target lies `<target>.made`: what its command says, and for every file that went in a hash of its contents. The
compiler lists these files itself (-MMD); those outside the repository are left out, and so are folders for headers
there, which pip puts into temporary places: the versions of what they hold stand in the command's place.
"""

import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def ops():
    """The names of the ops: those of their binding files."""
    return sorted(p.stem for p in (ROOT / "src/bind").glob("*.cpp") if not p.stem.endswith("_module"))


def cuda_sources(op):
    """src/cuda/<op>.cu and <op>_<part>.cu, the parts of ops with longer names left out, as paths from the root."""
    longer = tuple(f"{other}{end}" for other in ops() if other.startswith(f"{op}_") for end in (".cu", "_"))
    names = sorted(p.name for p in (ROOT / "src/cuda").glob(f"{op}*.cu") if p.name[len(op)] in "._")
    return [f"src/cuda/{name}" for name in names if not name.startswith(longer)]


def ops_macro(names):
    """What src/bind/ops.h is told: the ops of the module."""
    return "-DROIKIT_OPS=" + " ".join(f"ROIKIT_OP({name})" for name in names)


def folders(*paths):
    """Where the compiler finds headers: those of other projects by -isystem, so that it neither warns of them nor lists
    them among the files that went in."""
    return [word for path in map(str, paths) for word in
            ([f"-I{path}"] if not os.path.isabs(path) else ["-isystem", path])]


def jobs():
    return int(os.environ.get("ROIKIT_JOBS") or os.cpu_count() or 1)


@functools.lru_cache(None)
def version_of(program):
    """The lines with numbers in what a compiler says of itself."""
    text = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    return "; ".join(line for line in text.splitlines() if re.search(r"\d", line) and "opyright" not in line)


class Refused(RuntimeError):
    """A compiler failed; the command and what it said."""


def run(command):
    """Runs a compiler in the root; what it warns of is printed.

    Raises:
        Refused: it failed.
    """
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise Refused(f"{' '.join(command)}\n{(done.stdout + done.stderr)[-8000:]}")
    if done.stdout or done.stderr:
        print(done.stdout + done.stderr, file=sys.stderr, flush=True)


def compiled(target, source, command, versions=()):
    """Makes an object of a source; returns its path.

    Args:
        target: the object, from the root or absolute.
        source: the source, likewise.
        command: the compiler and its flags, without those that name files. ccache runs it where it is on PATH.
        versions: of what the absolute folders among the flags hold.
    """
    target, listing = Path(target), f"{target}.d"
    ccache = [shutil.which("ccache")] if shutil.which("ccache") else []
    whole = [*ccache, *command, "-c", str(source), "-o", str(target), "-MMD", "-MF", listing]
    make(target, [*lasting(command), version_of(command[0]), *versions], lambda: run(whole), [source], listing)
    return target


def lasting(command):
    """A command without the folders outside the repository."""
    words = iter(command)
    for word in words:
        if word == "-isystem":
            next(words)
        else:
            yield word


def make(target, says, action, inputs, listing=None):
    """Calls ``action`` where the target is missing or out of date; returns the reason, or None.

    Args:
        target: the file that it makes.
        says: words that must be the same as last time.
        action: makes the target.
        inputs: files that must be the same as last time, by name and contents.
        listing: a file that it also makes, in which the compiler lists more of them.
    """
    target, says, record = ROOT / target, [*says, *map(str, inputs)], ROOT / f"{target}.made"
    reason = out_of_date(target, says, record)
    if reason is None:
        return None
    print(f"{os.path.relpath(target, ROOT)}: {reason}", file=sys.stderr, flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)
    started = time.time_ns()
    action()
    files = sorted({within(path) for path in [*inputs, *(listed(ROOT / listing) if listing else [])]} - {None})
    # A file that was saved meanwhile may be newer than what went in: without a record the next call makes it again.
    if all((ROOT / name).stat().st_mtime_ns < started for name in files):
        record.write_text(json.dumps({"says": says, "files": {name: digest(name) for name in files}}, indent=1))
    return reason


def out_of_date(target, says, record):
    if not target.exists():
        return "is not there"
    try:
        known = json.loads(record.read_text())
    except (OSError, ValueError):
        return "has no record of what it was made of"
    if known["says"] != says:
        new = [word for word in says if word not in known["says"]] or ["the order"]
        return f"the command has changed: {' '.join(new)[:200]}"
    changed = [name for name, hash in known["files"].items() if digest(name) != hash]
    return f"{', '.join(changed)[:200]} changed" if changed else None


def within(path):
    """The path of a file from the root, or None where it lies elsewhere."""
    path = Path(os.path.normpath(ROOT / path))
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else None


def listed(listing):
    """The files in a compiler's rule for make."""
    rule = listing.read_text().replace("\\\n", " ")
    return [name.replace("\\ ", " ") for name in re.findall(r"(?:\\ |\S)+", rule.split(": ", 1)[1])]


def digest(name):
    """A hash of a file's contents, or None where it is gone."""
    try:
        at = (ROOT / name).stat()
    except OSError:
        return None
    return _digest(name, at.st_mtime_ns, at.st_size)


@functools.lru_cache(None)
def _digest(name, time, size):
    return hashlib.blake2b((ROOT / name).read_bytes(), digest_size=16).hexdigest()


def together(actions, workers=None):
    """The results of functions that are called several at a time."""
    with ThreadPoolExecutor(workers or jobs()) as pool:
        return [future.result() for future in [pool.submit(action) for action in actions]]


@contextlib.contextmanager
def locked(folder):
    """Keeps other processes that build into the folder waiting."""
    import fcntl

    folder = ROOT / folder
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
