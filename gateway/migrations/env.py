"""Run by Alembic inside `RecordStore.start`, on the connection that it hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
