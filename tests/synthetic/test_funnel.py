import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfplugin import cli
from tfplugin import config as config_lib
from tfplugin import synthetic
from tfplugin.errors import InputError
from tfplugin.synthetic import exposures

ROOT = pathlib.Path(__file__).parents[2]
ROWS = 200_000
STAGES = {
    "click": "p_click",
    "add_to_cart": "p_cart",
    "checkout": "p_checkout",
}


@pytest.fixture(scope="module")
def funnel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("funnel")
    synthetic.write(folder, rows=ROWS, seed=3, checkout_rate=0.004)
    return folder


@pytest.fixture(scope="module")
def log(funnel):
    return pq.read_table(funnel / "impressions")


@pytest.fixture(scope="module")
def truth(funnel):
    return pq.read_table(funnel / "truth")


def test_each_stage_follows_the_one_before(log, truth):
    labels = np.stack([log[name] for name in STAGES])
    assert set(np.unique(labels)) == {0, 1}
    assert np.all(np.diff(labels, axis=0) <= 0)
    p = np.stack([truth[name] for name in STAGES.values()])
    assert np.all(np.diff(p, axis=0) < 0)
    assert np.all((p > 0) & (p < 1))


def test_rates_are_as_asked(log, truth, funnel):
    rates = {"click": 0.05, "add_to_cart": 0.01, "checkout": 0.004}
    summary = json.loads((funnel / "funnel.json").read_text())
    for name, rate in rates.items():
        expected = np.sum(truth[STAGES[name]])
        assert expected / ROWS == pytest.approx(rate, rel=0.05)
        drawn = np.sum(log[name])
        assert abs(drawn - expected) < 4 * np.sqrt(expected)
        assert summary["positives"][name] == drawn
        assert summary["expected"][name] == pytest.approx(expected)


def test_labels_are_drawn_by_the_truth(log, truth):
    for name, p_name in STAGES.items():
        p, label = truth[p_name].to_numpy(), log[name].to_numpy()
        deciles = np.array_split(np.argsort(p), 10)
        chi_square = 0.0
        for rows in deciles:
            spread = np.sum(p[rows] * (1 - p[rows]))
            chi_square += (np.sum(label[rows]) - np.sum(p[rows])) ** 2 / spread
        # 10 degrees of freedom: one log in 10,000 is beyond.
        assert chi_square < 35.6, name


