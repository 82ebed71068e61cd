"""Which logs of a dataset are trained on, and in which epochs."""

from tfplugin import config as config_lib
from tfplugin import data


def narrow(
    settings: config_lib.TrainingConfig, dataset: data.Dataset
) -> data.Dataset:
    """The dataset with the training rows that a training reads at all.

    Args:
        settings: Of the training.
        dataset: Whole.

    Raises:
        InputError: A chunk that is to be trained on has no training rows.
    """
    if settings.chunks == "last":
        return dataset.of_chunk(dataset.chunks[-1])
    if settings.chunks == "in_order":
        for name in dataset.chunks:
            dataset.of_chunk(name)
    return dataset


def in_order(
    settings: config_lib.TrainingConfig, dataset: data.Dataset
) -> tuple[data.Dataset, ...]:
    """What is trained on, one after the other, for `epochs` passes each.

    Epoch e, from 0, is pass `e % epochs` over the part `e // epochs`.

    Args:
        settings: Of the training.
        dataset: Of `narrow`.
    """
    if settings.chunks == "in_order":
        return tuple(map(dataset.of_chunk, dataset.chunks))
    return (dataset,)


def mean_steps(
    settings: config_lib.TrainingConfig, dataset: data.Dataset
) -> int:
    """Batches an epoch, rounded up; the mean where chunks differ.

    Args:
        settings: Of the training.
        dataset: Of `narrow`.
    """
    parts = in_order(settings, dataset)
    steps = sum(p.num_batches("train", settings.batch_size) for p in parts)
    return -(-steps // len(parts))
