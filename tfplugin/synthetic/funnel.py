"""An ads log in a funnel: impression, click, add to cart, checkout."""

import dataclasses
import datetime
import json
import pathlib
import shutil
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfplugin.errors import InputError
from tfplugin.synthetic import exposures
from tfplugin.synthetic import funnel_truth
from tfplugin.synthetic import population
from tfplugin.synthetic.exposures import Exposures
from tfplugin.synthetic.hashed_draws import Values

#: Rows drawn at a time, each block by a generator of its own.
_BLOCK = 65_536
_BLOCKS_PER_FILE = 4
_PILOT_ROWS = 131_072
_DAYS = 30.0
_BEGIN = datetime.datetime(2025, 3, 1, tzinfo=datetime.UTC)
_LABELS = ("click", "add_to_cart", "checkout")
_DRAWS, _PILOT = 0, 1


@dataclasses.dataclass(frozen=True)
class Funnel:
    """A log of impressions whose every probability is known.

    Equal arguments give equal rows, in the same order, under the same version
    of NumPy. Users and products follow power laws; they come and go, so that
    later rows have ids that earlier ones have not. `funnel_truth.scores` says
    what moves the odds.

    Args:
        rows: Impressions, at least 1.
        seed: At least 0; decides everything that is random.
        click_rate: Expected clicks over impressions.
        cart_rate: Expected additions to the cart over impressions.
        checkout_rate: Expected checkouts over impressions.
        users: Places of the users' power law; None for a tenth of the rows.
        products: Places of the products' power law; None for a 25th of the
            rows.

    Raises:
        InputError: A number is out of its range, or the rates do not fall.

    Example:
    >>> log = Funnel(rows=1000, checkout_rate=0.005)
    >>> impressions, truth = next(log.blocks())
    >>> impressions.num_rows, truth.column_names[1:]
    (1000, ['p_click', 'p_cart', 'p_checkout'])
    """

    rows: int
    seed: int = 0
    click_rate: float = 0.05
    cart_rate: float = 0.01
    checkout_rate: float = 0.002
    users: int | None = None
    products: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("rows", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(
                    f"`{name}` must be at least {least}. Received: "
                    f"{name}={getattr(self, name)}."
                )
        for name in ("users", "products"):
            if (given := getattr(self, name)) is not None and given < 1:
                raise InputError(
                    f"`{name}` must be at least 1, or None. Received: "
                    f"{name}={given}."
                )
        rates = self._rates
        if not 1 > rates[0] > rates[1] > rates[2] > 0:
            raise InputError(
                "The rates must fall from click over cart to checkout, "
                "between 1 and 0. Received: click_rate="
                f"{rates[0]}, cart_rate={rates[1]}, checkout_rate={rates[2]}."
            )

    def blocks(self) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Rows in the order of time, some at a time.

        Yields:
            Impressions as a log has them, and of the same rows, in the same
            order, the true probabilities: `impression_id` and unconditional
            `p_click`, `p_cart`, `p_checkout` (float64).
        """
        market = exposures.Market(
            users=self.users or max(1, self.rows // 10),
            products=self.products or max(1, self.rows // 25),
            seed=self.seed,
        )
        constants = self._intercepts(market)
        requests = 0
        for block, begin in enumerate(range(0, self.rows, _BLOCK)):
            end = min(begin + _BLOCK, self.rows)
            rng = _generator(self.seed, _DRAWS, block)
            shown = market.draw(
                rng,
                _DAYS * begin / self.rows,
                _DAYS * end / self.rows,
                end - begin,
            )
            p = funnel_truth.probabilities(
                funnel_truth.scores(shown), constants
            )
            ids = np.arange(begin, end)
            log = _impressions(ids, shown, requests, _labels(rng, p))
            requests += int(shown.requests[-1]) + 1
            names = [f"p_{stage}" for stage in funnel_truth.STAGES]
            truth = dict(zip(names, p, strict=True))
            yield log, pa.table({"impression_id": ids, **truth})

    @property
    def _rates(self) -> tuple[float, ...]:
        return self.click_rate, self.cart_rate, self.checkout_rate

    def _intercepts(self, market: exposures.Market) -> Values:
        rng = _generator(self.seed, _PILOT, 0)
        pilot = market.draw(rng, 0.0, _DAYS, _PILOT_ROWS)
        return funnel_truth.intercepts(funnel_truth.scores(pilot), self._rates)


def write(
    folder: str | pathlib.Path,
    *,
    rows: int,
    seed: int = 0,
    overwrite: bool = False,
    advance: Callable[[str, int], None] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Writes a funnel's log, and aside the truth about it.

    Memory does not depend on `rows`. Equal arguments give equal files. The
    folder then holds `impressions/part-*.parquet`, which a configuration
    reads, `truth/part-*.parquet`, in the same order, and `funnel.json`: the
    settings, and what was drawn. Each appears whole, `impressions` last.

    Args:
        folder: Where to; made if absent.
        rows: Impressions.
        seed: Decides everything that is random.
        overwrite: Whether a funnel that is there is replaced.
        advance: Called with "rows" and a number of further rows.
        **settings: Further arguments of `Funnel`.

    Returns:
        What `funnel.json` holds: `settings`, `positives` and `expected`, the
        latter two by label: drawn, and the sum of the true probabilities.

    Raises:
        InputError: A setting is out of its range, the folder holds a funnel
            and `overwrite` is false, or it cannot be written.

    Example:
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = write(folder, rows=2000, click_rate=0.2)
    ...     sorted(path.name for path in pathlib.Path(folder).iterdir())
    ['funnel.json', 'impressions', 'truth']
    """
    funnel = Funnel(rows=rows, seed=seed, **settings)
    folder = pathlib.Path(folder)
    try:
        return _write(funnel, folder, overwrite, advance)
    except OSError as error:
        raise InputError(
            "A funnel needs a folder that can be written. Received: "
            f"{folder} ({error.strerror or error}). Name another --folder."
        ) from error


def _write(
    funnel: Funnel,
    folder: pathlib.Path,
    overwrite: bool,
    advance: Callable[[str, int], None] | None,
) -> dict[str, Any]:
    impressions, truth = finished = folder / "impressions", folder / "truth"
    if impressions.exists() and not overwrite:
        raise InputError(
            "A folder holds one funnel. Received: "
            f"{folder}, which holds one. Pass --overwrite to replace it."
        )
    parts = [folder / f".{path.name}.tmp" for path in finished]
    for part in parts:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    drawn = _write_parts(funnel, parts, advance)
    summary = {
        "settings": dataclasses.asdict(funnel),
        "positives": _by_label(int, drawn[0]),
        "expected": _by_label(float, drawn[1]),
    }
    for path in finished:
        shutil.rmtree(path, ignore_errors=True)
    parts[1].rename(truth)
    path = folder / "funnel.json"
    path.write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    # Last: its presence says that all of it is there.
    parts[0].rename(impressions)
    return summary


def _write_parts(
    funnel: Funnel,
    folders: list[pathlib.Path],
    advance: Callable[[str, int], None] | None,
) -> Values:
    """Returns positives and sums of probabilities, shape `(2, 3)`."""
    number = -(-funnel.rows // (_BLOCK * _BLOCKS_PER_FILE))
    sums = np.zeros((2, len(_LABELS)))
    blocks = funnel.blocks()
    for part in range(number):
        name = f"part-{part:05d}-of-{number:05d}.parquet"
        log, truth = next(blocks)
        with (
            pq.ParquetWriter(folders[0] / name, log.schema) as log_file,
            pq.ParquetWriter(folders[1] / name, truth.schema) as truth_file,
        ):
            for block in range(_BLOCKS_PER_FILE):
                log_file.write_table(log)
                truth_file.write_table(truth)
                sums[0] += [np.sum(log[label]) for label in _LABELS]
                sums[1] += [np.sum(column) for column in truth.columns[1:]]
                if advance is not None:
                    advance("rows", log.num_rows)
                if block + 1 < _BLOCKS_PER_FILE:
                    log, truth = next(blocks, (log[:0], truth[:0]))
                    if not log.num_rows:
                        break
    return sums


def _by_label(kind: type, values: Values) -> dict[str, Any]:
    return dict(zip(_LABELS, map(kind, values), strict=True))


def _labels(rng: np.random.Generator, p: Values) -> np.ndarray:
    """int8, shape `(3, n)`: each stage only where the one before happened."""
    # One number a row: below p_k with probability p_k, and below p_j, j < k.
    return (rng.random(p.shape[1]) < p).astype(np.int8)


def _impressions(
    ids: np.ndarray, shown: Exposures, requests: int, labels: np.ndarray
) -> pa.Table:
    moments = pa.array(int(_BEGIN.timestamp()) * 1000 + shown.moments)
    columns: dict[str, Any] = {
        "impression_id": ids,
        "event_time": moments.cast(pa.timestamp("ms", "UTC")),
        "request_id": shown.requests + requests,
        "user_id": population.ids(shown.users),
        "advertiser_id": population.ids(shown.advertisers),
        "campaign_id": population.ids(shown.campaigns),
        "product_id": population.ids(shown.products),
        "device": pa.array(exposures.DEVICES).take(shown.devices),
        "placement": pa.array(exposures.PLACEMENTS).take(shown.placements),
        "hour": shown.hours,
        "price": shown.prices,
        "keywords": _keywords(shown),
    }
    columns.update(zip(_LABELS, labels, strict=True))
    return pa.table(columns)


def _keywords(shown: Exposures) -> pa.Array:
    words, lengths = exposures.keywords(shown.products)
    counts = np.arange(exposures.MAX_KEYWORDS) < lengths[:, np.newaxis]
    names = pa.array([f"word_{i}" for i in range(exposures.NUM_KEYWORDS)])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, names.take(words[counts]))


def _generator(seed: int, purpose: int, block: int) -> np.random.Generator:
    # Seeds and blocks may be above 32 bits: each is one element.
    return np.random.default_rng([seed, purpose, block])
