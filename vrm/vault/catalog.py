"""What a vault can hold: one literal table of collections, facets and fields.

Schemas, forms, scopes, the OpenAPI document and the texts of the consent page derive from it.
A new field is one line here. A facet is the unit of sealing and of scope; `bucket` is the size step,
in bytes, to which a sealed facet is padded, chosen so that usual contents fill one step and the
length on disk tells nothing about them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_Plain = Literal["text", "longtext", "date", "money", "integer", "choice", "boolean", "url", "list"]
# The last are judged where somebody says one anew, at forms and deposits; importers leave out what is none.
# What an older version stored stays, readable and editable, until somebody says another.
Kind = Literal[_Plain, "currency", "isbn", "gtin"]
Author = Literal["customer", "seller", "vault"]


def N_(text: str) -> str:  # noqa: N802 - the customary name by which gettext's extractor finds texts
    """Mark a text for translation; the page that shows it translates it."""
    return text


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a facet. `by` says whose word it is: an import never overwrites the customer's."""

    name: str
    kind: Kind
    label: str
    choices: tuple[tuple[str, str], ...] = ()  # (value, label)
    max: int = 300  # characters of a text, items of a list, greatest integer
    by: Author = "customer"
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Facet:
    """Fields that are sealed, granted and withheld together."""

    name: str
    label: str
    fields: tuple[Field, ...]
    bucket: int
    shareable: bool = True
    sensitive: bool = False
    about_others: bool = False

    def field(self, name: str) -> Field:
        """The field of that name, or KeyError."""
        for item in self.fields:
            if item.name == name:
                return item
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Collection:
    """Records of one kind. A singleton has at most one record."""

    name: str
    label: str
    facets: tuple[Facet, ...]
    singleton: bool = False

    def facet(self, name: str) -> Facet:
        """The facet of that name, or KeyError."""
        for item in self.facets:
            if item.name == name:
                return item
        raise KeyError(name)


FOR_WHOM = (
    ("self", N_("me")),
    ("gift", N_("a gift")),
    ("household", N_("the household")),
    ("work", N_("work")),
    ("other", N_("someone else")),
)
STATUS = (
    ("ordered", N_("ordered")),
    ("shipped", N_("shipped")),
    ("delivered", N_("delivered")),
    ("cancelled", N_("cancelled")),
    ("returned", N_("returned")),
    ("partly-refunded", N_("partly refunded")),
    ("unknown", N_("unknown")),
)
BASIS = (("guessed", N_("worked out by the vault")), ("said", N_("said by the seller or by you")))
OUTCOME = (
    ("kept", N_("kept")),
    ("returned", N_("sent back")),
    ("passed-on", N_("passed on")),
    ("sold", N_("sold")),
)
STRENGTH = (
    ("strong-dislike", N_("not at all")),
    ("dislike", N_("rather not")),
    ("neutral", N_("do not mind")),
    ("like", N_("like")),
    ("strong-like", N_("love")),
)

