"""links that were lent: those that had a course, until 0005

As all migrations, it imports nothing of the package: it must still run in five years.
"""

from alembic import op
import sqlalchemy as sa

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_LINKS = sa.table(
    "join_links", sa.column("lent", sa.Boolean), sa.column("course_id", sa.BigInteger)
)


def upgrade() -> None:
    op.execute(_LINKS.update().where(_LINKS.c.course_id.is_not(None)).values(lent=sa.true()))


def downgrade() -> None:
    # Those that were lent without a course would be taken for the maintainers' own.
    op.execute(_LINKS.delete().where(_LINKS.c.lent, _LINKS.c.course_id.is_(None)))
