"""A trained model as prediction and evaluation run it: prepared for inference where that can be done."""

from dataclasses import replace

from roikit.models import Detector, InferencePlan, Segmenter, prepare_for_inference
from roikit.models.kept_plans import prepare_with_kept_plan
from roikit.trainer.distributed import Process
from roikit.trainer.int8 import in_int8
from roikit.trainer.running import looked_at_in, native_bf16
from roikit.trainer.shares import require_same

__all__ = ["MANY", "prepared"]

MANY = 32  # pictures for which measuring the ways of convolutions pays


def prepared(trained, pictures=MANY, *, prepare=True, int8=False, process=None):
    """The model of a `Trained` as `prepare_for_inference` makes it, in the precision that its run is configured with;
    in float32 where that is bf16 and the device does not have it.

    With ``int8`` on 8-bit integers, or not at all, see `in_int8`; without ``prepare`` as it is.

    ``run.amp`` of the configuration is then "off", for a prepared model casts by itself. Left as they are: models on
    other devices than the CPU, in fp16, and of other parts than roikit's. In float32 the ways of convolutions are those
    of a plan, see `roikit.models.kept_plans`; for fewer than 32 ``pictures`` it is not measured, and each layer is
    computed in the way that is mostly the fastest. So the results do not depend on the order of pictures, nor on the
    ``process`` of several that sees one: all follow the plan of the first, and each must call this.

    Raises:
        ValueError: processes would compute in several precisions, or cannot follow the plan of the first.
    """
    if int8:
        if not prepare:
            raise ValueError("int8 is a way to prepare a model, and it is asked for as it is (--plain, prepare=False)")
        return in_int8(trained)
    if not prepare:
        return trained
    process = Process() if process is None else process
    amp = looked_at_in(trained.device, trained.config.run.amp)
    if amp == "auto":
        amp = "bf16" if native_bf16(trained.device) else "off"
    if trained.device.type != "cpu" or amp == "fp16" or not isinstance(trained.model, Detector | Segmenter):
        return trained
    require_same(process, "prepare_for_inference", precision=amp)
    model = None
    for first in (True, False):  # what the first has measured the others of its machine find in the folder of plans
        if process.first is first:
            model = _prepare(trained.model, amp, pictures)
        process.wait()
    if model is None:
        return trained
    if process.world > 1 and amp != "bf16":
        process.share_first(InferencePlan.of(model)).put_into(model)
    return replace(trained, model=model, config=replace(trained.config, run=replace(trained.config.run, amp="off")))


def _prepare(model, amp, pictures):
    """The prepared model; None where a part cannot be prepared."""
    try:
        return _with_plan(model, amp, pictures)
    except TypeError:
        return None


def _with_plan(model, amp, pictures):
    if amp == "bf16":
        return prepare_for_inference(model, "bf16")
    if pictures >= MANY:
        return prepare_with_kept_plan(model)
    found = prepare_for_inference(model)
    InferencePlan.of(found).put_into(found)  # an empty one, so that nothing is measured
    return found
