# pgkeymgr: PGXS for what PostgreSQL loads, pip for what PL/Python imports. `make help` lists the targets.
#
# Its own variables start with PGK_: PGXS has its own VERSION, PYTHON, libdir, INSTALL_SCRIPT and so on.

# The variables below depend on the packages that deps installs, so the goals after it are left to a new make.
PGK_DEPS := $(filter deps test-deps,$(MAKECMDGOALS))
PGK_AFTER_DEPS := $(and $(PGK_DEPS),$(filter-out deps test-deps,$(MAKECMDGOALS)))
ifneq ($(PGK_AFTER_DEPS),)
.PHONY: $(MAKECMDGOALS)
$(firstword $(PGK_DEPS)):
	test/deps $(if $(filter test-deps,$(PGK_DEPS)),tests,run)
	+$(MAKE) $(PGK_AFTER_DEPS)
$(PGK_AFTER_DEPS) $(wordlist 2,2,$(PGK_DEPS)): $(firstword $(PGK_DEPS))
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
PGK_DOCDIR = $(PREFIX)/share/doc/pgkeymgr
PGK_EXTENSIONDIR = $(shell $(PG_CONFIG) --sharedir 2>/dev/null)/extension
PGK_MAN_PAGE = $(PREFIX)/share/man/man1/pgkeymgr.1
PGK_BASH_COMPLETION = $(PREFIX)/share/bash-completion/completions/pgkeymgr
PGK_ZSH_COMPLETION = $(PREFIX)/share/zsh/site-functions/_pgkeymgr
PGK_FISH_COMPLETION = $(PREFIX)/share/fish/vendor_completions.d/pgkeymgr.fish
PGK_MAN_FILES = $(PGK_MAN_PAGE) $(PGK_BASH_COMPLETION) $(PGK_ZSH_COMPLETION) $(PGK_FISH_COMPLETION)

# The install script, in load order.
PGK_SQL_SOURCES = sql/header.sql sql/schema.sql sql/roles.sql sql/root_key.sql \
	$(addprefix sql/crypto/,secretbox.sql aead_ietf.sql aead_det.sql stream_xchacha20.sql \
	secretstream.sql auth.sql box.sql sign.sql signcrypt.sql hash.sql generichash.sql shorthash.sql \
	ipcrypt.sql kdf.sql kx.sql pwhash.sql randombytes.sql utils.sql) \
	$(addprefix sql/key/,tables.sql nodes.sql audit.sql internal.sql data_key.sql lifecycle.sql token.sql wrap_key.sql \
	root_rotation.sql keep.sql) \
	$(addprefix sql/sealed/,exchange.sql passphrase.sql transport.sql user_key.sql sharing.sql session_keyring.sql) \
	$(addprefix sql/column/,tables.sql cell.sql encrypt_column.sql plan_encrypt_column.sql view.sql operation.sql \
	attach_partition.sql blind_index.sql search.sql deterministic.sql upsert.sql verify_column.sql compression.sql \
	mask.sql policy.sql separate_column.sql adopt_table.sql finish_update.sql ddl.sql) \
	$(addprefix sql/compat/,pgsodium.sql pgsodium_ipcrypt.sql pgcryptokey.sql pg_kmgr.sql vault.sql) \
	sql/monitor.sql sql/doctor.sql sql/parallel.sql sql/privileges.sql
PGK_PY_SOURCES := $(shell find python/pgkeymgr -name '*.py' -o -name py.typed)

# For an installation with another PREFIX beside this one, what depends on PREFIX is built in another directory.
PGK_BUILD = build
PGK_SCRIPT = $(PGK_BUILD)/pgkeymgr--$(PGK_VERSION).sql
# The steps of an update to this version are in sql/updates/; the rest of the script is made from the install script.
PGK_UPDATES = $(patsubst sql/updates/%,$(PGK_BUILD)/%,$(wildcard sql/updates/pgkeymgr--*--$(PGK_VERSION).sql))
PGK_TREE = $(PGK_BUILD)/$(PGK_PYTAG)
PGK_COMMAND_TREE = build/$(PGK_PYTAG)-command
PGK_MAN = $(PGK_BUILD)/$(PGK_PYTAG)-man
PGK_VENV = build/venv-$(PGK_PYTAG)

# Not before it is known: a make that runs after deps would look no further.
ifneq ($(PGK_PKGLIBDIR),)
export PG_CONFIG
endif
export PYTHONPATH = $(CURDIR)/python:$(CURDIR)/test:$(CURDIR)/bench

