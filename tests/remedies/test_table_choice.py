import numpy as np
import pytest

from tests.support import experiments
from tfplugin import remedies
from tfplugin import training
from tfplugin.errors import InputError
from tfplugin.remedies import table_choice
from tfplugin.training import model_building


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    config, work = experiments.make(tmp_path_factory.mktemp("choice"))
    found = training.assemble(config, work)
    return model_building.describe_training(
        found.model, config, found.context, found.dataset
    )


def _chosen(facts, **keys):
    remedy = remedies.parse({"embedding_reset": keys})["embedding_reset"]
    layers = remedy.chosen(facts)
    return layers and [layer.table_name for layer in layers]


def test_all_tables_unless_something_is_asked(facts):
    assert _chosen(facts) is None
    assert _chosen(facts, rare_count=3) is None


def test_by_name(facts):
    assert _chosen(facts, tables=["city", "user"]) == ["city", "user"]


def test_by_size(facts):
    sizes = {
        name: layers[0].embeddings.shape[0]
        for name, layers in facts.tables.items()
    }
    for least in {*sizes.values()}:
        expected = [name for name in sizes if sizes[name] >= least]
        assert _chosen(facts, min_rows=least) == expected
    with pytest.raises(InputError, match="min_rows=1000000 for user \\(rows"):
        _chosen(facts, min_rows=1_000_000)


def test_by_the_share_of_occurrences_of_rare_ids(facts):
    shares = {}
    for name in facts.tables:
        counts = facts.id_frequencies(name).counts
        occurrences = np.repeat(counts, counts.astype(int))
        shares[name] = float(np.mean(occurrences < 20))
    assert 0 < shares["user"] < 1
    assert shares["city"] == 0.0
    for share in (shares["user"], 0.01):
        expected = [name for name in shares if shares[name] >= share - 1e-6]
        assert (
            _chosen(facts, min_rare_share=share - 1e-6, rare_count=20)
            == expected
        )
    with pytest.raises(InputError, match=r"min_rare_share=1\.0"):
        _chosen(facts, min_rare_share=1.0, rare_count=2)


def test_conditions_are_joined(facts):
    assert _chosen(
        facts, tables=["user", "city"], min_rare_share=0.01, rare_count=20
    ) == ["user"]


def test_an_unknown_name_is_refused_here_too(facts):
    with pytest.raises(InputError, match=r"`shop`.*, user"):
        _chosen(facts, tables=["shop"])


def test_no_occurrences_are_not_rare():
    assert table_choice.rare_share(np.zeros(0), 5) == 0.0
