import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vault.importers.samples import published
from vrm.vault import schemas, sorting
from vrm.vault.importers import hints
from vrm.vault.intake import bring_in
from vrm.vault.sorting import answer, destinations, for_whom, progress, themes


def purchase(
    title="Boots", category="clothing", name="", address="1 Elm Street", because="", whom="", day="2025-01-02"
):
    given_notes = {"suggested_for": "gift", "suggested_because": because} if because else {}
    return {
        "item": {"title": title, "category": category},
        "order": {"ordered": day},
        "context": {"for": whom} if whom else {},
        "recipient": {key: value for key, value in (("name", name), ("address", address)) if value},
        "notes": given_notes,
    }


def numbered(*documents):
    return [(f"{at:032x}", document) for at, document in enumerate(documents)]


def test_things_are_grouped_by_where_they_went():
    docs = numbered(
        *[purchase(f"Thing {at}", day=f"2025-01-{at + 10}") for at in range(5)],
        purchase("Vase", "home", address="9 Oak Road", because=hints.OTHER_PLACE),
        purchase("Bowl", "home", address="9 Oak Road", because=hints.OTHER_PLACE),
        purchase("E-book", "books", address=""),
    )
    home, away, nowhere = destinations(docs)
    assert (home.label, home.count, home.unsorted, home.usual) == ("1 Elm Street", 5, 5, True)
    assert home.samples == ("Thing 4", "Thing 3", "Thing 2")
    assert home.suggestion == ""
    assert (away.label, away.suggestion, away.because) == ("9 Oak Road", "gift", hints.OTHER_PLACE)
    assert away.ids == (docs[5][0], docs[6][0])
    assert (nowhere.label, nowhere.usual) == (sorting.NOWHERE, False)


def test_spellings_of_one_address_are_one_destination():
    docs = numbered(
        purchase(address="1 Elm St, CAMBRIDGE, MA 02138-5221"),
        purchase(address="1 elm st cambridge MA 02138"),
    )
    assert [group.count for group in destinations(docs)] == [2]


def test_two_people_at_one_address_are_two_destinations():
    docs = numbered(purchase(name="Alice"), purchase(name="ALICE"), purchase(name="Sami"))
    assert [group.count for group in destinations(docs)] == [2, 1]
    assert destinations(docs)[1].label == "Sami, 1 Elm Street"


def test_presents_sent_home_stand_apart_from_what_else_went_there():
    docs = numbered(purchase(), purchase(), purchase("Ring", because=hints.MESSAGE))
    home, presents = destinations(docs)
    assert (home.count, home.usual, home.suggestion) == (2, True, "")
    assert (presents.count, presents.usual, presents.suggestion) == (1, False, "gift")
    assert presents.because == hints.MESSAGE


def test_a_group_suggests_only_what_most_of_it_suggests():
    half = [purchase(because=hints.OTHER_NAME), purchase()]
    assert destinations(numbered(*half))[0].suggestion == ""
    assert destinations(numbered(*half, purchase(because=hints.OTHER_NAME)))[0].suggestion == "gift"


def test_what_is_sorted_no_longer_weighs_on_the_suggestion():
    docs = numbered(
        purchase(because=hints.OTHER_NAME, whom="self"), purchase(because=hints.OTHER_NAME, whom="self")
    )
    (group,) = destinations(docs)
    assert (group.count, group.unsorted, group.suggestion) == (2, 0, "")


def test_groups_that_are_done_come_last():
    docs = numbered(purchase(whom="self"), purchase(whom="self"), purchase(address="9 Oak Road"))
    assert [group.unsorted for group in destinations(docs)] == [1, 0]


def test_a_destination_divides_into_themes():
    docs = numbered(
        purchase(category="books"),
        purchase(category="books"),
        purchase(category="toys"),
        purchase(category=""),
    )
    (home,) = destinations(docs)
    assert [(part.key, part.label, part.count) for part in home.parts] == [
        ("books", "Books", 2),
        ("other", "Other", 1),
        ("toys", "Toys", 1),
    ]
    assert list(home.parts) == themes(docs)


