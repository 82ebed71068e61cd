"""Every example in a docstring runs; every public name has one."""

import inspect

import pytest

from tests.support import doctests
from tests.support import public_names
from tests.support import source_imports

_CONFIG = "a section of the YAML file: configs/ and `config.load` show it"
_RECORD = "part of statistics.json, which preprocessing writes"
_STAGE = "a stage; needs a dataset: README.md and docs/ show it"
_FOLDER = "works on a work folder, which the command line makes"

#: Public names without an example, and why.
WITHOUT_EXAMPLE = {
    **dict.fromkeys(
        (
            "tfplugin.config.CountsConfig",
            "tfplugin.config.CsvOptions",
            "tfplugin.config.DatasetConfig",
            "tfplugin.config.DenseFeatureConfig",
            "tfplugin.config.ExperimentConfig",
            "tfplugin.config.ExportBounds",
            "tfplugin.config.ExportConfig",
            "tfplugin.config.ExportTableConfig",
            "tfplugin.config.IdFeatureConfig",
            "tfplugin.config.LabelConfig",
            "tfplugin.config.ModelConfig",
            "tfplugin.config.RecommendConfig",
            "tfplugin.config.RestOptimizerConfig",
            "tfplugin.config.RowRateConfig",
            "tfplugin.config.AppendConfig",
            "tfplugin.config.DriftConfig",
            "tfplugin.config.DriftThresholds",
            "tfplugin.config.EventsJoin",
            "tfplugin.config.JobConfig",
            "tfplugin.config.JsonLinesOptions",
            "tfplugin.config.LogFiles",
            "tfplugin.config.LookupJoin",
            "tfplugin.config.NegativesConfig",
            "tfplugin.config.SideTable",
            "tfplugin.config.SourceConfig",
            "tfplugin.config.SplitConfig",
            "tfplugin.config.TableConfig",
            "tfplugin.config.TablesOptimizerConfig",
            "tfplugin.config.TrainingConfig",
            "tfplugin.config.dump",
        ),
        _CONFIG,
    ),
    **dict.fromkeys(
        (
            "tfplugin.schema.Addition",
            "tfplugin.schema.ColumnSketch",
            "tfplugin.schema.DenseStatistics",
            "tfplugin.schema.HeavyHitter",
            "tfplugin.schema.JoinStatistics",
            "tfplugin.schema.LabelStatistics",
            "tfplugin.schema.Shard",
            "tfplugin.schema.SourceFile",
            "tfplugin.schema.Record",
            "tfplugin.schema.Statistics",
            "tfplugin.schema.TableStatistics",
        ),
        _RECORD,
    ),
    **dict.fromkeys(
        (
            "beam_jobs.preprocess.run",
            "tfplugin.cli.main",
            "tfplugin.data.Dataset",
            "tfplugin.data.open_dataset",
            "tfplugin.data.select_for_model",
            "tfplugin.export.save",
            "tfplugin.planning.plan",
            "tfplugin.planning.recommend",
            "tfplugin.training.Experiment",
            "tfplugin.training.assemble",
            "tfplugin.training.export",
            "tfplugin.training.load",
            "tfplugin.training.train",
        ),
        _STAGE,
    ),
    **dict.fromkeys(
        (
            "tfplugin.artifacts.DatasetFolder",
            "tfplugin.artifacts.read_json",
            "tfplugin.artifacts.refuse_finished",
            "tfplugin.artifacts.remove",
            "tfplugin.artifacts.write_json",
            "tfplugin.artifacts.write_text",
        ),
        _FOLDER,
    ),
    "tfplugin.errors.InputError": "raised, not called",
    "tfplugin.export.GoldenRequests": "made by `export.golden.draw`",
    "tfplugin.planning.Recommendation": "what `planning.recommend` returns",
    "tfplugin.planning.TablePlan": "part of what `planning.plan` returns",
    "tfplugin.remedies.Training": "made by training, read by a `Remedy`",
    "tfplugin.schema.DenseFeature": "see `Schema`",
    "tfplugin.schema.IdFeature": "see `Schema`",
    "tfplugin.schema.write_record": "see `read_record`",
}


@pytest.mark.parametrize("module", sorted(source_imports.paths()))
def test_examples_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failures = [doctests.run(test) for test in doctests.find(module)]
    assert not "".join(failures)


def _documented():
    return {
        name: item
        for name, item in public_names.objects().items()
        if inspect.isclass(item) or inspect.isroutine(item)
    }


def test_public_names_have_a_docstring():
    assert not [n for n, item in _documented().items() if not item.__doc__]


def test_public_names_have_an_example_or_a_reason():
    without = {
        name
        for name, item in _documented().items()
        if not doctests.has_example(item)
    }
    assert without == set(WITHOUT_EXAMPLE)


def test_a_wrong_example_is_noticed():
    item = type("Item", (), {"__doc__": ">>> 1 + 1\n3\n", "__module__": "x"})
    (test,) = doctests.doctest.DocTestFinder().find(item, "Item")
    assert "Expected:\n    3" in doctests.run(test)
