"""What Alice bought in the sample history: titles, names and prices, without dates."""

from __future__ import annotations

# -- her own books -----------------------------------------------------------------------------------

OWN_LATELY = """
Piranesi; The Hobbit; A Wizard of Earthsea; The Tombs of Atuan; Assassin's Apprentice; Royal Assassin
The Goblin Emperor; Spinning Silver; Uprooted; The Fifth Season; Small Gods; Guards! Guards!; Circe
Lud-in-the-Mist; The Last Unicorn; Legends & Lattes; The House in the Cerulean Sea; Salt, Fat, Acid, Heat
Plenty; Jerusalem; Flour Water Salt Yeast; Every Grain of Rice; The Flavour Thesaurus; East
An Everlasting Meal; Tender; Six Seasons; The Noma Guide to Fermentation; Shark's Fin and Sichuan Pepper
Entangled Life; An Immense World; The Order of Time; Lab Girl; The Emperor of All Maladies; Other Minds
The Old Ways; The Living Mountain; A Time of Gifts; The Snow Leopard; The Salt Path; H is for Hawk
Braiding Sweetgrass
"""
OWN_BEFORE = """
The Fellowship of the Ring; The Two Towers; The Return of the King; The Colour of Magic; Mort
The Name of the Wind; Jonathan Strange & Mr Norrell; The Night Circus; Simple; How to Eat; The Food Lab
The Bread Baker's Apprentice; Moosewood Cookbook; Persiana; The Art of Simple Food
A Short History of Nearly Everything; Cosmos; The Gene; Silent Spring; Longitude; A Walk in the Woods
Underland; In Patagonia; Walden
"""
TAKEN_OUT = "The Emperor of All Maladies"
CANCELLED_BOOK = "The Priory of the Orange Tree"

# -- books for others: (where it went, gift message or "", occasion, titles) -------------------------

GIFT_BOOKS = (
    ("home", "", "Noor's birthday", "The Gruffalo; Room on the Broom; The Tiger Who Came to Tea; Owl Babies"),
    ("home", "", "Noor's holidays", "Where the Wild Things Are; Dear Zoo; Giraffes Can't Dance"),
    ("sami", "For Noor, who is four today!", "Noor's birthday", "Stick Man; Zog; Meg and Mog"),
    ("sami", "", "a visit", "The Very Hungry Caterpillar; Oi Frog!"),
    ("home", "", "Sami's birthday", "The Big Sleep; In the Woods; Faceless Killers"),
    ("sami", "Don't read it at night. A.", "Sami's birthday", "Knots and Crosses; The Talented Mr. Ripley"),
    ("sami", "", "get well", "The Thursday Murder Club; Murder on the Orient Express; The Dry"),
    ("home", "", "Mother's Day", "The Well-Gardened Mind; The Gardener's Year"),
    ("mother", "Happy birthday, Mum! Love, Alice", "Mum's birthday", "The Dry Garden; The Ivington Diaries"),
    ("mother", "", "a visit", "Beth Chatto's Gravel Garden; Merry Hall"),
)
GIFT_BOOKS_BEFORE = (
    ("home", "", "Sami's birthday", "The Maltese Falcon; Gone Girl"),
    ("mother", "Merry Christmas, Mum", "Christmas", "The Complete Gardener; Wood and Garden"),
)
WORK_BOOKS = "Refactoring; The Pragmatic Programmer; Don't Make Me Think; Thinking in Systems"
SAMI_OWN = (
    ("The Likeness", "14.00"),
    ("Phone case, clear, shock-absorbing", "11.49"),
    ("Replacement bicycle tube 700 x 28", "8.25"),
)

# -- everything else: name @ price --------------------------------------------------------------------

