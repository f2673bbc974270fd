"""What the shop keeps is kept whole, and what was deleted does not come back."""

import stat
from concurrent.futures import ThreadPoolExecutor

from bookshop.visitors import Visitor, Visitors

KEY = Visitors.key("a cookie")


def test_visitors_survive_a_restart(tmp_path):
    file = tmp_path / "visitors.json"
    visitors = Visitors(file)
    chapter = visitors.begin(KEY, saved={"vault": "v", "tokens": {}})
    visitors.change(KEY, chapter, records=({"id": "1"},), limits={"scope": "x"}, read_at="now")
    assert Visitors(file).get(KEY) == visitors.get(KEY)


def test_the_file_is_the_shops_alone_and_names_no_cookie(tmp_path):
    file = tmp_path / "visitors.json"
    Visitors(file).begin(KEY)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "a cookie" not in file.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["visitors.json"]


def test_a_reading_that_ends_after_a_deletion_writes_nothing(tmp_path):
    file = tmp_path / "visitors.json"
    visitors = Visitors(file)
    chapter = visitors.begin(KEY, saved={"tokens": "t0ken"})
    visitors.begin(KEY, notice="gone")
    assert not visitors.change(KEY, chapter, records=({"id": "secret row"},), saved={"tokens": "t0ken"})
    assert visitors.get(KEY).records == ()
    assert not visitors.get(KEY).connected
    assert "secret row" not in file.read_text()
    assert "t0ken" not in file.read_text()


def test_a_late_deletion_spares_a_later_connection():
    visitors = Visitors()
    old = visitors.begin(KEY, saved={"tokens": "old"})
    visitors.begin(KEY, saved={"tokens": "new"})
    visitors.begin(KEY, notice="gone", after=old)
    assert visitors.get(KEY).saved == {"tokens": "new"}


def test_an_unknown_visitor_is_blank():
    assert Visitors().get(KEY) == Visitor()


def test_what_is_held_does_not_show_in_representations():
    shown = repr(
        Visitor(saved={"access_token": "s3cret"}, records=({"title": "s3cret"},), asked={"v": "s3cret"})
    )
    assert "s3cret" not in shown


def test_changes_from_many_threads_are_all_kept(tmp_path):
    visitors = Visitors(tmp_path / "visitors.json")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: visitors.begin(f"{number}"), range(40)))
    assert len(Visitors(tmp_path / "visitors.json").everyone()) == 40
