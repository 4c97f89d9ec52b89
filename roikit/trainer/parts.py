"""The parts of a journal that several processes write, each one of its own, and how they become the journal.

A part is a journal itself, ``predictions.part-MARK-RANK.jsonl`` beside the journal; the mark is drawn for each start,
so that no two processes ever write to one file. What a killed prediction leaves are parts, and whoever goes on with it,
one process or several, joins them first. They are taken away when the journal with their lines is on the disk: at every
moment each line is in one of the files, and of an image in two of them one counts.
"""

import secrets
from pathlib import Path

from roikit.trainer.checkpoint import write_atomically
from roikit.trainer.journal import Journal, write_joined

__all__ = ["JOURNAL", "PARTS", "going_on", "join", "new_mark", "part_name"]

JOURNAL = "predictions.jsonl"
PARTS = "predictions.part-*.jsonl"


def new_mark():
    """What the parts of one start have in their names."""
    return secrets.token_hex(6)


def part_name(mark, rank):
    return f"predictions.part-{mark}-{rank}.jsonl"


def going_on(out, about, *, resume):
    """The journal of a folder.

    Args:
        out: folder.
        about, resume: see `Journal`. With ``resume`` the parts in the folder are joined to it first; without, they are
            taken away.

    Raises:
        OSError, ValueError: as `Journal`.
    """
    parts = sorted(Path(out).glob(PARTS))
    if resume and parts:
        join(out, about, parts)
    for part in parts:
        part.unlink(missing_ok=True)
    return Journal(Path(out) / JOURNAL, about, resume=resume)


def join(out, about, parts):
    """Make the journal of a folder one of itself and of parts, paths of files that stay; it must be closed.

    Raises:
        OSError: a file cannot be read or written.
        ValueError: one of them is another prediction's.
    """
    journal = Path(out) / JOURNAL
    write_atomically(journal, lambda file: write_joined(file, [journal, *parts], about))
