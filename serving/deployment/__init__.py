"""What stock TensorFlow Serving is run with: on one machine, on Kubernetes."""

from serving.deployment.writing import Settings
from serving.deployment.writing import write

__all__ = ["Settings", "write"]