def test_the_log_is_in_the_order_of_time(log, truth):
    ids = np.arange(ROWS)
    np.testing.assert_array_equal(log["impression_id"], ids)
    np.testing.assert_array_equal(truth["impression_id"], ids)
    moments = log["event_time"].cast(pa.int64()).to_numpy()
    assert np.all(np.diff(moments) >= 0)
    assert (moments[-1] - moments[0]) / 86_400_000 == pytest.approx(30, abs=0.1)
    hours = (moments // 3_600_000) % 24
    np.testing.assert_array_equal(log["hour"], hours)


def test_a_request_is_one_user_at_one_moment(log):
    requests = log["request_id"].to_numpy()
    assert set(np.diff(requests)) == {0, 1}
    assert np.bincount(requests).max() <= 7
    same = np.diff(requests) == 0
    for name in ("user_id", "device", "placement", "event_time"):
        column = log[name].combine_chunks().dictionary_encode().indices
        assert not np.any(np.diff(column.to_numpy())[same]), name


def test_products_hang_in_campaigns_of_advertisers(log):
    frame = log.to_pandas()
    for low, high in (
        ("product_id", "campaign_id"),
        ("campaign_id", "advertiser_id"),
    ):
        assert frame.groupby(low)[high].nunique().max() == 1
        assert frame[low].nunique() > 3 * frame[high].nunique()
    words = frame.groupby("product_id")["keywords"].agg(
        lambda lists: len({tuple(one) for one in lists})
    )
    assert words.max() == 1
    lengths = frame["keywords"].map(len)
    assert lengths.min() == 0
    assert lengths.max() == 4


def test_ids_follow_a_power_law_and_new_ones_appear(log):
    for name in ("user_id", "product_id"):
        ids = log[name].to_numpy()
        counts = np.sort(np.unique(ids, return_counts=True)[1])[::-1]
        ranks = np.arange(1, len(counts) + 1)
        body = slice(50, 2000)
        slope, _ = np.polyfit(np.log(ranks[body]), np.log(counts[body]), 1)
        assert -1.2 < slope < -0.6, name
        assert np.mean(counts <= 4) > 0.2, name
        seen = set(ids[: int(0.7 * ROWS)].tolist())
        new = [value not in seen for value in ids[int(0.9 * ROWS) :].tolist()]
        assert 0.03 < np.mean(new) < 0.5, name


def _bytes(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_equal_seeds_give_equal_files(tmp_path):
    # Two blocks, the second of them short.
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        synthetic.write(tmp_path / name, rows=70_000, seed=seed)
    one, same, other = (_bytes(tmp_path / name) for name in "abc")
    assert one == same
    part = pathlib.Path("impressions/part-00000-of-00001.parquet")
    assert one[part] != other[part]


def test_parts_hold_all_rows_once(tmp_path, monkeypatch):
    from tfplugin.synthetic import funnel as module

    whole = pa.concat_tables(
        log for log, _ in synthetic.Funnel(rows=140_000).blocks()
    )
    monkeypatch.setattr(module, "_BLOCKS_PER_FILE", 2)
    counted = []
    synthetic.write(
        tmp_path, rows=140_000, advance=lambda _, rows: counted.append(rows)
    )
    names = sorted(path.name for path in (tmp_path / "truth").iterdir())
    assert names == [f"part-0000{i}-of-00002.parquet" for i in range(2)]
    written = pq.read_table(tmp_path / "impressions")
    assert written.equals(whole)
    assert counted == [65_536, 65_536, 8_928]


def test_what_was_left_half_finished_is_redone(tmp_path):
    for name in ("truth", ".impressions.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part-00009-of-00010.parquet").write_text("cut off")
    synthetic.write(tmp_path, rows=10)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"funnel.json", "impressions", "truth"}
    assert pq.read_table(tmp_path / "truth").num_rows == 10


def test_one_row_is_a_log(tmp_path):
    found = synthetic.write(tmp_path, rows=1, users=1, products=1)
    assert pq.read_table(tmp_path / "impressions").num_rows == 1
    assert found["settings"]["rows"] == 1


def test_a_stretch_of_time_stays_in_it():
    market = exposures.Market(users=1000, products=400, seed=0)
    shown = market.draw(np.random.default_rng(0), 7.0, 14.0, 1000)
    days = shown.moments / 86_400_000
    assert 7 <= days.min() <= days.max() < 14


@pytest.mark.parametrize(
    "settings",
    [
        {"rows": 0},
        {"seed": -1},
        {"users": 0},
        {"products": 0},
        {"click_rate": 1.0},
        {"cart_rate": 0.05},
        {"checkout_rate": 0.0},
    ],
)
def test_settings_are_checked(settings):
    with pytest.raises(InputError, match="Received: "):
        synthetic.Funnel(**{"rows": 10, **settings})


def test_the_command_refuses_a_folder_that_holds_one(tmp_path, capsys):
    words = ["funnel", "--folder", str(tmp_path), "--rows", "1000"]
    assert cli.main(words) == 0
    assert "checkout: " in capsys.readouterr().out
    assert cli.main(words) == 2
    assert "Pass --overwrite" in capsys.readouterr().err
    before = _bytes(tmp_path)
    assert cli.main([*words, "--overwrite", "--seed", "5"]) == 0
    assert _bytes(tmp_path) != before
    wrong = ["--overwrite", "--checkout-rate", "0.5"]
    assert cli.main([*words, *wrong]) == 2
    assert "must fall" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {
        "funnel.json",
        "impressions",
        "truth",
    }


def test_preprocessing_reads_the_log_and_not_the_truth(tmp_path):
    synthetic.write(tmp_path / "funnel", rows=4000)
    configs = tmp_path / "configs"
    configs.mkdir()
    config = configs / "funnel.yaml"
    config.write_text((ROOT / "configs" / "funnel.yaml").read_text())
    work = tmp_path / "work"
    assert (
        cli.main(
            ["preprocess", "--config", str(config), "--workdir", str(work)]
            + ["--set", "dataset.num_shards=1"]
        )
        == 0
    )
    schema = (work / "dataset" / "schema.json").read_text()
    assert "p_click" not in schema
    statistics = json.loads((work / "dataset" / "statistics.json").read_text())
    sources = [one["path"] for one in statistics["source_files"]]
    assert len(sources) == 1
    assert "truth" not in sources[0]
    assert statistics["rows_read"] == 4000
    assert statistics["rows_rejected"] == 0
    loaded = config_lib.load(config)
    assert set(loaded.labels) == set(STAGES)


def _file(path):
    path.write_text("in the way")


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda folder: _file(folder / "f"), "f"),
        (lambda folder: _file(folder / "f"), "f/below"),
        (lambda folder: _file(folder / ".impressions.tmp"), "."),
        (lambda folder: _file(folder / "impressions"), "."),
        (lambda folder: (folder / "funnel.json").mkdir(), "."),
        (lambda folder: None, "/proc/x"),
    ],
    ids=["file", "below_file", "part", "impressions", "json", "proc"],
)
def test_a_folder_that_cannot_be_written_is_refused(
    tmp_path, capsys, make, where
):
    make(tmp_path)
    folder = tmp_path / where
    words = ["funnel", "--folder", str(folder), "--rows", "50", "--overwrite"]
    assert cli.main(words) == 2
    refused = capsys.readouterr().err
    assert refused.count("\n") == 1
    assert str(folder) in refused
