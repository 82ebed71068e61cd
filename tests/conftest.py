"""What every test process does first."""

import gc

# TensorFlow's graphs are many objects that live long: to look through them for
# cycles as often as Python does by default takes a tenth of all time.
gc.set_threshold(50_000, 20, 20)
