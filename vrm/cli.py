"""The `vrm` command. Results on standard output (`--json` for scripts), progress on standard error.

Passphrases come from a prompt or `--passphrase-file` (`-` is standard input), never from an argument.
Failure: exit code 1 (2 for wrong usage) with `error:` and `hint:` lines.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from vrm import __version__, serve, thief
from vrm import settings as settings_module
from vrm.api import openapi
from vrm.app import Host, open_host
from vrm.clock import rfc3339
from vrm.errors import SettingsError, StorageError, UnlockError, ValidationError, VrmError
from vrm.settings import Settings
from vrm.vault import intake
from vrm.vault.keyslots import PASSPHRASE_MAX, PASSPHRASE_MIN
from vrm.vault.vault import Vault, normal_username


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    chosen = parser().parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except VrmError as error:
        _complain(error)
    except BrokenPipeError:
        sys.stderr.close()
    except OSError as error:
        print(f"error: {error.filename or ''}: {error.strerror}", file=sys.stderr)
    except EOFError:
        print("\nerror: the input ended where a passphrase was expected", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    return 1


def _complain(error: VrmError) -> None:
    told = [f"{name} {', '.join(reasons)}" for name, reasons in error.fields.items()]
    for line in told or [str(error)]:
        print(f"error: {line}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Complains of wrong usage in the same two lines as of everything else."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"error: {message}\nhint: {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line; docs/commands.md is made from it."""
    top = _Parser(prog="vrm", description="A personal data vault: keep, decide, share, stop.")
    top.add_argument("--version", action="version", version=f"vrm {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _serve_parser(commands)
    _vault_parsers(commands)
    _import_parser(commands)
    _vendor_parsers(commands)
    _check_parsers(commands)
    return top


def _command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    what: str,
    *examples: str,
    settings: bool = True,
) -> argparse.ArgumentParser:
    text = "\n".join(f"  {example}" for example in examples)
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + ".",
        epilog=f"examples:\n{text}" if examples else "",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(run=run)
    if settings:
        made.add_argument(
            "--config", type=Path, metavar="FILE", help="settings file (default: vrm.toml, if it exists)"
        )
        made.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of the data (VRM_DATA_DIR)")
    return made


def _serve_parser(commands: Any) -> None:
    made = _command(
        commands,
        "serve",
        _run_serve,
        "serve the vault",
        "vrm serve",
        "vrm serve --port 9000 --workers 4",
        "VRM_PUBLIC_URL=https://vault.example vrm serve",
    )
    made.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    made.add_argument("--port", type=int, help="port to listen on (default 8600)")
    made.add_argument("--workers", type=int, help="server processes (default 2)")
    made.add_argument(
        "--tls-self-signed", action="store_true", help="TLS with a certificate made for this run"
    )


def _vault_parsers(commands: Any) -> None:
    group = commands.add_parser("vault", help="create and list vaults").add_subparsers(
        title="commands", required=True, metavar="COMMAND"
    )
    made = _command(
        group,
        "create",
        _run_create,
        "create a vault and print its recovery code, once",
        "vrm vault create alice",
        "vrm vault create alice --passphrase-file - --json < passphrase.txt",
    )
    made.add_argument("username", metavar="NAME", help="2 to 40 letters, digits, dots, dashes or underscores")
    _add_passphrase(made)
    _add_json(made)
    _add_json(_command(group, "list", _run_list, "list the vaults of this host", "vrm vault list"))


def _import_parser(commands: Any) -> None:
    made = _command(
        commands,
        "import",
        _run_import,
        "import order histories (CSV files or ZIP exports) into a vault",
        'vrm import --vault alice "Your Orders.zip"',
        "vrm import --vault alice --json Retail.OrderHistory.*.csv",
    )
    made.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a CSV file or the ZIP")
    made.add_argument("--vault", required=True, metavar="NAME", help="whose vault")
    _add_passphrase(made)
    _add_json(made)


def _vendor_parsers(commands: Any) -> None:
    group = commands.add_parser("vendor", help="register, list and block vendors").add_subparsers(
        title="commands", required=True, metavar="COMMAND"
    )
    _vendor_add_parser(group)
    _add_json(_command(group, "list", _run_vendor_list, "list the vendors of this host", "vrm vendor list"))
    made = _command(
        group,
        "block",
        _run_vendor_block,
        "block a vendor: all its grants end at once",
        "vrm vendor block vrm_client_…",
    )
    made.add_argument("client_id", metavar="CLIENT_ID", help="as vrm vendor list tells it")
    _add_json(made)


