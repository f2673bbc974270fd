import pytest

from vrm.vault.importers import hints
from vrm.vault.importers.hints import Hint, Usual, place_key
from vrm.vault.importers.rows import Line

HOME, AWAY = "1 Elm Street, Anytown", "9 Oak Road, Elsewhere"


def line(**known) -> Line:
    return Line(2, "amazon.com", "111", "B01", 1, **{"ordered": "2025-03-04", **known})


@pytest.fixture
def usual() -> Usual:
    counted = Usual()
    for _ in range(10):
        counted.count("Alice", HOME, "2025-01-02")
    counted.count("Sami", AWAY, "2025-01-02")
    return counted


@pytest.mark.parametrize(
    ("known", "because"),
    [
        ({"gift_message": "Hi", "gift_item": True, "gift_wrap": True}, hints.MESSAGE),
        ({"gift_item": True, "gift_wrap": True}, hints.MARKED),
        ({"gift_wrap": True, "recipient_name": "Sami"}, hints.WRAPPED),
        ({"recipient_name": "Sami", "recipient_address": AWAY}, hints.OTHER_NAME),
        ({"recipient_name": "Nobody seen before"}, hints.OTHER_NAME),
        ({"recipient_address": AWAY}, hints.OTHER_PLACE),
    ],
)
def test_each_reason_and_which_is_strongest(usual, known, because):
    assert usual.hint(line(**known)) == Hint("gift", because)


def test_every_reason_has_its_case():
    covered = {hints.MESSAGE, hints.MARKED, hints.WRAPPED, hints.OTHER_NAME, hints.OTHER_PLACE}
    assert covered == set(hints.REASONS)


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"recipient_name": "ALICE", "recipient_address": "1 elm street anytown"},
        {"gift_message": "Hi", "status": "cancelled"},
        {"recipient_address": AWAY, "status": "cancelled"},
    ],
)
def test_what_went_home_or_was_cancelled_suggests_nothing(usual, known):
    assert usual.hint(line(**known)) is None


def test_a_name_that_stands_on_every_line_is_no_hint():
    counted = Usual()
    for _ in range(3):
        counted.count("redacted", HOME)
    assert counted.hint(line(recipient_name="redacted", recipient_address=HOME)) is None


def test_a_tie_makes_both_usual():
    counted = Usual()
    counted.count("", HOME)
    counted.count("", AWAY)
    assert counted.hint(line(recipient_address=AWAY)) is None


def test_an_address_that_led_its_year_was_a_home_then():
    counted = Usual()
    for _ in range(20):
        counted.count("", HOME, "2025-01-02")
    for _ in range(hints.SETTLED):
        counted.count("", "old home", "2018-01-02")
    counted.count("", AWAY, "2018-01-02")
    assert counted.hint(line(recipient_address="old home", ordered="2018-05-06")) is None
    assert counted.hint(line(recipient_address="old home", ordered="2025-05-06")) is not None
    assert counted.hint(line(recipient_address=AWAY, ordered="2018-05-06")) is not None


def test_spellings_of_one_address_agree():
    assert place_key("1 Elm St., CAMBRIDGE, MA 02138-5221") == place_key("1 elm st cambridge ma 02138")
    assert place_key("1 Elm St 02138") != place_key("1 Elm St 02139")
