"""A trained model as prediction and evaluation run it: prepared for inference where that can be done."""

from dataclasses import replace

from roikit.models import Detector, Segmenter, prepare_for_inference
from roikit.trainer.int8 import in_int8
from roikit.trainer.running import native_bf16

__all__ = ["prepared"]


def prepared(trained, *, prepare=True, int8=False):
    """The model of a `Trained` as `prepare_for_inference` makes it, in the precision that its run is configured with.

    With ``int8`` on 8-bit integers, or not at all, see `in_int8`; without ``prepare`` as it is.

    ``run.amp`` of the configuration is then "off", for a prepared model casts by itself. Left as they are: models on
    other devices than the CPU, in fp16, and of other parts than roikit's.
    """
    if int8:
        if not prepare:
            raise ValueError("int8 is a way to prepare a model, and it is asked for as it is (--plain, prepare=False)")
        return in_int8(trained)
    if not prepare:
        return trained
    amp = trained.config.run.amp
    if amp == "auto":
        amp = "bf16" if native_bf16(trained.device) else "off"
    if trained.device.type != "cpu" or amp == "fp16" or not isinstance(trained.model, Detector | Segmenter):
        return trained
    try:
        model = prepare_for_inference(trained.model, "bf16" if amp == "bf16" else "float32")
    except TypeError:  # a part that cannot be prepared
        return trained
    return replace(trained, model=model, config=replace(trained.config, run=replace(trained.config.run, amp="off")))
