"""A shop on SQLAlchemy: ``application.shop.schema`` makes its tables, ``python -m application.shop`` tests it."""
