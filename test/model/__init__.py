"""A model-based test: random statements on an encrypted table and on a plain one, compared after each step.

The plain table is the model: PostgreSQL's way with it is right. ``machine.py`` has the state machine.
``kinds.py``, ``schema.py``, ``triggers.py``, ``statements.py``, ``base_writes.py`` and ``changes.py`` draw schemas
and statements. ``pair.py`` runs them on both sides, ``compare.py`` compares, and ``exclusions.py`` lists the
documented differences.

A failure shows the example as text, in the form of the files in ``cases``. Copy it there, and it is tried each
time. CI takes the examples of one seed. For others, set PGK_MODEL_SEED to a number, or PGK_MODEL_SECONDS to the
seconds for which random seeds are tried; the seed that failed is printed. PGK_MODEL_SHRINK=0 shows a failure as it
was.
"""
