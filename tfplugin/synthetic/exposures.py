"""Who is shown what, and when: a funnel's log without its labels."""

import dataclasses

import numpy as np

from tfplugin.synthetic import hashed_draws
from tfplugin.synthetic.hashed_draws import Keys
from tfplugin.synthetic.hashed_draws import Values
from tfplugin.synthetic.population import Population
from tfplugin.synthetic.power_law import ZipfMandelbrot

DEVICES = ("phone", "desktop", "tablet")
PLACEMENTS = ("feed", "search", "sidebar", "checkout_page")
NUM_KEYWORDS = 1000
MAX_KEYWORDS = 4
_DEVICE_SHARES = (0.62, 0.31, 0.07)
_PLACEMENT_SHARES = (0.5, 0.3, 0.15, 0.05)
_MAX_REQUEST = 7
_USER_LIFE_DAYS = 90.0
_PRODUCT_LIFE_DAYS = 40.0
_DAY = 86_400_000  # in milliseconds
#: Numbers of the streams of a product's key; `funnel_truth` takes others.
_CAMPAIGN, _BASE_PRICE, _NUM_KEYWORDS, _KEYWORDS = 100, 101, 102, 103


@dataclasses.dataclass(frozen=True)
class Exposures:
    """Impressions in the order of time; every array has shape `(n,)`.

    Args:
        requests: int64, the place of the request among those here.
        moments: int64, milliseconds since the log began; equal within a
            request.
        users: uint64 keys; equal within a request.
        products: uint64 keys.
        campaigns: uint64 keys, a function of the product.
        advertisers: uint64 keys, a function of the campaign.
        devices: int64, places in `DEVICES`; equal within a request.
        placements: int64, places in `PLACEMENTS`; equal within a request.
        prices: float64, in units of money.
    """

    requests: np.ndarray
    moments: np.ndarray
    users: Keys
    products: Keys
    campaigns: Keys
    advertisers: Keys
    devices: np.ndarray
    placements: np.ndarray
    prices: Values

    @property
    def hours(self) -> np.ndarray:
        """Hour of the day, int64 in [0, 24), shape `(n,)`."""
        return self.moments // 3_600_000 % 24


@dataclasses.dataclass(frozen=True)
class Market:
    """Draws impressions: power laws of users, products and what holds them.

    A request is a user, a moment, a device and a placement, and shows one to
    seven products. A product belongs to one campaign, a campaign to one
    advertiser, with power laws of their own.

    Args:
        users: Places of the users' power law, at least 1.
        products: Places of the products' power law, at least 1.
        seed: Of the whole log.

    Example:
    >>> market = Market(users=50, products=20, seed=0)
    >>> shown = market.draw(np.random.default_rng(0), 0.0, 30.0, 100)
    >>> shown.products.shape, bool(np.all(np.diff(shown.moments) >= 0))
    ((100,), True)
    """

    users: int
    products: int
    seed: int

    def draw(
        self,
        rng: np.random.Generator,
        first_day: float,
        last_day: float,
        rows: int,
    ) -> Exposures:
        """Impressions of a stretch of time.

        Args:
            rng: Where every draw comes from.
            first_day: Day of the first impression.
            last_day: Day that the last one comes before.
            rows: Number of impressions, at least 1.

        Returns:
            `rows` impressions, the last request cut off where they end.
        """
        starts = np.cumsum(rng.integers(1, _MAX_REQUEST + 1, rows))
        starts = np.concatenate([[0], starts[starts < rows]])
        lengths = np.diff(starts, append=rows)
        number = len(starts)
        days = first_day + (last_day - first_day) * starts / rows
        moments = np.floor(days * _DAY).astype(np.int64)
        users = self._users().keys(rng.random(number), days)
        devices = _choose(rng.random(number), _DEVICE_SHARES)
        placements = _choose(rng.random(number), _PLACEMENT_SHARES)
        requests = np.repeat(np.arange(number), lengths)
        products = self._products().keys(rng.random(rows), days[requests])
        campaigns, advertisers = self._holders(products)
        base = hashed_draws.normal(hashed_draws.stream(products, _BASE_PRICE))
        prices = np.exp(3.0 + base + 0.1 * rng.standard_normal(rows))
        return Exposures(
            requests=requests,
            moments=moments[requests],
            users=users[requests],
            products=products,
            campaigns=campaigns,
            advertisers=advertisers,
            devices=devices[requests],
            placements=placements[requests],
            prices=np.maximum(np.round(prices, 2), 0.01),
        )

    def _users(self) -> Population:
        law = ZipfMandelbrot(self.users, exponent=0.8, shift=20.0)
        return Population(law, _salt(self.seed, 1), _USER_LIFE_DAYS)

    def _products(self) -> Population:
        law = ZipfMandelbrot(self.products, exponent=1.05, shift=10.0)
        return Population(law, _salt(self.seed, 2), _PRODUCT_LIFE_DAYS)

    def _holders(self, products: Keys) -> tuple[Keys, Keys]:
        number = max(1, self.products // 8)
        campaigns = _member(products, number, _salt(self.seed, 3))
        number = max(1, self.products // 40)
        return campaigns, _member(campaigns, number, _salt(self.seed, 4))


def keywords(products: Keys) -> tuple[np.ndarray, np.ndarray]:
    """Keywords of products, the same whenever a product is shown.

    Args:
        products: uint64 keys, shape `(n,)`.

    Returns:
        int64 keywords in [0, NUM_KEYWORDS), shape `(n, MAX_KEYWORDS)`, and
        the number of them that count, int64 in [0, MAX_KEYWORDS], `(n,)`.

    Example:
    >>> words, lengths = keywords(hashed_draws.mix(np.arange(3, dtype="u8")))
    >>> words.shape, lengths.tolist()
    ((3, 4), [1, 4, 0])
    """
    law = ZipfMandelbrot(NUM_KEYWORDS, exponent=0.9, shift=5.0)
    words = [
        law.ranks(
            hashed_draws.uniform(
                hashed_draws.stream(products, _KEYWORDS + place)
            )
        )
        for place in range(MAX_KEYWORDS)
    ]
    chosen = hashed_draws.uniform(hashed_draws.stream(products, _NUM_KEYWORDS))
    lengths = np.floor(chosen * (MAX_KEYWORDS + 1)).astype(np.int64)
    return np.stack(words, axis=1), lengths


def _member(keys: Keys, number: int, salt: int) -> Keys:
    law = ZipfMandelbrot(number, exponent=0.9, shift=5.0)
    uniforms = hashed_draws.uniform(hashed_draws.stream(keys, _CAMPAIGN))
    places = law.ranks(uniforms).astype(np.uint64)
    return hashed_draws.mix(places ^ np.uint64(salt))


def _choose(uniforms: Values, shares: tuple[float, ...]) -> np.ndarray:
    return np.searchsorted(np.cumsum(shares)[:-1], uniforms, side="right")


def _salt(seed: int, number: int) -> int:
    state = np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)
    return int(state[0])
