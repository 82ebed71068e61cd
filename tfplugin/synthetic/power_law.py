"""Ranks whose frequencies follow a power law."""

import dataclasses

import numpy as np

from tfplugin.synthetic.hashed_draws import Values


@dataclasses.dataclass(frozen=True)
class ZipfMandelbrot:
    """Ranks 0 to `size - 1`, each about (rank + shift)^-exponent often.

    Zipf and Mandelbrot's law, integrated over each rank, so that a rank is
    drawn from a uniform number by a formula, whatever the size:

        F(x) = ((x + shift)^(1 - exponent) - shift^(1 - exponent))
             / ((size + shift)^(1 - exponent) - shift^(1 - exponent))
        P(rank) = F(rank + 1) - F(rank)

    Args:
        size: Number of ranks, at least 1.
        exponent: Above 0, other than 1: the slope of log frequency against
            log rank is minus this, at ranks far above `shift`.
        shift: Above 0. The larger, the flatter the head.

    Raises:
        ValueError: A parameter is out of its range.

    Example:
    >>> law = ZipfMandelbrot(3, exponent=2.0, shift=1.0)
    >>> law.probabilities().round(3)
    array([0.667, 0.222, 0.111])
    >>> law.ranks(np.array([0.0, 0.66, 0.67, 0.999]))
    array([0, 0, 1, 2])

    Mandelbrot: An informational theory of the statistical structure of
    language (1953).
    """

    size: int
    exponent: float = 1.1
    shift: float = 10.0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(
                f"`size` must be at least 1. Received: size={self.size}."
            )
        if self.exponent <= 0 or self.exponent == 1:
            raise ValueError(
                "`exponent` must be above 0 and other than 1. Received: "
                f"exponent={self.exponent}."
            )
        if self.shift <= 0:
            raise ValueError(
                f"`shift` must be above 0. Received: shift={self.shift}."
            )

    def ranks(self, uniforms: Values) -> np.ndarray:
        """Ranks by the inverse of F.

        Args:
            uniforms: float64 in [0, 1), any shape.

        Returns:
            int64 of the same shape, in [0, size).
        """
        power = 1 - self.exponent
        low = self.shift**power
        high = (self.size + self.shift) ** power
        found = (low + uniforms * (high - low)) ** (1 / power) - self.shift
        # Rounding may carry the last rank over the end.
        return np.clip(found.astype(np.int64), 0, self.size - 1)

    def probabilities(self) -> Values:
        """P of each rank: float64, shape `(size,)`, falling, of sum 1."""
        edges = np.arange(self.size + 1, dtype=np.float64) + self.shift
        cumulative = edges ** (1 - self.exponent)
        return np.diff(cumulative) / (cumulative[-1] - cumulative[0])
