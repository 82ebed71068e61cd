"""The benchmark of the remedies' cost runs; its figures are not looked at."""

from benchmarks import remedies as benchmark
from tfplugin import remedies


def test_costs_are_measured_and_shown(monkeypatch):
    monkeypatch.setattr(benchmark, "BATCH_SIZE", 16)
    monkeypatch.setattr(benchmark, "NUM_BATCHES", 2)
    found = {
        "steps": benchmark.measure_steps(
            50, 1, 1, ["cow_clip", "freeze_tables, frozen"]
        ),
        "epochs": benchmark.measure_epochs(50, 1, 1),
    }
    names = [benchmark.PLAIN, "cow_clip", "freeze_tables, frozen"]
    assert list(found["steps"]) == names
    assert found["steps"][benchmark.PLAIN]["ratio"] == 1.0
    assert set(found["epochs"]) == {"embedding_reset", "table_sets"}
    table = benchmark.markdown(found)
    assert all(f"| {name} |" in table for name in names)
    assert len(benchmark.verdicts(found)) == 4


def test_every_remedy_is_measured():
    measured = {
        key for sections, _ in benchmark.STEPS.values() for key in sections
    }
    assert measured == set(remedies.known())
