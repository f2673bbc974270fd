"""What kind of thing a purchase is, worked out from what the export gives.

One literal table of our own categories; below it, how the words of sellers lead there. Order of trust:
the export's category, an ISBN, the UNSPSC code, words of the title. `said` means that the export itself
gave a category or code; everything worked out from an identifier or a title is `guessed`. What cannot
be told is `other`: no guess is better than a wrong one, since grants filter by category.
"""

from __future__ import annotations

import re
import string
import unicodedata
from itertools import pairwise
from typing import NamedTuple

from vrm.vault.catalog import N_
from vrm.vault.importers.values import clean

CATEGORIES: tuple[tuple[str, str], ...] = (
    ("books", N_("Books")),
    ("music", N_("Music and instruments")),
    ("film", N_("Films and series")),
    ("games", N_("Games")),
    ("toys", N_("Toys")),
    ("electronics", N_("Electronics and phones")),
    ("computers", N_("Computers and accessories")),
    ("home", N_("Home and furniture")),
    ("kitchen", N_("Kitchen")),
    ("cleaning", N_("Cleaning and paper goods")),
    ("garden", N_("Garden and plants")),
    ("tools", N_("Tools and building")),
    ("clothing", N_("Clothing, shoes and jewellery")),
    ("beauty", N_("Beauty and body care")),
    ("health", N_("Health")),
    ("groceries", N_("Food and drink")),
    ("pets", N_("Pets")),
    ("baby", N_("Baby")),
    ("sports", N_("Sports and outdoors")),
    ("crafts", N_("Arts and crafts")),
    ("office", N_("Office and school")),
    ("automotive", N_("Car and bicycle")),
    ("digital", N_("Digital services and apps")),
    ("gift-cards", N_("Gift cards")),
    ("other", N_("Other")),
)
LABELS: dict[str, str] = dict(CATEGORIES)

# UNSPSC by prefix, the longest one wins (segment 2, family 4, class 6 digits).
UNSPSC: dict[str, str] = {
    "10": "garden", "1010": "pets", "1011": "pets", "1012": "pets", "1111": "garden", "1213": "tools",
    "14": "cleaning", "141115": "office", "1412": "office", "15": "tools", "20": "tools", "21": "garden",
    "23": "tools", "24": "home", "25": "automotive", "26": "electronics", "27": "tools", "2711": "tools",
    "30": "tools", "301816": "home", "31": "tools", "32": "electronics", "39": "home", "40": "home",
    "41": "tools", "42": "health", "43": "computers", "4319": "electronics", "44": "office",
    "45": "electronics", "46": "tools", "461820": "health", "47": "cleaning", "48": "kitchen",
    "4910": "home", "49": "sports", "50": "groceries", "5050": "health", "51": "health", "52": "home",
    "5214": "kitchen", "521416": "home", "5215": "kitchen", "5216": "electronics", "53": "clothing",
    "531023": "baby", "5313": "beauty", "5314": "crafts", "54": "clothing", "55": "books",
    "5511": "digital", "5512": "office", "56": "home", "6010": "office", "6011": "office",
    "6012": "crafts", "6013": "music", "6014": "toys", "601411": "games", "94": "digital",
}  # fmt: skip

# Categories in the export's own spelling whose single words would mislead.
NAMED: dict[str, str] = {
    "ABIS_BOOK": "books", "ABIS_BOOKS": "books", "ABIS_EBOOKS": "books", "ABIS_MUSIC": "music",
    "ABIS_DVD": "film", "ABIS_VIDEO": "film", "ABIS_VIDEO_GAMES": "games", "ABIS_GIFT_CARD": "gift-cards",
    "ABIS_SOFTWARE": "digital", "ABIS_ELECTRONICS": "electronics", "ABIS_TOY": "toys",
    "ABIS_KITCHEN": "kitchen", "BLANK_BOOK": "office", "ART_MEDIA_PAPER": "crafts",
    "NOTEBOOK_COMPUTER": "computers", "PRINT_COPY_PAPER": "office", "HEALTH_PERSONAL_CARE": "health",
    "VEHICLE_WRAP": "crafts", "PORTABLE_ELECTRONIC_DEVICE_COVER": "electronics",
    "CELLULAR_PHONE_CASE": "electronics", "DAIRY_BASED_DRINK": "groceries", "COFFEE_FILTER": "kitchen",
    "COFFEE_MAKER": "kitchen", "ICE_CUBE_TRAY": "kitchen", "INSECT_REPELLENT": "health",
    "INCONTINENCE_PROTECTOR": "baby", "ELECTRIC_WATER_BOILER": "kitchen", "MECHANICAL_LIGHTER": "home",
    "MUSCLE_ROLLER": "sports", "PET_FOOD": "pets", "BABY_FOOD": "baby", "PLANT_SEED": "garden",
    "SHOVEL_SPADE": "garden", "STRING_LIGHT": "home", "SAFETY_MASK": "health", "BABY_PRODUCT": "baby",
    "VIDEO_GAME": "games", "DIGITAL_VIDEO_GAMES": "games", "DOWNLOADABLE_SOFTWARE": "digital",
    "WASTE_BAG": "cleaning", "BED_LINEN_SET": "home", "MATTRESS_COVER": "home",
    "POWER_CONVERTER": "electronics", "CONCENTRATED_FLAVORING_SUBSTANCE": "groceries",
    "CULINARY_SALT": "groceries", "LEAVENING_AGENT": "groceries", "MILK_SUBSTITUTE": "groceries",
    "BAKING_CHOCOLATE": "groceries", "TOOTH_CLEANING_AGENT": "beauty", "DENTAL_FLOSS": "beauty",
    "NUTRITIONAL_SUPPLEMENT": "health", "PROTEIN_SUPPLEMENT_POWDER": "health", "BICYCLE": "automotive",
    "SLEEPING_BAG": "sports",
}  # fmt: skip

