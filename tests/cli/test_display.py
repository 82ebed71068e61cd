"""What tables in a terminal of 80 columns show."""

import pytest

from tfplugin.cli import display


def _metrics(calibration):
    return {
        "auc": 0.81234,
        "pr_auc": 0.41234,
        "normalized_entropy": 0.91234,
        "calibration": calibration,
    }


MEASURED = {
    "split": "test",
    "rows": 20_000,
    "objectives": {
        "click": _metrics(1.25),
        "add_to_cart": _metrics(2.5),
        "checkout": _metrics(3.5),
    },
    "calibrated": {
        "click": _metrics(1.01),
        "add_to_cart": _metrics(1.02),
        "checkout": _metrics(3.5),
    },
}
MONITOR = dict.fromkeys(
    MEASURED["objectives"], {"peak_epoch": 3, "overfits_from": 4}
)
CALIBRATION = {
    "objectives": {
        "click": {"method": "platt", "reason": None},
        "add_to_cart": {"method": "isotonic", "reason": None},
        "checkout": {"method": "none", "reason": "fewer than 20 positives"},
    }
}


def _lines(capsys):
    text = capsys.readouterr().out
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    return [line.split() for line in text.splitlines()]


@pytest.mark.parametrize("monitor", [{}, MONITOR])
def test_only_calibrated_objectives_have_a_second_row(capsys, monitor):
    display.print_objectives(MEASURED, monitor, CALIBRATION)
    lines = _lines(capsys)
    second = [line for line in lines if line[:1] == ["+"]]
    assert [line[1] for line in second] == ["platt", "isotonic"]
    assert [line[5] for line in second] == ["1.010", "1.020"]
    assert "Not calibrated: checkout (fewer than 20 positives).".split() in (
        lines
    )


def test_a_long_name_is_folded_not_cut(capsys):
    name = "a_very_long_name_of_an_objective_for_a_table"
    measured = {**MEASURED, "objectives": {name: _metrics(1.0)}}
    display.print_objectives(measured, {name: MONITOR["click"]}, None)
    lines = _lines(capsys)
    cells = [line[0] for line in lines if line]
    assert name in "".join(cells)


def test_without_a_calibration_nothing_is_said_of_it(capsys):
    measured = {k: v for k, v in MEASURED.items() if k != "calibrated"}
    display.print_objectives(measured, MONITOR, None)
    text = capsys.readouterr().out
    assert "alibrated" not in text
    assert "+ " not in text


def test_a_warm_start_names_what_it_counts(capsys):
    display.print_warm_start(
        {
            "tables": {
                "user": {"kept": 5, "new": 2, "dropped": 1, "unit": "ids"},
                "city": {"kept": 9, "new": 0, "dropped": 0, "unit": "rows"},
            },
            "fresh": [{"name": "x", "reason": "its shape was (1,)"}],
            "gone": ["y"],
        }
    )
    lines = _lines(capsys)
    assert ["user", "5", "2", "1", "ids"] in lines
    assert ["city", "9", "0", "0", "rows"] in lines
    assert "Fresh: x; its shape was (1,)".split() in lines
