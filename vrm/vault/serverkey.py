"""The server key: one file, mode 0600. Losing it costs tokens and notices, never records.

It salts tokens (the *pepper*), so that a backup without it opens nothing with any token; it vouches for
public keys, tags vendors and keeps routing rows. It opens no record, view, agreement or log.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
import re
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from vrm.errors import SettingsError, TamperedError
from vrm.vault import crypto
from vrm.vault.crypto import Key, Mac, Purpose
from vrm.vault.wholefile import sync

_PREFIX = "vrm-server-key-1 "
_PROOF = 120  # seconds
_VAULT = re.compile(r"[0-9a-f]{32}")


class ServerKey:
    """Subkeys of the host's secret."""

    def __init__(self, secret: Key) -> None:
        self.pepper = crypto.derive(secret, Purpose.SERVER, "pepper").reveal()
        self._public = crypto.derive(secret, Purpose.SERVER, "public")
        self._vendor_secret = _asked_often(secret, "vendor-secret", Purpose.SERVER_VENDOR_SECRET)
        self._vendor_keys = crypto.derive(secret, Purpose.SERVER, "vendor-keys")
        self._registrations = crypto.derive(secret, Purpose.SERVER, "registrations")
        self._vendor_tag = crypto.derive(secret, Purpose.SERVER, "vendor-tag")
        self._limits = crypto.derive(secret, Purpose.SERVER, "limits")
        self._invitations = crypto.derive(secret, Purpose.SERVER, "invitations")
        self._forms = _asked_often(secret, "forms", Purpose.CSRF)
        self._nonces = crypto.derive(secret, Purpose.SERVER, "nonces")
        self._doctor = crypto.derive(secret, Purpose.SERVER, "doctor")
        self._subjects = _asked_often(secret, "subjects", Purpose.SERVER_SUBJECT)
        self.signing = crypto.derive(secret, Purpose.SERVER, "signing")  # seed of an Ed25519 pair
        self._user_codes = crypto.derive(secret, Purpose.SERVER, "user-codes")
        self.pairings = crypto.Cipher(
            crypto.derive(secret, Purpose.SERVER, "pairings"), Purpose.SERVER_PAIRING
        )
        self.typed = crypto.Cipher(crypto.derive(secret, Purpose.SERVER, "typed"), Purpose.SERVER_TYPED)
        self.routing = crypto.Cipher(crypto.derive(secret, Purpose.SERVER, "routing"), Purpose.SERVER_ROUTING)

    def vouch(self, vault: str, name: str, public: bytes) -> bytes:
        """MAC that a public key is the one this vault made; TamperedError for what is no vault's id.

        The register of vendors stands under no id, so no name of a key can be one of its rows.
        """
        if not _VAULT.fullmatch(vault):
            raise TamperedError()
        return crypto.mac(self._public, Purpose.SERVER_PUBLIC, vault, name, public)

    def vouch_vendor(self, row: bytes) -> bytes:
        """MAC over the digest of a row in the register of vendors."""
        return crypto.mac(self._public, Purpose.SERVER_PUBLIC, "", "vendor", row)

    def vouch_keys(self, kept: bytes) -> bytes:
        """MAC over the digest of a vendor's keys, fetched from where it publishes them."""
        return crypto.mac(self._vendor_keys, Purpose.SERVER_VENDOR_KEYS, kept)

    def hash_secret(self, client_id: str, secret: str) -> bytes:
        """What is stored of a vendor's secret. Fast: the secret has 256 random bits."""
        return self._vendor_secret.of(client_id, secret)

    def hash_registration(self, client_id: str, token: str) -> bytes:
        """What is stored of the token by which a vendor changes its registration."""
        return crypto.mac(self._registrations, Purpose.SERVER_REGISTRATION, client_id, token)

    def vendor_tag(self, vault: str, client_id: str) -> bytes:
        """16 bytes that find a vendor's grants in a vault without naming the vendor."""
        return crypto.mac(self._vendor_tag, Purpose.SERVER_VENDOR_TAG, vault, client_id)[:16]

    def subject(self, vault: str, client_id: str, *asker: str) -> str:
        """The customer's name towards one vendor: 32 hex digits, which no two vendors can compare.

        `asker` is who else is told of that vendor's tokens: towards it she has another name again.
        """
        return self._subjects.of(vault, client_id, *asker)[:16].hex()

    def limit_key(self, *parts: str) -> bytes:
        """16 bytes under which tries are counted, so that no name or address is stored."""
        return crypto.mac(self._limits, Purpose.SERVER_LIMITS, *parts)[:16]

    def invitation(self, code: bytes) -> bytes:
        """16 bytes under which an invitation is stored, so that the database invites nobody."""
        return crypto.mac(self._invitations, Purpose.SERVER_INVITATION, code)[:16]

    def user_code(self, code: str) -> bytes:
        """16 bytes under which the code that a program shows is stored, so that the database tells none."""
        return crypto.mac(self._user_codes, Purpose.SERVER_USER_CODE, code)[:16]

    def form_token(self, session: str, vault: str) -> str:
        """For the forms of a session: that this host made them for this vault."""
        return self._forms.of("session", session, vault).hex()

    def nonce(self, number: int) -> str:
        """What a vendor's proofs bear in the stretch of time with this number: 22 characters of base64url."""
        made = crypto.mac(self._nonces, Purpose.SERVER_NONCE, number)[:16]
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode()

    def proof(self, at: int) -> str:
        """For two minutes around `at`, that its bearer holds this key: `vrm doctor` asks the server so."""
        return f"{at}.{crypto.mac(self._doctor, Purpose.SERVER_DOCTOR, at).hex()}"

    def proves(self, text: str, now: int) -> bool:
        """Whether `text` is a `proof` of this moment."""
        at = text.partition(".")[0]
        if not at.isascii() or not at.isdigit() or len(at) > 12 or abs(int(at) - now) > _PROOF:
            return False
        return crypto.equal(self.proof(int(at)).encode(), text.encode("utf-8", "replace"))


