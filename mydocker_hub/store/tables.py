"""Tables of the catalogue. Any change here needs a migration (`migrations/`); a test compares."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UTCDateTime(TypeDecorator[datetime]):
    """Aware UTC on both sides; SQLite forgets the zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)


# SQLite gives out ids by itself only for INTEGER primary keys.
Id = BigInteger().with_variant(Integer, "sqlite")


class PersonRow(Base):
    __tablename__ = "people"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    display_name: Mapped[str] = mapped_column(String(255), default="")
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    mail: Mapped[str] = mapped_column(String(255), default="", server_default="")
    signed_in_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    blocked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    blocked_reason: Mapped[str] = mapped_column(String(1000), default="", server_default="")
    # The account that this one was joined to; its name is never given to anybody else.
    joined_to_id: Mapped[int | None] = mapped_column(
        ForeignKey("people.id", ondelete="SET NULL"), index=True
    )
    # Counts each change of what the hub should know (`store.people`): roles, blocked, joined.
    standing_changed_at: Mapped[datetime | None] = mapped_column(UTCDateTime, index=True)
    # That of the pages that a teacher or an administrator saw last: mails are written in it.
    language: Mapped[str] = mapped_column(String(5), default="", server_default="")


class IdentityRow(Base):
    """One way in: who an issuer says that somebody is. `claimed_role` is from its last sign-in."""

    __tablename__ = "identities"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), index=True)
    # The account that it came with: where it goes back to when accounts are separated.
    first_person_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    door: Mapped[str] = mapped_column(String(10))
    provider: Mapped[str] = mapped_column(String(60))
    issuer: Mapped[str] = mapped_column(String(1024))
    subject: Mapped[str] = mapped_column(String(1024))
    display_name: Mapped[str] = mapped_column(String(255), default="")
    mail: Mapped[str] = mapped_column(String(255), default="")
    institution: Mapped[str] = mapped_column(String(255), default="")
    claimed_role: Mapped[str] = mapped_column(String(10))
    claimed_since: Mapped[datetime] = mapped_column(UTCDateTime)
    configured_admin: Mapped[bool] = mapped_column(Boolean, default=False)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    signed_in_at: Mapped[datetime] = mapped_column(UTCDateTime)

    person: Mapped[PersonRow] = relationship(foreign_keys=[person_id])

    __table_args__ = (Index("uq_identities_issuer_subject", "issuer", "subject", unique=True),)


class IdentityValueRow(Base):
    """What else an identity is known by: its identifiers, and values for rules that join."""

    __tablename__ = "identity_values"

    identity_id: Mapped[int] = mapped_column(
        ForeignKey("identities.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[str] = mapped_column(String(1024))
    is_identifier: Mapped[bool] = mapped_column(Boolean)

    __table_args__ = (Index("ix_identity_values_name_value", "name", "value"),)


class RoleDecisionRow(Base):
    """An administrator's word on a role: given or withdrawn, until when; the newest one counts."""

    __tablename__ = "role_decisions"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    role: Mapped[str] = mapped_column(String(10))
    granted: Mapped[bool] = mapped_column(Boolean)
    reason: Mapped[str] = mapped_column(String(1000), default="")
    decided_by: Mapped[str] = mapped_column(String(255))
    decided_at: Mapped[datetime] = mapped_column(UTCDateTime)
    until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class SpentRow(Base):
    """What is used once: digests of assertions, of ids of sign-ins; forgotten when they expire."""

    __tablename__ = "spent"

    key: Mapped[str] = mapped_column(String(100), primary_key=True)
    until: Mapped[datetime] = mapped_column(UTCDateTime, index=True)


class PlatformRow(Base):
    """An LTI platform: Moodle or another. `definition` is a `domain.platform.Platform`."""

    __tablename__ = "platforms"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    # LTI 1.3: the issuer; LTI 1.1: empty, and `client_id` is the consumer key
    issuer: Mapped[str] = mapped_column(String(1024))
    client_id: Mapped[str] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(10))
    definition: Mapped[dict[str, Any]] = mapped_column(JSON)
    sealed_secret: Mapped[str] = mapped_column(Text, default="")
    version: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime)
    last_launch_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    __table_args__ = (Index("uq_platforms_issuer_client_id", "issuer", "client_id", unique=True),)


