"""Parts of detectors rearranged for inference on a CPU; `roikit.models.inference` puts them in place."""