# Words of departments and categories (several languages, accents folded). Too short to trust in titles.
DEPARTMENT_WORDS: dict[str, str] = {
    word: category
    for category, words in {
        "books": "book books livre livres bucher buch libro libros libri boeken kindle audible "
        "audiobook ebooks",
        "music": "music musique musik musica instrument instruments vinyl muziek",
        "film": "dvd bluray film films movies video tv cine",
        "games": "videogames game games puzzle puzzles tabletop jeux spiele juegos giochi",
        "toys": "toy toys jouet jouets spielzeug juguetes giocattoli speelgoed",
        "electronics": "electronics electronic hightech tech elektronik electronica elettronica phone phones "
        "wireless camera photo headphones telephone telephonie",
        "computers": "computer computers pc informatique informatica mouse keyboard multiport laptop printer",
        "home": "home maison wohnen hogar casa furniture lighting shelf pillow rug towel curtain "
        "bedding bed bath",
        "kitchen": "kitchen cuisine kuche cocina cucina cookware dinnerware dishware bowl tableware",
        "cleaning": "laundry detergent paper toilet vacuum cleaning household",
        "garden": "garden lawn patio jardin garten giardino plant plants",
        "tools": "tool tools diy bricolage baumarkt hardware industrial building",
        "clothing": "apparel clothing clothes fashion vetement vetements mode kleidung ropa shoe shoes "
        "chaussures schuhe jewelry jewellery bijoux watch watches socks bra swimwear sandal "
        "skirt pants shirt earring backpack luggage dress coat hat boot",
        "beauty": "beauty beaute parfum perfume cosmetics makeup sunscreen hair skin lotion soap hygiene",
        "health": "health sante gesundheit salud salute drugstore pharmacy vitamin medication",
        "groceries": "grocery groceries gourmet epicerie lebensmittel alimentation food fruit snack candy "
        "coffee tea sauce legume herb spice cereal beverage wine drink",
        "pets": "pet pets animalerie haustier mascotas animali dog cat",
        "baby": "baby bebe puericulture diaper infant",
        "sports": "sport sports outdoor outdoors sporting fitness tent camping deportes",
        "crafts": "arts craft crafts sewing art loisirs",
        "office": "office bureau stationery burobedarf school papeterie pen pin marking oficina ufficio",
        "automotive": "automotive auto car moto vehicle tire bicycle",
        "digital": "software app apps subscription membership digital",
    }.items()
    for word in words.split()
}