def test_many_small_destinations_are_asked_about_together():
    docs = numbered(*[purchase(address=f"{at} Road", because=hints.OTHER_PLACE) for at in range(100)])
    groups = destinations(docs)
    assert len(groups) == sorting.LARGEST + 1
    assert (groups[0].label, groups[0].count) == (sorting.ELSEWHERE, 100 - sorting.LARGEST)


def test_no_address_is_usual_while_two_are_level():
    docs = numbered(purchase(), purchase(address="9 Oak Road"))
    assert [group.usual for group in destinations(docs)] == [False, False]


def test_keys_are_stable_and_are_no_addresses():
    docs = numbered(purchase(), purchase(address="9 Oak Road"))
    keys = {group.label: group.key for group in destinations(docs)}
    again = {group.label: group.key for group in destinations([*docs, *numbered(purchase())])}
    assert keys == again
    assert not any("elm" in key or "oak" in key for key in keys.values())


def test_an_answer_sorts_a_group_and_leaves_earlier_answers():
    docs = numbered(purchase(), purchase(whom="gift"))
    changed = answer(docs, "self", use_for_taste=True)
    assert [record for record, _ in changed] == [docs[0][0]]
    assert changed[0][1]["context"] == {"for": "self", "use_for_taste": True}
    assert docs[0][1]["context"] == {}  # the given document is not touched
    assert progress(docs) == (1, 1)


def test_an_answer_may_be_given_again():
    docs = numbered(purchase(whom="gift"))
    assert answer(docs, "self") == []
    assert [document["context"] for _, document in answer(docs, "self", again=True)] == [{"for": "self"}]
    assert answer(docs, "gift", again=True) == []


def test_taste_is_a_question_of_its_own():
    ((_, document),) = answer(numbered(purchase()), "gift")
    assert "use_for_taste" not in document["context"]


@pytest.mark.parametrize("whom", ["", "me", "SELF", "everybody"])
def test_an_answer_that_the_catalog_does_not_know_is_refused(whom):
    with pytest.raises(ValueError, match="not an answer"):
        answer(numbered(purchase()), whom)


DOCS = st.lists(
    st.builds(
        purchase,
        category=st.sampled_from(["books", "toys", "", "unheard of"]),
        name=st.sampled_from(["", "Alice", "Sami"]),
        address=st.sampled_from(["", "1 Elm Street", "9 Oak Road"]),
        because=st.sampled_from(["", *hints.REASONS]),
        whom=st.sampled_from(["", "self", "gift"]),
    ),
    max_size=12,
).map(lambda documents: numbered(*documents))


@given(DOCS)
def test_every_purchase_is_in_one_destination_and_one_theme(docs):
    groups = destinations(docs)
    ids = [record for record, _ in docs]
    assert sorted(record for group in groups for record in group.ids) == ids
    assert sorted(record for group in groups for part in group.parts for record in part.ids) == ids
    assert sum(group.unsorted for group in groups) == progress(docs)[1]
    assert len({group.key for group in groups}) == len(groups)


@given(DOCS)
def test_answering_every_group_sorts_everything(docs):
    for group in destinations(docs):
        changed = dict(answer([pair for pair in docs if pair[0] in group.ids], group.suggestion or "self"))
        docs = [(record, changed.get(record, document)) for record, document in docs]
    assert progress(docs) == (len(docs), 0)


def test_thirty_decisions_sort_a_real_history(vault):
    paths = published("amazon-order-history-report")
    with paths[0].open("rb") as stream:
        bring_in(vault, [(paths[0].name, stream)])
    records = vault.records("purchases")
    assert progress(records.scan()) == (0, 228)
    decisions = 0
    while open_groups := [group for group in destinations(records.scan()) if group.unsorted]:
        group = open_groups[0]
        members = [(record, document) for record, document in records.scan() if record in group.ids]
        changed = answer(members, group.suggestion or "self")
        assert all(schemas.validate("purchases", document) == document for _, document in changed)
        records.apply(dict(changed))
        decisions += 1
    assert decisions <= 30
    assert progress(records.scan()) == (228, 0)
    assert {for_whom(document) for _, document in records.scan()} == {"self", "gift"}
