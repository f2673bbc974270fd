"""The one story, told over real HTTP: a vault, a gift, a consent, a reading, a revocation.

Starts a real vault and a real shop as processes of their own, and clicks through the customer's pages and
the shop's as a browser does. Every step prints what happened and ends the story with exit code 1 where it
did not. Data lies in `.demo/`, made anew at each run.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import secrets
import shutil
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from demo_browser import Browser, Form, Page
from demo_stage import DATA, Stage, StoryError, chapter, eventually, free_port, require, say, taken, walk

from vrm import samples
from vrm_client import NotGrantedError, Part, RevokedError, Vendor, accept

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "harbor",
    "indigo",
    "juniper",
    "kettle",
    "lantern",
    "meadow",
    "nutmeg",
    "orchid",
]
PERIOD, DAYS = "P2Y", "90"


# ---- the steps ---------------------------------------------------------------------------------------------


def create(stage: Stage) -> None:
    """Alice creates a vault with a passphrase and gets a recovery code."""
    chapter(1, "Alice creates a vault with a passphrase, and gets a recovery code.")
    alice = stage.alice
    page = alice.get(f"{stage.vault}/create")
    page = alice.submit(
        page,
        page.form(field="passphrase"),
        [("username", "alice"), ("passphrase", stage.passphrase), ("again", stage.passphrase)],
    )
    shown = re.search(r'id="recovery-code">(.*?)</p>', page.text, re.DOTALL)
    require(shown, f"no recovery code was shown ({page.status})")
    code = re.sub(r"<[^>]+>|\s", "", shown[1] if shown else "")
    page = alice.submit(page, page.form(field="code"), [("code", code)])
    require(page.status == 200 and "alice" in page.text.lower(), "Home does not greet her")
    say(f"recovery code shown once: {code[:9]}… typed back, Home greets her")


def bring_in(stage: Stage) -> None:
    """She imports her order history; a second import adds nothing."""
    chapter(2, "She brings in the order history that a big shop handed out.")
    files = (
        [stage.own_export]
        if stage.own_export
        else samples.write(DATA / "Your Orders", datetime.now(UTC).date())
    )
    contents = [(path.name, path.read_bytes()) for path in files]
    first = _import(stage, contents)
    require(first["New"] > 0, "nothing was imported")
    again = _import(stage, contents)
    require(again["New"] == 0, f"a second import added {again['New']}")
    say(f"{len(contents)} files, {first['Lines read']} lines read, {first['New']} kept; a second time: 0 new")
    if not stage.own_export:
        expect = samples.truth()["expect"]
        wanted = expect["retail_lines"] + expect["digital_lines"]
        require(first["New"] == wanted, f"{wanted} were expected")
        page = _search(stage, [("category", "books")])
        found = re.search(r"(\d+) found", page.text)
        require(found and int(found[1]) >= expect["books"], f"at least {expect['books']} books were expected")
        say(
            f"no line says what it is; {found[1] if found else 0} are found to be books,"
            f" {expect['books']} by the checksum of their numbers"
        )


def _import(stage: Stage, contents: list[tuple[str, bytes]]) -> dict[str, int]:
    page = stage.alice.get(f"{stage.vault}/import")
    page = stage.alice.upload(page, page.form(action="/import"), contents)
    require(page.status == 200, f"the import answered {page.status}")
    facts: dict[str, int] = {"New": 0, "Lines read": 0}
    for name, count in re.findall(r"<dt>([^<]+)</dt><dd>(\d+)</dd>", page.text):
        facts[name] = facts.get(name, 0) + int(count)
    return facts


def _search(stage: Stage, wanted: list[tuple[str, str]]) -> Page:
    page = stage.alice.get(f"{stage.vault}/things")
    return stage.alice.submit(page, page.form(field="words"), wanted)


def sort(stage: Stage) -> None:
    """She sorts it by destination, then theme, then line."""
    chapter(3, "The vault asks whom things were for: by destination, then by theme, then by line.")
    truth = samples.truth()
    decisions = [] if stage.own_export else truth["decisions"]
    asked = 0
    lines = [one for one in decisions if one["by"] == "line"]
    if lines:
        asked += _sort_lines(stage, lines, truth["lines"])
    places = {one["address"]: one["for"] for one in decisions if one["by"] == "destination"}
    themes = {one["address"]: (one["category"], one["for"]) for one in decisions if one["by"] == "theme"}
    asked += _sort_groups(stage, places, themes)
    rest = next((one["for"] for one in decisions if one["by"] == "rest"), "self")
    page = stage.alice.get(f"{stage.vault}/sort")
    everything = [form for form in page.forms if form.value("group") == "everything"]
    if everything:
        page = stage.alice.submit(page, everything[0], [("whom", rest)])
        asked += 1
        say(f"one answer for the rest: {rest}")
    require("All sorted" in page.text, "something is still unsorted")
    require(asked <= 30, f"it took {asked} decisions")
    say(f"{asked} decisions sorted everything")


def _sort_lines(stage: Stage, lines: list[dict[str, Any]], known: list[dict[str, Any]]) -> int:
    """The single presents that only she knows of: sent home, wrapped by herself."""
    titles = {(one["order"], one["asin"]): one["title"] for one in known}
    answers: list[tuple[str, str]] = []
    for one in lines:
        page = _search(stage, [("words", one["order"])])
        wanted = html.escape(titles[one["order"], one["asin"]], quote=False)
        found = r'href="/things/([0-9a-f]{32})[^"]*"><strong><bdi>(.*?)</bdi>'
        for record, title in re.findall(found, page.text):
            shown = html.unescape(title).rstrip(".…")
            if shown and html.unescape(wanted).startswith(shown):
                answers.append((f"for.{record}", one["for"]))
                if one["for"] == "gift":
                    answers.append((f"taste.{record}", "no"))
    require(len(answers) >= len(lines), "a single thing was not found")
    page = stage.alice.get(f"{stage.vault}/sort")
    form = page.form(action="/sort", field="group")
    page = stage.alice.submit(
        page,
        Form(form.action, "post", [("csrf_token", form.value("csrf_token"))]),
        [("level", "lines"), *answers],
    )
    require(page.status == 200, f"sorting single lines answered {page.status}")
    say(f"{len(lines)} single things that no shop can know: presents sent home, things for others")
    return len(lines)


def _sort_groups(stage: Stage, places: dict[str, str], themes: dict[str, tuple[str, str]]) -> int:
    """Answer the groups one after the other, as the page asks."""
    page, asked = stage.alice.get(f"{stage.vault}/sort"), 0
    for _ in range(200):
        group = next((form for form in page.forms if form.value("group") not in ("", "everything")), None)
        if group is None:
            return asked
        label = _label(page)
        if group.value("level") == "themes":
            category, whom = themes.get(label, ("", ""))
            if group.value("group") == category:
                asked += 1
                say(f"{label or 'digital'}, {category}: {whom}")
                page = stage.alice.submit(page, group, [("whom", whom)])
                themes.pop(label, None)
                continue
            if not category:
                page = stage.alice.submit(page, group, [("near", "places")])
                continue
        elif label in places or (not places and not themes):
            whom = places.get(label, "self")
            asked += 1
            say(f"{label or 'no address'}: {whom}")
            page = stage.alice.submit(
                page, group, [("whom", whom), *([("not_taste", "yes")] if whom == "gift" else [])]
            )
            continue
        elif label in themes:
            forms = [form for form in page.forms if form.action == group.action]
            nearer = next(one for one in forms if not (one.value("group") or one.value("changed")))
            page = stage.alice.submit(page, nearer, [("near", "themes")])
            continue
        page = stage.alice.submit(
            page, group, [("postpone", f"{group.value('place')}/{group.value('group')}")]
        )
    raise StoryError("sorting does not end")


def _label(page: Page) -> str:
    found = re.search(r"(?:<p>|<p class=\"soft small\">)<bdi>(.*?)</bdi></p>", page.text)
    label = html.unescape(found[1]) if found else ""
    return label if any(mark.isdigit() for mark in label) else ""


def ask(stage: Stage) -> Page:
    """A bookshop asks; the consent page shows the very rows."""
    chapter(4, "Corner Books asks: books she bought, and prices if she likes; to recommend books to her.")
    to = ["--redirect-uri", f"{stage.shop}/callback", "--events-uri", f"{stage.shop}/vrm/events"]
    added = stage.command("vendor", "add", "Corner Books", *to)
    secret = DATA / "shop.secret"
    secret.touch(mode=0o600)
    secret.write_text(added["client_secret"])
    port = urlsplit(stage.shop).port
    arguments = ["-m", "bookshop", "--vault", stage.vault, "--client-id", added["client_id"]]
    arguments += ["--client-secret-file", str(secret), "--port", str(port), "--public-url", stage.shop]
    arguments += [
        "--orders",
        str(stage.own_export or DATA / "Your Orders"),
        "--store",
        str(DATA / "shop.json"),
    ]
    stage.start("bookshop", arguments, f"http://127.0.0.1:{port}/")
    stranger = Browser()
    home = stranger.get(stage.shop)
    waiting = stranger.submit(home, home.form(action="/connect"))
    require('type="password"' not in waiting.text, "a stranger was asked for a passphrase")
    say("in a browser without a session: a number to remember, and no passphrase field")
    page = stage.alice.get(stage.shop)
    page = stage.alice.submit(page, page.form(action="/connect"))
    require(page.url.startswith(f"{stage.vault}/requests/"), "the shop's request did not reach her vault")
    return page


def consent(stage: Stage, page: Page) -> int:
    """She narrows it and shares."""
    form = page.form(field="decision")
    require(not form.value("optional"), "an optional part was ticked for her")
    say("optional parts are off; gifts, household and the unsorted stay with her")
    choices = [("period", PERIOD), ("days", DAYS)]
    page = stage.alice.submit(page, form, [*choices, ("decision", "look")])
    form = page.form(field="decision")
    out = None if stage.own_export else samples.truth()["taken_out"]["title"]
    taken = re.search(
        rf'value="([0-9a-f]{{32}})"><span>take out<span class="unseen">: <bdi>'
        rf"{re.escape(html.escape(out or ''))}",
        page.text,
    )
    if out:
        require(taken, f"{out} is not among the rows")
        page = stage.alice.submit(page, form, [("exclude", taken[1] if taken else ""), ("decision", "look")])
        say(f"she takes one out by hand: {out}")
    page = stage.alice.submit(page, page.form(field="decision"), [("decision", "show")])
    form = page.form(field="decision")
    button = form.button_text("decision", "approve")
    count = int((re.search(r"\d+", button) or ["0"])[0])
    rows = json.loads(
        html.unescape((re.search(r"<pre[^>]*>(.*?)</pre>", page.text, re.DOTALL) or ["", "[]"])[1])
    )
    require(
        len(rows) == min(count, 200) and set().union(*rows) <= {"item", "order"},
        "the rows shown are not what leaves",
    )
    if not stage.own_export:
        require(count == samples.truth()["expect"]["shared"], f"{count} rows, not 41")
    answer = stage.alice.submit(page, form, [("decision", "approve")])
    require(
        answer.url.startswith(f"{stage.shop}/for-you"), f"she did not come back to the shop ({answer.status})"
    )
    say(f"“{button}”: two years back, for 90 days; the page showed all {count} rows as they leave")
    return count


def read(stage: Stage, count: int) -> dict[str, Any]:
    """The shop holds exactly that, and recommends better."""
    chapter(5, "The bookshop reads: her own books, no gifts, no prices.")
    held = stage.held()
    records = held["records"]
    require(len(records) == count, f"the shop holds {len(records)} records, not {count}")
    for record in records:
        require(set(record) <= {"id", "updated_at", "item", "order"}, f"the shop holds {sorted(record)}")
    say(
        f"it holds {count} records of {sorted(set(records[0]) - {'id', 'updated_at'})};"
        f" told: {_told(held['limits'])}"
    )
    if stage.own_export:
        return held
    gifts = {one["title"] for one in samples.truth()["lines"] if one["for"] != "self"}
    titles = {record["item"]["title"] for record in records}
    require(not titles & gifts, "a gift left the vault")
    better = {one["book"]["sku"] for one in held["recommended"][:10]}
    polluted = {one["book"]["sku"] for one in held["unfiltered"][:10]}
    from_gifts = [one for one in held["recommended"][:10] if one["because"]["title"] in gifts]
    spoiled = [one for one in held["unfiltered"][:10] if one["because"]["title"] in gifts]
    require(len(better - polluted) >= 3, "fewer than 3 of the top 10 differ")
    require(not from_gifts, "a recommendation stems from a gift")
    say(f"{len(better - polluted)} of the 10 best recommendations differ from those by all orders,")
    say(f"of which {len(spoiled)} stemmed from presents (“{spoiled[0]['because']['title']}”); now none does")
    return held


def _told(limits: dict[str, Any]) -> str:
    return f"{limits['scope']} until {limits['expires'][:10]}"


def overreach(stage: Stage) -> None:
    """It asks for more than was granted."""
    chapter(6, "The shop's program tries for more than was granted.")
    connection = _shop_connection(stage)
    for collection in ("profile", "preferences"):
        try:
            list(connection.records(collection))
        except NotGrantedError:
            continue
        raise StoryError(f"{collection} was not refused")
    page = stage.alice.get(f"{stage.vault}/log")
    require(page.text.lower().count("refused") >= 2, "she does not see the attempts")
    say("profile, preferences: refused (403); both attempts stand in her log")


def _shop_connection(stage: Stage) -> Any:
    vendor = Vendor(
        stage.vault,
        client_id=_client_id(stage, "Corner Books"),
        client_secret=(DATA / "shop.secret").read_text(),
        redirect_uri=f"{stage.shop}/callback",
    )
    return vendor.resume(_saved())


def _saved() -> Any:
    for visitor in walk(json.loads((DATA / "shop.json").read_text())):
        if visitor.get("saved"):
            return visitor["saved"]
    raise StoryError("the shop keeps no connection")


def _client_id(stage: Stage, name: str) -> str:
    return str(next(one["client_id"] for one in stage.command("vendor", "list") if one["name"] == name))


def corrections(stage: Stage) -> None:
    """A shop that already has her orders asks only for corrections."""
    chapter(7, "The big shop, which has her orders anyway, asks only for corrections.")
    back = "http://127.0.0.1:9/callback"
    added = stage.command("vendor", "add", "Amazon", "--redirect-uri", back, "--sells-as", "amazon.com")
    vendor = Vendor(
        stage.vault, client_id=added["client_id"], client_secret=added["client_secret"], redirect_uri=back
    )
    asked = vendor.ask([Part(["answers.corrections"], "ProvideProductRecommendations")])
    page = stage.alice.get(asked.url)
    form = page.form(field="decision")
    answer = stage.alice.submit(page, form, [("decision", "approve")], follow=False)
    require(answer.status == 303, f"approving answered {answer.status}")
    callback = str(answer.headers["Location"])
    require(
        parse_qs(urlsplit(callback).query).get("iss") == [stage.vault], "the answer does not name its issuer"
    )
    connection = vendor.connect(vendor.exchange(asked, accept(asked, callback)))
    answers = connection.answers("corrections")
    require(
        all(set(one) == {"order", "item", "use_for_taste"} for one in answers),
        "an answer says more than it should",
    )
    if not stage.own_export:
        truth = samples.truth()["lines"]
        gifts = {(one["order"], one["asin"]) for one in truth if one["for"] == "gift"}
        told = {(one["order"], one["item"]) for one in answers}
        require(told and told <= gifts, "a correction for something that is no gift")
    say(f"{len(answers)} lines of its own orders: do not use for taste; no reason given")


def steal(stage: Stage, count: int) -> None:
    """A thief copies the disk, once without and once with the bookshop's live token."""
    chapter(8, "A thief copies the disk: database, configuration, server key.")
    copy = DATA / "copy"
    shutil.copytree(stage.folder, copy)
    token = DATA / "token"
    token.touch(mode=0o600)
    token.write_text(_saved()["tokens"]["access_token"])
    titles = [] if stage.own_export else [one["title"] for one in samples.truth()["lines"]]
    known = sorted({title for title in titles if len(title) >= 12})[:40]  # shorter ones are found by chance
    looked = [argument for text in known for argument in ("--look-for", text)]
    robbed = stage.command("thief", str(copy), *looked)
    require(robbed["safe"] and robbed["server_keys"], f"the thief opened something: {robbed}")
    tries = sum(robbed["tried"].values())
    say(f"{tries:,} tries with all {robbed['keys']:,} stored values, the server key too: nothing opens;")
    say(f"none of {len(known)} titles is found in any file")
    robbed = stage.command("thief", str(copy), "--token-file", str(token), *looked)
    opened = len(robbed["token"]["documents"])
    require(opened == count and robbed["safe"], f"with the live token {opened} rows open, not {count}")
    say(f"with the bookshop's live token: exactly its {count} books, nothing else")


