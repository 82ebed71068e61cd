"""One experiment from a configuration: train, evaluate, load."""

from tfplugin.training.experiment import Experiment
from tfplugin.training.experiment import assemble
from tfplugin.training.experiment import load
from tfplugin.training.experiment import train
from tfplugin.training.exporting import export

__all__ = ["Experiment", "assemble", "export", "load", "train"]
