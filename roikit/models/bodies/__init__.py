"""Networks that give the maps c2 to c5 of an image."""