def _asked_often(secret: Key, name: str, purpose: Purpose) -> Mac:
    return Mac(crypto.derive(secret, Purpose.SERVER, name), purpose)


def load(path: Path) -> ServerKey:
    """Read the key file, made on first use; SettingsError where it is malformed or others can read it."""
    try:
        if not path.exists():
            _make(path)
        return _read(path)
    except OSError as error:
        raise _unusable(path, error.strerror) from None


def require_place(path: Path) -> None:
    """SettingsError where neither a key is at `path` nor one could be put there."""
    if not path.exists() and not path.parent.is_dir():
        raise _unusable(path, os.strerror(errno.ENOENT))
    if not path.exists() and not os.access(path.parent, os.W_OK | os.X_OK):
        raise _unusable(path, os.strerror(errno.EACCES))


def _unusable(path: Path, why: str | None) -> SettingsError:
    return SettingsError(f"{path}: {why}", hint="VRM_SERVER_KEY_FILE names the file")


def _make(path: Path) -> None:
    """Write a new key beside `path` and put it there whole: of several first starts, one wins."""
    descriptor, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)  # 0600
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(_PREFIX + base64.b64encode(crypto.random_key().reveal()).decode() + "\n")
            out.flush()
            os.fsync(out.fileno())
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
    sync(path.parent)


def _read(path: Path) -> ServerKey:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SettingsError(
            f"{path} can be read by others", hint=f"the server key must be private: chmod 600 {path}"
        )
    try:
        text = path.read_text().strip()
        if not text.startswith(_PREFIX):
            raise ValueError
        return ServerKey(Key(base64.b64decode(text.removeprefix(_PREFIX), validate=True)))
    except (ValueError, binascii.Error, UnicodeDecodeError):
        raise SettingsError(
            f"{path} is not a server key",
            hint="restore it from your copy; without it, vendors must connect anew",
        ) from None
