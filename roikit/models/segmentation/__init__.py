"""A class for each pixel: segmenters, their heads, losses and windows."""
