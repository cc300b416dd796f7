# pgkeymgr: PGXS for what PostgreSQL loads, pip for what PL/Python imports. `make help` lists the targets.
#
# Its own variables start with PGK_: PGXS has its own VERSION, PYTHON, libdir, INSTALL_SCRIPT and so on.

# The variables below depend on the packages that deps installs, so the goals after it are left to a new make.
PGK_AFTER_DEPS := $(and $(filter deps,$(MAKECMDGOALS)),$(filter-out deps,$(MAKECMDGOALS)))
ifneq ($(PGK_AFTER_DEPS),)
.PHONY: $(MAKECMDGOALS)
deps:
	test/deps
	+$(MAKE) $(PGK_AFTER_DEPS)
$(PGK_AFTER_DEPS): deps
	@:
else

EXTENSION = pgkeymgr
PGK_VERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" pgkeymgr.control)

# The newest PostgreSQL of Debian's layout, since the pg_config in the PATH may be the client library's.
PG_CONFIG ?= $(or $(lastword $(shell ls -v /usr/lib/postgresql/*/bin/pg_config 2>/dev/null)),pg_config)
PGK_PKGLIBDIR := $(shell $(PG_CONFIG) --pkglibdir 2>/dev/null)

# The interpreter that PL/Python embeds: only its version can import what is installed for it.
PGK_PYVERSION := $(shell ldd '$(PGK_PKGLIBDIR)/plpython3.so' 2>/dev/null | sed -n 's/.*libpython\(3\.[0-9]*\)\..*/\1/p' | head -n 1)
PGK_PYTHON ?= $(firstword $(wildcard /usr/bin/python$(PGK_PYVERSION)) python$(PGK_PYVERSION))
PGK_PYTAG := cp$(subst .,,$(PGK_PYVERSION))

PREFIX ?= /usr/local
PGK_LIBDIR = $(PREFIX)/lib/pgkeymgr/$(PGK_VERSION)
PGK_SHAREDIR = $(PREFIX)/share/pgkeymgr

# The install script, in load order.
PGK_SQL_SOURCES = sql/header.sql sql/roles.sql sql/root_key.sql \
	$(addprefix sql/crypto/,secretbox.sql aead_ietf.sql aead_det.sql stream_xchacha20.sql \
	secretstream.sql auth.sql box.sql sign.sql signcrypt.sql hash.sql generichash.sql shorthash.sql \
	kdf.sql kx.sql pwhash.sql randombytes.sql utils.sql) \
	$(addprefix sql/key/,tables.sql audit.sql internal.sql data_key.sql token.sql wrap_key.sql \
	root_rotation.sql) \
	$(addprefix sql/sealed/,exchange.sql passphrase.sql transport.sql user_key.sql sharing.sql session_keyring.sql) \
	$(addprefix sql/column/,tables.sql cell.sql encrypt_column.sql view.sql operation.sql \
	blind_index.sql deterministic.sql upsert.sql verify_column.sql separate_column.sql ddl.sql) \
	$(addprefix sql/compat/,pgsodium.sql pgcryptokey.sql pg_kmgr.sql) \
	sql/doctor.sql sql/parallel.sql sql/privileges.sql
PGK_PY_SOURCES := $(shell find python/pgkeymgr -name '*.py' -o -name py.typed)

PGK_SCRIPT = build/pgkeymgr--$(PGK_VERSION).sql
PGK_TREE = build/$(PGK_PYTAG)
PGK_COMMAND_TREE = build/$(PGK_PYTAG)-command
PGK_VENV = build/venv-$(PGK_PYTAG)

# Not before it is known: a make that runs after deps would look no further.
ifneq ($(PGK_PKGLIBDIR),)
export PG_CONFIG
endif
export PYTHONPATH = $(CURDIR)/python:$(CURDIR)/test:$(CURDIR)/bench

DATA_built = $(PGK_SCRIPT)
REGRESS = $(patsubst test/regress/sql/%.sql,%,$(wildcard test/regress/sql/*.sql))
REGRESS_OPTS = --inputdir=build/regress --outputdir=build/regress
EXTRA_CLEAN = build

all: python-tree command-tree

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(wildcard $(PGXS)),)
include $(PGXS)
install: install-python
uninstall: uninstall-python
else
clean:
	rm -rf build
endif

# Everything else needs PostgreSQL and its Python: say so at once, before something is built for a Python without a
# version.
ifneq ($(filter-out help deps test demo bench dist clean,$(or $(MAKECMDGOALS),all)),)
ifeq ($(wildcard $(PGXS)),)
$(error There is no PGXS for '$(PG_CONFIG)': run 'make deps', or set PG_CONFIG)
endif
ifeq ($(PGK_PYVERSION),)
$(error There is no PL/Python for '$(PG_CONFIG)': run 'make deps', or set PG_CONFIG)
endif
endif

.PHONY: all help deps python-tree command-tree install-python uninstall-python venv demo test lint lock dist bench bench-docs reference instructions \
	run-demo run-bench test-pgtap test-hostile test-regress test-python
.DEFAULT_GOAL := all

# pg_regress wants sql/ and expected/ side by side; here sql/ holds the install script's sources.
installcheck: build/regress
# A walkthrough calls the installed command.
installcheck: export PATH := $(PREFIX)/bin:$(PATH)
build/regress: FORCE
	mkdir -p $@
	ln -sfn $(CURDIR)/test/regress/sql $@/sql
	ln -sfn $(CURDIR)/expected $@/expected
FORCE:

help:
	@echo 'make deps        as root on Debian: PostgreSQL with PL/Python, pgTAP, the build and test tools'
	@echo 'make             build the install script, and fetch the locked Python libraries'
	@echo 'make install     install for PG_CONFIG=$(PG_CONFIG), under PREFIX=$(PREFIX); honours DESTDIR'
	@echo 'make uninstall   remove what was installed'
	@echo 'make installcheck  run the psql walkthroughs against the running server'
	@echo 'make demo        the main job, on a throw-away cluster; brings what it needs'
	@echo 'make test        everything that CI runs, in 20 minutes; brings what it needs'
	@echo 'make bench       what it costs, beside other ways, in 10 minutes; ARGS=--quick for one; --help for more'
	@echo 'make bench-docs  docs/performance.md and the figures of README.md, from what make bench has measured'
	@echo 'make reference   install, and make docs/reference.md and docs/errors.md from the catalog and the classes'
	@echo 'make instructions  count the hot calls again, for the test that compares them'
	@echo 'make lock        renew the locked versions of the Python libraries'
	@echo 'make dist        a zip for PGXN'
	@echo 'make clean       remove build/'

deps:
	test/deps

$(PGK_SCRIPT): $(PGK_SQL_SOURCES) sql/load.py.in scripts/build_sql.py pgkeymgr.control Makefile
	@mkdir -p build
	$(PGK_PYTHON) scripts/build_sql.py --libdir '$(PGK_LIBDIR)' --version $(PGK_VERSION) --output $@ $(PGK_SQL_SOURCES)

python-tree: $(PGK_TREE)/.done

command-tree: $(PGK_COMMAND_TREE)/.done

# Wheels only, by hash: nothing is compiled, and nothing but what was reviewed is installed.
build/$(PGK_PYTAG)-libraries/.done: requirements/runtime.txt
	rm -rf $(@D)
	$(PGK_PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
		--require-hashes --no-compile --target $(@D) -r requirements/runtime.txt
	rm -rf $(@D)/bin
	touch $@

$(PGK_TREE)/.done: build/$(PGK_PYTAG)-libraries/.done $(PGK_PY_SOURCES)
	rm -rf $(@D)
	cp -r build/$(PGK_PYTAG)-libraries $(@D)
	cp -r python/pgkeymgr $(@D)/
	@# For doctor(), which compares what is there with it.
	cp requirements/runtime.txt $(@D)/pgkeymgr/requirements.txt
	find $(@D) -name __pycache__ -prune -exec rm -rf {} +
	@# The server's user cannot write the compiled files later. By time stamp they would be stale once copied,
	@# and every session would compile all of it again.
	$(PGK_PYTHON) -m compileall -q --invalidation-mode unchecked-hash -s $(@D) -p $(PGK_LIBDIR)/$(PGK_PYTAG) $(@D)
	touch $@

# The libraries that only the command imports are in another tree, since no session of the server should find them.
$(PGK_COMMAND_TREE)/.done: requirements/command.txt requirements/runtime.txt
	rm -rf $(@D)
	mkdir -p $(@D)
	@# Each requirement is a line and its indented hashes; those of the server's tree are left out.
	awk 'FNR == NR { if (/^[^ #]/) theirs[$$1]; next } /^[^ ]/ { wanted = !($$1 in theirs) } wanted' \
		requirements/runtime.txt requirements/command.txt > $(@D).txt
	$(PGK_PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
		--require-hashes --no-compile --target $(@D) -r $(@D).txt
	rm -rf $(@D)/bin
	$(PGK_PYTHON) -m compileall -q --invalidation-mode unchecked-hash -s $(@D) \
		-p $(PGK_LIBDIR)/$(PGK_PYTAG)-command $(@D)
	touch $@

# Swapped in whole: sessions of a running server may import from it at any moment.
define PGK_INSTALL_TREE
	rm -rf '$(DESTDIR)$(PGK_LIBDIR)/$(notdir $(1))'.*
	cp -r $(1) '$(DESTDIR)$(PGK_LIBDIR)/$(notdir $(1)).new'
	rm '$(DESTDIR)$(PGK_LIBDIR)/$(notdir $(1)).new/.done'
	chmod -R u=rwX,go=rX '$(DESTDIR)$(PGK_LIBDIR)'
	! test -d '$(DESTDIR)$(PGK_LIBDIR)/$(notdir $(1))' || \
		mv '$(DESTDIR)$(PGK_LIBDIR)/$(notdir $(1))' '$(DESTDIR)$(PGK_LIBDIR)/$(notdir $(1)).old'
	mv '$(DESTDIR)$(PGK_LIBDIR)/$(notdir $(1)).new' '$(DESTDIR)$(PGK_LIBDIR)/$(notdir $(1))'
	rm -rf '$(DESTDIR)$(PGK_LIBDIR)/$(notdir $(1)).old'
endef

install-python: python-tree command-tree
	install -d '$(DESTDIR)$(PGK_LIBDIR)' '$(DESTDIR)$(PGK_SHAREDIR)' '$(DESTDIR)$(PREFIX)/bin'
	$(call PGK_INSTALL_TREE,$(PGK_TREE))
	$(call PGK_INSTALL_TREE,$(PGK_COMMAND_TREE))
	install -m 644 scripts/*.sample '$(DESTDIR)$(PGK_SHAREDIR)/'
	sed -e 's|/usr/local|$(PREFIX)|g' scripts/pgkeymgr-agent.service \
		> '$(DESTDIR)$(PGK_SHAREDIR)/pgkeymgr-agent.service'
	chmod 644 '$(DESTDIR)$(PGK_SHAREDIR)/pgkeymgr-agent.service'
	@# A #! line wants a path; and by rename, since a script that is being run is read on.
	sed -e "s|@python@|$$(command -v $(PGK_PYTHON))|" -e 's|@libdir@|$(PGK_LIBDIR)/$(PGK_PYTAG)|g' \
		scripts/pgkeymgr.in > '$(DESTDIR)$(PREFIX)/bin/pgkeymgr.new'
	chmod 755 '$(DESTDIR)$(PREFIX)/bin/pgkeymgr.new'
	mv '$(DESTDIR)$(PREFIX)/bin/pgkeymgr.new' '$(DESTDIR)$(PREFIX)/bin/pgkeymgr'

uninstall-python:
	rm -rf '$(DESTDIR)$(PGK_LIBDIR)' '$(DESTDIR)$(PGK_SHAREDIR)' '$(DESTDIR)$(PREFIX)/bin/pgkeymgr'
	rmdir '$(DESTDIR)$(PREFIX)/lib/pgkeymgr' 2>/dev/null || true

# The environment of the tests, the demo and the benchmark; the server does not use it.
venv: $(PGK_VENV)/.done
$(PGK_VENV)/.done: requirements/test.txt
	rm -rf $(PGK_VENV)
	$(PGK_PYTHON) -m venv $(PGK_VENV)
	$(PGK_VENV)/bin/pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
		-r requirements/test.txt
	touch $@

# It starts a new make for each part, as do the two below, because only after deps is it known where PostgreSQL is.
test:
	@test/all

demo:
	$(MAKE) deps all install venv
	$(MAKE) --no-print-directory run-demo

bench:
	$(MAKE) deps all install venv
	$(MAKE) --no-print-directory run-bench

run-demo:
	@$(PGK_VENV)/bin/python demo/demo.py

run-bench:
	@$(PGK_VENV)/bin/python bench/run.py $(ARGS)
	@$(PGK_VENV)/bin/python bench/agent.py

reference: install venv
	@$(PGK_VENV)/bin/python scripts/errors_page.py
	@$(PGK_VENV)/bin/python scripts/reference_page.py
	@$(PGK_VENV)/bin/python scripts/architecture_page.py

bench-docs: venv
	@$(PGK_VENV)/bin/python bench/document.py $(ARGS)

instructions: venv
	@$(PGK_VENV)/bin/python bench/instructions.py

lint: venv $(PGK_SCRIPT)
	$(PGK_VENV)/bin/ruff check .
	$(PGK_VENV)/bin/ruff format --check .
	$(PGK_VENV)/bin/mypy
	$(PGK_VENV)/bin/python scripts/lint_names.py
	$(PGK_VENV)/bin/python scripts/lint_files.py
	$(PGK_VENV)/bin/python scripts/lint_prose.py
	grep -lE '^#!/bin/(ba)?sh' .ci/run test/all test/deps test/in-debian scripts/*.sample | xargs shellcheck
	@# pgspot reads SQL and PL/pgSQL. A PL/Python body here holds no SQL: load.py.in and one call.
	$(PGK_VENV)/bin/pgspot --ignore-lang plpython3u $(PGK_SCRIPT)

test-python: venv
	@# A file's tests share clusters, so each file stays in one process.
	$(PGK_VENV)/bin/pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

test-pgtap: venv
	$(PGK_VENV)/bin/python test/cluster.py pg_prove --verbose test/pgtap/*.sql

# The extension's code in a search_path full of traps: test/hostile.sql. These files reach most of it; for all of them:
# PGK_HOSTILE=1 make test-pgtap test-python.
test-hostile: export PGK_HOSTILE = 1
test-hostile: venv
	$(PGK_VENV)/bin/python test/cluster.py pg_prove \
		$(addprefix test/pgtap/,blind_index.sql data_key.sql encrypt_column.sql token.sql upsert.sql)

test-regress: venv
	$(PGK_VENV)/bin/python test/cluster.py $(MAKE) installcheck

lock: venv
	$(PGK_VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-header --upgrade \
		--python-version 3.11 pyproject.toml --output-file requirements/runtime.txt
	$(PGK_VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-header --upgrade \
		--python-version 3.11 --extra command pyproject.toml --constraint requirements/runtime.txt \
		--output-file requirements/command.txt
	$(PGK_VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-header --upgrade \
		--python-version 3.11 --extra test pyproject.toml --constraint requirements/runtime.txt \
		--constraint requirements/command.txt --output-file requirements/test.txt

dist:
	@mkdir -p build
	git archive --format=zip --prefix=pgkeymgr-$(PGK_VERSION)/ --output=build/pgkeymgr-$(PGK_VERSION).zip HEAD
	@echo build/pgkeymgr-$(PGK_VERSION).zip

endif
