import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tfplugin.errors import InputError
from tfplugin.export import formulas

NUMPY = {
    "log": np.log,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "minimum": np.minimum,
    "maximum": np.maximum,
}
VALUES = {
    "p": np.array([0.1, 0.5, 1.0, np.nan], np.float32),
    "bid": np.array([0.0, 2.0, 3.5, 1.0], np.float32),
}


@pytest.mark.parametrize(
    "text",
    [
        "bid * p",
        "  bid * p ",
        "-p ** 2",
        "2 ** -p ** 2",
        "1 - 2 - p",
        "(bid + 1) / (p + 1e-3)",
        "log(p) + exp(-bid) * sqrt(bid)",
        "minimum(p, maximum(bid, 0.3)) / 0.5",
        "p / bid",
        "log(-bid)",
    ],
)
def test_formulas_are_float32_arithmetic(text):
    found = formulas.parse("score", text)(
        {name: tf.constant(value) for name, value in VALUES.items()}
    )
    with np.errstate(all="ignore"):
        expected = eval(text.strip(), {"__builtins__": {}}, NUMPY | VALUES)  # noqa: S307  the reference alone
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, rtol=2e-6)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", None, "1 to 1000 characters"),
        ("p +" + " 1" * 600, None, "1 to 1000 characters"),
        ("bid *", 6, "invalid syntax"),
        ("bid * (p", 7, "never closed"),
        ("p; q", 2, "syntax"),
        ("p\n+ q", None, "Received: formula `score`"),
        ("1 + tan(p)", 5, "tan is none of the functions log, exp"),
        ("__import__('os')", 1, "none of the functions"),
        ("p.real", 1, "neither a number"),
        ("p[0]", 1, "neither a number"),
        ("(lambda: p)()", 1, "what is called is none"),
        ("log(p, 2)", 1, "log takes 1 argument"),
        ("minimum(p)", 1, "minimum takes 2 arguments"),
        ("log(*p)", 5, "neither a number"),
        ("log(x=p)", 1, "log takes 1 argument"),
        ("p if bid else 1", 1, "neither a number"),
        ("p > 1", 1, "neither a number"),
        ("p // 2", 1, "unknown operator"),
        ("p % 2", 1, "unknown operator"),
        ("+p", 1, "the minus only"),
        ("not p", 1, "the minus only"),
        ("True * p", 1, "no number"),
        ("2j * p", 1, "no number"),
        ("p * 'é' + 'x'", 5, "no number"),
        ("'é' * p", 1, "no number"),
        ("p * 1e999", 5, "beyond float32"),
        ("p * 1e39", 5, "beyond float32"),
        ("p * 1" + "0" * 400, 5, "beyond float32"),
        ("p / 0", 1, "division by zero"),
        ("p / 0.0", 1, "division by zero"),
        ("é * p", 1, "a letter first"),
        ("p * _bid", 5, "a letter first"),
        ("-" * 60 + "p", 51, "more than 50 deep"),
        ("(" * 300 + "p" + ")" * 300, None, "Received: formula `score`"),
        ("p\0", None, "Received: formula `score`"),
    ],
)
def test_what_is_no_formula_is_refused_with_its_place(text, place, words):
    with pytest.raises(InputError) as caught:
        formulas.parse("score", text)
    message = str(caught.value)
    assert words in message
    assert "`score`" in message
    if place is not None:
        assert f"at character {place} " in message


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=40),
        st.lists(
            st.sampled_from(
                [*"pq()+-*/,. 19\\'\"[]", "**", "log(", "minimum(", "lambda "]
            ),
            max_size=15,
        ).map("".join),
    )
)
def test_any_text_is_a_formula_or_refused(text):
    try:
        formula = formulas.parse("score", text)
    except InputError:
        return
    values = {name: tf.constant([0.5, 2.0]) for name in formula.names}
    assert formula(values).dtype == tf.float32
