"""Checks of constructor arguments that several optimizers share."""

from typing import Any

import keras

_SWEEP = "it would read and write every row of a table in every step"
_DUPLICATES = "it would act before duplicate rows are summed; ours is "
_REFUSED_OPTIONS = {
    "use_ema": _SWEEP,
    "ema_momentum": _SWEEP,
    "ema_overwrite_frequency": _SWEEP,
    "gradient_accumulation_steps": _SWEEP,
    "global_clipnorm": _DUPLICATES + "`clip_global_norm`",
    "clipnorm": _DUPLICATES + "`clip_row_norm`",
    "clipvalue": _DUPLICATES + "`clip_value`",
    "loss_scale_factor": "Keras cannot divide sparse gradients by it; "
    "bfloat16 needs no loss scale",
}


def refuse_base_options(options: dict[str, Any]) -> None:
    """Refuses options of Keras's base class that do not suit tables.

    Args:
        options: Keyword arguments that no constructor of ours names.

    Raises:
        ValueError: If a known option is on.
        TypeError: If an option is unknown.

    Example:
    >>> refuse_base_options({"clipnorm": None, "use_ema": False})
    """
    for name, value in options.items():
        if name not in _REFUSED_OPTIONS:
            raise TypeError(
                "A sparse optimizer takes `learning_rate`, the constants of "
                "its rule, `row_rate`, `online_counts`, `weight_decay`, "
                "`compound_weight_decay`, `adaptive_decay`, "
                "`adaptive_decay_kept`, `frequency_decay`, `clip_value`, "
                "`clip_row_norm`, `clip_global_norm`, `cow_clip_ratio`, "
                f"`cow_clip_bound` and `name`. Received: {name}={value!r}"
            )
        # ema_momentum alone does nothing, and Keras configs carry 0.99.
        if value and name != "ema_momentum":
            raise ValueError(
                f"`{name}` is refused by sparse optimizers: "
                f"{_REFUSED_OPTIONS[name]}. Received: {name}={value!r}. "
                "Leave it out, or set it on the dense layers' optimizer with "
                "`optimizers.split`."
            )


def require_not_negative(**constants: float) -> None:
    """Checks constants of a rule.

    Args:
        **constants: Numbers by the name of their argument.

    Raises:
        ValueError: If one is negative, infinite or not a number.

    Example:
    >>> require_not_negative(epsilon=1e-7)
    """
    for name, value in constants.items():
        if not 0.0 <= value < float("inf"):
            raise ValueError(
                f"`{name}` must be a finite number, not negative. "
                f"Received: {name}={value}"
            )


def require_below_one(**constants: float) -> None:
    """Checks constants of a rule that are decays.

    Args:
        **constants: Numbers by the name of their argument.

    Raises:
        ValueError: If one is not in [0, 1).

    Example:
    >>> require_below_one(beta_1=0.9)
    """
    for name, value in constants.items():
        if not 0.0 <= value < 1.0:
            raise ValueError(
                f"`{name}` must be in [0, 1). Received: {name}={value}"
            )


def check_inner_optimizer(
    name: str, optimizer: keras.optimizers.Optimizer
) -> None:
    """Checks one of the two optimizers of a `SplitOptimizer`.

    Args:
        name: The argument it was given as.
        optimizer: What was given.

    Raises:
        TypeError: If it is not a Keras optimizer.
        ValueError: If it scales the loss.

    Example:
    >>> check_inner_optimizer("rest", keras.optimizers.SGD(0.1))
    """
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise TypeError(
            f"`{name}` must be a Keras optimizer. "
            f"Received: {name}={optimizer!r}"
        )
    scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if scales or optimizer.loss_scale_factor is not None:
        raise ValueError(
            f"`{name}` must not scale the loss, which both optimizers share. "
            f"Received: {name}={optimizer!r}. Leave `loss_scale_factor` out; "
            "bfloat16 needs none."
        )
