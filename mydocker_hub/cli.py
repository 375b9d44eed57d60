"""`mydocker-hub`: what operators do from a shell."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import __version__, cataloguefile
from .domain.errors import MydockerError
from .domain.people import Person, Role
from .share import share_path
from .store import editing
from .store.database import Database, Session
from .web.i18n import translator

OPERATOR = Person(name="mydocker-hub", roles=frozenset({Role.ADMIN}))
"""Who changes things from the command line, in the audit log."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or 1 with a sentence on standard error, or 2 for a wrong call."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options) or 0)
    except MydockerError as error:
        problems = getattr(error, "problems", [])
        for place, message in problems:
            print(f"{place}: {message}", file=sys.stderr)
        if not problems:
            print(translator("en").error(error), file=sys.stderr)
            if error.log_detail:
                print(error.log_detail, file=sys.stderr)
        return 1


def catalogue_check(options: Any) -> None:
    catalogue = _load(options.file)
    print(f"{options.file}: {len(catalogue.environments)} environments, nothing to complain about")


def catalogue_import(options: Any) -> None:
    after = _load(options.file)
    database = _database(options)
    before = database.read_now(editing.export_catalogue)
    if options.if_empty and before.environments:
        print("the catalogue has environments already: nothing was imported (--if-empty)")
        return
    changes = cataloguefile.diff(before, after)
    for line in changes:
        print(line)
    with suppress(_DryRun):
        database.write_now(_import, after, dry_run=options.dry_run)
    if not changes:
        print("nothing changes: the catalogue says all of this already")
    elif options.dry_run:
        print("nothing was written (--dry-run)")
    else:
        print(f"{len(after.environments)} environments imported")


class _DryRun(Exception):
    """Rolls back an import that was only tried."""


def _import(session: Session, catalogue: cataloguefile.CatalogueFile, *, dry_run: bool) -> None:
    editing.import_catalogue(session, catalogue, OPERATOR, datetime.now(UTC))
    if dry_run:
        session.flush()
        raise _DryRun


def catalogue_export(options: Any) -> None:
    text = cataloguefile.dump(_database(options).read_now(editing.export_catalogue))
    if options.file == "-":
        sys.stdout.write(text)
        return
    try:
        Path(options.file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SystemExit(f"{options.file}: {error.strerror}") from None


def catalogue_schema(options: Any) -> None:
    print(json.dumps(cataloguefile.json_schema(), indent=2, ensure_ascii=False))


def database_upgrade(options: Any) -> None:
    _database(options)
    print("the database has this release's schema")


def _load(name: str) -> cataloguefile.CatalogueFile:
    try:
        if name == "-":
            data = sys.stdin.buffer.read(cataloguefile.MAX_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(cataloguefile.MAX_BYTES + 1)
    except OSError as error:
        raise SystemExit(f"{name}: {error.strerror}") from None
    return cataloguefile.load(data, name)


def _database(options: Any) -> Database:
    """The catalogue's database, at this release's schema."""
    database = Database(options.database, threads=1)
    database.upgrade()
    return database


def _default_database() -> str:
    state = Path(os.environ.get("MYDOCKER_HUB_STATE", "var")).resolve()
    return os.environ.get("MYDOCKER_DATABASE_URL") or f"sqlite:///{state / 'catalogue.sqlite'}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mydocker-hub", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    catalogue = commands.add_parser("catalogue", help="environments as a YAML file")
    actions = catalogue.add_subparsers(required=True, metavar="ACTION")
    sample = share_path("catalogue", "paris-saclay.yaml")
    check = actions.add_parser("check", help="look for faults in a file; changes nothing")
    check.add_argument("file", help=f"a YAML file, or -; for example {sample}")
    check.set_defaults(run=catalogue_check)
    import_ = actions.add_parser("import", help="bring the catalogue to what a file says")
    import_.add_argument("file", help="a YAML file, or -")
    import_.add_argument("--dry-run", action="store_true", help="say what would change")
    import_.add_argument(
        "--if-empty", action="store_true", help="only into a catalogue without environments"
    )
    import_.set_defaults(run=catalogue_import)
    export = actions.add_parser("export", help="write the whole catalogue to a file")
    export.add_argument("file", nargs="?", default="-", help="default: standard output")
    export.set_defaults(run=catalogue_export)
    schema = actions.add_parser("schema", help="print the JSON schema of the file")
    schema.set_defaults(run=catalogue_schema)

    database = commands.add_parser("db", help="the catalogue's database")
    actions = database.add_subparsers(required=True, metavar="ACTION")
    upgrade = actions.add_parser("upgrade", help="bring the schema to this release's")
    upgrade.set_defaults(run=database_upgrade)

    for command in (import_, export, upgrade):
        command.add_argument(
            "--database",
            default=_default_database(),
            metavar="URL",
            help="default: $MYDOCKER_DATABASE_URL, else catalogue.sqlite in $MYDOCKER_HUB_STATE",
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