PURCHASES = Collection(
    "purchases",
    N_("Purchases"),
    (
        Facet(
            "item",
            N_("What it is"),
            (
                Field("title", "text", N_("Title"), max=1000, by="seller"),
                Field("brand", "text", N_("Brand or author"), by="seller"),
                Field("category", "text", N_("Category"), max=60, by="seller"),
                Field("category_path", "text", N_("Category in the seller's words"), by="seller"),
                Field("category_basis", "choice", N_("How the category is known"), BASIS, by="vault"),
                Field("isbn", "isbn", N_("ISBN"), max=17, by="seller", hint=N_("Ten or thirteen digits.")),
                Field("asin", "text", N_("Seller's item number"), max=40, by="seller"),
                Field("gtin", "gtin", N_("Barcode number"), max=17, by="seller"),
                Field("url", "url", N_("Web address"), max=2000, by="seller"),
            ),
            bucket=384,
        ),
        Facet(
            "order",
            N_("When and where it was ordered"),
            (
                Field("seller", "text", N_("Seller"), max=120, by="seller"),
                Field("order_number", "text", N_("Order number"), max=80, by="seller"),
                Field("line", "integer", N_("Which such line of the order"), max=100_000, by="vault"),
                Field("ordered", "date", N_("Ordered on"), by="seller"),
                Field("delivered", "date", N_("Delivered on"), by="seller"),
                Field("status", "choice", N_("Status"), STATUS, by="seller"),
                Field("learned_from", "text", N_("Where the vault learned of it"), by="vault"),
            ),
            bucket=256,
        ),
        Facet(
            "price",
            N_("What was paid"),
            (
                Field("unit_price", "money", N_("Price of one"), by="seller"),
                Field("quantity", "integer", N_("How many"), max=1_000_000, by="seller"),
                Field("total", "money", N_("Total"), by="seller"),
                Field("tax", "money", N_("Tax"), by="seller"),
                Field("currency", "currency", N_("Currency"), max=3, by="seller", hint=N_("Such as EUR.")),
            ),
            bucket=128,
        ),
        Facet(
            "payment",
            N_("How it was paid"),
            (
                Field("method", "text", N_("Means of payment"), max=120, by="seller"),
                Field("last4", "text", N_("Last four digits"), max=4, by="seller"),
            ),
            bucket=128,
            shareable=False,
        ),
        Facet(
            "context",
            N_("Whom it was for"),
            (
                Field("for", "choice", N_("For whom"), FOR_WHOM),
                Field("occasion", "text", N_("Occasion"), max=60),
                Field("motive", "text", N_("Why"), max=120),
                Field(
                    "use_for_taste",
                    "boolean",
                    N_("Says something about my taste"),
                    hint=N_("Only you can know. A present you loved choosing may still say nothing."),
                ),
            ),
            bucket=320,
            sensitive=True,
        ),
        Facet(
            "recipient",
            N_("Whom it went to"),
            (
                Field("name", "text", N_("Name"), max=200, by="seller"),
                Field("address", "longtext", N_("Address"), max=500, by="seller"),
                Field("gift_message", "longtext", N_("Gift message"), max=1000, by="seller"),
                Field("sender_name", "text", N_("Signed by"), max=200, by="seller"),
            ),
            bucket=512,
            sensitive=True,
            about_others=True,
        ),
        Facet(
            "experience",
            N_("How it turned out"),
            (
                Field("rating", "integer", N_("Stars (1 to 5)"), max=5),
                Field("outcome", "choice", N_("What became of it"), OUTCOME),
                Field("again", "boolean", N_("Would buy again")),
            ),
            bucket=128,
        ),
        Facet(
            "notes",
            N_("My notes"),
            (
                Field("text", "longtext", N_("Notes"), max=4000),
                Field("suggested_for", "choice", N_("Perhaps for"), FOR_WHOM, by="vault"),
                Field("suggested_because", "text", N_("Because"), max=200, by="vault"),
                Field("left_by", "text", N_("Left in the vault by"), max=200, by="vault"),
                Field("arrived", "integer", N_("When it came in"), max=1 << 40, by="vault"),
            ),
            bucket=320,
            shareable=False,
        ),
    ),
)

PREFERENCES = Collection(
    "preferences",
    N_("Preferences"),
    (
        Facet(
            "statement",
            N_("What I like and do not"),
            (
                Field("topic", "text", N_("Topic"), max=120),
                Field("category", "text", N_("Category"), max=60),
                Field("strength", "choice", N_("How much"), STRENGTH),
                Field("text", "longtext", N_("In my words"), max=2000),
                Field("valid_until", "date", N_("Until")),
            ),
            bucket=384,
        ),
        Facet(
            "evidence",
            N_("What it rests on"),
            (
                Field("text", "longtext", N_("Evidence"), max=2000),
                Field("since", "date", N_("Since")),
            ),
            bucket=256,
        ),
    ),
)