# Words that hardly stand in the title of anything else; pairs are tried before single words.
TITLE_PAIRS: dict[str, str] = {
    "a novel": "books", "a memoir": "books", "espresso maker": "kitchen", "vacuum insulated": "kitchen",
    "body wash": "beauty", "hand soap": "beauty", "hand sanitizer": "health", "bath mat": "home",
    "ice cream": "kitchen", "egg cooker": "kitchen", "pressure cooker": "kitchen", "mixing bowl": "kitchen",
    "instant pot": "kitchen", "gaming console": "games", "gaming headset": "electronics",
    "usb c": "electronics",
    "aa batteries": "electronics", "super glue": "tools", "packaging tape": "office", "maze game": "games",
    "kindle edition": "books", "audible audiobook": "books", "mass market": "books",
    "board book": "books", "coloring book": "books", "audio cd": "music", "gift card": "gift-cards",
    "air fryer": "kitchen", "video game": "games", "board game": "games", "card game": "games",
    "nintendo switch": "games", "action figure": "toys", "building set": "toys", "building kit": "toys",
    "toilet paper": "cleaning", "paper towels": "cleaning", "paper towel": "cleaning",
    "trash bags": "cleaning", "dish soap": "cleaning", "laundry detergent": "cleaning",
    "cat litter": "pets", "dog food": "pets", "cat food": "pets", "dog treats": "pets",
    "baby wipes": "baby", "yoga mat": "sports", "water bottle": "sports", "light bulb": "home",
    "light bulbs": "home", "smart bulb": "home", "phone case": "electronics",
    "screen protector": "electronics", "smart watch": "electronics", "apple watch": "electronics",
    "portable charger": "electronics", "power bank": "electronics", "hard drive": "computers",
    "memory card": "computers", "usb hub": "computers", "gaming mouse": "computers",
    "olive oil": "groceries", "face mask": "health", "fish oil": "health", "first aid": "health",
    "hair dryer": "beauty", "coffee maker": "kitchen", "frying pan": "kitchen",
    "cutting board": "kitchen", "lunch box": "kitchen", "sticky notes": "office",
    "ink cartridge": "office", "running shoes": "clothing", "unlimited membership": "digital",
    "plus membership": "digital", "monthly membership": "digital", "drill bit": "tools",
    "duct tape": "tools", "car mount": "automotive", "motor oil": "automotive", "dash cam": "automotive",
    "resistance bands": "sports",
}  # fmt: skip
TITLE_WORDS: dict[str, str] = {
    word: category
    for category, words in {
        "books": "paperback hardcover audiobook paperbacks",
        "music": "vinyl guitar ukulele",
        "film": "dvd blu-ray bluray",
        "games": "playstation xbox monopoly jigsaw",
        "toys": "lego playset plush playmobil hasbro",
        "electronics": "headphones earbuds earphones bluetooth charger airpods airtag soundbar kindle "
        "speaker smartphone smartwatch headset doorbell camera batteries roku gopro "
        "tablet drone tv hdmi tracker",
        "computers": "laptop keyboard mouse ssd monitor webcam router macbook ipad printer usb-c microsd",
        "home": "pillow mattress curtain curtains lamp rug blanket candle bedding sheets shelf humidifier",
        "kitchen": "griddle tongs peeler grater skillet cookware blender mug tumbler kettle spatula toaster "
        "espresso bakeware saucepan knife",
        "cleaning": "dishwashing cleaner sponges robovac detergent disinfecting vacuum bleach wipes",
        "garden": "seeds planter fertilizer succulent hose",
        "tools": "screwdriver wrench hammer drill screws pliers",
        "clothing": "socks shirt t-shirt jeans sneakers shoes jacket leggings hoodie dress boots "
        "underwear backpack earrings necklace",
        "beauty": "shampoo conditioner moisturizer moisturizing sunscreen lipstick toothpaste "
        "toothbrush deodorant trimmer serum mascara cleanser",
        "health": "vitamin vitamins supplement thermometer bandages probiotic ibuprofen multivitamin",
        "groceries": "organic coffee tea chocolate snacks granola cereal sauce pasta",
        "pets": "dog dogs cat cats puppy kitten aquarium",
        "baby": "diapers diaper stroller pacifier newborn",
        "sports": "dumbbell dumbbells yoga tent hiking bicycle kayak",
        "crafts": "yarn acrylic crochet watercolor",
        "office": "notebook pens markers envelopes stapler binder pencils",
        "automotive": "windshield",
        "digital": "subscription membership",
    }.items()
    for word in words.split()
}

_PAIRS = {tuple(pair.split()): category for pair, category in TITLE_PAIRS.items()}
_TELLING = frozenset(TITLE_WORDS) | {first for first, _ in _PAIRS}
_ASCII_MARKS = string.punctuation.replace("-", "")
_MARKS = str.maketrans(dict.fromkeys(_ASCII_MARKS + "–—’“”®™", " "))
# The same, and small letters, in one step over the bytes of ASCII, which most titles are
_SMALL = bytes(range(256)).lower().translate(bytes.maketrans(_ASCII_MARKS.encode(), b" " * len(_ASCII_MARKS)))
_WORDS = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_ISBN10 = re.compile(r"\d{6,9}[\dX]", re.ASCII)
_ISBN13 = re.compile(r"97[89]\d{10}", re.ASCII)
_CODE = re.compile(r"\d{6,8}", re.ASCII)


