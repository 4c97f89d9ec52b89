"""What the works on boxes share: what a pair costs, how many anchors, where and how large, and their goals."""

__all__ = ["PAIR", "TIMES_ANCHORS", "everywhere", "goals"]

PAIR = 13  # operations for the IoU of two boxes
TIMES_ANCHORS = (1, 10)  # how often the anchors of the FPN


def everywhere(standard):
    """The larger works are for a GPU; a peer on the CPU would take minutes."""
    return {"devices": ("cpu", "cuda") if standard else ("cuda",), "quick": standard}


def goals(cpu=None, cuda=None, cuda_floor=None):
    out = {"cpu": ("ratio", cpu)} if cpu else {}
    if cuda or cuda_floor:
        out["cuda"] = ("ratio", cuda) if cuda else ("floor", cuda_floor)
    return out