class RegistrationLinkRow(Base):
    """A one-time link by which a platform registers itself; only its digest is kept."""

    __tablename__ = "registration_links"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    label: Mapped[str] = mapped_column(String(200), default="")
    made_by: Mapped[str] = mapped_column(String(255))
    made_at: Mapped[datetime] = mapped_column(UTCDateTime)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    platform_id: Mapped[int | None] = mapped_column(ForeignKey("platforms.id", ondelete="SET NULL"))


class ToolKeyRow(Base):
    """A signing key of ours as an LTI tool; the newest that is not retired signs."""

    __tablename__ = "tool_keys"

    kid: Mapped[str] = mapped_column(String(64), primary_key=True)
    sealed_key: Mapped[str] = mapped_column(Text)
    made_at: Mapped[datetime] = mapped_column(UTCDateTime)
    retired_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class CourseRow(Base):
    """A course (LTI context) of a deployment of a platform, as its last launch named it."""

    __tablename__ = "courses"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    platform_id: Mapped[int] = mapped_column(ForeignKey("platforms.id", ondelete="CASCADE"))
    context: Mapped[str] = mapped_column(String(255))
    title: Mapped[str] = mapped_column(String(255), default="")
    deployment: Mapped[str] = mapped_column(String(255), default="")
    memberships_url: Mapped[str] = mapped_column(String(1000), default="")
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime)

    __table_args__ = (
        # A context is unique within its deployment (LTI 1.3 Core §5.4.1); LTI 1.1 has none: "".
        Index(
            "uq_courses_platform_id_deployment_context",
            "platform_id",
            "deployment",
            "context",
            unique=True,
        ),
    )