class Category(NamedTuple):
    """Our category, and whether the export `said` so or the vault `guessed`."""

    id: str
    basis: str


def isbn(identifier: str) -> str:
    """The ISBN-13 that an item number is, or "".

    Takes ISBN-10 and ISBN-13, with hyphens, and ISBN-10 whose leading zeros a spreadsheet has eaten:
    at most three, as no language area starts with more. An item number of the seller's own kind
    ("B0…") holds letters and never matches; digits alone pass only with a right check digit (a random
    number fails it ten times in eleven), and a run of zeros is nothing. 979-0 is sheet music, not a book.
    """
    if identifier[:1].isalpha():
        return ""
    bare = identifier.replace("-", "").replace(" ", "").upper()
    if _ISBN13.fullmatch(bare):
        return bare if not bare.startswith("9790") and bare[12] == _check13(bare[:12]) else ""
    if not _ISBN10.fullmatch(bare) or not bare.strip("0X"):
        return ""
    full = bare.zfill(10)
    values = [10 if digit == "X" else int(digit) for digit in full]
    if sum(weight * value for weight, value in zip(range(10, 0, -1), values, strict=True)) % 11:
        return ""
    return "978" + full[:9] + _check13("978" + full[:9])


def spellings(number: str) -> tuple[str, ...]:
    """An item number as exports write it; an ISBN first as one of ten digits, if there is such a one."""
    whole = isbn(number)
    return tuple(filter(None, (_short_isbn(whole), whole))) or (number,)


def _short_isbn(whole: str) -> str:
    """The ISBN-10 of an ISBN-13; "" for one of 979, and for ""."""
    if not whole.startswith("978"):
        return ""
    nine = whole[3:12]
    left = -sum(weight * int(digit) for weight, digit in zip(range(10, 1, -1), nine, strict=True)) % 11
    return nine + ("X" if left == 10 else str(left))


def item_number(identifier: str) -> str:
    """A seller's item number in one spelling: capital letters, an ISBN's lost zeros put back."""
    upper = clean(identifier).upper()
    return upper.zfill(10) if len(upper) < 10 and isbn(upper) else upper


class Article(NamedTuple):
    """What a line sells. `key` is what tells it from the other articles of an order."""

    title: str
    number: str
    isbn: str
    key: str


def article(name: str, identifier: str) -> Article:
    """The article of a name and an item number, one of which may be empty."""
    title, number = clean(name), item_number(identifier)
    return Article(title, number, isbn(number), number or title.casefold())


def _check13(twelve: str) -> str:
    total = sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(twelve))
    return str(-total % 10)


def derive(title: str, *, book: bool = False, path: str = "", unspsc: str = "") -> Category:
    """The category of a thing: `path` is the export's own category, `book` that it bears an ISBN."""
    from_path = by_path(path) if path else ""
    if from_path:
        return Category(from_path, "said")
    from_code = by_unspsc(unspsc) if unspsc else ""
    if book:
        return Category("books", "said" if from_code == "books" else "guessed")
    if from_code:
        return Category(from_code, "said")
    return Category(by_title(title) or "other", "guessed")


def by_path(path: str) -> str:
    """Our category for TOILET_PAPER, "Livres" or "Home & Kitchen"; "" if it means nothing to us."""
    named = NAMED.get(path.upper())
    if named:
        return named
    if "gift" in path.lower() and "card" in path.lower():
        return "gift-cards"
    for word in _WORDS.findall(_folded(path)):
        found = DEPARTMENT_WORDS.get(word) or DEPARTMENT_WORDS.get(word.replace("-", ""))
        if found:
            return found
    return ""


def by_unspsc(code: str) -> str:
    """Our category for a UNSPSC code, by its longest known beginning."""
    if not _CODE.fullmatch(code):
        return ""
    return next((UNSPSC[code[:size]] for size in (6, 4, 2) if code[:size] in UNSPSC), "")


def by_title(title: str) -> str:
    """A guess from the words of a title: a telling pair first, then the first telling word."""
    if title.isascii():
        words = title.encode().translate(_SMALL).decode().split()
    else:
        words = title.lower().translate(_MARKS).split()
    if _TELLING.isdisjoint(words):
        return ""
    for pair in pairwise(words):
        if pair in _PAIRS:
            return _PAIRS[pair]
    return next((TITLE_WORDS[word] for word in words if word in TITLE_WORDS), "")


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.lower()) if not text.isascii() else text.lower()
    return "".join(mark for mark in plain if not unicodedata.combining(mark)).replace("_", " ")
