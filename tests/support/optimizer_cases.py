"""References in plain NumPy, index patterns and models for optimizer tests."""

import keras
import numpy as np
import tensorflow as tf

from tfplugin import optimizers

ROWS = 12
DIM = 4

PATTERNS = {
    "unique": [1, 4, 7],
    "unsorted": [7, 1, 4, 11, 0],
    "duplicates": [3, 7, 3, 1, 7, 3],
    "all_the_same": [5, 5, 5, 5],
    "empty": [],
    "every_row": list(range(ROWS)),
}


def sum_rows(indices, values):
    """Row → summed gradient, one element of a loop at a time."""
    sums = {}
    for index, value in zip(indices, values, strict=True):
        index = int(index)
        sums[index] = sums.get(index, 0.0) + np.asarray(value, np.float64)
    return sums


class Reference:
    """One optimizer in float64 loops; state by row, as the papers write it."""

    def __init__(self, kind, table, rate, options=None, **constants):
        self.kind = kind
        self.weights = np.array(table, np.float64)
        self.rate = rate
        self.options = options or {}
        self.constants = constants
        start = constants.get("initial_accumulator_value", 0.0)
        self.first = np.full_like(self.weights, start)
        self.second = np.zeros_like(self.weights)
        self.row = np.full(len(self.weights), start)
        self.row_step = np.zeros(len(self.weights))
        self.last = np.zeros(len(self.weights))
        self.step = 0

    def apply(self, indices, values, factors=None, counts=None):
        self.step += 1
        sums = self._clip(sum_rows(indices, values))
        sums = self._cow_clip(sums, [int(index) for index in indices])
        for row, gradient in sums.items():
            rate = self.rate * (1.0 if factors is None else factors[row])
            absent = self.step - self.last[row]
            self._regularise(row)
            decay = rate * (self.options.get("weight_decay") or 0.0)
            compounds = self.options.get("compound_weight_decay")
            for _ in range(int(absent) if compounds else 1):
                self.weights[row] -= decay * self.weights[row]
            share = self.options.get("frequency_decay")
            if share:
                frequency = max(1.0, counts[row])
                self.weights[row] -= (
                    rate * share / frequency * self.weights[row]
                )
            self.weights[row] -= getattr(self, f"_{self.kind}")(
                row, gradient, rate, **self.constants
            )
            self.last[row] = self.step

    def _clip(self, sums):
        limit = self.options.get("clip_value")
        if limit:
            return {k: np.clip(g, -limit, limit) for k, g in sums.items()}
        limit = self.options.get("clip_row_norm")
        if limit:
            return {
                k: g * min(1.0, limit / max(np.linalg.norm(g), 1e-300))
                for k, g in sums.items()
            }
        limit = self.options.get("clip_global_norm")
        if limit and sums:
            norm = np.linalg.norm(np.stack(list(sums.values())))
            return {k: g * min(1.0, limit / norm) for k, g in sums.items()}
        return sums

    def _cow_clip(self, sums, rows):
        ratio = self.options.get("cow_clip_ratio")
        if not ratio:
            return sums
        bound = self.options.get("cow_clip_bound", 1e-5)
        clipped = {}
        for row, gradient in sums.items():
            norm = np.linalg.norm(self.weights[row])
            least = ratio * np.sqrt(len(gradient)) * bound
            limit = ratio * rows.count(row) * max(norm, least)
            length = np.linalg.norm(gradient)
            clipped[row] = gradient * min(1.0, limit / max(length, 1e-300))
        return clipped

    def _regularise(self, row):
        """Adaptive regularisation, of rows that were trained before."""
        alpha = self.options.get("adaptive_decay")
        if alpha and self.last[row] > 0:
            absent = self.step - self.last[row] - 1
            kept = 1.0 - min(1.0, alpha * absent)
            least = self.options.get("adaptive_decay_kept", 0.0)
            self.weights[row] *= max(kept, least)

    def _sgd(self, row, gradient, rate):
        return rate * gradient

    def _momentum(self, row, gradient, rate, momentum):
        self.first[row] = momentum * self.first[row] + gradient
        return rate * self.first[row]

    def _adagrad(
        self, row, gradient, rate, epsilon, initial_accumulator_value=0.0
    ):
        self.first[row] += gradient**2
        return rate * gradient / np.sqrt(self.first[row] + epsilon)

    def _rowwise(
        self, row, gradient, rate, epsilon, initial_accumulator_value=0.0
    ):
        self.row[row] += np.mean(gradient**2)
        return rate * gradient / (np.sqrt(self.row[row]) + epsilon)

    def _adam(self, row, gradient, rate, beta_1, beta_2, epsilon, step=None):
        step = step or self.step
        first = beta_1 * self.first[row] + (1 - beta_1) * gradient
        second = beta_2 * self.second[row] + (1 - beta_2) * gradient**2
        self.first[row], self.second[row] = first, second
        unbiased = first / (1 - beta_1**step)
        scale = np.sqrt(1 - beta_2**step)
        return rate * unbiased / ((np.sqrt(second) + epsilon) / scale)

    def _row_adam(self, row, gradient, rate, **constants):
        self.row_step[row] += 1
        step = self.row_step[row]
        return self._adam(row, gradient, rate, step=step, **constants)

    def _replay(self, row, gradient, rate, beta_1, beta_2, epsilon):
        """The documented approximation, one absent step after the other."""
        absent, moves = int(self.step - self.last[row] - 1), 0.0
        # The bias correction of the mean absent step, weighted by its move.
        weights = (beta_1 / np.sqrt(beta_2)) ** np.arange(1.0, absent + 1)
        steps = self.last[row] + np.arange(1.0, absent + 1)
        held = max(1.0, (weights @ steps) / weights.sum()) if absent else 1.0
        held = np.sqrt(1 - beta_2**held) / (1 - beta_1**held)
        root = np.sqrt(self.second[row]) + epsilon
        for _ in range(absent):
            self.first[row] *= beta_1
            self.second[row] *= beta_2
            root = root * np.sqrt(beta_2)
            moves = moves + rate * held * self.first[row] / root
        return moves + self._adam(row, gradient, rate, beta_1, beta_2, epsilon)

    def _partial(self, row, gradient, rate, beta_1, beta_2, epsilon):
        self.first[row] = beta_1 * self.first[row] + (1 - beta_1) * gradient
        square = np.mean(gradient**2)
        self.row[row] = beta_2 * self.row[row] + (1 - beta_2) * square
        unbiased = self.first[row] / (1 - beta_1**self.step)
        scale = np.sqrt(1 - beta_2**self.step)
        return rate * unbiased / ((np.sqrt(self.row[row]) + epsilon) / scale)

    def _ftrl(
        self,
        row,
        gradient,
        rate,
        learning_rate_power,
        initial_accumulator_value,
        l1,
        l2,
        l2_shrinkage,
        beta,
    ):
        weights, power = self.weights[row], -learning_rate_power
        before = self.first[row].copy()
        self.first[row] = after = before + gradient**2
        sigma = (after**power - before**power) / rate
        z = self.second[row] + gradient
        z = z + 2 * l2_shrinkage * weights - sigma * weights
        self.second[row] = z
        quadratic = (beta + after**power) / rate + 2 * l2
        new = np.where(np.abs(z) <= l1, 0.0, (np.sign(z) * l1 - z) / quadratic)
        return weights - new


