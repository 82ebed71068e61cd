"""The table of a preprocessing tells where every row went."""

import yaml

from tests.cli import shop


def test_rows_read_add_up(tmp_path):
    config = shop.write(tmp_path)
    (tmp_path / "sold.csv").write_text("user,at\n1,1700000290\n", "utf-8")
    raw = yaml.safe_load(config.read_text("utf-8"))
    raw["source"]["joins"] = {
        "sold": {
            "kind": "events",
            "format": "csv",
            "files": "sold.csv",
            "keys": "user",
            "log_time": "ts",
            "time": "at",
            "window": 60,
            "label": "sold",
            "mature": "gap",
        }
    }
    raw["dataset"]["negatives"] = {"labels": ["click"], "rate": 0.5}
    config.write_text(yaml.safe_dump(raw), "utf-8")
    ended = shop.run(
        "preprocess", "--config", config, "--workdir", tmp_path / "w"
    )
    assert ended.status == 0, ended
    cells = [line.rsplit(maxsplit=1) for line in ended.out.splitlines()]
    found = {
        cell[0].strip(): int(cell[1])
        for cell in cells
        if len(cell) == 2 and cell[1].isdigit()
    }
    names = ["read", "rejected", "dropped by sold", "sampled out"]
    names += ["train", "validation", "test"]
    rows = [found[name] for name in names]
    assert rows[0] == 300 == sum(rows[1:])
    assert 60 < found["dropped by sold"] < 80
    assert found["sampled out"] > 30
