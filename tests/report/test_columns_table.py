from tests.report import page_reader
from tests.report import work_folder_case
from tfplugin import report
from tfplugin import schema
from tfplugin.report import columns_table


def hit(name, lower, upper):
    return schema.HeavyHitter(id=name, estimate=upper, lower=lower, upper=upper)


def statistics(**columns):
    return schema.Statistics.model_construct(columns=columns)


def sketch(*hits, distinct=(50, 50, 50), values=1000, lengths=()):
    return schema.ColumnSketch(
        values=values,
        distinct=distinct[0],
        distinct_lower=distinct[1],
        distinct_upper=distinct[2],
        heavy_hitters=hits,
        length_quantiles=lengths,
    )


def columns_of(*names, **changes):
    feature = schema.IdFeature(dtype="int64", table="t", **changes)
    return schema.Schema(
        id_features=dict.fromkeys(names, feature), labels=("buy",)
    )


def text_of(columns, found):
    return page_reader.PageReader(columns_table.build(columns, found)).text


def test_bounds_are_given_where_they_differ():
    text = text_of(
        columns_of("item", "user"),
        statistics(
            item=sketch(hit(7, 250, 250), hit(-3, 99, 111)),
            user=sketch(distinct=(1234567.4, 1.2e6, 1.3e6)),
        ),
    )
    assert "item 7 : 25.0 % -3 : 9.9 % to 11.1 % 1,000 50 exact" in text
    assert "user – 1,000 about 1,234,567 1,200,000 to 1,300,000" in text
    assert "median" not in text


def test_lists_and_decayed_counts():
    lengths = tuple(float(length) for length in range(101))
    text = text_of(
        columns_of("cart", "item", is_list=True),
        statistics(
            cart=sketch(hit("é" * 50, 20.5, 20.5), values=41, lengths=lengths),
            item=sketch(values=10.75),
        ),
    )
    assert f"cart {'é' * 23}… : 50.0 % 41 50 exact 50 90 100" in text
    assert "item – 11 50 exact – – –" in text


def test_ids_are_escaped():
    found = statistics(item=sketch(hit("<b>&", 1, 1)))
    html = columns_table.build(columns_of("item", training_only=True), found)
    assert "&lt;b&gt;&amp;" in html and "<b>" not in html
    assert "item (training only)" in html


def test_the_page_has_the_table_where_there_are_sketches(tmp_path):
    work = work_folder_case.make(tmp_path)
    reader = page_reader.PageReader(report.write(work).read_text("utf-8"))
    assert "Most frequent ids" not in reader.text
    found = schema.read_record(work.dataset.statistics_json, schema.Statistics)
    update = {"columns": {"stores_feature": sketch(hit(7, 250, 250))}}
    schema.write_record(
        work.dataset.statistics_json, found.model_copy(update=update)
    )
    reader = page_reader.PageReader(report.write(work).read_text("utf-8"))
    assert "stores_feature 7 : 25.0 %" in reader.text
    assert not reader.open_tags


def test_quantiles_of_counts_stand_by_the_curve(tmp_path):
    work = work_folder_case.make(tmp_path)
    found = schema.read_record(work.dataset.statistics_json, schema.Statistics)
    quantiles = tuple(float(rank) for rank in range(101))
    stores = found.tables["stores"].model_copy(
        update={"count_quantiles": quantiles}
    )
    tables = found.tables | {"stores": stores}
    schema.write_record(
        work.dataset.statistics_json,
        found.model_copy(update={"tables": tables}),
    )
    reader = page_reader.PageReader(report.write(work).read_text("utf-8"))
    assert "half at most 50 times, 99 % at most 99" in reader.text
