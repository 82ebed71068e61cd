"""Formulas over objectives, as text → TensorFlow's operators.

Python's parser reads the text and nothing evaluates it: of the syntax tree,
only what the grammar below names becomes an operator, all else is refused.
"""

import ast
import dataclasses
import math
from collections.abc import Callable
from collections.abc import Mapping
from typing import NoReturn

import tensorflow as tf

from tfplugin.errors import InputError

#: Far more than a formula needs, far less than Python's parser bears.
_MAX_LENGTH = 1000
_MAX_DEPTH = 50
_GRAMMAR = "numbers, names, + - * / **, log, exp, sqrt, minimum, maximum"

_OPERATORS: dict[type[ast.operator], Callable[..., tf.Tensor]] = {
    ast.Add: tf.add,
    ast.Sub: tf.subtract,
    ast.Mult: tf.multiply,
    ast.Div: tf.divide,
    ast.Pow: tf.pow,
}
#: Function to its operator and the number of its arguments.
_FUNCTIONS: dict[str, tuple[Callable[..., tf.Tensor], int]] = {
    "log": (tf.math.log, 1),
    "exp": (tf.exp, 1),
    "sqrt": (tf.sqrt, 1),
    "minimum": (tf.minimum, 2),
    "maximum": (tf.maximum, 2),
}


@dataclasses.dataclass(frozen=True)
class Formula:
    """A checked formula; made by `parse`.

    Args:
        name: Of what it computes.
        text: As it was written.
        names: The names in it, sorted.
        tree: Its checked syntax tree.
    """

    name: str
    text: str
    names: tuple[str, ...]
    tree: ast.expr

    def __call__(self, values: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Computes it.

        Args:
            values: Each of `names` to float32 of one shape.

        Returns:
            float32 of that shape; outside of a function's domain NaN or
            infinite, as float32 arithmetic has it.
        """
        return _compute(self.tree, values)


def parse(name: str, text: str) -> Formula:
    """Reads and checks a formula.

    Its grammar is Python's for numbers, names, `+ - * / **`, unary minus,
    parentheses, and calls of log, exp, sqrt (of one), minimum and maximum
    (of two).

    Args:
        name: Of what it computes; messages name it.
        text: The formula.

    Raises:
        InputError: It is no such formula; the message says where.

    Example:
    >>> score = parse("ranking", "bid * checkout ** 0.5")
    >>> score.names
    ('bid', 'checkout')
    >>> values = {"bid": tf.constant([2.0]), "checkout": tf.constant([0.25])}
    >>> score(values).numpy().tolist()
    [1.0]
    """
    text = text.strip()
    if not text or len(text) > _MAX_LENGTH:
        raise InputError(
            f"A formula must have 1 to {_MAX_LENGTH} characters. Received: "
            f"`{name}`, of {len(text)}."
        )
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        # What is missing at the end is at 0.
        place = error.offset or len(text) + 1
        _refuse(name, text, place, str(error.msg))
    except (ValueError, MemoryError, RecursionError):
        # NUL bytes, numbers of too many digits, hundreds of parentheses.
        _refuse(name, text, 1, "it cannot be parsed")
    _check(name, text, tree, 1)
    names = {n.id for n in _leaves(tree) if isinstance(n, ast.Name)}
    return Formula(name, text, tuple(sorted(names)), tree)


def _refuse(name: str, text: str, place: int, reason: str) -> NoReturn:
    raise InputError(
        f"A formula may hold {_GRAMMAR} and parentheses. Received: formula "
        f"`{name}`, `{text}`, at character {place} "
        f"(`{text[place - 1 : place + 19]}`): {reason}. Rewrite it."
    )


def _check(name: str, text: str, node: ast.expr, depth: int) -> None:
    def refuse(reason: str) -> NoReturn:
        # Offsets of a syntax tree count bytes of UTF-8.
        before = text.encode()[: node.col_offset].decode()
        _refuse(name, text, len(before) + 1, reason)

    if node.lineno > 1:
        _refuse(name, text, 1, "it has several lines")
    if depth > _MAX_DEPTH:
        refuse(f"it is nested more than {_MAX_DEPTH} deep")
    match node:
        case ast.Constant():
            _check_number(node.value, refuse)
        case ast.Name():
            # Inputs of a signature may not begin with an underscore.
            if not node.id.isascii() or node.id.startswith("_"):
                refuse("names are of a to z, digits and _, a letter first")
        case ast.UnaryOp():
            if not isinstance(node.op, ast.USub):
                refuse("of the unary operators there is the minus only")
        case ast.BinOp():
            if type(node.op) not in _OPERATORS:
                refuse("an unknown operator")
            zero = isinstance(node.right, ast.Constant) and not node.right.value
            if isinstance(node.op, ast.Div) and zero:
                refuse("division by zero")
        case ast.Call():
            _check_call(node, refuse)
        case _:
            refuse("neither a number, a name, an operator nor a function")
    for argument in _arguments(node):
        _check(name, text, argument, depth + 1)


def _check_number(value: object, refuse: Callable[[str], NoReturn]) -> None:
    # A bool is an int.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        refuse("a constant that is no number")
    try:
        single = abs(float(value))
    except OverflowError:
        single = math.inf
    if single > float(tf.float32.max):
        refuse("a number beyond float32")


def _check_call(node: ast.Call, refuse: Callable[[str], NoReturn]) -> None:
    function = node.func.id if isinstance(node.func, ast.Name) else None
    if function not in _FUNCTIONS:
        called = function or "what is called"
        refuse(f"{called} is none of the functions {', '.join(_FUNCTIONS)}")
    wanted = _FUNCTIONS[function][1]
    if node.keywords or len(node.args) != wanted:
        refuse(f"{function} takes {wanted} argument{'s' * (wanted > 1)}")


def _arguments(node: ast.expr) -> list[ast.expr]:
    match node:
        case ast.UnaryOp():
            return [node.operand]
        case ast.BinOp():
            return [node.left, node.right]
        case ast.Call():
            return node.args
    return []


def _leaves(node: ast.expr) -> list[ast.expr]:
    arguments = _arguments(node)
    if not arguments:
        return [node]
    return [leaf for argument in arguments for leaf in _leaves(argument)]


def _compute(node: ast.expr, values: Mapping[str, tf.Tensor]) -> tf.Tensor:
    arguments = [_compute(argument, values) for argument in _arguments(node)]
    match node:
        case ast.Constant(value=float() | int() as value):
            return tf.constant(float(value), tf.float32)
        case ast.Name():
            return values[node.id]
        case ast.UnaryOp():
            return tf.negative(arguments[0])
        case ast.BinOp():
            return _OPERATORS[type(node.op)](*arguments)
        case ast.Call(func=ast.Name() as function):
            return _FUNCTIONS[function.id][0](*arguments)
    raise TypeError(f"`parse` lets no {type(node).__name__} through.")