def _vendor_add_parser(group: Any) -> None:
    made = _command(
        group,
        "add",
        _run_vendor_add,
        "register a vendor and print its client id and secret, once",
        'vrm vendor add "Corner Books" --redirect-uri https://cornerbooks.example/callback',
        'vrm vendor add "Shelf App" --redirect-uri http://127.0.0.1/callback --public',
    )
    made.add_argument("name", metavar="NAME", help="as customers will read it")
    made.add_argument(
        "--redirect-uri", action="append", default=[], metavar="URI", help="where answers go; may be repeated"
    )
    made.add_argument(
        "--public", action="store_true", help="a client that cannot keep a secret (app, browser)"
    )
    made.add_argument("--resource-server", action="store_true", help="it asks for nothing itself (for later)")
    made.add_argument(
        "--sells-as",
        action="append",
        default=[],
        metavar="SELLER",
        help="seller name on purchases, for corrections; may be repeated",
    )
    made.add_argument(
        "--purpose",
        default="RequestedServiceProvision",
        metavar="DPV_ID",
        help="purpose of requests that name none (RequestedServiceProvision)",
    )
    _add_json(made)


def _check_parsers(commands: Any) -> None:
    made = _command(
        commands,
        "check",
        _run_check,
        "check that what is stored is what was written",
        "vrm check",
        "vrm check --vault alice",
    )
    made.add_argument(
        "--vault", metavar="NAME", help="also open this vault and check every envelope and view"
    )
    _add_passphrase(made)
    _add_json(made)
    made = _command(
        commands,
        "thief",
        thief.run,
        "rob a copy of the data directory: try all that a thief could",
        "cp -r ~/.local/share/vrm /tmp/copy && vrm thief /tmp/copy --look-for 'a title you own'",
        settings=False,
    )
    thief.add_arguments(made)
    _command(commands, "openapi", _run_openapi, "print the OpenAPI document", "vrm openapi > openapi.json")


def _add_json(made: argparse.ArgumentParser) -> None:
    made.add_argument("--json", action="store_true", help="print JSON")


def _add_passphrase(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--passphrase-file", metavar="PATH", help="read the passphrase from a file; - is standard input"
    )


def _settings(chosen: argparse.Namespace) -> Settings:
    flags = {name: getattr(chosen, name, None) for name in ("data_dir", "host", "port", "workers")}
    toml = chosen.config or Path("vrm.toml")
    if chosen.config and not chosen.config.exists():
        raise SettingsError(f"{chosen.config}: no such file")
    return settings_module.load(flags, toml=toml)


def _host(chosen: argparse.Namespace) -> Host:
    return open_host(_settings(chosen))


def _passphrase(chosen: argparse.Namespace, *, twice: bool = False) -> str:
    if chosen.passphrase_file is None:
        if not sys.stdin.isatty():
            raise ValidationError(
                "no terminal to ask for the passphrase", hint="use --passphrase-file PATH or -"
            )
        least = f" ({PASSPHRASE_MIN} characters or more)" if twice else ""
        typed = getpass.getpass(f"Passphrase{least}: ")
        if twice and getpass.getpass("Again: ") != typed:
            raise ValidationError("the two passphrases differ")
        return typed
    with ExitStack() as stack:
        source: BinaryIO = sys.stdin.buffer
        if chosen.passphrase_file != "-":
            source = stack.enter_context(Path(chosen.passphrase_file).open("rb"))
        raw = source.read(2 * PASSPHRASE_MAX)
    try:
        return raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValidationError(fields={"passphrase": ["is not UTF-8 text"]}) from None


def _unlock(host: Host, chosen: argparse.Namespace) -> Vault:
    try:
        return host.vaults.unlock(chosen.vault, _passphrase(chosen))
    except UnlockError as error:
        error.hint = "check the name (vrm vault list) and the passphrase"
        raise


def _print(chosen: argparse.Namespace, values: Any, text: str) -> None:
    print(json.dumps(values, ensure_ascii=False) if chosen.json else text)


def _run_serve(chosen: argparse.Namespace) -> int:
    settings = _settings(chosen)
    if chosen.tls_self_signed and not settings.public_url:
        settings = settings_module.load(
            {
                "data_dir": settings.data_dir,
                "host": settings.host,
                "port": settings.port,
                "workers": settings.workers,
            }
            | {"public_url": settings.issuer.replace("http://", "https://")}
        )
    print(
        f"vrm {__version__} serves {settings.issuer} (data in {settings.data_dir}); Ctrl-C ends it",
        file=sys.stderr,
    )
    serve.serve(settings, self_signed=chosen.tls_self_signed)
    return 0


def _run_create(chosen: argparse.Namespace) -> int:
    normal_username(chosen.username)  # refuses before a passphrase is typed
    vault, code = _host(chosen).vaults.create(chosen.username, _passphrase(chosen, twice=True))
    values = {"vault": vault.id, "username": vault.username, "recovery_code": code}
    _print(
        chosen,
        values,
        f"Vault {vault.username} is ready.\n\n"
        "Recovery code, shown once; write it down and keep it away from here:\n\n"
        f"    {code}\n\nWith it you get in when the passphrase is lost. Without both, nobody can.",
    )
    return 0