PROFILE = Collection(
    "profile",
    N_("Profile"),
    (
        Facet(
            "name",
            N_("Name"),
            (
                Field("given", "text", N_("Given name"), max=120),
                Field("family", "text", N_("Family name"), max=120),
                Field("display", "text", N_("Call me"), max=120),
            ),
            bucket=256,
        ),
        Facet(
            "contact",
            N_("How to reach me"),
            (
                Field("email", "text", N_("E-mail"), max=254),
                Field("phone", "text", N_("Telephone"), max=40),
            ),
            bucket=256,
            sensitive=True,
        ),
        Facet(
            "address",
            N_("Where I live"),
            (
                Field("street", "longtext", N_("Street and number"), max=300),
                Field("city", "text", N_("Town"), max=120),
                Field("region", "text", N_("Region"), max=120),
                Field("postcode", "text", N_("Postcode"), max=20),
                Field("country", "text", N_("Country"), max=60),
            ),
            bucket=512,
            sensitive=True,
        ),
        Facet(
            "sizes",
            N_("Sizes"),
            (
                Field("tops", "text", N_("Tops"), max=40),
                Field("bottoms", "text", N_("Trousers and skirts"), max=40),
                Field("shoes", "text", N_("Shoes"), max=40),
                Field("notes", "text", N_("Good to know"), max=300),
            ),
            bucket=256,
        ),
        Facet(
            "diet",
            N_("Food"),
            (
                Field(
                    "kinds", "list", N_("I eat"), max=20, hint=N_("One a line, such as vegetarian, halal.")
                ),
                Field("allergies", "list", N_("Allergies"), max=40, hint=N_("One a line.")),
                Field("text", "longtext", N_("Good to know"), max=1000),
            ),
            bucket=512,
            sensitive=True,
        ),
        Facet(
            "accessibility",
            N_("What I need to take part"),
            (Field("needs", "list", N_("Needs"), max=40, hint=N_("One a line.")),),
            bucket=512,
            sensitive=True,
        ),
        Facet(
            "communication",
            N_("How I want to hear from companies"),
            (
                Field(
                    "channels", "list", N_("Channels"), max=10, hint=N_("One a line, such as e-mail, post.")
                ),
                Field("quiet_hours", "text", N_("Quiet hours"), max=60),
                Field("languages", "list", N_("Languages"), max=20, hint=N_("One a line.")),
            ),
            bucket=256,
        ),
        Facet(
            "demographics",
            N_("About me"),
            (
                Field("birth_year", "integer", N_("Year of birth"), max=2100),
                Field("gender", "text", N_("Gender"), max=60),
            ),
            bucket=128,
            sensitive=True,
        ),
    ),
    singleton=True,
)

INBOX = Collection(
    "inbox",
    N_("Inbox"),
    (
        Facet(
            "message",
            N_("Message"),
            (
                Field("from", "text", N_("From"), max=200, by="vault"),
                Field("subject", "text", N_("Subject"), max=200, by="seller"),
                Field("text", "longtext", N_("Text"), max=8000, by="seller"),
                Field("order_number", "text", N_("Order number"), max=80, by="seller"),
                Field("received", "date", N_("Received on"), by="vault"),
                Field("revised", "date", N_("Changed by the sender on"), by="vault"),
                Field("withdrawn", "boolean", N_("Taken back by the sender"), by="vault"),
            ),
            bucket=1024,
            shareable=False,
        ),
    ),
)

CATALOG: tuple[Collection, ...] = (PURCHASES, PREFERENCES, PROFILE, INBOX)
STAMPED = (
    "purchases"  # of these the vault notes, in `notes.arrived`, when they came in after a grant was made
)
CATALOG_BY_NAME: dict[str, Collection] = {item.name: item for item in CATALOG}


def collection(name: str) -> Collection:
    """The collection of that name, or KeyError."""
    return CATALOG_BY_NAME[name]


def facet(collection_name: str, facet_name: str) -> Facet:
    """The facet of that name, or KeyError."""
    return CATALOG_BY_NAME[collection_name].facet(facet_name)
