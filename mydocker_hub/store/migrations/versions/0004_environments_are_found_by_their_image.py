"""environments are found by their image

Fills the column that 0003 added, from the definitions.
"""

import json

from alembic import op
import sqlalchemy as sa

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    environments = sa.table(
        "environments", sa.column("id"), sa.column("definition", sa.Text()), sa.column("image")
    )
    connection = op.get_bind()
    definition = sa.cast(environments.c.definition, sa.Text())
    for row in connection.execute(sa.select(environments.c.id, definition)).all():
        image = json.loads(row[1]).get("image", "")
        connection.execute(
            environments.update().where(environments.c.id == row[0]).values(image=image)
        )


def downgrade() -> None:
    pass
