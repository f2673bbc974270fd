"""Make Alice's order history in `vrm/samples/`: the same bytes each time.

Run it after a change here, in `sample_goods.py` or in the bookshop's catalogue; commit what it writes.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(ROOT / "clients" / "bookshop")]

import sample_goods as goods  # noqa: E402 - after the path is set

from bookshop.catalogue import isbn10, load  # noqa: E402
from vrm.samples import DRAWN_UP  # noqa: E402

A1 = [
    "Website",
    "Order ID",
    "Order Date",
    "Purchase Order Number",
    "Currency",
    "Unit Price",
    "Unit Price Tax",
    "Shipping Charge",
    "Total Discounts",
    "Total Owed",
    "Shipment Item Subtotal",
    "Shipment Item Subtotal Tax",
    "ASIN",
    "Product Condition",
    "Quantity",
    "Payment Instrument Type",
    "Order Status",
    "Shipment Status",
    "Ship Date",
    "Shipping Option",
    "Shipping Address",
    "Billing Address",
    "Carrier Name & Tracking Number",
    "Product Name",
    "Gift Message",
    "Gift Sender Name",
    "Gift Recipient Contact Details",
    "Item Serial Number",
]
REFUNDS = [
    "OrderID",
    "ReversalID",
    "RefundCompletionDate",
    "Currency",
    "AmountRefunded",
    "Status",
    "DisbursementType",
]
DIGITAL = [
    "ASIN",
    "ProductName",
    "OrderId",
    "DigitalOrderItemId",
    "DeclaredCountryCode",
    "BaseCurrencyCode",
    "FulfilledDate",
    "IsFulfilled",
    "Marketplace",
    "OrderDate",
    "OriginalQuantity",
    "OurPrice",
    "OurPriceCurrencyCode",
    "OurPriceTax",
    "OurPriceTaxCurrencyCode",
    "SellerOfRecord",
    "Publisher",
    "ThirdPartyDisplayPrice",
    "ThirdPartyDisplayCurrencyCode",
    "ListPriceAmount",
    "ListPriceCurrencyCode",
    "ListPriceTaxAmount",
    "ListPriceTaxCurrencyCode",
    "GiftItem",
    "OrderingCustomerNickname",
    "GiftCustomerNickname",
    "GiftMessage",
    "GiftEmail",
    "RecipientEmail",
    "GiftRedemption",
    "ItemMergedFromAnotherOrder",
    "QuantityOrdered",
    "ItemFulfilled",
    "ShipFrom",
    "ShipTo",
    "IsOrderEligibleForPrimeBenefit",
    "OfferingSKU",
    "FulfillmentMobileNumber",
    "RechargeAmount",
    "RechargeAmountCurrencyCode",
    "SubscriptionOrderInfoList",
    "PreviouslyPaidDigitalOrderItemId",
    "PreviouslyPaidOrderId",
    "InstallmentOurPrice",
    "InstallmentOurPricePlusTax",
    "DigitalOrderItemAttributes",
    "InstallmentOurPriceCurrencyCode",
    "InstallmentOurPricePlusTaxCurrencyCode",
]
ABSENT, NOT_APPLICABLE = "Not Available", "Not Applicable"
ADDRESSES = {
    "home": "Alice Rowan 14 Quince Lane Fernhill VT 05999 United States",
    "sami": "Sami Haddad 3 Mill Street Apt 2 Fernhill VT 05999 United States",
    "mother": "Ruth Rowan 88 Orchard Road Little Harbor ME 04999 United States",
    "work": "Alice Rowan c/o Lantern Studio 200 Foundry Street Fernhill VT 05999 United States",
}
TARGET = ROOT / "vrm" / "samples"
SEED = 20261116
RANDOM = Random(SEED)  # noqa: S311 - a history to look at, nothing secret
CENT = Decimal("0.01")
SPLIT = 1000  # older than so many days: the second file
NUMBERS: dict[str, str] = {}


@dataclass
class Line:
    """One line of the export and what Alice knows about it."""

    title: str
    price: Decimal
    asin: str
    whom: str
    occasion: str = ""
    quantity: int = 1
    cancelled: bool = False


@dataclass
class Basket:
    """One order: its day (counted back), destination and lines."""

    days_ago: int
    place: str
    lines: list[Line]
    message: str = ""
    number: str = field(default="")
    moment: datetime = field(default=datetime.min.replace(tzinfo=UTC))


CATALOGUE = {book.title: book for book in load()}


def book(title: str, whom: str, occasion: str = "", **more: bool) -> Line:
    """A book of the catalogue, under its ISBN-10 as shops number books."""
    price = Decimal(RANDOM.choice(["8.99", "9.99", "10.99", "12.50", "14.00", "16.99", "18.99", "24.95"]))
    return Line(title, price, isbn10(CATALOGUE[title].isbn13), whom, occasion, **more)


def thing(name: str, price: str, whom: str, occasion: str = "", **more: int) -> Line:
    """Anything else, under a made-up product number that stays the same for the same name."""
    number = NUMBERS.setdefault(name, f"B0DEMO{len(NUMBERS):04d}")
    quantity, cancelled = more.get("quantity", 1), bool(more.get("cancelled", 0))
    return Line(name, Decimal(price), number, whom, occasion, quantity, cancelled)


def spread(lines: Sequence[Line], newest: int, oldest: int, sizes: Sequence[int]) -> list[Basket]:
    """Orders to her home, spread evenly with some chance, several lines each."""
    lines, baskets = list(lines), []
    RANDOM.shuffle(lines)
    while lines:
        size = RANDOM.choice(sizes)
        baskets.append(Basket(0, "home", lines[:size]))
        lines = lines[size:]
    step = (oldest - newest) / len(baskets)
    for index, basket in enumerate(baskets):
        basket.days_ago = newest + int(step * (index + RANDOM.random()))
    return baskets


def own_books() -> list[Basket]:
    """Hers; none within a month of two years ago, so that no shift of the calendar moves one across."""
    lately = [book(title, "self") for title in goods.titles(goods.OWN_LATELY)]
    before = [book(title, "self") for title in goods.titles(goods.OWN_BEFORE)]
    cancelled = Basket(1050, "home", [book(goods.CANCELLED_BOOK, "self", cancelled=True)])
    return [*spread(lately, 6, 700, (1, 2, 2, 3)), *spread(before, 765, 1430, (1, 2, 3)), cancelled]


def gifts() -> list[Basket]:
    """One order for each occasion and place; books and other presents together."""
    when = {
        "Noor's birthday": 61, "Sami's birthday": 290, "a visit": 215, "get well": 380, "Mum's birthday": 320,
        "Mother's Day": 190, "Noor's holidays": 135,
    }  # fmt: skip
    baskets = []
    for place, message, occasion, names in goods.GIFT_BOOKS:
        lines = [book(title, "gift", occasion) for title in goods.titles(names)]
        baskets.append(Basket(when[occasion] + RANDOM.randrange(5), place, lines, message))
    for place, message, occasion, names in goods.GIFT_BOOKS_BEFORE:
        lines = [book(title, "gift", occasion) for title in goods.titles(names)]
        baskets.append(Basket(1060 if place == "mother" else 840, place, lines, message))
    for place, message, occasion, name in goods.GIFTS:
        lines = [thing(*goods.priced(name)[0], "gift", occasion)]
        target = next((b for b in baskets if (b.place, b.message) == (place, message) and not_home(b)), None)
        if target is None:
            baskets.append(Basket(when[occasion] + RANDOM.randrange(5), place, lines, message))
        else:
            target.lines += lines
    return baskets


def not_home(basket: Basket) -> bool:
    """Whether the order went to somebody else."""
    return basket.place != "home"


def everyday() -> list[Basket]:
    """Household goods: some every few weeks, most once; two orders hold the same line twice."""
    again = []
    for name, price in goods.priced(goods.RECURRING):
        again += [thing(name, price, "household", quantity=RANDOM.choice((1, 1, 1, 2))) for _ in range(13)]
    once = [thing(name, price, "household") for name, price in goods.priced(goods.ONCE)]
    baskets = spread([*again, *once], 3, 1440, (1, 1, 2, 2, 3, 4))
    for basket in baskets:
        basket.lines = list({line.asin: line for line in basket.lines}.values())
    for basket in baskets[10:12]:
        basket.lines.append(basket.lines[0])
    for days, (name, price) in zip(range(150, 1400, 180), goods.priced(goods.CANCELLED), strict=True):
        baskets.append(Basket(days, "home", [thing(name, price, "household", cancelled=1)]))
    return baskets


def work() -> list[Basket]:
    """To the studio."""
    lines = [thing(name, price, "work") for name, price in goods.priced(goods.WORK)]
    lines += [book(title, "work") for title in goods.titles(goods.WORK_BOOKS)]
    baskets = spread(lines, 60, 900, (1, 2, 3))
    for basket in baskets:
        basket.place = "work"
    return baskets


def samis() -> list[Basket]:
    """What Sami bought for himself through her account."""
    lines = [
        book(name, "other") if name in CATALOGUE else thing(name, price, "other")
        for name, price in goods.SAMI_OWN
    ]
    return [Basket(240, "sami", lines)]


def number(baskets: Iterable[Basket]) -> list[Basket]:
    """Newest first, with a time of day and an order number."""
    ordered = sorted(baskets, key=lambda basket: basket.days_ago)
    for basket in ordered:
        day = DRAWN_UP - timedelta(days=basket.days_ago)
        at = time(RANDOM.randrange(7, 23), RANDOM.randrange(60), RANDOM.randrange(60))
        milliseconds = RANDOM.randrange(1, 1000) if RANDOM.random() < 0.015 else 0
        basket.moment = datetime.combine(day, at, UTC).replace(microsecond=milliseconds * 1000)
        basket.number = f"999-{RANDOM.randrange(10**7):07d}-{RANDOM.randrange(10**7):07d}"
    return ordered


def stamp(moment: datetime) -> str:
    """As the export writes moments: milliseconds only where there are some."""
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")[:-6] + "Z"


def money(amount: Decimal) -> str:
    """As the export writes money: no trailing zeros, commas between thousands."""
    text = f"{amount:,.2f}".rstrip("0").rstrip(".")
    return text or "0"


def rows(basket: Basket) -> list[list[str]]:
    """The lines of one order in layout A1."""
    subtotal = sum((line.price * line.quantity for line in basket.lines), Decimal(0))
    payment = "Visa - 4411 and Gift Certificate/Card" if RANDOM.random() < 0.08 else "Visa - 4411"
    shipped = stamp(basket.moment.replace(microsecond=0) + timedelta(hours=RANDOM.randrange(9, 60)))
    tracking = f"DEMO({RANDOM.randrange(10**12):012d})"
    return [_row(basket, line, subtotal, payment, (shipped, tracking)) for line in basket.lines]


def _row(basket: Basket, line: Line, subtotal: Decimal, payment: str, parcel: tuple[str, str]) -> list[str]:
    shipped, tracking = parcel
    price = Decimal(0) if line.cancelled else line.price
    subtotal = Decimal(0) if line.cancelled else subtotal
    tax = (price * Decimal("0.06")).quantize(CENT)
    discount = Decimal(RANDOM.choice((1, 2, 5))) if price > 8 and RANDOM.random() < 0.06 else Decimal(0)
    shipping = Decimal("4.99") if price and RANDOM.random() < 0.1 else Decimal(0)
    owed = (price + tax) * line.quantity + shipping - discount
    sender = "Alice" if basket.message else ABSENT
    return [
        "Amazon.com", basket.number, stamp(basket.moment), NOT_APPLICABLE, "USD", money(price), money(tax),
        money(shipping), f"'-{discount:.2f}'" if discount else "0", money(owed), money(subtotal),
        money((subtotal * Decimal("0.06")).quantize(CENT)), line.asin, "New", str(line.quantity),
        ABSENT if line.cancelled else payment, "Cancelled" if line.cancelled else "Closed",
        ABSENT if line.cancelled else "Shipped", ABSENT if line.cancelled else shipped, "std-us",
        ADDRESSES[basket.place], ADDRESSES["home"], ABSENT if line.cancelled else tracking, line.title,
        basket.message or ABSENT, sender, ABSENT, ABSENT,
    ]  # fmt: skip


def digital() -> tuple[list[list[str]], list[dict[str, str]]]:
    """The digital items, and what Alice knows about them; the e-books are older than two years."""
    table, known = [], []
    ages = {"ebook": 900}
    for index, text in enumerate(goods.DIGITAL.strip().splitlines()):
        kind, _, rest = text.partition(" | ")
        title, price = goods.priced(rest)[0]
        moment = stamp(
            datetime.combine(DRAWN_UP, time(20, 5 + index), UTC)
            - timedelta(days=ages.get(kind, 45) + 61 * index)
        )
        order, asin = f"D01-9990{index:03d}-{RANDOM.randrange(10**7):07d}", f"B0DEMD{index:04d}"
        present = {
            "ASIN": asin, "ProductName": title, "OrderId": order, "DigitalOrderItemId": f"DEMO{index:024d}",
            "DeclaredCountryCode": "US", "BaseCurrencyCode": "USD", "FulfilledDate": moment,
            "IsFulfilled": "Yes", "Marketplace": "www.amazon.com", "OrderDate": moment,
            "OriginalQuantity": "1", "OurPrice": price, "OurPriceCurrencyCode": "USD",
            "SellerOfRecord": "Amazon Digital Services LLC", "GiftItem": "Yes" if kind == "gift" else "No",
            "QuantityOrdered": "1", "ItemFulfilled": "Yes", "IsOrderEligibleForPrimeBenefit": "Yes",
        }  # fmt: skip
        table.append([present.get(column, NOT_APPLICABLE) for column in DIGITAL])
        whom = {"ebook": "self", "gift": "gift"}.get(kind, "household")
        known.append({"order": order, "asin": asin, "title": title, "for": whom, "occasion": ""})
    return table, known


def refunds(baskets: Sequence[Basket]) -> list[list[str]]:
    """Six household orders of which something came back; one refund is still open."""
    chosen = [b for b in baskets if b.lines[0].whom == "household" and not b.lines[0].cancelled][20:140:20]
    table = []
    for index, basket in enumerate(chosen):
        line = basket.lines[0]
        amount = (line.price * Decimal("1.06") * line.quantity).quantize(CENT)
        done = stamp(basket.moment.replace(microsecond=0) + timedelta(days=12))
        status = "Pending" if index == 0 else "Completed"
        table.append([basket.number, f"DEMO-R{index:04d}", done, "USD", money(amount), status, "Refund"])
    return table


def decisions(baskets: Sequence[Basket]) -> list[dict[str, str]]:
    """How she sorts them all: by destination, by theme, by line, and one answer for the rest."""
    home = ADDRESSES["home"]
    answers = [
        {"by": "destination", "address": ADDRESSES["work"], "for": "work"},
        {"by": "destination", "address": ADDRESSES["mother"], "for": "gift"},
        {"by": "destination", "address": ADDRESSES["sami"], "for": "gift"},
        {"by": "theme", "address": home, "category": "books", "for": "self"},
    ]
    covered = {"home": "self", "sami": "gift", "mother": "gift", "work": "work"}
    for basket in baskets:
        for line in basket.lines:
            is_book = line.title in CATALOGUE
            usual = covered[basket.place] if is_book or not_home(basket) else "household"
            if line.whom != usual:
                answers.append(
                    {"by": "line", "order": basket.number, "asin": line.asin, "for": line.whom,
                     "occasion": line.occasion}
                )  # fmt: skip
    return answers


def write_csv(
    name: str, header: Sequence[str], table: Iterable[Sequence[str]], *, quoted: bool, bom: bool
) -> None:
    """One file of the export, in one of the two flavours that are seen."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    writer.writerow(header)
    writer.writerows(table)
    folder = TARGET / "Your Orders"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text.getvalue().encode("utf-8-sig" if bom else "utf-8"))


