"""A rising curve from logit to calibrated logit, as a record."""

from typing import Annotated

import numpy as np
import numpy.typing as npt
import pydantic

from tfplugin import schema

Floats = npt.NDArray[np.float64]
PositiveSlope = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]


class Curve(schema.Record):
    """A rising curve from a logit to a calibrated one.

    Without knots it is `slope` z + `intercept`. With knots it is linear
    between two of them and, so that no two scores become equal, goes on
    rising beyond the first and the last.

    Args:
        slope: Positive.
        intercept: Any number.
        knots: Pairs (logit, calibrated logit), rising in both.
        end_slopes: Slopes below the first knot and above the last, positive.

    Example:
    >>> Curve(knots=((0.0, -1.0), (2.0, 0.0))).apply([-1.0, 1.0, 3.0]).tolist()
    [-2.0, -0.5, 1.0]
    >>> Curve(slope=2.0, intercept=1.0).apply([1.0]).tolist()
    [3.0]
    """

    slope: PositiveSlope = 1.0
    intercept: float = pydantic.Field(default=0.0, allow_inf_nan=False)
    knots: tuple[tuple[pydantic.FiniteFloat, pydantic.FiniteFloat], ...] = ()
    end_slopes: tuple[PositiveSlope, PositiveSlope] = (1.0, 1.0)

    @pydantic.model_validator(mode="after")
    def _check(self) -> "Curve":
        for (x, y), (next_x, next_y) in zip(
            self.knots, self.knots[1:], strict=False
        ):
            if not (np.float32(x) < np.float32(next_x) and y <= next_y):
                raise ValueError(
                    f"`knots` must rise; ({x}, {y}) comes before ({next_x}, "
                    f"{next_y})"
                )
        return self

    def pieces(self) -> tuple[Floats, Floats, Floats, Floats]:
        """The curve as straight pieces, one more than there are knots.

        Returns:
            `boundaries` `(n,)`, and of each piece `(n + 1,)` a point's logit,
            its calibrated logit, and the slope: piece `i` goes from
            `boundaries[i - 1]` to `boundaries[i]`.
        """
        if not self.knots:
            point = np.zeros(1), np.array([self.intercept])
            return np.zeros(0), *point, np.array([self.slope])
        x, y = np.array(self.knots, np.float64).T
        below, above = self.end_slopes
        slopes = np.concatenate([[below], np.diff(y) / np.diff(x), [above]])
        return x, np.append(x[0], x), np.append(y[0], y), slopes

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Calibrated logits, float64, of logits of any shape."""
        z = np.asarray(logits, np.float64)
        boundaries, x, y, slopes = self.pieces()
        piece = np.searchsorted(boundaries, z, side="right")
        calibrated: Floats = y[piece] + slopes[piece] * (z - x[piece])
        return calibrated
