"""Generated logs whose true probabilities are known."""

from tfplugin.synthetic.funnel import Funnel
from tfplugin.synthetic.funnel import write
from tfplugin.synthetic.power_law import ZipfMandelbrot

__all__ = [
    "Funnel",
    "ZipfMandelbrot",
    "write",
]
