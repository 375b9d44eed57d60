"""One person, two doors: who is signed in shows another way in, and reaches the same account by it.

Nothing is joined behind anybody's back. The person asks for it on a page of ours (a form with its
token), passes the other door, is shown which identity that is, and says yes. Otherwise somebody who
lures a visitor through a door with their own account could come in as the visitor later on.
"""

from __future__ import annotations

from tornado.httputil import url_concat
from tornado.web import authenticated

from ..domain.errors import Refused
from ..hubpages import MayBeFramed
from ..identity.claims import SignIn
from ..seal import Seal
from .base import DoorHandler, Switch


class LinkHandler(DoorHandler):
    """`/link`: say what happens; the form leads to the sign-in page."""

    @authenticated
    async def get(self) -> None:
        user, _ = self.signed_in
        self.finish(await self.render_template("link.html", account=user.name, sign_in=None))

    @authenticated
    async def post(self) -> None:
        user, _ = self.signed_in
        link = Seal(self.doors.secret, "link").close(user.name)
        self.redirect(url_concat(f"{self.hub.base_url}login", {"link": link}), status=303)


class ConfirmHandler(DoorHandler):
    """`/link/confirm?ticket=…`: the other door was passed; shall it lead to this account?"""

    @authenticated
    async def get(self) -> None:
        user, _ = self.signed_in
        ticket = self.get_argument("ticket", "")
        sign_in = self._of(user.name, self.doors.questions.look(ticket))
        found = await self.catalogue.look_at_sign_in(sign_in)
        self.set_header("Cache-Control", "no-store")
        self.finish(
            await self.render_template(
                "link.html", account=user.name, sign_in=sign_in, found=found, ticket=ticket
            )
        )

    @authenticated
    async def post(self) -> None:
        user, _ = self.signed_in
        sign_in = self._of(user.name, self.doors.questions.take(self.get_argument("ticket", "")))
        keep = self.get_argument("keep", user.name)
        account = f"{self.settings['template_vars']['catalogue_url']}account"
        found = await self.catalogue.look_at_sign_in(sign_in)
        if found is None:
            await self.catalogue.sign_in(sign_in)
        elif found.name != user.name:
            if keep not in {user.name, found.name}:
                raise Refused("not-allowed")
            close = found.name if keep == user.name else user.name
            await self.catalogue.join_accounts(keep, close)
            if keep != user.name:
                # They have just shown that the other account is theirs as well.
                await self.let_in(sign_in.model_copy(update={"link_to": ""}), account)
                return
        self.redirect(account, status=303)

    @staticmethod
    def _of(name: str, sign_in: SignIn | None) -> SignIn:
        if not isinstance(sign_in, SignIn):
            raise Refused("sign-in-expired")
        if sign_in.link_to != name:
            raise Refused("sign-in-other-browser")
        return sign_in


class SwitchHandler(MayBeFramed, DoorHandler):
    """`/link/switch?ticket=…`: somebody is signed in, and came in by a door as somebody else."""

    async def get(self) -> None:
        ticket = self.get_argument("ticket", "")
        switch = self.doors.questions.look(ticket)
        if not isinstance(switch, Switch):
            raise Refused("sign-in-expired")
        user = self.current_user
        self.set_header("Cache-Control", "no-store")
        self.finish(
            await self.render_template(
                "switch.html",
                account=user.name if user is not None else "",
                claims=switch.sign_in.claims,
                ticket=ticket,
            )
        )

    async def post(self) -> None:
        switch = self.doors.questions.take(self.get_argument("ticket", ""))
        if not isinstance(switch, Switch):
            raise Refused("sign-in-expired")
        await self.let_in(switch.sign_in, switch.next)


HANDLERS: list[tuple[str, type]] = [
    (r"/link", LinkHandler),
    (r"/link/confirm", ConfirmHandler),
    (r"/link/switch", SwitchHandler),
]