def main() -> None:
    """Write everything."""
    RANDOM.seed(SEED)
    NUMBERS.clear()
    baskets = number([*own_books(), *gifts(), *everyday(), *work(), *samis()])
    digital_rows, digital_known = digital()
    lately = [row for basket in baskets if basket.days_ago <= SPLIT for row in rows(basket)]
    before = [row for basket in baskets if basket.days_ago > SPLIT for row in rows(basket)]
    write_csv("Retail.OrderHistory.1.csv", A1, lately, quoted=True, bom=True)
    write_csv("Retail.OrderHistory.2.csv", A1, before, quoted=False, bom=True)
    write_csv("Digital Items.csv", DIGITAL, digital_rows, quoted=False, bom=False)
    write_csv("Retail.OrdersReturned.Payments.1.csv", REFUNDS, refunds(baskets), quoted=True, bom=False)
    write_truth(baskets, digital_known)


def write_truth(baskets: Sequence[Basket], digital_known: list[dict[str, str]]) -> None:
    """What only Alice knows, and the numbers that follow from it."""
    lines = [
        {"order": basket.number, "asin": line.asin, "title": line.title, "for": line.whom,
         "occasion": line.occasion}
        for basket in baskets for line in basket.lines
    ]  # fmt: skip
    edge = (DRAWN_UP - timedelta(days=731)).isoformat()
    mine = [
        line.asin for basket in baskets for line in basket.lines
        if basket.place == "home" and line.whom == "self" and basket.moment.date().isoformat() > edge
    ]  # fmt: skip
    out = next(line for line in lines if line["title"] == goods.TAKEN_OUT)
    alice = {
        "username": "alice",
        "seller": "amazon.com",
        "drawn_up": date.isoformat(DRAWN_UP),
        "addresses": ADDRESSES,
        "expect": {
            "retail_lines": len(lines),
            "digital_lines": len(digital_known),
            "books": sum(line["title"] in CATALOGUE for line in lines),
            "gift_books": sum(line["title"] in CATALOGUE and line["for"] == "gift" for line in lines),
            "own_books_of_two_years": len(mine),
            "shared": len(mine) - 1,
        },
        "taken_out": {name: out[name] for name in ("order", "asin", "title")},
        "decisions": [
            *decisions(baskets),
            *({"by": "line", "order": one["order"], "asin": one["asin"], "for": one["for"], "occasion": ""}
              for one in digital_known if one["for"] == "gift"),
            {"by": "theme", "address": "", "category": "books", "for": "self"},
            {"by": "rest", "for": "household"},
        ],
        "lines": [*lines, *digital_known],
    }  # fmt: skip
    (TARGET / "alice.json").write_text(_compact(alice), encoding="utf-8")


def _compact(alice: Mapping[str, object]) -> str:
    """JSON with one line for each entry of the long lists, so that a diff can be read."""
    parts = []
    for name, value in alice.items():
        if isinstance(value, list):
            entries = ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in value)
            parts.append(f'"{name}": [\n  {entries}\n]')
        else:
            parts.append(f'"{name}": {json.dumps(value, ensure_ascii=False)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