def stop(stage: Stage) -> None:
    """She stops; the very next request fails, and the shop deletes what it has read."""
    chapter(9, "She presses Stop, and wants deleted what the shop has read.")
    connection = _shop_connection(stage)
    require(list(connection.records("purchases")), "the shop could not read just before")
    page = stage.alice.get(f"{stage.vault}/companies")
    link = next(
        href
        for href, name in re.findall(r'href="(/companies/[^"]+)"(.*?)</a>', page.text, re.DOTALL)
        if "Corner Books" in name
    )
    page = stage.alice.get(f"{stage.vault}{link}/stop")
    page = stage.alice.submit(page, page.form(action="/stop"), [("erase", "yes")])
    require(page.status == 200, f"Stop answered {page.status}")
    try:
        list(connection.records("purchases"))
    except RevokedError as error:
        say(f"the very next reading: 401, and refreshing: {error.code}")
    else:
        raise StoryError("the shop still reads")
    eventually(lambda: not stage.held()["records"], "the shop kept its copy")
    held = stage.held()
    say(f"the shop, told by a signed event, nobody visiting it: “{held['notice']}”")
    own = f"{stage.vault}{link}"
    eventually(
        lambda: stage.alice.get(own).text.count("confirmed today") == 2,
        "she does not see that the shop has confirmed",
    )
    say("on its page she sees when it was told, and when it confirmed")
    log = stage.alice.get(f"{stage.vault}/log").text
    require("Corner Books" in log and re.search(r"stopped|Stop", log), "the log does not say so")
    say("her log names it: granted, every reading, both refusals, the stop")


