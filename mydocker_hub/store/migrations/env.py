"""Run by Alembic; the connection comes from `store.database`."""

from alembic import context

from mydocker_hub.store.database import VERSION_TABLE
from mydocker_hub.store.tables import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    compare_type=True,
    render_as_batch=True,
)
with context.begin_transaction():
    if connection.dialect.name == "postgresql":
        # Two catalogues started at once: the second waits, then finds nothing to do.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7170601)")
    context.run_migrations()
