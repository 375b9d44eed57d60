"""Everything that can go wrong, with a stable code and a sentence for the person in front.

    MydockerError
    ├── Invalid        what was sent cannot be right: send something else (422)
    ├── NotFound       there is no such thing, or not for this person (404)
    ├── Refused        understood, and not allowed (403)
    ├── Conflict       something else happened meanwhile (409, 412)
    ├── LaunchFailed   a start was tried and did not succeed (500)
    └── Unavailable    a part of the service does not answer; the same request may work later (503)

The code is for logs, tests and the help desk; `docs/operators/errors.md` lists them all. The
sentence is an English message that the message catalogues translate (`web.i18n`). Its parameters
are plain values or `Text`; never a token, a password or a URL with credentials.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar, NamedTuple


def N_(sentence: str) -> str:
    """Mark a sentence for the message catalogues without translating it here."""
    return sentence


class Entry(NamedTuple):
    """One line of the table: HTTP status, sentence, and whether trying again may help."""

    status: int
    sentence: str
    permanent: bool = True


CODES: dict[str, Entry] = {
    # what was sent
    "invalid": Entry(422, N_("This cannot be used: %(detail)s")),
    "too-large": Entry(413, N_("This is too large: at most %(limit)s can be sent.")),
    "not-json": Entry(400, N_("The request is not valid JSON.")),
    "bad-request": Entry(400, N_("The request is not valid: check its address.")),
    "method-not-allowed": Entry(405, N_("This address does not take such a request.")),
    "options-forged": Entry(
        400,
        N_(
            "A start takes nothing but the name of an environment. "
            "Image, resources and folders are set in the environment itself."
        ),
    ),
    "server-name": Entry(
        409,
        N_(
            "Each environment runs in the server that bears its name. "
            "Start “%(environment)s” in the server “%(expected)s”, or from the dashboard."
        ),
    ),
    "no-default-server": Entry(
        400,
        N_(
            "There is no server without an environment here. "
            "Choose an environment on your dashboard."
        ),
    ),
    # what is asked for
    "not-found": Entry(404, N_("There is nothing at this address.")),
    "environment-unknown": Entry(
        404,
        N_(
            "The environment “%(environment)s” does not exist, or is not open to you. "
            "Ask the person who told you of it for an invitation link."
        ),
    ),
    "trial-unknown": Entry(
        404,
        N_("You are not trying anything here. Press “Try it” on the page of what you made."),
    ),
    "image-unknown": Entry(
        404,
        N_(
            "The image “%(image)s” does not exist, or is not open to you. Check how it is written, "
            "such as quay.io/jupyter/scipy-notebook:2026-04-20."
        ),
    ),
    "session-unknown": Entry(404, N_("There is no such session in the calendar.")),
    "build-unknown": Entry(404, N_("There is no such build of this image.")),
    "join-link-unknown": Entry(
        404,
        N_(
            "This invitation link is not known. "
            "Check that it was copied whole, or ask the person who gave it to you for a new one."
        ),
    ),
    "join-link-revoked": Entry(
        410,
        N_(
            "This invitation link has been withdrawn. "
            "Ask the person who gave it to you for a new one."
        ),
    ),
    "join-link-expired": Entry(
        410,
        N_(
            "This invitation link ended on %(when)s. "
            "Ask the person who gave it to you for a new one."
        ),
    ),
    # what may not be done
    "not-allowed": Entry(403, N_("You may not do this.")),
    "start-by-address": Entry(
        403,
        N_("An address alone starts nothing here: choose the environment and press Start."),
    ),
    "sign-in-needed": Entry(401, N_("Sign in first.")),
    "form-expired": Entry(
        403,
        N_("This page was open for too long. Go back, load it again and repeat what you did."),
    ),
    "environment-archived": Entry(
        403,
        N_(
            "The environment “%(title)s” is archived and cannot be started any more. "
            "Its maintainer can say what replaces it; your files are kept."
        ),
    ),
    "environment-draft": Entry(
        403,
        N_(
            "The environment “%(title)s” is not ready yet: "
            "only the people who work on it can start it. Ask them when it opens."
        ),
    ),
    "session-closed": Entry(
        403,
        N_(
            "“%(title)s” can be started during its sessions only. It opens on %(day_and_time)s. "
            "Your files are kept until then."
        ),
    ),
    "session-none": Entry(
        403,
        N_(
            "“%(title)s” can be started during its sessions only, and none is to come. "
            "Ask its maintainer when the next one is; your files are kept."
        ),
    ),
    "exam-not-enrolled": Entry(
        403,
        N_(
            "“%(title)s” is an exam, and you are not on its list. "
            "Open it by the link or the activity that your teacher gave you, or ask them."
        ),
    ),
    # coming in
    "sign-in-failed": Entry(
        400, N_("The sign-in did not succeed. Begin again; if it happens twice, tell the support.")
    ),
    "sign-in-expired": Entry(
        400, N_("This sign-in was begun too long ago. Begin again: it takes a moment.")
    ),
    "sign-in-other-browser": Entry(
        403,
        N_(
            "This sign-in was begun in another browser or window, or cookies are blocked here. "
            "Begin again in this window."
        ),
    ),
    "sign-in-replayed": Entry(
        403, N_("This sign-in has been used already. Begin again: each one opens the door once.")
    ),
    "sign-in-message-invalid": Entry(
        400,
        N_(
            "What “%(provider)s” sent could not be verified, so that nobody was signed in. "
            "Begin again; if it happens twice, tell the support."
        ),
    ),
    "sign-in-message-expired": Entry(
        403,
        N_(
            "The answer of “%(provider)s” came too late: the page was perhaps left open. "
            "Begin again."
        ),
    ),
    "sign-in-not-for-us": Entry(
        403,
        N_(
            "The answer of “%(provider)s” was made for another service. "
            "Begin again; if it happens twice, tell the support."
        ),
    ),
    "sign-in-clock": Entry(
        403,
        N_(
            "The clock of this service (%(ours)s) and that of “%(provider)s” (%(theirs)s) differ "
            "by %(difference)s. It is not your computer's clock: tell the support, "
            "which will find out whose clock is wrong."
        ),
    ),
    "sign-in-no-identifier": Entry(
        403,
        N_(
            "“%(provider)s” did not say who you are. Ask its help desk to release to this service "
            "one of: %(attributes)s."
        ),
    ),
    "sign-in-foreign-scope": Entry(
        403,
        N_(
            "“%(provider)s” spoke for an institution that is not its own, so that nobody was "
            "signed in. Tell the support."
        ),
    ),
    "sign-in-identifier-reassigned": Entry(
        403,
        N_(
            "“%(provider)s” gives you an identifier that belonged to somebody else here. "
            "Tell the support, which can give you an account of your own."
        ),
    ),
    "sign-in-provider-unknown": Entry(
        404, N_("There is no such way to sign in here. Choose one of those on the sign-in page.")
    ),
    "sign-in-provider-refused": Entry(
        403,
        N_("“%(provider)s” did not sign you in (%(reason)s). Begin again or choose another way."),
    ),
    "sign-in-provider-unavailable": Entry(
        503,
        N_("“%(provider)s” does not answer. Begin again in a minute, or choose another way."),
        permanent=False,
    ),
    "sign-in-institution-unknown": Entry(
        404,
        N_(
            "This institution is not known to the federation that this service trusts. "
            "Choose yours on the sign-in page, or tell the support."
        ),
    ),
    "sign-in-institution-refused": Entry(
        403, N_("“%(provider)s” is not among the institutions that may enter here.")
    ),
    "sign-in-affiliation-refused": Entry(
        403,
        N_(
            "“%(provider)s” says that you are: %(affiliations)s. That does not open this service. "
            "If it is not right, ask the help desk of your institution."
        ),
    ),
    "federation-unavailable": Entry(
        503,
        N_(
            "The list of institutions could not be read yet. Try again in a minute, "
            "or choose another way to sign in."
        ),
        permanent=False,
    ),
    "demo-refused": Entry(
        403, N_("The demonstration sign-in is for this machine alone, and was asked for elsewhere.")
    ),
    # accounts
    "account-blocked": Entry(
        403,
        N_(
            "Your account has been blocked by an administrator. "
            "Tell the support if that is not right."
        ),
    ),
    "account-unknown": Entry(404, N_("There is no account “%(name)s”.")),
    "account-joined-already": Entry(
        409, N_("“%(name)s” has been joined to another account already.")
    ),
    "last-administrator": Entry(
        409,
        N_("Somebody has to be administrator: give the role to somebody else first."),
    ),
    "administrator-from-platform": Entry(
        409,
        N_(
            "“%(name)s” cannot be an administrator and come in from an LTI platform: whoever runs "
            "the platform could come in as that person. Keep two accounts apart."
        ),
    ),
    "identity-alone": Entry(
        409, N_("This is the only way into the account: it cannot be taken away.")
    ),
    # LTI
    "lti-platform-unknown": Entry(
        403,
        N_(
            "The platform %(issuer)s is not known here. Ask the administrators of this service "
            "to register it."
        ),
    ),
    "lti-platform-closed": Entry(
        403,
        N_("The platform “%(provider)s” is not open here now: an administrator has to allow it."),
    ),
    "lti-deployment-unknown": Entry(
        403,
        N_(
            "The platform “%(provider)s” has this tool in a place that was not allowed "
            "(deployment %(deployment)s). An administrator can add it."
        ),
    ),
    "lti-message-invalid": Entry(
        400,
        N_(
            "What “%(provider)s” sent could not be used: %(detail)s. "
            "Go back and open the activity again; if it happens twice, tell your teacher."
        ),
    ),
    "lti-nothing-chosen": Entry(
        404,
        N_(
            "This activity opens no environment yet. Its teacher chooses one "
            "in the settings of the activity."
        ),
    ),
    "lti-teachers-only": Entry(403, N_("Only the teachers of a course choose what it opens.")),
    "lti-choice-expired": Entry(
        410, N_("This choice has ended. Go back to the course and begin it again.")
    ),
    "registration-link-used": Entry(
        410, N_("This registration link has been used or has expired. Ask for a new one.")
    ),
    "platform-known-already": Entry(
        409,
        N_("The platform %(issuer)s is registered already; nothing was changed."),
    ),
    "platform-unreachable": Entry(
        503,
        N_("The platform “%(provider)s” does not answer, or not as it should (%(detail)s)."),
        permanent=False,
    ),
    # what happened meanwhile
    "changed-meanwhile": Entry(
        412,
        N_(
            "Somebody changed this after you opened it. "
            "Nothing was saved: load it again and redo your change."
        ),
    ),
    "asked-again": Entry(
        409, N_("You asked for another image meanwhile: only your last question is answered.")
    ),
    "precondition-needed": Entry(428, N_("Send the ETag of what you read in an If-Match header.")),
    "exists-already": Entry(409, N_("“%(name)s” exists already: choose another name.")),
    "still-used": Entry(
        409,
        N_("“%(name)s” is still used by %(count)s environment(s): change these first."),
    ),
    "last-owner": Entry(
        409,
        N_("Somebody has to own this: give the right to own it to somebody else first."),
    ),
    "servers-running": Entry(
        409,
        N_(
            "“%(title)s” cannot be deleted while %(count)s server(s) of it run. "
            "Stop them first, on its page “People”, or archive the environment."
        ),
    ),
    "request-answered": Entry(
        409, N_("“%(name)s” has answered this request already: there is nothing left to do.")
    ),
    "session-decided": Entry(
        409,
        N_("“%(name)s” has decided on this session already: load the page again."),
    ),
    "session-cancelled": Entry(
        409,
        N_("This session has been cancelled and cannot be changed any more: book another one."),
    ),
    "too-many-feeds": Entry(
        409, N_("You have %(number)s calendar addresses already: withdraw one that nobody uses.")
    ),
    "build-running": Entry(
        409,
        N_("A build of “%(image)s” is under way: wait for its end, or cancel it."),
    ),
    "build-ended": Entry(409, N_("This build has ended already.")),
    "build-without-image": Entry(
        409,
        N_(
            "Build %(number)s of “%(image)s” has no image: it did not succeed, or its image was "
            "cleaned away as an old one. Build again and use the new one."
        ),
    ),
    # what failed during a build
    "build-failed": Entry(
        500,
        N_("The step “%(command)s” failed. What it said: “%(words)s”."),
    ),
    "build-base-unavailable": Entry(
        500,
        N_(
            "The image “%(image)s”, on which this one is based, cannot be had (%(words)s). "
            "Check its name."
        ),
    ),
    "build-interrupted": Entry(
        500,
        N_(
            "The builder ended in the middle of this build. Build again: what was done is not lost."
        ),
        permanent=False,
    ),
    "build-timeout": Entry(
        500,
        N_(
            "The build took longer than %(minutes)s minutes and was ended. "
            "Take out what takes long, or ask the operators for more time."
        ),
    ),
    "build-too-large": Entry(
        500,
        N_(
            "The image takes %(size)s GB, and at most %(most)s GB are allowed. "
            "Take out packages or files."
        ),
    ),
    "build-no-room": Entry(
        503,
        N_("The disk of the machine that builds is nearly full. Please tell the operators."),
        permanent=False,
    ),
    "build-file-missing": Entry(
        500,
        N_("The file “%(path)s” of this image is not there any more. Upload it again."),
    ),
    "build-not-possible": Entry(
        503,
        N_("Nothing can be built here at the moment: %(detail)s. Please tell the operators."),
        permanent=False,
    ),
    "repository-unavailable": Entry(
        500,
        N_(
            "The Git repository %(repository)s could not be fetched (%(detail)s). "
            "Check its address and branch; it has to be public."
        ),
    ),
    "repository-without-recipe": Entry(
        500,
        N_(
            "The Git repository %(repository)s has neither a Dockerfile nor any of the files that "
            "say what to install, or no image to build on was chosen."
        ),
    ),
    "push-failed": Entry(
        503,
        N_("The image was built, but the registry did not take it (%(detail)s)."),
        permanent=False,
    ),
    # what failed during a start
    "public-address-unknown": Entry(
        501,
        N_(
            "This environment needs to know the public address of this service, "
            "which is not set. Please tell its operators."
        ),
    ),
    "image-not-found": Entry(
        500,
        N_(
            "The image “%(image)s” was not found on the machine that was to run it, "
            "nor in its registry. Please tell the environment's maintainer."
        ),
    ),
    "registry-unreachable": Entry(
        503,
        N_(
            "The image “%(image)s” is not on the machine that was to run it, and its registry "
            "(%(registry)s) does not answer. Try again in a few minutes; if it goes on, tell the "
            "operators."
        ),
        permanent=False,
    ),
    "no-node-fits": Entry(
        503,
        N_(
            "No machine has room for this environment at the moment (%(missing)s). "
            "Try again in a few minutes; if it goes on, tell the operators."
        ),
        permanent=False,
    ),
    "folder-not-mounted": Entry(
        500,
        N_(
            "Your personal folder could not be opened, so the environment was not started. "
            "Your files are not touched. Try again; if it goes on, tell the operators."
        ),
        permanent=False,
    ),
    "container-exited": Entry(
        500,
        N_(
            "The environment stopped by itself while it started (exit code %(exit_code)s). "
            "Please tell its maintainer."
        ),
    ),
    "container-refused": Entry(
        500,
        N_(
            "The machine that was to run the environment refused it. "
            "Please tell the environment's maintainer."
        ),
    ),
    "not-answering": Entry(
        504,
        N_(
            "The environment runs, but nothing answered on port %(port)s within %(seconds)s "
            "seconds. Try again; if it goes on, tell its maintainer: it has to listen on 0.0.0.0, "
            "not on 127.0.0.1 only."
        ),
        permanent=False,
    ),
    "interface-failing": Entry(
        502,
        N_(
            "The environment runs, but what it shows answered with nothing but errors "
            "(HTTP %(status)s) for %(seconds)s seconds. Please tell its maintainer."
        ),
    ),
    "start-timeout": Entry(
        504,
        N_(
            "The environment was not ready after %(seconds)s seconds (step: %(step)s). "
            "Try again; if it goes on, tell its maintainer."
        ),
        permanent=False,
    ),
    "start-cancelled": Entry(499, N_("The start was cancelled."), permanent=False),
    # at the door of a running server
    "server-not-yours": Entry(
        403,
        N_(
            "This is the server of another person. "
            "Ask that person to share it with you, or start your own from your dashboard."
        ),
    ),
    "server-not-running": Entry(
        404,
        N_("No server runs at this address. Start the environment from your dashboard."),
    ),
    "interface-lost": Entry(
        502,
        N_(
            "The environment does not answer at the moment. Wait a little and load the page again; "
            "if it goes on, stop the environment on your dashboard and start it again."
        ),
        permanent=False,
    ),
    "port-silent": Entry(
        502,
        N_(
            "Nothing answers on port %(port)s of your environment. Start your program there; "
            "if it runs already, let it listen on 0.0.0.0, not on 127.0.0.1."
        ),
        permanent=False,
    ),
    "port-out-of-reach": Entry(
        501,
        N_(
            "Port %(port)s cannot be reached on the machine that runs your environment. "
            "Ask its maintainer to declare it as an interface."
        ),
    ),
    "cross-site": Entry(
        403,
        N_("Another site sent this request, so that it was refused. Open the page yourself."),
    ),
    "sign-in-interrupted": Entry(
        400,
        N_("The sign-in was not finished in time. Open the environment again."),
    ),
    "not-extendable": Entry(
        409,
        N_(
            "This environment cannot run for longer: it has reached the longest time that it may, "
            "or ends with an exam. Save your work."
        ),
    ),
    "not-protectable": Entry(
        409,
        N_(
            "This environment cannot be kept running while nobody is there. "
            "Ask its maintainer if you need that for a long computation."
        ),
    ),
    # how a running server ended
    "idle": Entry(
        410,
        N_(
            "The environment was stopped because nothing was done in it for %(duration)s. "
            "Your files are kept: you can start it again."
        ),
    ),
    "time-over": Entry(
        410,
        N_(
            "The environment was stopped because it had run for %(duration)s, "
            "the longest that it may. Your files are kept: you can start it again."
        ),
    ),
    "unanswered": Entry(
        410,
        N_(
            "The environment was stopped because nobody answered whether it is still used. "
            "Your files are kept: you can start it again."
        ),
    ),
    "exam-over": Entry(
        410,
        N_(
            "The exam ended on %(when)s, and the environment was stopped with it. "
            "What is in your personal folder is kept."
        ),
    ),
    "session-over": Entry(
        410,
        N_(
            "The session ended on %(when)s, and the environment was stopped with it. "
            "What is in your personal folder is kept."
        ),
    ),
    "trial-over": Entry(
        410,
        N_(
            "This trial was stopped: a trial ends after an hour, or earlier where the environment "
            "itself says so. Nothing of it is kept."
        ),
    ),
    "stopped-by-maintainer": Entry(
        410,
        N_(
            "The environment was stopped by somebody who looks after it. Your files are kept: "
            "you can start it again."
        ),
    ),
    "container-ended": Entry(
        500,
        N_(
            "The environment stopped by itself (exit code %(exit_code)s). Your files are kept: "
            "start it again; if it happens again, tell its maintainer."
        ),
    ),
    "out-of-memory": Entry(
        507,
        N_(
            "The environment used more than its %(memory)s of memory, so it was stopped. "
            "Your files are kept. Start it again and work on less data at once, "
            "or ask its maintainer for more memory."
        ),
    ),
    "memory-limit": Entry(
        507,
        N_(
            "A program was ended because the environment reached its %(memory)s of memory "
            "(in a notebook: “the kernel died”). The rest goes on; "
            "work on less data at once, or close notebooks that you do not need."
        ),
    ),
    "node-lost": Entry(
        503,
        N_("The machine that ran the environment is gone. Your files are kept: start it again."),
        permanent=False,
    ),
    # parts that do not answer
    "catalogue-unavailable": Entry(
        503,
        N_("The catalogue of environments does not answer. Try again in a minute."),
        permanent=False,
    ),
    "gateway-unavailable": Entry(
        503,
        N_("The gateway to the environments does not answer. Try again in a minute."),
        permanent=False,
    ),
    "hub-unavailable": Entry(
        503,
        N_("The sign-in does not answer. Wait a little and load the page again."),
        permanent=False,
    ),
    "servers-unavailable": Entry(
        503,
        N_("It cannot be seen at the moment what is running. Try again in a minute."),
        permanent=False,
    ),
    "registry-unavailable": Entry(
        503,
        N_(
            "Nothing could be learnt of the image “%(image)s”: %(registry)s does not answer, or "
            "not as it should (%(detail)s)."
        ),
        permanent=False,
    ),
    "files-no-room": Entry(
        503,
        N_("There is no room for more files on the disk of this service. Tell the operators."),
        permanent=False,
    ),
    "builder-unavailable": Entry(
        503,
        N_("The builder of images does not answer. Try again in a minute."),
        permanent=False,
    ),
    "too-many-starts": Entry(
        429,
        N_("Very many people are starting an environment right now. Try again in a minute."),
        permanent=False,
    ),
    "engine-unavailable": Entry(
        503,
        N_("The machines that run the environments do not answer. Try again in a minute."),
        permanent=False,
    ),
    "internal": Entry(
        500,
        N_("Something went wrong on our side. It has been logged; try again in a minute."),
        permanent=False,
    ),
}


class MydockerError(Exception):
    """An error with a code of `CODES` and the parameters of its sentence.

    `log_detail` is for the log only: what a person cannot use, without any secret.
    """

    default_code: ClassVar[str] = "internal"

    def __init__(self, code: str = "", *, log_detail: str = "", **params: Any) -> None:
        self.code = code or self.default_code
        self.entry = CODES[self.code]
        self.params = params
        self.log_detail = log_detail
        super().__init__(f"{self.code} {params} {log_detail}".strip())

    @property
    def status(self) -> int:
        return self.entry.status

    @property
    def sentence(self) -> str:
        return self.entry.sentence

    @property
    def permanent(self) -> bool:
        return self.entry.permanent


class Invalid(MydockerError):
    """What was sent cannot be right; `problems` holds a (field path, text) pair for each fault."""

    default_code = "invalid"

    def __init__(
        self,
        code: str = "",
        *,
        problems: list[tuple[str, str]] | None = None,
        log_detail: str = "",
        **params: Any,
    ) -> None:
        self.problems = problems or []
        if self.problems and "detail" not in params:
            params["detail"] = "; ".join(
                f"{field}: {text}" if field else text for field, text in self.problems
            )
        super().__init__(code, log_detail=log_detail, **params)


class NotFound(MydockerError):
    default_code = "not-found"


class Refused(MydockerError):
    default_code = "not-allowed"


class Conflict(MydockerError):
    default_code = "changed-meanwhile"


class LaunchFailed(MydockerError):
    """A start that did not succeed; `log_lines` are the container's last lines, for the page."""

    default_code = "container-exited"

    def __init__(
        self, code: str = "", *, log_lines: str = "", log_detail: str = "", **params: Any
    ) -> None:
        self.log_lines = log_lines
        super().__init__(code, log_detail=log_detail, **params)


class Unavailable(MydockerError):
    default_code = "catalogue-unavailable"


def error_for(code: str, params: dict[str, Any]) -> MydockerError:
    """The error that another process of ours named by `code`; an unknown code is `internal`.

    Raises TypeError for parameters that are no mapping.
    """
    if code not in CODES:
        return MydockerError("internal", log_detail=f"unknown code {code!r}")
    params = {**params}  # a TypeError for what is no object
    if isinstance(params.get("when"), str):  # JSON knows no instants
        with suppress(ValueError):
            params["when"] = datetime.fromisoformat(params["when"])
    return MydockerError(code, **params)
