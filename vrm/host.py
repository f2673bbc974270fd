"""One data directory, opened: what a server, a worker and every command begin with. Alone chooses the engine.

Promises: nothing of the web is loaded for it, so that a command is there at once.
"""

from __future__ import annotations

import logging
import resource
import threading
from dataclasses import dataclass
from pathlib import Path

from vrm.clock import Clock, SystemClock
from vrm.consent.counting import LOGINS_SCHEMA, Rates
from vrm.consent.service import SCHEMA as CONSENT_SCHEMA
from vrm.consent.service import Consent
from vrm.errors import ConflictError, SettingsError, VrmError
from vrm.outbound import Outbound
from vrm.settings import THREADS, Settings
from vrm.vault import lifting, serverkey
from vrm.vault.crypto import KdfLimits
from vrm.vault.engine import Engine
from vrm.vault.layout import SCHEMA as VAULT_SCHEMA
from vrm.vault.serverkey import ServerKey
from vrm.vault.sessions import SessionLimits
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults
from vrm.vault.wholefile import make_folder

SCHEMAS = (VAULT_SCHEMA, CONSENT_SCHEMA, LOGINS_SCHEMA)  # all that one database holds
_MARKED = {"vaults": "SELECT 1 FROM vaults", "vendors": "SELECT 1 FROM vendors"}  # by the server key
SWEEP_EVERY = 20  # seconds
_hosts = logging.getLogger("vrm.host")
_sweeps = logging.getLogger("vrm.sweep")


@dataclass(frozen=True, slots=True)
class Host:
    """One data directory, opened."""

    settings: Settings
    engine: Engine
    vaults: Vaults
    consent: Consent
    clock: Clock


def open_host(
    settings: Settings,
    *,
    clock: Clock | None = None,
    limits: KdfLimits | None = None,
    replace_key: bool = False,
) -> Host:
    """Open (and on first use create) the data of `settings`; commands and server alike start here.

    `limits` is the cost of new passphrases: tests use little, production refuses less (settings). A lost
    server key is replaced only where `replace_key` says so: whoever merely does not find the key of a server
    that runs would take its vaults away from it. SettingsError otherwise, and nothing is changed.
    """
    if settings.server_key_path.parent != settings.data_dir:  # which is made
        serverkey.require_place(settings.server_key_path)
    make_folder(settings.data_dir)
    engine = open_engine(settings)
    try:
        return _host(engine, settings, clock or SystemClock(), limits, replace_key=replace_key)
    except BaseException:
        engine.close()
        raise


def _host(
    engine: Engine, settings: Settings, clock: Clock, limits: KdfLimits | None, *, replace_key: bool
) -> Host:
    """What stands in an engine that was just opened."""
    lost = _is_lost(engine, settings.server_key_path)
    if lost and not replace_key:
        raise _missing(settings, "only if it is lost for good: vrm serve makes a new one")
    copy = engine.install(SCHEMAS)  # at once: one copy, one transaction
    key = _new_key(engine, settings) if lost else serverkey.load(settings.server_key_path)
    if copy:
        _hosts.warning(
            "the data was of an older version; it was lifted, and the data from before is in %s", copy
        )
    vaults = Vaults(
        engine,
        key,
        clock=clock,
        limits=limits or KdfLimits(memory=settings.kdf_memory, passes=settings.kdf_passes),
        sessions=SessionLimits(idle=settings.session_idle, absolute=settings.session_absolute),
        stretch_places=THREADS // 4,  # of a server process; the others go on reading
    )
    if lost:
        _hosts.warning(
            "%s is missing: a new server key was made. Records open as before; vendors and sessions must"
            " connect anew, unless you restore it from your copy",
            settings.server_key_path,
        )
        adopt(vaults)
    consent = Consent(
        engine,
        vaults,
        clock,
        access_life=settings.access_life,
        refresh_grace=settings.refresh_grace,
        request_life=settings.request_life,
        outbound=Outbound(settings.outbound_networks),
        constrained=settings.profile == "fapi2",
        kept_pages=settings.kept_pages * 2**20,
        rates=_rates(settings),
    )
    return Host(settings, engine, vaults, consent, clock)


def _is_lost(engine: Engine, key: Path) -> bool:
    """Whether there are rows that a server key vouches for, and no key."""
    if key.exists():
        return False
    present = engine.tables()
    marked = any(name in present and engine.one(sql) is not None for name, sql in _MARKED.items())
    return marked and not key.exists()  # another first start may have made key and rows meanwhile


def _new_key(engine: Engine, settings: Settings) -> ServerKey:
    """In the place of a lost one; SettingsError while a server works with the data, for that one has it."""
    try:
        with engine.alone():
            return serverkey.load(settings.server_key_path)
    except ConflictError:
        raise _missing(settings, "a server or another command works with this data: it has the key") from None


def _missing(settings: Settings, otherwise: str) -> SettingsError:
    return SettingsError(
        f"{settings.server_key_path} is missing, and this database was written with a server key",
        hint=f"VRM_SERVER_KEY_FILE names the file; put it there from your copy; {otherwise}",
    )


def open_engine(settings: Settings) -> Engine:
    """The database that the settings name."""
    if not settings.on_postgresql:
        return SqliteEngine(settings.database_path)
    try:
        from vrm.vault.postgres import PostgresEngine
    except ImportError:
        raise SettingsError(
            "VRM_DATABASE_URL: PostgreSQL needs psycopg", hint="pip install 'vrm[postgresql]'"
        ) from None
    return PostgresEngine(settings.database_url, settings.data_dir)


def _rates(settings: Settings) -> Rates:
    return Rates(
        readings=settings.readings_per_minute,
        tokens=settings.tokens_per_minute,
        introspections=settings.introspections_per_minute,
        logins=settings.logins_per_minute,
        failures=settings.failures_per_minute,
    )


def adopt(vaults: Vaults) -> list[str]:
    """Take the vaults over under a new server key; returns the names of those that somebody must look at."""
    left = vaults.adopt()
    for name in left:
        _hosts.warning(
            "%s has two ways in of one kind, one may be planted: nothing is left for or logged of this vault"
            " until it is imported anew (vrm vault export, delete, import)",
            name,
        )
    return left


def start_sweeper(host: Host, ended: threading.Event | None = None) -> threading.Thread:
    """A thread that ends what has expired, in each server process, until `ended`; several do no harm.

    It begins at once: what a killed server had deleted may still stand in the write-ahead log.
    """
    pause = ended or threading.Event()

    def sweep_vaults() -> None:
        if host.consent.sweeping.believes:  # the clock, or nothing is deleted by it
            host.vaults.sweep()

    def forget() -> None:
        if host.consent.sweeping.believes and not host.settings.on_postgresql:
            lifting.forget(host.settings.database_path, host.clock.now())

    def sweep() -> None:
        while not pause.is_set():
            ailing = ""
            for part in (host.consent.sweep, sweep_vaults, forget):
                try:
                    part()
                except VrmError as error:
                    ailing = error.slug
                    _sweeps.warning("sweep put off: %s", error.slug)
                except Exception:  # noqa: BLE001 - our own mistake must not end all deletion
                    _sweeps.exception("sweep failed")
            host.vaults.ailing = ailing
            pause.wait(SWEEP_EVERY)

    thread = threading.Thread(target=sweep, name="vrm-sweep", daemon=True)
    thread.start()
    return thread


def forbid_core_dumps() -> None:
    """A crash must not write the memory of this process, keys and all, to the disk."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
