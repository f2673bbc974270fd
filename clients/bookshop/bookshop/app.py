"""The shop's pages. No script, no cookie before a visitor asks for something, nothing from elsewhere."""

from __future__ import annotations

import secrets
from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Flask, Response, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from bookshop.catalogue import Book
from bookshop.desk import Compared, Desk
from bookshop.recommender import Recommendation
from bookshop.told import Ear, Seen
from bookshop.vaults import CALLBACK, DOCUMENT, EVENTS
from bookshop.visitors import Visitors
from vrm_client import DeclinedError, EventError, UnreachableError, VrmClientError
from vrm_client.transport import Json

# Cookies do not keep ports apart: the name must differ from the vault's on the same host.
COOKIE = "corner_books"
COOKIE_LIFE = 90 * 24 * 3600  # seconds


def create_app(desk: Desk, *, seen: Seen | None = None) -> Flask:
    """The shop, wired to its desk."""
    vault = desk.vaults.home
    app = Flask("bookshop")
    app.jinja_env.globals["any_vault"] = desk.vaults.anywhere is not None
    app.config["MAX_CONTENT_LENGTH"] = 16 * 1024
    app.jinja_env.globals["vault_name"] = urlsplit(vault).netloc
    app.jinja_env.filters["month"] = lambda text: str(text)[:7]
    app.jinja_env.filters["minute"] = lambda text: str(text)[:16].replace("T", " ") + " UTC"
    _add_shelves(app, desk)
    _add_vault(app, desk)
    _add_connecting(app, desk)
    _add_internal(app, desk)
    _add_ear(app, Ear(desk, seen or Seen()))
    app.before_request(_refuse_other_sites)
    app.after_request(lambda response: _headers(response, urlsplit(vault)._replace(path="").geturl()))
    app.register_error_handler(UnreachableError, lambda _: _sorry(_NO_ANSWER, 503))
    app.register_error_handler(VrmClientError, lambda error: _sorry(str(error), 502))
    return app


_NO_ANSWER = "Your vault does not answer just now. Nothing was changed; please try again in a while."


def _sorry(message: str, status: int) -> tuple[str, int]:
    return render_template("sorry.html", message=message), status


def _add_shelves(app: Flask, desk: Desk) -> None:
    @app.get("/")
    def home() -> str:
        return render_template(
            "home.html", shelves=desk.catalogue.shelves(), visitor=desk.visitors.get(_key())
        )

    @app.get("/shelf/<name>")
    def shelf(name: str) -> str:
        books = desk.catalogue.shelves().get(name) or abort(404)
        return render_template("shelf.html", name=name, books=books)

    @app.get("/book/<sku>")
    def book(sku: str) -> str:
        found = desk.catalogue.get(sku) or abort(404)
        by_author = [other for other in desk.catalogue if other.author == found.author and other != found]
        return render_template(
            "book.html", book=found, by_author=by_author, visitor=desk.visitors.get(_key())
        )


def _add_vault(app: Flask, desk: Desk) -> None:
    @app.get("/for-you")
    def for_you() -> str:
        visitor = desk.read(_key())
        compared = desk.compare(visitor)
        return render_template("for_you.html", visitor=visitor, compared=compared)

    @app.get("/held")
    def held() -> str:
        return render_template("held.html", visitor=desk.visitors.get(_key()))

    @app.post("/buy/<sku>")
    def buy(sku: str) -> AnyResponse:
        desk.sell(_key(), desk.catalogue.get(sku) or abort(404))
        return redirect(url_for("book", sku=sku), 303)

    @app.post("/forget")
    def forget() -> AnyResponse:
        desk.forget(_key())
        return redirect(url_for("held"), 303)


def _add_connecting(app: Flask, desk: Desk) -> None:
    @app.post("/connect")
    def connect() -> AnyResponse:
        cookie = request.cookies.get(COOKIE) or secrets.token_urlsafe(32)
        vault = desk.vaults.find(request.form.get("vault", ""))
        place = desk.ask(desk.visitors.key(cookie), vault)
        if vault == desk.vaults.home:
            answer = redirect(place, 303)
        else:  # a page between: a form may not lead to places that only a visitor named
            answer = Response(render_template("go.html", vault=vault, place=place))
        answer.set_cookie(
            COOKIE, cookie, max_age=COOKIE_LIFE, httponly=True, samesite="Lax", secure=request.is_secure
        )
        return answer

    @app.get("/.well-known/vrm-connect")
    def from_vault() -> str:
        """She comes from her vault. Anybody can make such a link, so she is asked whether it is hers."""
        if desk.vaults.anywhere is None:
            abort(404)
        return render_template("from_vault.html", vault=desk.vaults.find(request.args.get("iss", "")))

    @app.get(DOCUMENT)
    def document() -> dict[str, Json]:
        """Who the shop is, for vaults that never heard of it."""
        if desk.vaults.anywhere is None:
            abort(404)
        return desk.vaults.anywhere.document()

    @app.get(CALLBACK)
    def callback() -> AnyResponse | tuple[str, int]:
        try:
            desk.finish(_key(), request.url)
        except DeclinedError:
            return _sorry("You shared nothing, and that is fine. The shelves are yours all the same.", 200)
        return redirect(url_for("for_you"), 303)


def _add_internal(app: Flask, desk: Desk) -> None:
    @app.get("/internal/holds.json")
    def holds() -> dict[str, object]:
        """All that the shop holds, without its tokens; for the machine it runs on only."""
        if not (
            _is_loopback(request.remote_addr or "") and _is_loopback(urlsplit(request.url).hostname or "")
        ):
            abort(404)
        return {
            "visitors": [
                {
                    "connected": visitor.connected,
                    "records": list(visitor.records),
                    "limits": visitor.limits,
                    "read_at": visitor.read_at,
                    "notice": visitor.notice,
                    **_listed(desk.compare(visitor)),
                }
                for visitor in desk.visitors.everyone()
            ]
        }


def _add_ear(app: Flask, ear: Ear) -> None:
    @app.post(EVENTS)
    def events() -> Response:
        """What the vault pushes (RFC 8935). 503 makes it try again, 400 is final."""
        try:
            ear.hear(request.get_data())
        except EventError as error:
            return Response(error.body, 400, content_type="application/json")
        return Response(status=202)


def _listed(compared: Compared) -> dict[str, object]:
    def rows(found: Recommendation) -> dict[str, object]:
        return {"book": _named(found.book), "because": _named(found.because), "score": round(found.score, 4)}

    return {
        "recommended": [rows(found) for found in compared.shared],
        "unfiltered": [rows(found) for found in compared.unfiltered],
    }


def _named(book: Book) -> dict[str, str]:
    return {"sku": book.sku, "isbn": book.isbn13, "title": book.title, "shelf": book.shelf}


def _key() -> str:
    return Visitors.key(request.cookies.get(COOKIE, ""))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_other_sites() -> None:
    """A form may only be sent from the shop's own pages."""
    if request.method != "POST":
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site not in (None, "same-origin", "none"):
        abort(403)
    origin = request.headers.get("Origin")
    # under our own `no-referrer` browsers send `null`: then the site that they name must be ours
    if origin is not None and not (origin == "null" and site) and urlsplit(origin).netloc != request.host:
        abort(403)


def _headers(response: Response, vault: str) -> Response:
    # form-action covers the redirect that follows a form: Connect leads to the vault.
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' {vault}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    response.headers["Referrer-Policy"] = "no-referrer"  # the callback's address holds a code
    response.headers["X-Content-Type-Options"] = "nosniff"
    if request.path != "/static/shop.css":
        response.headers["Cache-Control"] = "no-store"
    return response
