"""The style sheet: contrast in both schemes, logical properties, nothing from elsewhere."""

import re
from pathlib import Path

import pytest

import vrm.web

CSS = (Path(vrm.web.__file__).parent / "static" / "vrm.css").read_text(encoding="utf-8")
TEXT_ON = [  # (ink, ground)
    ("ink", "paper"),
    ("ink", "card"),
    ("ink", "sunk"),
    ("soft", "paper"),
    ("soft", "card"),
    ("soft", "sunk"),
    ("brand", "paper"),
    ("brand", "card"),
    ("brand", "brand-wash"),
    ("ink", "brand-wash"),
    ("on-brand", "brand"),
    ("on-stop", "stop"),
    ("stop", "card"),
    ("stop", "stop-wash"),
    ("ink", "stop-wash"),
    ("warn-ink", "warn-wash"),
]
SHAPES_ON = [("edge", "card"), ("edge", "paper"), ("focus", "card"), ("focus", "paper"), ("brand", "card")]


def colours(dark: bool) -> dict[str, str]:
    light, night = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in CSS.split("@media", 2)[:2]
    )
    return light | night if dark else light


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_text_and_shapes_stand_out_from_their_ground(dark: bool) -> None:
    known = colours(dark)
    weak = {pair: contrast(known[pair[0]], known[pair[1]]) for pair in TEXT_ON}
    assert {pair: round(ratio, 2) for pair, ratio in weak.items() if ratio < 4.5} == {}
    faint = {pair: contrast(known[pair[0]], known[pair[1]]) for pair in SHAPES_ON}
    assert {pair: round(ratio, 2) for pair, ratio in faint.items() if ratio < 3} == {}


def test_the_dark_scheme_names_every_colour_again() -> None:
    assert set(colours(dark=False)) == set(colours(dark=True))
    assert all(colours(dark=False)[name] != colours(dark=True)[name] for name in colours(dark=True))


def test_no_property_knows_left_from_right() -> None:
    plain = re.sub(r"/\*.*?\*/", "", CSS, flags=re.DOTALL)
    physical = re.compile(
        r"(?:^|[\s;{])((?:margin|padding|border|inset)?-?(?:left|right|top|bottom)(?:-\w+)*)\s*:"
        r"|(?:text-align|float|clear):\s*(?:left|right)|(?:^|[\s;{])((?:min-|max-)?(?:width|height))\s*:",
        re.MULTILINE,
    )
    rules = re.sub(r"@media[^{]*", "", plain)  # a media query asks the screen, which has a width
    assert [found.group(0).strip() for found in physical.finditer(rules)] == []


def test_nothing_comes_from_elsewhere() -> None:
    assert not re.search(r"@import|url\(|http", CSS)
