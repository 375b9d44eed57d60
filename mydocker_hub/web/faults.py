"""What is wrong with a field, said to the person who filled it in.

The models say it in English, in words that also suit a program; a form says it in the person's
language. Sentences with parameters are recognised by their fixed words.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from ..domain.environment import GIT_BRANCH_PATTERN
from ..domain.errors import N_
from ..domain.names import SLUG_PATTERN
from .i18n import Translator

# Fixed sentences of `domain` and of the API. They are the same in English.
_SENTENCES = (
    N_("remove the control characters"),
    N_("this is not valid Unicode text"),
    N_("write this on one line"),
    N_("write a size such as 4 GB, 512 MB or 2 GiB"),
    N_("write a duration such as 20 min, 2 h, 1 h 30 or 1 day"),
    N_("write a number such as 2 or 0.5"),
    N_("a duration is between one minute and a year"),
    N_("a duration has whole seconds"),
    N_("a folder's path starts with /, such as /home/jovyan"),
    N_("write the path without a / at its end"),
    N_("write the path without . , .. or //"),
    N_("a folder's path has no spaces, commas, colons, quotes or braces"),
    N_("write a web address that starts with https://"),
    N_("leave the password out of the address"),
    N_("write the address of a Git repository that starts with https://"),
    N_("write a path inside the repository, such as week-1/index.ipynb"),
    N_("names that start with JUPYTERHUB_ or MYDOCKER_ are set by the service"),
    N_("{{…}} is replaced in the command only: write the value itself"),
    N_("an icon is one emoji"),
    N_("write a title: one line, 120 characters at most"),
    N_("a path starts with one / and has no .."),
    N_("the two folders need two different paths"),
    N_("each interface needs a name of its own"),
    N_("choose another name: this one is of the form that trials have"),
    N_("proxy/… leads to any port already: choose another name"),
    N_("name an image, for example quay.io/jupyter/scipy-notebook"),
    N_("an image reference has at most 255 characters"),
    N_(
        "this is not an image reference: write [registry/]name[:tag], in lower case, "
        "without spaces or quotes"
    ),
    N_("leave the command out to use the image's own"),
    N_("a command is one line without control characters"),
    N_(
        "leave {{USER_REDIRECT}} out: what follows user-redirect/ in a join link "
        "is opened in the first interface"
    ),
    N_("a quote or backslash is left open"),
    N_("ask an administrator to put it into the public catalogue"),
    N_("ask an administrator to take it out of the public catalogue"),
    N_("ask an administrator: everybody may start this environment"),
    N_("a colleague made this image here: ask them to share it with you"),
    N_("the name of an environment never changes"),
    N_("a variable that everybody reads has this name: remove it first"),
    N_("it is in the public catalogue already"),
    N_("you may change it already"),
    N_("this rule leaves no day: look at its end and at the first day"),
    N_("a series lasts at most five years: let it end earlier"),
    N_("every day of it is left out"),
    N_("say when it ends: with UNTIL (the last day) or COUNT, not both"),
    N_("certain days of the week are for FREQ=WEEKLY"),
    N_("days such as 1MO, the first Monday, are for FREQ=MONTHLY"),
    N_("write either BYDAY or BYMONTHDAY"),
)

# What names fields of the model, as the form says it.
_REWORDED = {
    "cpu_share is at most cpu_limit": N_("write at most the ceiling of the processors"),
    "cpu_reservation is at most cpu_limit": N_("write at most the ceiling of the processors"),
    "memory_reservation_bytes is at most memory_bytes": N_("write at most the memory"),
    "shm_bytes is at most memory_bytes: shared memory counts in it": N_(
        "write at most the memory: shared memory counts in it"
    ),
    "prefix and sign_in are for kind web: leave them out": N_(
        "leave “by the command” here: anything else is for web applications"
    ),
    "the interfaces of kind hub are one server: give them one port": N_(
        "give all interfaces the same port: Jupyter of the hub is one server"
    ),
    "give all interfaces one kind: hub for jupyterhub-singleuser, else web": N_(
        "give all interfaces one kind"
    ),
    "content is fetched by Jupyter: the first interface is of kind hub, or the command starts "
    "jupyter lab on its port": N_(
        "content is fetched by Jupyter: choose “Jupyter of the hub” for the interfaces, or a "
        "command that starts jupyter lab on the port of the first one"
    ),
}

# With parameters: what the code says, as a pattern, and the sentence.
_PATTERNS = (
    (
        r"(?P<path>.+) belongs to the system: choose a folder such as /home/jovyan",
        N_("%(path)s belongs to the system: choose a folder such as /home/jovyan"),
    ),
    (
        r"leave (?P<names>.+) out of the command: only kind web interfaces have it",
        N_("leave %(names)s out of the command: only web applications have it"),
    ),
    (
        r"give the interfaces of port (?P<port>\d+) one prefix and one sign_in",
        N_("give the interfaces of port %(port)s the same prefix and the same way of signing in"),
    ),
    (
        r"(?P<name>\{\{.+\}\}) is the port of no interface: add one, or leave it",
        N_("%(name)s is the port of no interface: add an interface with it, or take it out"),
    ),
    (
        r"(?P<name>\{\{.*\}\}) is not known: use .*",
        N_(
            "%(name)s is not known: use {{USERNAME}}, {{PASSWORD}}, {{BASE_URL}}, "
            "{{BASE_URL['8888']}}, {{HOST['8888']}} or {{PORT['8888']}}"
        ),
    ),
    (
        r"“(?P<char>.)” \(character (?P<position>\d+)\) would need a shell, .*",
        N_(
            "“%(char)s” (character %(position)s) would need a shell, and commands are not run by "
            "one: put it between single quotes, or write sh -c '…'"
        ),
    ),
    (
        r"a command has at most (?P<number>\d+) characters",
        N_("a command has at most %(number)s characters"),
    ),
    (
        r"nobody is known as “(?P<name>.*)” here: leave it out",
        N_("nobody is known as “%(name)s” here: leave it out"),
    ),
    (
        r"you do not teach in course (?P<course>\d+): leave it out",
        N_("you do not teach in course %(course)s: leave it out"),
    ),
    (
        r"you are not of “(?P<domain>.*)”: ask an administrator",
        N_("you are not of “%(domain)s”: ask an administrator"),
    ),
    (
        r"“(?P<name>.*)” is not known: choose one of .*",
        N_("“%(name)s” is not known here: choose one of those offered"),
    ),
    (
        r"the first day is none of the rule's: begin on (?P<day>[0-9-]+)",
        N_("the series does not take place on this first day: begin on %(day)s"),
    ),
    (
        r"a series has at most (?P<number>\d+) sessions within five years: let it end earlier",
        N_("a series has at most %(number)s sessions within five years: let it end earlier"),
    ),
    (
        r"(?P<name>[A-Z]+|1) is there twice: .*",
        N_("%(name)s is there twice: write a rule such as FREQ=WEEKLY;BYDAY=MO;UNTIL=20270630"),
    ),
    (
        r"“(?P<name>.*)” is no part of a rule that is known here: .*",
        N_(
            "“%(name)s” is no part of a rule that is known here: write a rule such as "
            "FREQ=WEEKLY;BYDAY=MO;UNTIL=20270630"
        ),
    ),
    (
        r"(?P<name>[A-Z]+|1) cannot be “(?P<value>.*)” here: .*",
        N_(
            "%(name)s cannot be “%(value)s” here: write a rule such as "
            "FREQ=WEEKLY;BYDAY=MO;UNTIL=20270630"
        ),
    ),
    (
        r"FREQ is missing: .*",
        N_("FREQ is missing: write a rule such as FREQ=WEEKLY;BYDAY=MO;UNTIL=20270630"),
    ),
    (
        r"UNTIL is a day such as 20270630, which (?P<day>.*) is not",
        N_("UNTIL is a day such as 20270630, which %(day)s is not"),
    ),
    (r"there are (?P<number>\d+) secrets already", N_("there are %(number)s secrets already")),
)

_OF_TYPES = {
    "missing": N_("write something here"),
    "string_too_short": N_("write something here"),
    "too_short": N_("at least one is needed"),
    "too_long": N_("at most %(number)s can be given"),
    "string_too_long": N_("write at most %(number)s characters"),
    "greater_than_equal": N_("write at least %(number)s"),
    "less_than_equal": N_("write at most %(number)s"),
    "int_type": N_("write a whole number"),
    "int_parsing": N_("write a whole number"),
    "int_from_float": N_("write a whole number"),
    "float_type": N_("write a number such as 2 or 0.5"),
    "enum": N_("choose one of those offered"),
    "literal_error": N_("choose one of those offered"),
}
_LIMITS = ("max_length", "ge", "le")

_SHORT_NAME = N_(
    "write lower case letters without accents, digits and single hyphens, beginning with a letter"
)
_OF_PATTERNS = {
    SLUG_PATTERN: _SHORT_NAME,
    GIT_BRANCH_PATTERN: N_("write the name of a branch, such as main"),
    r"^[A-Za-z_][A-Za-z0-9_]*$": N_("a name has letters, digits and _, and begins with no digit"),
    r"^/[^\s?#\\]*$": N_("a path starts with / and has no spaces, ? or #"),
    r"^[^@\s<>\"]+@[^@\s<>\"]+$": N_("write a mail address such as ada@example.org"),
    r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$": N_("write a domain such as univ-a.example"),
}


def fault_text(fault: Any, field: str, translator: Translator) -> str:
    """One of pydantic's findings (`ValidationError.errors()`) on a field, in words."""
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "string_pattern_mismatch":
        sentence = _OF_PATTERNS.get(context.get("pattern", ""))
        return translator.gettext(sentence) if sentence else message_text(fault["msg"], translator)
    if kind not in _OF_TYPES:
        return message_text(fault["msg"].removeprefix("Value error, "), translator)
    number = next((context[name] for name in _LIMITS if name in context), None)
    if field.endswith("_bytes") and number is not None:
        return translator.gettext(_OF_TYPES[kind], number=translator.bytes(int(number)))
    return translator.gettext(_OF_TYPES[kind], number=number)


def message_text(message: str, translator: Translator) -> str:
    """A sentence of `domain` or the API about a field; one that is not known stays as it is."""
    if message in _REWORDED:
        return translator.gettext(_REWORDED[message])
    if message in _SENTENCES:
        return translator.gettext(message)
    for pattern, sentence in _patterns():
        match = pattern.fullmatch(message)
        if match:
            return translator.gettext(sentence, **match.groupdict())
    return translator.known(message)


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern, re.DOTALL), sentence) for pattern, sentence in _PATTERNS]