class CourseEnvironmentRow(Base):
    """An environment that an activity of a course opens."""

    __tablename__ = "course_environments"

    course_id: Mapped[int] = mapped_column(
        ForeignKey("courses.id", ondelete="CASCADE"), primary_key=True
    )
    environment_id: Mapped[int] = mapped_column(
        ForeignKey("environments.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    attached_at: Mapped[datetime] = mapped_column(UTCDateTime)


class CourseMemberRow(Base):
    """Somebody who came from a course, with the role of their last launch there."""

    __tablename__ = "course_members"

    course_id: Mapped[int] = mapped_column(
        ForeignKey("courses.id", ondelete="CASCADE"), primary_key=True
    )
    person_id: Mapped[int] = mapped_column(
        ForeignKey("people.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str] = mapped_column(String(10))
    launched_at: Mapped[datetime] = mapped_column(UTCDateTime)


class DeepLinkRow(Base):
    """A teacher's choice for a course that is under way: where the platform wants the answer."""

    __tablename__ = "deep_links"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"))
    course_id: Mapped[int | None] = mapped_column(ForeignKey("courses.id", ondelete="CASCADE"))
    platform_id: Mapped[int] = mapped_column(ForeignKey("platforms.id", ondelete="CASCADE"))
    request: Mapped[dict[str, Any]] = mapped_column(JSON)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)


class ComputeTypeRow(Base):
    __tablename__ = "compute_types"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    slug: Mapped[str] = mapped_column(String(30), unique=True)
    definition: Mapped[dict[str, Any]] = mapped_column(JSON)


class EnvironmentRow(Base):
    """`definition` is a `domain.environment.Environment`; the other columns are for looking up."""

    __tablename__ = "environments"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    slug: Mapped[str] = mapped_column(String(30), unique=True)
    version: Mapped[int] = mapped_column(Integer)
    definition: Mapped[dict[str, Any]] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(String(10))
    public: Mapped[bool] = mapped_column(Boolean)
    compute_type: Mapped[str] = mapped_column(ForeignKey("compute_types.slug"), index=True)
    search_text: Mapped[str] = mapped_column(Text)
    image: Mapped[str] = mapped_column(String(255), default="", server_default="", index=True)
    # The slug of the environment that this one was copied from.
    origin: Mapped[str] = mapped_column(String(30), default="", server_default="")
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime)

    __table_args__ = (
        CheckConstraint("version >= 1", name="version"),
        Index("ix_environments_public_status", "public", "status"),
    )


class AudienceRow(Base):
    """Whom an environment's `audience` names, for looking up.

    `kind` is `person` (`value`: a user name), `course` (a course's id), `institution` (a domain)
    or `teachers` (empty).
    """

    __tablename__ = "audiences"

    environment_id: Mapped[int] = mapped_column(
        ForeignKey("environments.id", ondelete="CASCADE"), primary_key=True
    )
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    value: Mapped[str] = mapped_column(String(255), primary_key=True)

    __table_args__ = (Index("ix_audiences_kind_value", "kind", "value"),)


class EnvironmentSecretRow(Base):
    """A variable whose value nobody reads again but the servers that it is for."""

    __tablename__ = "environment_secrets"

    environment_id: Mapped[int] = mapped_column(
        ForeignKey("environments.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    sealed_value: Mapped[str] = mapped_column(Text)
    changed_by: Mapped[str] = mapped_column(String(255))
    changed_at: Mapped[datetime] = mapped_column(UTCDateTime)


class RequestRow(Base):
    """What somebody asks for an environment: a right on it, or to make it public.

    `kind` is `access` (for its owners to answer) or `publish` (for administrators); open while
    `answered_at` is empty.
    """

    __tablename__ = "requests"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    environment_id: Mapped[int] = mapped_column(
        ForeignKey("environments.id", ondelete="CASCADE"), index=True
    )
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    message: Mapped[str] = mapped_column(String(2000), default="")
    made_at: Mapped[datetime] = mapped_column(UTCDateTime)
    answered_at: Mapped[datetime | None] = mapped_column(UTCDateTime, index=True)
    answered_by: Mapped[str] = mapped_column(String(255), default="")
    accepted: Mapped[bool] = mapped_column(Boolean, default=False)
    answer: Mapped[str] = mapped_column(String(2000), default="")


class TrialRow(Base):
    """What a person tries in a server of its own (`domain.names.trial_name`): the newest."""

    __tablename__ = "trials"

    person_id: Mapped[int] = mapped_column(
        ForeignKey("people.id", ondelete="CASCADE"), primary_key=True
    )
    server: Mapped[str] = mapped_column(String(30), primary_key=True)
    environment_id: Mapped[int | None] = mapped_column(
        ForeignKey("environments.id", ondelete="CASCADE"), index=True
    )
    build_id: Mapped[int | None] = mapped_column(
        ForeignKey("builds.id", ondelete="CASCADE"), index=True
    )
    # A `domain.environment.Environment`, as it is tried.
    definition: Mapped[dict[str, Any]] = mapped_column(JSON)
    made_at: Mapped[datetime] = mapped_column(UTCDateTime)


class ImageRow(Base):
    """An image that is made here. `recipe` is a `domain.images.Recipe`."""

    __tablename__ = "images"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    slug: Mapped[str] = mapped_column(String(30), unique=True)
    version: Mapped[int] = mapped_column(Integer)
    recipe: Mapped[dict[str, Any]] = mapped_column(JSON)
    public: Mapped[bool] = mapped_column(Boolean)
    search_text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime)
    # A deleted image keeps its row: its builds are still to be cleaned away, and servers may run
    # what bears its name, which is therefore never given to another image.
    deleted_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class ImageRightRow(Base):
    """What a colleague was given on an image (`domain.access.Right`)."""

    __tablename__ = "image_rights"

    person_id: Mapped[int] = mapped_column(
        ForeignKey("people.id", ondelete="CASCADE"), primary_key=True
    )
    image_id: Mapped[int] = mapped_column(
        ForeignKey("images.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    level: Mapped[str] = mapped_column(String(4))

    __table_args__ = (CheckConstraint("level IN ('view', 'edit', 'own')", name="level"),)


class ImageFileRow(Base):
    """A file of an image's context; what it holds lies in the store of files by its SHA-256."""

    __tablename__ = "image_files"

    image_id: Mapped[int] = mapped_column(
        ForeignKey("images.id", ondelete="CASCADE"), primary_key=True
    )
    path: Mapped[str] = mapped_column(String(500), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    executable: Mapped[bool] = mapped_column(Boolean)


class BuildRow(Base):
    """One build of an image; `number` counts those of the image, and is its tag.

    `recipe` and `files` (path, sha256, size_bytes, executable of each) are what it was made of.
    """

    __tablename__ = "builds"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(10), index=True)
    recipe: Mapped[dict[str, Any]] = mapped_column(JSON)
    files: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    dockerfile: Mapped[str] = mapped_column(Text, default="")
    made_by: Mapped[str] = mapped_column(String(255))
    asked_at: Mapped[datetime] = mapped_column(UTCDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    seen_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # the builder is at it
    ended_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    cancel_asked: Mapped[bool] = mapped_column(Boolean, default=False)
    reference: Mapped[str] = mapped_column(String(255), default="", index=True)
    digest: Mapped[str] = mapped_column(String(80), default="")
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    git_commit: Mapped[str] = mapped_column(String(64), default="")  # of a Git source
    end_code: Mapped[str] = mapped_column(String(40), default="")
    end_params: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    removed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # the image, by the rule

    __table_args__ = (Index("uq_builds_image_id_number", "image_id", "number", unique=True),)


class BuildLogRow(Base):
    """A piece of a build's log, as it came."""

    __tablename__ = "build_logs"

    build_id: Mapped[int] = mapped_column(
        ForeignKey("builds.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    text: Mapped[str] = mapped_column(Text)


class EnvironmentVersionRow(Base):
    """Every definition that an environment ever had, the current one included."""

    __tablename__ = "environment_versions"

    environment_id: Mapped[int] = mapped_column(
        ForeignKey("environments.id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    definition: Mapped[dict[str, Any]] = mapped_column(JSON)
    changed_by: Mapped[str] = mapped_column(String(255))
    changed_at: Mapped[datetime] = mapped_column(UTCDateTime)


class JoinLinkRow(Base):
    __tablename__ = "join_links"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    environment_id: Mapped[int] = mapped_column(
        ForeignKey("environments.id", ondelete="CASCADE"), index=True
    )
    label: Mapped[str] = mapped_column(String(200), default="")
    expires_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    # Made by somebody without the right to edit, as the environment was public: it is revoked when
    # that ends, and puts nobody on the list of an exam. The course is the one for which it was.
    lent: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    course_id: Mapped[int | None] = mapped_column(
        ForeignKey("courses.id", ondelete="SET NULL"), index=True
    )

    environment: Mapped[EnvironmentRow] = relationship()


class EnrolmentRow(Base):
    """A person who has used an environment or came in by its link; `left_at` hides the card."""

    __tablename__ = "enrolments"

    person_id: Mapped[int] = mapped_column(
        ForeignKey("people.id", ondelete="CASCADE"), primary_key=True
    )
    environment_id: Mapped[int] = mapped_column(
        ForeignKey("environments.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    join_link_id: Mapped[int | None] = mapped_column(
        ForeignKey("join_links.id", ondelete="SET NULL"), index=True
    )
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    left_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_start_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class RightRow(Base):
    """What a colleague was given on an environment (`domain.access.Right`)."""

    __tablename__ = "rights"

    person_id: Mapped[int] = mapped_column(
        ForeignKey("people.id", ondelete="CASCADE"), primary_key=True
    )
    environment_id: Mapped[int] = mapped_column(
        ForeignKey("environments.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    level: Mapped[str] = mapped_column(String(4))

    __table_args__ = (CheckConstraint("level IN ('view', 'edit', 'own')", name="level"),)


class LaunchRow(Base):
    """One start: asked for, then ready, then ended with a code of `domain.errors` or none.

    `notice_code` is the newest thing that its person should know while the server goes on. The
    trial of a build (`trial`) is of no environment.
    """

    __tablename__ = "launches"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"))
    environment_id: Mapped[int | None] = mapped_column(
        ForeignKey("environments.id", ondelete="CASCADE"), index=True
    )
    trial: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    version: Mapped[int] = mapped_column(Integer)
    asked_at: Mapped[datetime] = mapped_column(UTCDateTime)
    ready_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    end_code: Mapped[str] = mapped_column(String(40), default="")
    end_params: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    notice_code: Mapped[str] = mapped_column(String(40), default="")
    notice_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    # What the person was told of a stop to come, and what they said (`domain.culling`).
    warned_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    warned_code: Mapped[str] = mapped_column(String(40), default="", server_default="")
    stops_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # “yes, I still use it”
    extended_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    protected_until: Mapped[datetime | None] = mapped_column(UTCDateTime)

    __table_args__ = (Index("ix_launches_person_environment", "person_id", "environment_id", "id"),)


class SessionRow(Base):
    """A booked session of an environment, once or repeated: a `domain.calendar.Session`.

    `first_at` and `last_at` bound all its occurrences, for looking up; `last_at` is empty for a
    series without an end. One occurrence that was changed is a row of its own, with the series and
    the instant that it stands for (RFC 5545 §3.8.4.4, RECURRENCE-ID).
    """

    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    uid: Mapped[str] = mapped_column(String(100), index=True)  # that of iCalendar, for a series
    environment_id: Mapped[int] = mapped_column(
        ForeignKey("environments.id", ondelete="CASCADE"), index=True
    )
    series_id: Mapped[int | None] = mapped_column(
        ForeignKey("sessions.id", ondelete="CASCADE"), index=True
    )
    replaces_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    definition: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(10), index=True)
    first_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)
    last_at: Mapped[datetime | None] = mapped_column(UTCDateTime, index=True)
    sequence: Mapped[int] = mapped_column(Integer, default=0)
    made_by: Mapped[str] = mapped_column(String(255))
    made_at: Mapped[datetime] = mapped_column(UTCDateTime)
    changed_at: Mapped[datetime] = mapped_column(UTCDateTime)
    decided_by: Mapped[str] = mapped_column(String(255), default="")
    decided_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    reason: Mapped[str] = mapped_column(String(1000), default="")


class FeedRow(Base):
    """A secret address of an iCalendar feed; only its digest is kept.

    `kind` is `mine`, `environment` or `all` (administrators).
    """

    __tablename__ = "feeds"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    environment_id: Mapped[int | None] = mapped_column(
        ForeignKey("environments.id", ondelete="CASCADE"), index=True
    )
    label: Mapped[str] = mapped_column(String(200), default="")
    made_at: Mapped[datetime] = mapped_column(UTCDateTime)
    read_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class PullRow(Base):
    """An image that is brought to the nodes before a session begins.

    `nodes` says of each node, by its id, its name, whether the image is there, and why not;
    `constraints` are the placement constraints that say which nodes may run it.
    """

    __tablename__ = "pulls"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    starts_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)
    image: Mapped[str] = mapped_column(String(255))
    constraints: Mapped[list[str]] = mapped_column(JSON, default=list)
    digest: Mapped[str] = mapped_column(String(80), default="")
    nodes: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    begun_at: Mapped[datetime] = mapped_column(UTCDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    end_code: Mapped[str] = mapped_column(String(40), default="")

    __table_args__ = (
        Index("uq_pulls_session_id_starts_at", "session_id", "starts_at", unique=True),
    )


class MailRow(Base):
    """A message that is to be sent, kept until the mail server took it."""

    __tablename__ = "mails"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    address: Mapped[str] = mapped_column(String(255))
    language: Mapped[str] = mapped_column(String(5))
    template: Mapped[str] = mapped_column(String(40))
    params: Mapped[dict[str, Any]] = mapped_column(JSON)
    made_at: Mapped[datetime] = mapped_column(UTCDateTime)
    next_try_at: Mapped[datetime | None] = mapped_column(UTCDateTime, index=True)
    tries: Mapped[int] = mapped_column(Integer, default=0)
    sent_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    error: Mapped[str] = mapped_column(String(500), default="")


class FolderRow(Base):
    """A personal folder that exists and was made writable; `node` holds it if disks are local.

    `left_at` is since when nobody can come to it any more: its person or its environment is gone.
    """

    __tablename__ = "folders"

    volume: Mapped[str] = mapped_column(String(63), primary_key=True)
    person_id: Mapped[int | None] = mapped_column(
        ForeignKey("people.id", ondelete="SET NULL"), index=True
    )
    node: Mapped[str] = mapped_column(String(64), default="")
    prepared_at: Mapped[datetime] = mapped_column(UTCDateTime)
    left_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class AuditRow(Base):
    """Who did what, when. Written in the transaction of the change itself."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)
    actor: Mapped[str] = mapped_column(String(255))
    action: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str] = mapped_column(String(255))
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)

    __table_args__ = (Index("ix_audit_action_subject", "action", "subject"),)
