"""The catalogue's database. The only package that knows SQLAlchemy.

`tables` holds the schema, `database` the connection and its transactions, `reading` what is
looked up, `editing` what people change (each change is in the audit log), `activity` what happens:
joining, starting, ending. Functions take a session of `database` and give back plain values.
"""
