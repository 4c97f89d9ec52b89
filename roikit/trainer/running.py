"""A model over the images of a data set, timed by part."""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.utils.data import DataLoader, Dataset

from roikit.data import collate
from roikit.models.parts.bf16 import has_bf16, native_bf16
from roikit.trainer.sentences import out_of_memory, sentence_of

__all__ = ["Looking", "autocast", "each_by_itself", "evaluation_of", "loader_of", "looked_at_in",
           "native_bf16", "to_device"]


def autocast(device, amp):
    """``torch.autocast`` for "off", "bf16", "fp16" or "auto" (bf16 where it is native)."""
    if amp == "auto":
        amp = "bf16" if native_bf16(device) else "off"
    dtype = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[amp]
    return torch.autocast(torch.device(device).type, dtype=dtype, enabled=amp != "off")


def looked_at_in(device, amp):
    """The ``amp`` that a trained model is run with: its own, but for bf16 that the device does not have."""
    return "off" if amp == "bf16" and not has_bf16(device) else amp


def to_device(images, targets, device):
    """Images and the tensors of targets on the device; nothing is copied where they are there."""
    if torch.device(device).type == "cpu":
        return images, targets
    images = [image.to(device, non_blocking=True) for image in images]
    targets = [{k: v.to(device, non_blocking=True) if isinstance(v, torch.Tensor) else v
                for k, v in target.items()} for target in targets]
    return images, targets


def loader_of(dataset, share, batch_size, workers):
    """Yields places in the data set, images and targets of those of a batch that could be read, and the others.

    Args:
        dataset: its items are (image, target); an OSError, ValueError or too little memory is one that cannot be read.
        share: places in the data set.
        batch_size, workers: images at once, and processes that read them; with 0, a thread of this one reads ahead.

    Yields:
        list of places, images, targets; and a dict, place -> what is wrong, in words.
    """
    readable = _Readable(dataset, share)
    for batch in _in_processes(readable, batch_size, workers) if workers else _in_a_thread(readable, batch_size):
        read = [(place, item) for place, item, fault in batch if fault is None]
        images, targets = collate([item for _, item in read]) if read else ([], [])
        yield ([place for place, _ in read], images, targets,
               {place: fault for place, _, fault in batch if fault is not None})


def _in_processes(readable, batch_size, workers):
    # A generator of its own: without one each loader draws a seed from the global generator, and
    # a run would depend on how often it was evaluated.
    return DataLoader(readable, batch_size, num_workers=workers, collate_fn=list, generator=torch.Generator())


def _in_a_thread(readable, batch_size):
    """Yields lists of items; the next one is read meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="roikit") as pool:
        ahead = None
        for first in range(0, len(readable), batch_size):
            places = range(first, min(first + batch_size, len(readable)))
            batch, ahead = ahead, pool.submit(lambda places=places: [readable[k] for k in places])
            if batch is not None:
                yield batch.result()
        if ahead is not None:
            yield ahead.result()


class _Readable(Dataset):
    """Items with their places, or in words what kept one from being read: not every exception can pass to a process."""

    def __init__(self, dataset, share):
        self.dataset, self.share = dataset, list(share)

    def __len__(self):
        return len(self.share)

    def __getitem__(self, index):
        place = self.share[index]
        try:
            return place, self.dataset[place], None
        except (OSError, ValueError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not out_of_memory(error):
                raise
            return place, None, sentence_of(error)


def each_by_itself(run, images):
    """What ``run`` of `evaluation_of` gives for a batch; where memory does not suffice, image by image.

    Returns:
        a list with the output of each image, None for one that is too large even by itself; the two durations; and a
        dict, place in the batch -> what is wrong, in words.
    """
    try:
        return *run(images), {}
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        if len(images) == 1:
            return [None], 0.0, 0.0, {0: sentence_of(error)}
    parts = [each_by_itself(run, [image]) for image in images]
    return ([output for (output,), *_ in parts], sum(part[1] for part in parts), sum(part[2] for part in parts),
            {k: fault[0] for k, (*_, fault) in enumerate(parts) if fault})


class Looking:
    """Runs a model over images, and yields place, output and target of each that could be looked at.

    What its user does with an output counts as time of the last part. Images that cannot be read, or are too large for
    the memory, are gone past.

    Args:
        run: of `evaluation_of`.
        dataset: its items are (image, target).
        share: places in the data set to look at; None for all.
        batch_size, workers: images a forward pass, and processes that load them.
        progress: called with the number of images done and of all.

    Attributes:
        failed: place -> what is wrong, in words.
        speed: afterwards, seconds an image by part: ``data`` waiting for images, ``forward`` the network down to boxes
            and mask probabilities, ``post`` the rest; ``images_per_second`` over all.
    """

    def __init__(self, run, dataset, *, share=None, batch_size=1, workers=0, progress=None):
        self._run, self._dataset, self._progress = run, dataset, progress
        self._share = range(len(dataset)) if share is None else share
        self._loading = batch_size, workers
        self.failed, self.speed = {}, {}

    def __iter__(self):
        spent, done = {"data": 0.0, "forward": 0.0, "post": 0.0}, 0
        begun = mark = time.perf_counter()
        for places, images, targets, unread in loader_of(self._dataset, self._share, *self._loading):
            spent["data"] += time.perf_counter() - mark
            self.failed |= unread
            outputs, forward, last, faults = each_by_itself(self._run, images) if images else ([], 0.0, 0.0, {})
            self.failed |= {places[k]: text for k, text in faults.items()}
            spent["forward"] += forward
            mark = time.perf_counter()
            for place, output, target in zip(places, outputs, targets, strict=True):
                if output is not None:
                    done += 1
                    yield place, output, target
            if self._progress is not None:
                self._progress(done + len(self.failed), len(self._share))
            now = time.perf_counter()
            spent["post"] += last + now - mark
            mark = now
        self.speed = {name: value / max(1, len(self._share)) for name, value in spent.items()}
        self.speed["images_per_second"] = len(self._share) / max(mark - begun, 1e-9)


@contextlib.contextmanager
def evaluation_of(model, device, amp):
    """Inside, the model is in evaluation mode and gives RLE masks; afterwards it is as before.

    It computes in float32 where ``amp`` is "bf16" and the device does not have that.

    Yields a function: images -> outputs, seconds of the network, seconds of its last part, which
    turns mask probabilities into RLE.
    """
    was_training = model.training
    was_format = getattr(model, "mask_format", None)
    pasting = 0.0
    finish = getattr(model, "finish", None)

    def timed_finish(*args, **kwargs):
        nonlocal pasting
        _settle(device)
        begun = time.perf_counter()
        result = finish(*args, **kwargs)
        pasting += time.perf_counter() - begun
        return result

    def run(images):
        nonlocal pasting
        pasting = 0.0
        begun = time.perf_counter()
        images, _ = to_device(images, [], device)
        with torch.no_grad(), autocast(device, amp):
            outputs = model(images)
        _settle(device)
        total = time.perf_counter() - begun
        return outputs, total - pasting, pasting

    amp = looked_at_in(device, amp)
    model.eval()
    if was_format is not None:
        model.mask_format = "rle"
    if finish is not None:
        model.finish = timed_finish  # shadows the method of this one model
    try:
        yield run
    finally:
        if finish is not None:
            del model.finish
        if was_format is not None:
            model.mask_format = was_format
        model.train(was_training)


def _settle(device):
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
