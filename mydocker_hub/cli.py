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

from . import __version__, cataloguefile, peoplecli
from .domain.errors import Invalid, MydockerError
from .domain.people import Person, Role
from .identity.settings import Place
from .identity.settings import load as load_settings
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


def check_sign_in(options: Any) -> int:
    """Print the findings; 1 where one of them wants something done."""
    from . import checks  # a second of pysaml2, for these commands alone

    findings = list(checks.check(_place(options), datetime.now(UTC)))
    for finding in findings:
        print(f"{'ok ' if finding.good else '!! '} {finding.text}")
    return int(not all(finding.good for finding in findings))


def saml_metadata(options: Any) -> None:
    from .federation import sp

    sys.stdout.buffer.write(sp.own_metadata(_in_federation(options)))


def saml_next_key(options: Any) -> None:
    from .federation import sp

    sp.prepare_next_key(_in_federation(options))
    print("the next keys are in our metadata now: give the federation some days to read them")


def saml_use_key(options: Any) -> None:
    from .federation import sp

    sp.use_next_key(_in_federation(options))
    print("the next keys are in use; those of before can still decrypt")


def saml_forget_key(options: Any) -> None:
    from .federation import sp

    sp.forget_old_key(_in_federation(options))
    print("the keys of before are gone")


def _in_federation(options: Any) -> Place:
    place = _place(options)
    if place.settings.federation is None:
        raise Invalid(problems=[(options.sign_in, "no federation is configured here")])
    return place


def _place(options: Any) -> Place:
    """What the federation's functions work on, as the hub has it."""
    return Place(
        settings=load_settings(Path(options.sign_in)),
        state=_state(),
        hub_url=f"{options.public_url.rstrip('/')}{options.base_url.rstrip('/')}/hub/",
    )


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


def _state() -> Path:
    return Path(os.environ.get("MYDOCKER_HUB_STATE", "var")).resolve()


def _default_database() -> str:
    return os.environ.get("MYDOCKER_DATABASE_URL") or f"sqlite:///{_state() / 'catalogue.sqlite'}"


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

    look = commands.add_parser("check", help="sign-in: what an operator should look at")
    look.set_defaults(run=check_sign_in)

    saml = commands.add_parser("saml", help="our keys and metadata in the federation")
    actions = saml.add_subparsers(required=True, metavar="ACTION")
    metadata = actions.add_parser("metadata", help="print our metadata")
    metadata.set_defaults(run=saml_metadata)
    next_key = actions.add_parser("next-key", help="show the next keys beside those in use")
    next_key.set_defaults(run=saml_next_key)
    use_key = actions.add_parser("use-next-key", help="use the next keys, some days later")
    use_key.set_defaults(run=saml_use_key)
    forget_key = actions.add_parser("forget-old-key", help="end the change of keys")
    forget_key.set_defaults(run=saml_forget_key)
    for command in (look, metadata, next_key, use_key, forget_key):
        command.add_argument(
            "--sign-in",
            default=os.environ.get("MYDOCKER_SIGN_IN_FILE") or str(_state() / "sign-in.yaml"),
            metavar="FILE",
            help="default: $MYDOCKER_SIGN_IN_FILE, else sign-in.yaml in $MYDOCKER_HUB_STATE",
        )
        command.add_argument(
            "--public-url",
            default=os.environ.get("MYDOCKER_PUBLIC_URL", "http://localhost:8000"),
            metavar="URL",
            help="as in hubconfig.install; default: $MYDOCKER_PUBLIC_URL",
        )
        command.add_argument("--base-url", default="/", metavar="PATH", help="the hub's path")

    peoplecli.add_to(
        commands,
        state=_state(),
        sign_in=os.environ.get("MYDOCKER_SIGN_IN_FILE") or str(_state() / "sign-in.yaml"),
        database=_default_database(),
        public_url=os.environ.get("MYDOCKER_PUBLIC_URL", "http://localhost:8000"),
    )

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