RECURRING = """
Dishwasher tablets, 60 pieces @ 14.99
Laundry liquid, sensitive, 2 l @ 11.49
Whole coffee beans, dark roast, 1 kg @ 19.95
Cat food, salmon, 24 pouches @ 17.80
Cat litter, clumping, 15 l @ 12.35
Toilet paper, 24 rolls @ 16.99
Oat milk, 12 cartons @ 21.60
Bin liners, 60 l, 40 pieces @ 7.49
Bread flour, strong white, 5 kg @ 9.90
Olive oil, extra virgin, 3 l @ 34.50
Toothpaste, mint, pack of 4 @ 8.99
AA batteries, pack of 24 @ 13.49
Sparkling water filter cartridges, 2 pieces @ 29.99
Green tea, loose, 250 g @ 12.75
Chickpeas, 12 tins @ 10.80
Hand soap refill, 1 l @ 6.95
"""
ONCE = """
Cast iron frying pan, 26 cm @ 39.90
Digital kitchen scale, 5 kg @ 18.99
Bread proofing basket, set of 2 @ 21.50
Chef's knife, 20 cm @ 74.00
Wooden chopping board, large @ 42.00
Stand mixer, 5 l, cream @ 329.00
Dutch oven, 5.3 l @ 89.00
Silicone baking mat, pack of 2 @ 12.99
Mandoline slicer with guard @ 27.45
Pepper mill, beech @ 24.00
Cordless vacuum cleaner @ 279.00
Desk lamp, dimmable @ 45.99
Duvet cover set, linen, double @ 96.00
Bath towels, set of 4 @ 38.50
Shower curtain, 180 x 200 cm @ 17.99
Curtain rod, extendable @ 23.40
Picture frames, A4, pack of 5 @ 19.99
Cordless drill, 18 V @ 119.00
Drill bit set, 100 pieces @ 22.99
Step ladder, 3 steps @ 54.90
Smoke alarm, 10-year battery, pack of 3 @ 44.99
LED bulbs, warm white, pack of 10 @ 21.99
Extension lead, 6 sockets @ 16.49
Door draught excluder @ 9.99
Humidifier, 4 l @ 49.99
Fan heater, 2 kW @ 34.99
Laptop, 14 inch, 32 GB @ 1249.00
Laptop sleeve, 14 inch, felt @ 18.50
USB-C charger, 65 W @ 32.99
Wireless mouse, silent @ 19.99
Headphones, over-ear @ 189.00
Phone holder for bicycle @ 15.49
External drive, 2 TB @ 79.90
HDMI cable, 2 m @ 8.49
Running shoes, women's, size 8 @ 109.95
Rain jacket, women's, M @ 129.00
Wool socks, pack of 3 @ 21.00
Hiking backpack, 30 l @ 84.50
Trekking poles, pair @ 47.00
Head torch, rechargeable @ 26.99
Insulated bottle, 1 l @ 27.95
Merino base layer, M @ 59.00
Swimming goggles @ 14.99
Yoga mat, 6 mm @ 29.50
Foam roller @ 18.25
Bicycle helmet, M @ 64.00
Bicycle lights, set @ 28.99
Puncture repair kit @ 7.25
Sun cream, SPF 50, 200 ml @ 13.99
First aid kit @ 19.45
Reading glasses, +1.0 @ 12.00
Hair dryer, 2000 W @ 36.90
Electric toothbrush @ 69.99
Toothbrush heads, pack of 8 @ 24.99
Vitamin D drops @ 9.49
Plant pots, terracotta, set of 3 @ 25.60
Watering can, 5 l @ 16.00
Potting compost, 40 l @ 13.20
Herb seeds, mixed @ 6.50
Cat scratching post @ 33.00
Cat carrier @ 29.90
Water fountain for cats @ 31.99
Knitting needles, bamboo, set @ 22.40
Merino yarn, 10 balls @ 48.00
Fountain pen, medium nib @ 34.00
Ink, blue-black, 50 ml @ 11.90
Notebook, dotted, A5, pack of 3 @ 17.80
Puzzle, 1000 pieces, night sky @ 16.99
Board game about railways @ 44.95
Playing cards, pack of 2 @ 8.90
Bluetooth speaker @ 59.99
Guitar strings, light @ 12.49
Music stand, folding @ 21.99
Shelf brackets, pack of 6 @ 13.79
Storage boxes with lid, set of 6 @ 36.00
Coat hooks, brass, pack of 4 @ 18.60
Doormat, coir @ 19.20
Iron, steam, 2600 W @ 52.00
Clothes airer @ 39.50
Sewing kit @ 11.20
Luggage scale @ 12.30
Cabin suitcase, 40 l @ 119.90
Travel adapter @ 17.00
Packing cubes, set of 5 @ 22.00
Sleep mask, silk @ 14.20
Air mattress, double @ 46.50
Kettle, 1.7 l @ 37.99
Toaster, 2 slices @ 33.49
Hand blender @ 48.99
Glass storage jars, set of 8 @ 31.00
Tea towels, pack of 5 @ 15.40
Oven gloves @ 12.80
Fermentation weights and lids @ 23.50
Pizza stone, 38 cm @ 35.00
Cake tin, springform, 23 cm @ 14.30
Spice rack, wall @ 28.00
"""
WORK = """
Printer paper, A4, 2500 sheets @ 24.99
Whiteboard markers, 12 colours @ 13.50
Sticky notes, 24 pads @ 11.99
Laptop stand, aluminium @ 39.90
Keyboard, mechanical, compact @ 89.00
Monitor, 27 inch @ 312.00
Desk mat, felt @ 21.00
Cable ties, reusable, 100 pieces @ 8.49
Webcam, 1080p @ 54.99
Label printer tape, pack of 4 @ 18.99
"""
GIFTS = (
    ("home", "", "Noor's birthday", "Wooden train set, 40 pieces @ 36.99"),
    ("home", "", "Noor's holidays", "Finger paints, 6 colours @ 14.50"),
    ("home", "", "Mum's birthday", "Cashmere scarf, sage @ 79.00"),
    ("sami", "For Noor, who is four today!", "Noor's birthday", "Building bricks, 240 pieces @ 42.00"),
    ("sami", "", "a visit", "Memory game, animals @ 12.99"),
    ("sami", "", "get well", "Herbal tea selection @ 19.50"),
    ("sami", "Don't read it at night. A.", "Sami's birthday", "Reading light, clip-on @ 16.99"),
    ("mother", "Happy birthday, Mum! Love, Alice", "Mum's birthday", "Secateurs, left-handed @ 48.00"),
    ("mother", "", "a visit", "Gardening gloves, leather @ 22.50"),
    ("mother", "Merry Christmas, Mum", "Christmas", "Amaryllis bulb in a pot @ 18.00"),
)
CANCELLED = """
Espresso machine, 15 bar @ 499.00
Winter boots, size 8 @ 95.00
Air fryer, 5.5 l @ 109.00
Robot vacuum cleaner @ 399.00
Garden hose, 30 m @ 44.00
Tent, 2 persons @ 159.00
Curtains, blackout, pair @ 49.00
"""
DIGITAL = """
ebook | The Lies of Locke Lamora (Kindle Edition) @ 6.99
ebook | Kitchen Confidential (Kindle Edition) @ 8.49
ebook | The Selfish Gene (Kindle Edition) @ 9.99
film | A film about mountains, HD rental @ 3.99
film | A documentary on octopuses @ 9.99
film | A cookery series, season 1 @ 14.99
music | Piano works, album download @ 8.99
app | Constellations, full version @ 4.49
app | Bread timer, full version @ 2.99
film | A comedy in two parts @ 11.99
music | Songs for long walks @ 9.49
app | Trail maps, one year @ 24.99
gift | A film about a garden @ 9.99
"""


def titles(text: str) -> list[str]:
    """The titles in a list separated by semicolons and line ends."""
    return [title.strip() for title in text.replace("\n", ";").split(";") if title.strip()]


def priced(text: str) -> list[tuple[str, str]]:
    """(name, price) for each line `name @ price`."""
    rows = [line.rpartition(" @ ") for line in text.strip().splitlines()]
    return [(name, price) for name, _, price in rows]