# ---- the frame ---------------------------------------------------------------------------------------------


def tell(stage: Stage) -> None:
    """All steps in order."""
    port = urlsplit(stage.vault).port
    stage.start("vault", ["-m", "vrm", "serve", "--port", str(port)], f"{stage.vault}/readyz")
    create(stage)
    bring_in(stage)
    sort(stage)
    count = consent(stage, ask(stage))
    read(stage, count)
    overreach(stage)
    corrections(stage)
    steal(stage, count)
    stop(stage)


def main() -> int:
    """Tell the story, then serve for clicking through, unless --once."""
    line = argparse.ArgumentParser(description=__doc__)
    line.add_argument("--once", action="store_true", help="end after the story, on free ports")
    line.add_argument("--file", type=Path, help="your own export instead of the sample")
    chosen = line.parse_args()
    ports = (free_port(), free_port()) if chosen.once else (8600, 8601)
    missing = f"error: {chosen.file}: no such file" if chosen.file and not chosen.file.exists() else ""
    if problem := missing or taken(ports):  # before anything is posted: a strange vrm would be told the story
        print(problem, file=sys.stderr)
        return 1
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(mode=0o700)
    # two host names, because cookies do not keep ports apart: the shop must not see the vault's
    stage = Stage(
        f"http://127.0.0.1:{ports[0]}",
        f"http://localhost:{ports[1]}",
        " ".join(secrets.choice(WORDS) for _ in range(5)),
        chosen.file,
    )
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        tell(stage)
        print("\nThe story is true.", flush=True)
        if not chosen.once:
            _serve_on(stage)
    except (StoryError, LookupError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nended", file=sys.stderr)
    finally:
        stage.stop()
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _serve_on(stage: Stage) -> None:
    print(f"\nClick through: vault {stage.vault}   bookshop {stage.shop}")
    print(f"name: alice   passphrase: {stage.passphrase}\nCtrl-C ends both.", flush=True)
    while all(process.poll() is None for process in stage.processes):
        time.sleep(0.5)
    raise StoryError("a server ended")


if __name__ == "__main__":
    raise SystemExit(main())
