"""Users or products that come and go: keys of who is there when."""

import dataclasses

import numpy as np

from tfplugin.synthetic import hashed_draws
from tfplugin.synthetic.hashed_draws import Keys
from tfplugin.synthetic.hashed_draws import Values
from tfplugin.synthetic.power_law import ZipfMandelbrot

_SLOT_BITS = 40


@dataclasses.dataclass(frozen=True)
class Population:
    """Places of a power law, each held by one entity after the other.

    A place r is as frequent as the law says, and who holds it changes every
    L(r) days, L(r) uniform in [0.5, 1.5] of `life_days`, from a phase of its
    own. So new ids appear every day and what was frequent disappears, while
    nothing has to be remembered: the entity is (r, floor(day / L(r) + phase)).

    Args:
        law: How frequent each place is.
        salt: Tells the populations of a log apart; uint64.
        life_days: Mean time that an entity is there, in days, above 0.

    Example:
    >>> few = Population(ZipfMandelbrot(1), salt=0, life_days=10.0)
    >>> days = np.arange(20.0)
    >>> keys = few.keys(np.zeros(20), days)
    >>> 1 < len(set(keys.tolist())) < 6
    True
    """

    law: ZipfMandelbrot
    salt: int
    life_days: float

    def keys(self, uniforms: Values, days: Values) -> Keys:
        """Keys of the entities that are met.

        Args:
            uniforms: float64 in [0, 1), shape `(n,)`: choose the places.
            days: float64, shape `(n,)`: days since the log began.

        Returns:
            uint64, shape `(n,)`: well mixed, one an entity.
        """
        slots = self.law.ranks(uniforms).astype(np.uint64)
        salt = np.uint64(self.salt % 2**64)
        slot_keys = hashed_draws.mix(slots ^ salt)
        life = self.life_days * (
            0.5 + hashed_draws.uniform(hashed_draws.stream(slot_keys, 0))
        )
        phase = hashed_draws.uniform(hashed_draws.stream(slot_keys, 1))
        generations = np.floor(days / life + phase).astype(np.uint64)
        who = slots + (generations << np.uint64(_SLOT_BITS))
        return hashed_draws.mix(who ^ salt)


def ids(keys: Keys) -> np.ndarray:
    """Ids of entities as a log has them: positive int64 of no order.

    >>> ids(np.array([2**64 - 1, 7], np.uint64))
    array([9223372036854775807,                   3])
    """
    return (keys >> np.uint64(1)).astype(np.int64)
