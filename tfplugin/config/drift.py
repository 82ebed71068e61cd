"""How far apart two datasets may be before `tfplugin drift` fails."""

from typing import Annotated

import pydantic

from tfplugin.config.records import Section

_Limit = Annotated[float, pydantic.Field(ge=0)]


class DriftThresholds(Section):
    """Limits of what `tfplugin drift` measures of one column.

    A limit is crossed by more than it, both by the excess over what chance
    alone would make and by a value that chance alone would hardly reach (1 in
    1000). Except for `label_rate_relative` nothing measures more than 1, so
    that 1 switches a limit off.

    Args:
        new_ids: Share of distinct ids that the baseline lacks. Off: in a long
            tail most new ids are rare.
        new_occurrences: Share of occurrences whose id the baseline lacks. A
            model has no row of its own for these: 5 % are felt.
        lost_ids: Share of the baseline's distinct ids that are gone. Off, as
            `new_ids`.
        lost_occurrences: Share of the baseline's occurrences whose id is
            gone. Rows learned for nothing cost memory more than quality, so
            more of it is borne.
        l_infinity: Largest change of one id's share of the occurrences, or of
            one bin's share of the numbers.
        jensen_shannon: Distance (the root of the divergence, base 2) of the
            two distributions; 0 equal, 1 disjoint. 0.2 is a numeric column
            that moves by half a standard deviation.
        kolmogorov_smirnov: Largest difference of the two cumulative
            distributions, of numbers and of list lengths.
        missing_rate: Change of the share of missing values, or empty lists: a
            column that a broken feed left out.
        label_rate: Change of a label's rate.
        label_rate_relative: The same over the baseline's rate: by so much
            the predictions of a calibrated model would be off.
    """

    new_ids: _Limit = 1.0
    new_occurrences: _Limit = 0.05
    lost_ids: _Limit = 1.0
    lost_occurrences: _Limit = 0.2
    l_infinity: _Limit = 0.05
    jensen_shannon: _Limit = 0.2
    kolmogorov_smirnov: _Limit = 0.1
    missing_rate: _Limit = 0.02
    label_rate: _Limit = 0.02
    label_rate_relative: _Limit = 0.1


class DriftConfig(DriftThresholds):
    """Limits of `tfplugin drift`, and those of single columns.

    Args:
        new_ids: See `drift.columns.NAME`, as for all that follow.
        new_occurrences: Limit of all columns that `columns` does not name.
        lost_ids: As above.
        lost_occurrences: As above.
        l_infinity: As above.
        jensen_shannon: As above.
        kolmogorov_smirnov: As above.
        missing_rate: As above.
        label_rate: As above.
        label_rate_relative: As above.
        columns: Table, dense feature, list feature or label to limits of its
            own; what it does not set is as above. An id of a session is new
            by nature: `columns: {session_id: {new_occurrences: 1}}`.
    """

    columns: dict[str, DriftThresholds] = {}

    def limits(self, column: str) -> dict[str, float]:
        """Measure to limit, for one column."""
        limits = self.model_dump(exclude={"columns"})
        if column in self.columns:
            limits |= self.columns[column].model_dump(exclude_unset=True)
        return limits