_BETAS = {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-6}
_FTRL = {
    "learning_rate_power": -0.5,
    "initial_accumulator_value": 0.25,
    "l1": 0.05,
    "l2": 0.1,
    "l2_shrinkage": 0.02,
    "beta": 0.3,
}

# name → (our optimizer, reference kind, rate, constants of the reference)
KINDS = {
    "sgd": (lambda **k: optimizers.SparseSGD(0.5, **k), "sgd", 0.5, {}),
    "momentum": (
        lambda **k: optimizers.SparseSGD(0.5, momentum=0.9, **k),
        "momentum",
        0.5,
        {"momentum": 0.9},
    ),
    "adagrad": (
        lambda **k: optimizers.SparseAdagrad(0.1, 0.25, 1e-6, **k),
        "adagrad",
        0.1,
        {"initial_accumulator_value": 0.25, "epsilon": 1e-6},
    ),
    "adagrad_from_zero": (
        lambda **k: optimizers.SparseAdagrad(0.1, **k),
        "adagrad",
        0.1,
        {"epsilon": 1e-10},
    ),
    "rowwise": (
        lambda **k: optimizers.RowwiseAdagrad(0.1, 0.25, 1e-6, **k),
        "rowwise",
        0.1,
        {"initial_accumulator_value": 0.25, "epsilon": 1e-6},
    ),
    "adam": (
        lambda **k: optimizers.LazyAdam(0.01, **_BETAS, **k),
        "adam",
        0.01,
        _BETAS,
    ),
    "row_adam": (
        lambda **k: optimizers.LazyAdam(
            0.01, **_BETAS, bias_correction="row", **k
        ),
        "row_adam",
        0.01,
        _BETAS,
    ),
    "replay": (
        lambda **k: optimizers.LazyAdam(
            0.01, **_BETAS, replay_skipped_steps=True, **k
        ),
        "replay",
        0.01,
        _BETAS,
    ),
    "partial": (
        lambda **k: optimizers.PartialRowwiseAdam(0.01, **_BETAS, **k),
        "partial",
        0.01,
        _BETAS,
    ),
    "ftrl": (
        lambda **k: optimizers.SparseFtrl(0.5, **_FTRL, **k),
        "ftrl",
        0.5,
        _FTRL,
    ),
    "ftrl_other_power": (
        lambda **k: optimizers.SparseFtrl(
            0.5, **{**_FTRL, "learning_rate_power": -0.3}, **k
        ),
        "ftrl",
        0.5,
        {**_FTRL, "learning_rate_power": -0.3},
    ),
}


