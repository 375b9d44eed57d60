"""${message}

Law of migrations: one file a change, its title in words. Add before you remove: a column is first
no longer written, then no longer read, then dropped, in three releases. Data moves in a migration
of its own. A migration imports nothing of the package: it must still run in five years.
"""

from alembic import op
import sqlalchemy as sa
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
