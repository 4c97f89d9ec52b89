"""The learning rate as a function of the step, so that a resumed run needs no state for it."""

import math

__all__ = ["learning_rate_factor", "run_length"]


def run_length(schedule, batches_per_epoch):
    """The steps of a run: ``steps`` where given, else ``epochs`` of ``batches_per_epoch``.

    Raises:
        ValueError: neither or both are given.
    """
    if (schedule.steps is None) == (schedule.epochs is None):
        raise ValueError("schedule: give either steps or epochs, got "
                         f"steps={schedule.steps} and epochs={schedule.epochs}")
    if schedule.steps is not None:
        return schedule.steps
    return max(1, math.ceil(schedule.epochs * batches_per_epoch))


def learning_rate_factor(schedule, step, total):
    """What multiplies the learning rate at one step.

    Args:
        schedule: ``ScheduleConfig``.
        step: 0 for the first step.
        total: steps of the whole run.

    Returns:
        float. Warm-up: from ``warmup_factor`` at step 0 in a straight line to 1 at step
        ``warmup_steps``. It multiplies the main part: "constant": 1; "step": ``gamma`` to the
        number of ``milestones`` (parts of the run, 0.0 to 1.0) that have passed; "cosine": half
        a cosine from 1 at the end of the warm-up to ``final_factor`` at the end of the run; "poly":
        from 1 to ``final_factor`` over the same time, as the part of it that is left to the ``power``.

    Source: warm-up by Goyal et al. 2017, arXiv:1706.02677, 2.2; cosine by Loshchilov and Hutter
    2016, arXiv:1608.03983, eq. 5, without restarts; "poly" with power 0.9 by Chen et al. 2016, arXiv:1606.00915, 4.1,
    and PSPNet, arXiv:1612.01105, 5.1.
    """
    warmup = min(schedule.warmup_steps, total)
    warm = 1.0
    if step < warmup:
        warm = schedule.warmup_factor + (1.0 - schedule.warmup_factor) * step / warmup
    if schedule.kind == "step":
        return warm * schedule.gamma ** sum(step >= m * total for m in schedule.milestones)
    if schedule.kind in ("cosine", "poly"):
        done = min(1.0, max(0, step - warmup) / max(1, total - warmup))
        wave = 0.5 * (1.0 + math.cos(math.pi * done)) if schedule.kind == "cosine" else (1.0 - done) ** schedule.power
        return warm * (schedule.final_factor + (1.0 - schedule.final_factor) * wave)
    return warm
