import dataclasses

import pytest

from tests.support import experiments
from tfplugin import remedies
from tfplugin import training
from tfplugin.errors import InputError
from tfplugin.training import model_building


def test_passes_are_the_epochs_of_a_chunk(tmp_path):
    config, work = experiments.make(tmp_path)
    found = training.assemble(config, work)
    facts = model_building.describe_training(
        found.model, config, found.context, found.dataset
    )
    in_order = dataclasses.replace(facts, passes_per_chunk=3)

    def passes(facts, **keys):
        remedy = remedies.parse({"table_sets": keys})["table_sets"]
        return remedy.callbacks(facts)[0].passes_per_chunk

    assert passes(facts) == 2
    assert passes(facts, passes_per_chunk=5) == 5
    assert passes(in_order) == passes(in_order, passes_per_chunk=3) == 3
    for wrong in ({"passes_per_chunk": 2}, {"sets": 4}):
        with pytest.raises(InputError, match=r"training\.epochs=3"):
            passes(in_order, **wrong)
