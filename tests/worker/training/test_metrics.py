import pytest

from worker.training import metrics


def test_every_metric_is_documented_once() -> None:
    names = [value for name, value in vars(metrics).items() if name.isupper() and isinstance(value, str)]
    assert sorted(names) == sorted(metrics.DOCS)
    assert all(doc.endswith(".") and "/" in name for name, doc in metrics.DOCS.items())


def test_list_sink_keeps_points_and_cancels_when_told() -> None:
    sink = metrics.ListSink(cancel_at=2)
    sink.metric(metrics.SFT_LOSS, 0, 1.5)
    sink.progress(1, 2, "half")
    sink.check()
    assert sink.series(metrics.SFT_LOSS) == [1.5] and sink.steps == [(1, 2, "half")]
    with pytest.raises(metrics.Cancelled):
        sink.check()
