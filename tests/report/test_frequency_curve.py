import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfplugin.errors import InputError
from tfplugin.report import frequency_curve


def write(folder, parts):
    folder.mkdir(exist_ok=True)
    for index, counts in enumerate(parts):
        table = pa.table({"id": counts, "count": pa.array(counts, pa.int64())})
        pq.write_table(table, folder / f"part-{index}.parquet")


@given(st.lists(st.integers(1, 30), max_size=200), st.integers(2, 40))
def test_points_lie_on_the_sorted_counts(counts, max_points):
    values, numbers = np.unique(np.array(counts, np.int64), return_counts=True)
    curve = frequency_curve.from_histogram(values, numbers, max_points)
    ordered = sorted(counts, reverse=True)
    assert curve.ids == len(counts)
    assert curve.ids_seen_once == counts.count(1)
    assert curve.counts.tolist() == [ordered[k - 1] for k in curve.ranks]
    assert (np.diff(curve.ranks) > 0).all()
    assert len(curve.ranks) <= max_points + 2
    if counts:
        assert curve.ranks[0] == 1 and curve.ranks[-1] == len(counts)
        first_seen_once = len(counts) - counts.count(1) + 1
        assert first_seen_once > len(counts) or first_seen_once in curve.ranks


def test_parts_in_any_order_give_one_curve(tmp_path):
    rng = np.random.default_rng(7)
    counts = rng.zipf(1.5, 5000)
    write(tmp_path / "sorted", [np.sort(counts)[::-1]])
    write(tmp_path / "parts", [counts[:10], counts[10:10], counts[10:]])
    one = frequency_curve.read(tmp_path / "sorted")
    many = frequency_curve.read(tmp_path / "parts")
    assert one.ids == many.ids == 5000
    assert one.ids_seen_once == many.ids_seen_once == (counts == 1).sum()
    np.testing.assert_array_equal(one.ranks, many.ranks)
    np.testing.assert_array_equal(one.counts, many.counts)
    assert len(one.ranks) <= frequency_curve.MAX_POINTS + 2


def test_huge_tables_keep_exact_ends():
    curve = frequency_curve.from_histogram(
        np.array([1, 10**12]), np.array([3 * 10**9, 1])
    )
    assert curve.ranks[-1] == curve.ids == 3 * 10**9 + 1
    assert curve.counts[:2].tolist() == [10**12, 1]


def test_damaged_and_foreign_files_are_refused(tmp_path):
    write(tmp_path, [[1, 2]])
    (tmp_path / "part-1.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"part-1\.parquet"):
        frequency_curve.read(tmp_path)
    pq.write_table(pa.table({"id": [1]}), tmp_path / "part-1.parquet")
    with pytest.raises(InputError, match="a column `count`"):
        frequency_curve.read(tmp_path)
    with pytest.raises(InputError, match="which holds none"):
        frequency_curve.read(tmp_path / "absent")


def test_decayed_counts_and_only_the_files_that_are_named(tmp_path):
    counts = np.array([9000.123, 1.00001, 1.0, 0.25])
    table = pa.table({"id": np.arange(4), "count": counts})
    (tmp_path / "added-00001").mkdir()
    pq.write_table(table, tmp_path / "added-00001" / "part-0.parquet")
    write(tmp_path, [[5, 5]])
    curve = frequency_curve.read(tmp_path, ["added-00001/part-0.parquet"])
    assert (curve.ids, curve.ids_seen_once) == (4, 1)
    np.testing.assert_allclose(curve.counts, counts, rtol=2.0**-12)
    with pytest.raises(InputError, match=r"part-9\.parquet"):
        frequency_curve.read(tmp_path, ["part-9.parquet"])
