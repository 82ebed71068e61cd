"""The true probabilities of a funnel: click, add to cart, checkout."""

import dataclasses

import numpy as np

from tfplugin.synthetic import exposures
from tfplugin.synthetic import hashed_draws
from tfplugin.synthetic.exposures import Exposures
from tfplugin.synthetic.hashed_draws import Keys
from tfplugin.synthetic.hashed_draws import Values

STAGES = ("click", "cart", "checkout")
_LATENT_DIM = 4
#: Of an entity's key: streams of its effects and of its latent vector.
_SHARED, _OWN, _TASTE, _LATENT = 0, 1, 10, 20
_BISECTIONS = 50


@dataclasses.dataclass(frozen=True)
class _Weights:
    """What moves the log odds of one stage, in standard deviations."""

    user: float
    product: float
    campaign: float
    advertiser: float
    affinity: float
    keywords: float
    price: float
    devices: tuple[float, ...]
    placements: tuple[float, ...]
    evening: float


_WEIGHTS = (
    _Weights(
        user=0.5,
        product=0.5,
        campaign=0.4,
        advertiser=0.3,
        affinity=0.7,
        keywords=0.4,
        price=-0.1,
        devices=(0.1, -0.1, 0.0),
        placements=(0.0, 0.3, -0.4, 0.2),
        evening=0.1,
    ),
    _Weights(
        user=0.5,
        product=0.4,
        campaign=0.3,
        advertiser=0.2,
        affinity=0.5,
        keywords=0.2,
        price=-0.15,
        devices=(-0.1, 0.15, 0.0),
        placements=(0.0, 0.2, -0.1, 0.2),
        evening=0.05,
    ),
    _Weights(
        user=0.5,
        product=0.3,
        campaign=0.3,
        advertiser=0.2,
        affinity=0.4,
        keywords=0.15,
        price=-0.2,
        devices=(-0.1, 0.2, 0.0),
        placements=(0.0, 0.1, 0.0, 0.3),
        evening=0.05,
    ),
)


def scores(shown: Exposures) -> Values:
    """Log odds of each stage given the one before, without intercepts.

    For stage k, with entities e of user, product, campaign and advertiser:

        score_k = sum_e w_ke (0.7 z_e + 0.714 z_ke)
                + w_k u·v / sqrt(dim) + w_k mean of the keywords' effects
                + (w_k + 0.15 taste of the user) (log price - 3)
                + device + placement + evening cos(2 pi (hour - 20) / 24)

    z and u are standard normal, a function of the entity; v, a product's
    vector, is 0.6 times its campaign's and 0.8 times its own.

    Args:
        shown: n impressions.

    Returns:
        float64, shape `(3, n)`.

    Example:
    >>> market = exposures.Market(users=50, products=20, seed=0)
    >>> rng = np.random.default_rng(0)
    >>> scores(market.draw(rng, 0.0, 30.0, 5)).shape
    (3, 5)
    """
    affinity = _affinity(shown)
    words = _keyword_effects(shown.products)
    log_price = np.log(shown.prices) - 3.0
    taste = 0.15 * _effect(shown.users, _TASTE)
    evening = np.cos(2 * np.pi * (shown.hours - 20) / 24)
    entities = {
        name: getattr(shown, f"{name}s")
        for name in ("user", "product", "campaign", "advertiser")
    }
    shared = {name: _effect(keys, _SHARED) for name, keys in entities.items()}
    found = []
    for stage, weights in enumerate(_WEIGHTS):
        score = weights.affinity * affinity + weights.keywords * words
        score += (weights.price + taste) * log_price
        score += np.array(weights.devices)[shown.devices]
        score += np.array(weights.placements)[shown.placements]
        score += weights.evening * evening
        for name, keys in entities.items():
            own = _effect(keys, _OWN + stage)
            score += getattr(weights, name) * (0.7 * shared[name] + 0.714 * own)
        found.append(score)
    return np.stack(found)


def probabilities(score: Values, intercepts: Values) -> Values:
    """Unconditional probabilities: each stage's times those before it.

    p_k = prod_{j <= k} sigmoid(score_j + intercept_j)

    Args:
        score: float64, shape `(3, n)`.
        intercepts: float64, shape `(3,)`.

    Returns:
        float64, shape `(3, n)`, in (0, 1), falling along the first axis.

    Example:
    >>> probabilities(np.zeros((3, 1)), np.zeros(3)).ravel()
    array([0.5  , 0.25 , 0.125])
    """
    given_before = _sigmoid(score + intercepts[:, np.newaxis])
    np.cumprod(given_before, axis=0, out=given_before)
    return given_before


def intercepts(score: Values, rates: tuple[float, ...]) -> Values:
    """Intercepts that give the rates asked for, by bisection.

    Args:
        score: float64, shape `(3, n)`, of impressions drawn by the law.
        rates: Of each stage, over all impressions; each above 0 and below
            the one before.

    Returns:
        float64, shape `(3,)`: mean p_k over the n impressions is `rates[k]`.

    Example:
    >>> score = np.zeros((3, 1))
    >>> probabilities(score, intercepts(score, (0.5, 0.1, 0.01))).round(6)
    array([[0.5 ],
           [0.1 ],
           [0.01]])
    """
    before = np.ones(score.shape[1])
    found = []
    for stage, rate in enumerate(rates):
        low, high = -40.0, 40.0
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            if np.mean(before * _sigmoid(score[stage] + middle)) < rate:
                low = middle
            else:
                high = middle
        found.append((low + high) / 2)
        before = before * _sigmoid(score[stage] + found[-1])
    return np.array(found)


def _affinity(shown: Exposures) -> Values:
    total: Values = np.zeros(len(shown.users))
    for dim in range(_LATENT_DIM):
        product = 0.6 * _effect(shown.campaigns, _LATENT + dim)
        product += 0.8 * _effect(shown.products, _LATENT + dim)
        total += product * _effect(shown.users, _LATENT + dim)
    total /= np.sqrt(_LATENT_DIM)
    return total


def _keyword_effects(products: Keys) -> Values:
    words, lengths = exposures.keywords(products)
    keys = hashed_draws.mix(np.arange(exposures.NUM_KEYWORDS, dtype=np.uint64))
    effects = hashed_draws.normal(keys)[words]
    counts = np.arange(exposures.MAX_KEYWORDS) < lengths[:, np.newaxis]
    return np.sum(effects * counts, axis=1) / np.maximum(lengths, 1)


def _effect(keys: Keys, number: int) -> Values:
    return hashed_draws.normal(hashed_draws.stream(keys, number))


def _sigmoid(values: Values) -> Values:
    odds: Values = np.exp(-values)
    return 1 / (1 + odds)