def _run_list(chosen: argparse.Namespace) -> int:
    entries = _host(chosen).vaults.listing()
    values = [{"vault": one.id, "username": one.username, "created": rfc3339(one.created)} for one in entries]
    lines = [f"{one['username']:<24} since {one['created'][:10]}  {one['vault']}" for one in values]
    _print(chosen, values, "\n".join(lines) or "No vaults yet. Make one: vrm vault create NAME")
    return 0


def _run_import(chosen: argparse.Namespace) -> int:
    for path in chosen.files:
        if path.is_dir():
            raise ValidationError(f"{path} is a folder", hint="name the files in it, or the ZIP")
    with ExitStack() as stack:
        files = [(path.name, stack.enter_context(path.open("rb"))) for path in chosen.files]
        vault = _unlock(_host(chosen), chosen)
        reports = intake.bring_in(vault, files, _progress if sys.stderr.isatty() else None)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    values = [report.as_json() for report in reports]
    _print(chosen, {"files": values}, "\n".join(map(_file_line, values)))
    return 0


def _progress(step: str, done: int, total: int) -> None:
    share = f"{100 * done // total:3d} %" if total else f"{done:,}"
    print(f"\r{step:<24} {share}  ", end="", file=sys.stderr, flush=True)


def _file_line(values: dict[str, Any]) -> str:
    lines = [
        f"{values['file']}: {values['format']}, {values['read']} lines: {values['imported']} new,"
        f" {values['updated']} updated, {values['duplicates']} known, {len(values['rejected'])} rejected"
    ]
    lines += [
        f"  line {one['line']}, {one['column'] or 'whole line'}: {one['reason']}"
        for one in values["rejected"]
    ]
    return "\n".join(lines)


def _run_vendor_add(chosen: argparse.Namespace) -> int:
    vendor, secret = _host(chosen).consent.vendors.add(
        chosen.name,
        chosen.redirect_uri,
        public=chosen.public,
        resource_server=chosen.resource_server,
        sells_as=chosen.sells_as,
        purpose=chosen.purpose,
    )
    values = {"client_id": vendor.client_id} | ({"client_secret": secret} if secret else {})
    lines = [f"{name}: {value}" for name, value in values.items()]
    if secret:
        lines.append("The secret is shown once and stored only as a hash.")
    _print(chosen, values, "\n".join(lines))
    return 0


def _run_vendor_list(chosen: argparse.Namespace) -> int:
    vendors = _host(chosen).consent.vendors.listing()
    values = [
        {
            "client_id": one.client_id,
            "name": one.name,
            "redirect_uris": list(one.redirect_uris),
            "public": one.public,
            "blocked": one.blocked,
            "created": rfc3339(one.created),
        }
        for one in vendors
    ]
    lines = [f"{one['name']:<24} {one['client_id']}{'  BLOCKED' if one['blocked'] else ''}" for one in values]
    _print(
        chosen,
        values,
        "\n".join(lines) or "No vendors yet. Register one: vrm vendor add NAME --redirect-uri URI",
    )
    return 0


def _run_vendor_block(chosen: argparse.Namespace) -> int:
    ended = _host(chosen).consent.grants.block(chosen.client_id)
    _print(chosen, {"client_id": chosen.client_id, "ended": ended}, f"Blocked; grants ended: {ended}.")
    return 0


def _run_check(chosen: argparse.Namespace) -> int:
    settings = _settings(chosen)
    if not settings.database_path.exists():
        raise StorageError(f"there is no database in {settings.data_dir}", hint="--data-dir names the folder")
    if chosen.passphrase_file and not chosen.vault:
        raise ValidationError("a passphrase, but no vault to open", hint="add --vault NAME")
    host = open_host(settings)
    problems = list(host.engine.integrity()) + host.consent.vendors.problems()
    if chosen.vault:
        vault = _unlock(host, chosen)
        problems += vault.check() + host.consent.grants.problems(vault) + host.consent.log.problems(vault)
        problems += host.consent.grants.differences(vault)
    values = {
        "ok": not problems,
        "records": _count(host, "records"),
        "logs": _count(host, "log_entries"),
        "problems": problems,
    }
    text = "\n".join(["ok" if not problems else "PROBLEMS", *problems])
    _print(chosen, values, f"{text}\n{values['records']} records, {values['logs']} log entries")
    return 0 if not problems else 1


def _count(host: Host, table: str) -> int:
    row = host.engine.one(f"SELECT count(*) FROM {table}")
    return int(row[0]) if row else 0


def _run_openapi(chosen: argparse.Namespace) -> int:
    print(json.dumps(openapi.document(_settings(chosen)), indent=2, ensure_ascii=False))
    return 0