DATA_built = $(PGK_SCRIPT) $(PGK_UPDATES)
REGRESS = $(patsubst test/regress/sql/%.sql,%,$(wildcard test/regress/sql/*.sql))
REGRESS_OPTS = --inputdir=build/regress --outputdir=build/regress
EXTRA_CLEAN = build

all: python-tree command-tree man

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(wildcard $(PGXS)),)
include $(PGXS)
install: install-python
# The control file stays if another version needs it: see scripts/installation.py.
uninstall: EXTENSION =
uninstall: uninstall-python
else
clean:
	rm -rf build
endif

# Everything else needs PostgreSQL and its Python: say so at once, before something is built for a Python without a
# version.
ifneq ($(filter-out help deps test-deps test demo bench dist pgxn test-packages clean,$(or $(MAKECMDGOALS),all)),)
ifeq ($(wildcard $(PGXS)),)
$(error There is no PGXS for '$(PG_CONFIG)': run 'make deps', or set PG_CONFIG)
endif
ifeq ($(PGK_PYVERSION),)
$(error There is no PL/Python for '$(PG_CONFIG)': run 'make deps', or set PG_CONFIG)
endif
endif

.PHONY: all help deps test-deps python-tree command-tree man check-install install-python uninstall-python venv demo test \
	lint lock dist pgxn deb wheel sbom test-packages bench bench-docs reference instructions \
	demo-venv run-demo print-pg-config run-bench test-pgtap test-hostile test-regress test-python
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
	@echo 'make deps        as root on Debian: PostgreSQL with PL/Python, and pip, which the build needs'
	@echo 'make test-deps   the same, and the tools that the tests need'
	@echo 'make             build the install script, and fetch the locked Python libraries'
	@echo 'make man         the man page, and the completion for shells; a part of make'
	@echo 'make install     install for PG_CONFIG=$(PG_CONFIG), under PREFIX=$(PREFIX); honours DESTDIR'
	@echo 'make uninstall   remove what was installed'
	@echo 'make installcheck  run the psql walkthroughs against the running server'
	@echo 'make demo        the main job, on a throw-away cluster; brings what it needs'
	@echo 'make test        everything that CI runs, in 40 minutes; brings what it needs'
	@echo 'make bench       what it costs, beside other ways, in 10 minutes; ARGS=--quick for one; --help for more'
	@echo 'make bench-docs  docs/performance.md, from what make bench has measured'
	@echo 'make reference   install, and make docs/reference.md and docs/errors.md from the catalog and the classes'
	@echo 'make instructions  count the hot calls again, for the test that compares them'
	@echo 'make lock        renew the locked versions of the Python libraries'
	@echo 'make deb         Debian packages for this PostgreSQL, in build/packages'
	@echo 'make pgxn        a zip for PGXN of the last commit'
	@echo 'make wheel       a wheel with the client, the adapters and the command, for pip'
	@echo 'make sbom        a list of the Python libraries with their hashes, in CycloneDX'
	@echo 'make test-packages  install all packages in a bare Debian of another release, in 20 minutes'
	@echo 'make clean       remove build/'

deps:
	test/deps run

test-deps:
	test/deps tests

# The script names the directory of the libraries, so it is built again after a change of PREFIX.
$(PGK_SCRIPT).libdir: FORCE
	@mkdir -p $(@D)
	@echo '$(PGK_LIBDIR)' | cmp -s - $@ || echo '$(PGK_LIBDIR)' > $@

$(PGK_SCRIPT): $(PGK_SCRIPT).libdir $(PGK_SQL_SOURCES) sql/load.py.in sql/catalog_settings.sql.in scripts/build_sql.py pgkeymgr.control Makefile
	@mkdir -p $(@D)
	$(PGK_PYTHON) scripts/build_sql.py --libdir '$(PGK_LIBDIR)' --version $(PGK_VERSION) --output $@ \
		--build-output $(@D)/build.txt $(PGK_SQL_SOURCES)

$(PGK_UPDATES): $(PGK_BUILD)/%: sql/updates/% sql/updates/begin.sql.in sql/updates/end.sql.in scripts/build_update.py $(PGK_SCRIPT)
	$(PGK_PYTHON) scripts/build_update.py --steps $< --install $(PGK_SCRIPT) --output $@

python-tree: $(PGK_TREE)/.done

command-tree: $(PGK_COMMAND_TREE)/.done

# Wheels only, by hash: nothing is compiled, and nothing but what was reviewed is installed.
PGK_PIP_INSTALL = install --quiet --disable-pip-version-check --root-user-action ignore --only-binary :all: \
	--require-hashes

build/$(PGK_PYTAG)-libraries/.done: requirements/runtime.txt
	rm -rf $(@D)
	$(PGK_PYTHON) -m pip $(PGK_PIP_INSTALL) --no-deps --no-compile --target $(@D) -r requirements/runtime.txt
	rm -rf $(@D)/bin
	touch $@

$(PGK_TREE)/.done: build/$(PGK_PYTAG)-libraries/.done $(PGK_PY_SOURCES) $(PGK_SCRIPT)
	rm -rf $(@D)
	cp -r build/$(PGK_PYTAG)-libraries $(@D)
	cp -r python/pgkeymgr $(@D)/
	@# For doctor(), which compares what is there with it.
	cp requirements/runtime.txt $(@D)/pgkeymgr/requirements.txt
	@# The hash of the install script. The bridge compares it with that of the script in the database.
	cp $(PGK_BUILD)/build.txt $(@D)/pgkeymgr/build.txt
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
	$(PGK_PYTHON) -m pip $(PGK_PIP_INSTALL) --no-deps --no-compile --target $(@D) -r $(@D).txt
	rm -rf $(@D)/bin
	$(PGK_PYTHON) -m compileall -q --invalidation-mode unchecked-hash -s $(@D) \
		-p $(PGK_LIBDIR)/$(PGK_PYTAG)-command $(@D)
	touch $@

# The man page and the completion come from the command, so they name the options that it has.
man: $(PGK_MAN)/.done

$(PGK_MAN)/.done: scripts/man_page.py $(PGK_TREE)/.done $(PGK_COMMAND_TREE)/.done
	rm -rf $(@D)
	PYTHONDONTWRITEBYTECODE=1 PYTHONPATH='$(abspath $(PGK_TREE)):$(abspath $(PGK_COMMAND_TREE))' \
		$(PGK_PYTHON) scripts/man_page.py --output $(@D)
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

# A build that a running server uses is not replaced by another one of the same version.
check-install: $(PGK_SCRIPT) python-tree
ifeq ($(DESTDIR),)
	@$(PGK_PYTHON) scripts/installation.py check --version $(PGK_VERSION) --script $(PGK_SCRIPT) --tree $(PGK_TREE) \
		--bindir '$(shell $(PG_CONFIG) --bindir)' --extension-dir '$(PGK_EXTENSIONDIR)' --lib-dir '$(PGK_LIBDIR)'
endif

install-python: check-install python-tree command-tree man
	install -d '$(DESTDIR)$(PGK_LIBDIR)' '$(DESTDIR)$(PGK_SHAREDIR)' '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PGK_DOCDIR)/docs'
	$(call PGK_INSTALL_TREE,$(PGK_TREE))
	$(call PGK_INSTALL_TREE,$(PGK_COMMAND_TREE))
	for file in scripts/*.sample scripts/pgkeymgr-agent.service scripts/pgkeymgr-agent-metrics.conf; do \
		sed -E 's#/usr/local/(bin|lib|share)/pgkeymgr#$(PREFIX)/\1/pgkeymgr#g; s#(/etc/postgresql)/15/#\1/$(MAJORVERSION)/#g' $$file \
			> '$(DESTDIR)$(PGK_SHAREDIR)'/$${file#scripts/} || exit 1; \
	done
	install -m 644 monitoring/* '$(DESTDIR)$(PGK_SHAREDIR)/'
	chmod 644 '$(DESTDIR)$(PGK_SHAREDIR)'/*
	@# In the folders of the repository, so that the links work.
	install -m 644 README.md CHANGELOG.md SECURITY.md LICENSE '$(DESTDIR)$(PGK_DOCDIR)/'
	install -m 644 docs/* '$(DESTDIR)$(PGK_DOCDIR)/docs/'
	@# A #! line wants a path; and by rename, since a script that is being run is read on.
	sed -e "s|@python@|$$(command -v $(PGK_PYTHON))|" -e 's|@libdir@|$(PGK_LIBDIR)/$(PGK_PYTAG)|g' \
		scripts/pgkeymgr.in > '$(DESTDIR)$(PREFIX)/bin/pgkeymgr.new'
	chmod 755 '$(DESTDIR)$(PREFIX)/bin/pgkeymgr.new'
	mv '$(DESTDIR)$(PREFIX)/bin/pgkeymgr.new' '$(DESTDIR)$(PREFIX)/bin/pgkeymgr'
	install -d $(foreach file,$(PGK_MAN_FILES),'$(DESTDIR)$(dir $(file))')
	install -m 644 $(PGK_MAN)/pgkeymgr.1 '$(DESTDIR)$(PGK_MAN_PAGE)'
	install -m 644 $(PGK_MAN)/completion/bash '$(DESTDIR)$(PGK_BASH_COMPLETION)'
	install -m 644 $(PGK_MAN)/completion/zsh '$(DESTDIR)$(PGK_ZSH_COMPLETION)'
	install -m 644 $(PGK_MAN)/completion/fish '$(DESTDIR)$(PGK_FISH_COMPLETION)'

uninstall-python:
	@$(PGK_PYTHON) scripts/installation.py remove --version $(PGK_VERSION) --destdir '$(DESTDIR)' \
		--extension-dir '$(DESTDIR)$(PGK_EXTENSIONDIR)' --lib-dir '$(DESTDIR)$(PGK_LIBDIR)' \
		--share-dir '$(DESTDIR)$(PGK_SHAREDIR)' --doc-dir '$(DESTDIR)$(PGK_DOCDIR)' \
		--command '$(DESTDIR)$(PREFIX)/bin/pgkeymgr'
	@# Another version may have kept the command.
	test -e '$(DESTDIR)$(PREFIX)/bin/pgkeymgr' || rm -f $(foreach file,$(PGK_MAN_FILES),'$(DESTDIR)$(file)')

# The environment of the tests, the demo and the benchmark; the server does not use it.
venv: $(PGK_VENV)/.done
$(PGK_VENV)/.done: requirements/test.txt
	rm -rf $(PGK_VENV)
	$(PGK_PYTHON) -m venv $(PGK_VENV)
	$(PGK_VENV)/bin/pip $(PGK_PIP_INSTALL) \
		-r requirements/test.txt
	touch $@

# It starts a new make for each part, as do the two below, because only after deps is it known where PostgreSQL is.
test:
	@test/all

demo:
	@MAKE='$(MAKE)' demo/run

bench:
	$(MAKE) test-deps all install venv
	$(MAKE) --no-print-directory run-bench

# The demo's own environment is small: the one of the tests takes minutes.
PGK_DEMO_VENV = build/venv-demo-$(PGK_PYTAG)
demo-venv: $(PGK_DEMO_VENV)/.done
$(PGK_DEMO_VENV)/.done: requirements/demo.txt
	rm -rf $(@D)
	$(PGK_PYTHON) -m venv $(@D)
	$(@D)/bin/pip $(PGK_PIP_INSTALL) -r requirements/demo.txt
	touch $@

run-demo: demo-venv
	@$(PGK_DEMO_VENV)/bin/python demo/demo.py

print-pg-config:
	@echo $(PG_CONFIG)

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
	grep -lE '^#!/bin/(ba)?sh' .ci/run test/all test/deps test/in-debian test/upgrade/run test/upgrade/inside test/failover/run \
		test/packages/* demo/* packaging/deb/* scripts/*.sample | xargs shellcheck
	@# pgspot reads SQL and PL/pgSQL. A PL/Python body here holds no SQL: load.py.in and one call.
	@# Two functions that a CHECK calls for each row have qualified names instead of a search_path, which takes longer,
	@# and so have those that PostgreSQL is to put into the query.
	$(PGK_VENV)/bin/pgspot --ignore-lang plpython3u --proc-without-search-path 'extschema._is_token(bytea)' \
		--proc-without-search-path 'extschema._is_deterministic_token(bytea)' \
		--proc-without-search-path 'extschema.search_like(relation regclass,column_name text,terms smallint[],value text,pattern text)' \
		--proc-without-search-path 'extschema.search_ilike(relation regclass,column_name text,terms smallint[],value text,pattern text)' \
		--proc-without-search-path 'extschema.search_prefix(relation regclass,column_name text,terms smallint[],value text,part text)' \
		--proc-without-search-path 'extschema.search_suffix(relation regclass,column_name text,terms smallint[],value text,part text)' \
		--proc-without-search-path 'extschema.search_contains(relation regclass,column_name text,terms smallint[],value text,part text)' \
		--proc-without-search-path 'extschema.search_similar(relation regclass,column_name text,terms smallint[],value text,other text,threshold real)' \
		--proc-without-search-path 'extschema.search_within(relation regclass,column_name text,terms integer[],value anyelement,bounds anyrange)' \
		--proc-without-search-path 'extschema.search_network(relation regclass,column_name text,terms integer[],value inet,network inet)' \
		--proc-without-search-path 'extschema.search_json(relation regclass,column_name text,terms integer[],value jsonb,part jsonb)' \
		--proc-without-search-path 'extschema.search_json_key(relation regclass,column_name text,terms integer[],value jsonb,json_key text)' \
		--proc-without-search-path 'extschema.search_json_path(relation regclass,column_name text,terms integer[],value jsonb,path text[],expected jsonb)' \
		$(PGK_SCRIPT)

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
		$(addprefix test/pgtap/,blind_index.sql data_key.sql encrypt_column.sql column_types.sql column_obstacles.sql \
		column_ciphertexts.sql column_privileges.sql token.sql upsert.sql)

test-regress: venv
	$(PGK_VENV)/bin/python test/cluster.py $(MAKE) installcheck

lock: venv
	$(PGK_VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-header --upgrade \
		--python-version 3.11 pyproject.toml --output-file requirements/runtime.txt
	$(PGK_VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-header --upgrade \
		--python-version 3.11 --extra command pyproject.toml --constraint requirements/runtime.txt \
		--output-file requirements/command.txt
	$(PGK_VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-header --upgrade \
		--python-version 3.11 --extra demo pyproject.toml --constraint requirements/runtime.txt \
		--constraint requirements/command.txt --no-emit-package pynacl --no-emit-package cryptography \
		--no-emit-package cffi --no-emit-package pycparser --output-file requirements/demo.txt
	echo setuptools | $(PGK_VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-header --upgrade \
		--python-version 3.11 - --output-file requirements/wheel.txt
	$(PGK_VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-header --upgrade \
		--python-version 3.11 --extra test pyproject.toml --constraint requirements/runtime.txt \
		--constraint requirements/command.txt --output-file requirements/test.txt

# The time of every file in a package: that of the last commit, unless the environment has another.
PGK_EPOCH = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),$(shell stat -c %Y CHANGELOG.md))
PGK_PACKAGES = build/packages

# Trees of its own, since the compiled files have the path that they will have.
deb:
	rm -rf build/deb
	mkdir -p build/deb
	umask 022 && $(MAKE) --no-print-directory install PREFIX=/usr DESTDIR='$(CURDIR)/build/deb/stage' \
		PGK_BUILD=build/deb PGK_COMMAND_TREE=build/deb/$(PGK_PYTAG)-command
	@$(PGK_PYTHON) scripts/build_deb.py --stage build/deb/stage --version $(PGK_VERSION) \
		--postgresql $$($(PG_CONFIG) --version | sed 's/[^0-9]*\([0-9]*\).*/\1/') --epoch $(PGK_EPOCH) --output $(PGK_PACKAGES)

pgxn dist:
	@mkdir -p $(PGK_PACKAGES)
	@# A zip has local times.
	TZ=UTC git archive --format=zip --prefix=pgkeymgr-$(PGK_VERSION)/ --output=$(PGK_PACKAGES)/pgkeymgr-$(PGK_VERSION).zip HEAD
	@echo $(PGK_PACKAGES)/pgkeymgr-$(PGK_VERSION).zip

# From a copy whose modes do not depend on this checkout, with tools of known hashes.
wheel: build/wheel-tools/.done
	rm -rf build/wheel
	mkdir -p build/wheel $(PGK_PACKAGES)
	cp -r python pyproject.toml README.md LICENSE build/wheel/
	find build/wheel -name __pycache__ -prune -exec rm -rf {} +
	chmod -R u=rwX,go=rX build/wheel
	umask 022 && SOURCE_DATE_EPOCH=$(PGK_EPOCH) PYTHONPATH=$(CURDIR)/build/wheel-tools \
		$(PGK_PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir $(PGK_PACKAGES) ./build/wheel
	@ls $(PGK_PACKAGES)/pgkeymgr-$(PGK_VERSION)-*.whl

build/wheel-tools/.done: requirements/wheel.txt
	rm -rf $(@D)
	$(PGK_PYTHON) -m pip $(PGK_PIP_INSTALL) --no-deps \
		--target $(@D) -r requirements/wheel.txt
	touch $@

sbom: python-tree command-tree
	@mkdir -p $(PGK_PACKAGES)
	@$(PGK_PYTHON) scripts/sbom.py --version $(PGK_VERSION) --epoch $(PGK_EPOCH) \
		--output $(PGK_PACKAGES)/pgkeymgr-$(PGK_VERSION).cdx.json $(PGK_TREE) $(PGK_COMMAND_TREE)

test-packages:
	test/packages/run

endif
