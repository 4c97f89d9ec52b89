"""Files of weights: reading, writing, names of other libraries, what is published."""
