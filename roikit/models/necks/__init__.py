"""From a body's maps to those that boxes are found in and pooled from."""