def make(kind, table, **options):
    """Our optimizer and its reference over the same table."""
    create, reference, rate, constants = KINDS[kind]
    return create(**options), Reference(
        reference, table, rate, options, **constants
    )


def slices(indices, values, dtype="int64"):
    """IndexedSlices; empty indices keep the rows' shape."""
    values = np.asarray(values, np.float32).reshape(len(indices), DIM)
    return tf.IndexedSlices(
        tf.constant(values), tf.constant(np.asarray(indices, dtype))
    )


@keras.saving.register_keras_serializable(package="tfplugin_tests")
class TableLayer(keras.layers.Layer):
    """The least that `split` takes for an embedding layer."""

    def __init__(self, rows=ROWS, dim=DIM, num_special_rows=2, **kwargs):
        super().__init__(**kwargs)
        self.rows = rows
        self.dim = dim
        self.num_special_rows = num_special_rows
        self.supports_jit = False

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            shape=(self.rows, self.dim),
            initializer=keras.initializers.RandomNormal(seed=3),
            autocast=False,
            name="embeddings",
        )
        self.built = True

    def call(self, ids):
        return tf.gather(self.embeddings.value, tf.cast(ids, tf.int64))

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.dim)

    def get_config(self):
        return {
            **super().get_config(),
            "rows": self.rows,
            "dim": self.dim,
            "num_special_rows": self.num_special_rows,
        }


@keras.saving.register_keras_serializable(package="tfplugin_tests")
class TableCollection(keras.layers.Layer):
    """Tables in a dict inside of a layer, `b` used twice."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # tf.train.Checkpoint does not look into a dict of layers.
        self.table_a, self.table_b = TableLayer(name="a"), TableLayer(name="b")
        self.tables = {"a": self.table_a, "b": self.table_b}

    def build(self, input_shape):
        for table in self.tables.values():
            table.build((None, 1))
        self.built = True

    def call(self, ids):
        a, b = self.tables["a"], self.tables["b"]
        return tf.concat([a(ids[:, 0]), b(ids[:, 1]), b(ids[:, 2])], -1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 3 * DIM)


def model():
    """Two tables, one of them shared, in a collection; two dense layers."""
    keras.utils.set_random_seed(5)
    ids = keras.Input((3,), dtype="int64")
    x = keras.layers.Dense(3, activation="relu")(TableCollection()(ids))
    return keras.Model(ids, keras.layers.Dense(1)(x))


def data(num_rows=40, seed=0):
    """Ids `(n, 3)` with duplicates and targets `(n, 1)`."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, ROWS - 2, (num_rows, 3))
    return ids, rng.normal(size=(num_rows, 1)).astype("float32")


def table_variables(of_model):
    """The tables of `model()`, a before b."""
    for layer in of_model.layers:
        if isinstance(layer, TableCollection):
            return [table.embeddings for table in layer.tables.values()]
    raise LookupError("no TableCollection")
