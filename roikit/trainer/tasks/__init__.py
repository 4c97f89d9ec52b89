"""What a run is about: finding objects, a class for each pixel, or both in one map.

The trainer asks its task and no model.

A task is an object with this; `roikit.trainer.tasks.detection` is the plainest one:

    build(model)                      the network of a configuration's ``model``
    network(model)                    its body and its heads, for `load_backbone`
    require_paths(config)             ValueError where the configuration names no training data
    train_set(config)                 the training part, with its augmentation
    val_set(config, ...)              the val part, or other files read the way that it is
    reports(config)                   yields the name of a part and the doctor's report on it
    fitted(config, dataset)           the configuration with what the data decide put in; ValueError where they lack it
    prepare_validation(config, categories, process)
                                      the val part as an object with ``dataset``, ``best``, ``notes``, ``evaluate``,
                                      ``figure``, ``write``, ``sheet``, ``report`` and ``warn``, as
                                      `roikit.trainer.validation` has it; None where the configuration names none
    adjusted(config, ...)             a finished model's configuration for another number of detections or threshold
    num_classes(categories)           what the model counts where a checkpoint has these categories
    finds_objects                     whether it gives objects and no map of the image
    evaluate(trained, ...)            `roikit.evaluate` of a model; each of several processes calls it
    prediction(trained, ...)          what `roikit.predict` makes of a model's output: an object with ``results``,
                                      ``picture``, ``write`` for each image, and in the end ``close``, which is given
                                      the records and results of all images and the names of their PNG files

A new task is a file here and a line below.
"""

import importlib

__all__ = ["task_of"]

# The class of a configuration's model -> the file of its task; a detector with `panoptic` has a task of its own. They
# are imported when asked for: they import torch, and what they are made of asks for them.
_TASKS = {"DetectorConfig": "detection", "SegmenterConfig": "segmentation"}


def task_of(model):
    """The task that a configuration's ``model`` is for."""
    kind = next(each.__name__ for each in type(model).__mro__ if each.__name__ in _TASKS)
    name = "panoptic" if getattr(model, "panoptic", None) is not None else _TASKS[kind]
    return importlib.import_module(f"roikit.trainer.tasks.{name}").TASK
