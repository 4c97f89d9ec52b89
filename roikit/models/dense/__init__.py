"""Boxes, classes and masks straight from the maps of a pyramid, and their losses."""
