"""Checks of constructor arguments that several optimizers share."""

from typing import Any

import keras

_SWEEP = "it would read and write every row of a table in every step"
_REFUSED_OPTIONS = {
    "weight_decay": _SWEEP,
    "use_ema": _SWEEP,
    "ema_momentum": _SWEEP,
    "ema_overwrite_frequency": _SWEEP,
    "gradient_accumulation_steps": _SWEEP,
    "global_clipnorm": "it would act before duplicate rows are summed",
    "clipnorm": "it would act before duplicate rows are summed",
    "clipvalue": "it would act before duplicate rows are summed",
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
    >>> refuse_base_options({"weight_decay": None, "use_ema": False})
    """
    for name, value in options.items():
        if name not in _REFUSED_OPTIONS:
            raise TypeError(
                "A sparse optimizer takes `learning_rate`, `row_rate`, `name` "
                f"and the constants of its rule. Received: {name}={value!r}"
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
