-- Databases that share keys: the ids that each of them gives, and the database that makes the keys.
-- Python: key/nodes.py

CREATE TABLE @extschema@.key_node (
    -- A primary key, so that a logical replica can have the table, too.
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    node integer NOT NULL CHECK (node OPERATOR(pg_catalog.>=) 1),
    nodes integer NOT NULL CHECK (nodes OPERATOR(pg_catalog.>=) node AND nodes OPERATOR(pg_catalog.<=) 1024),
    first_id integer NOT NULL DEFAULT 1 CHECK (first_id OPERATOR(pg_catalog.>=) 1)
);
REVOKE ALL ON @extschema@.key_node FROM PUBLIC;
COMMENT ON TABLE @extschema@.key_node IS
    'The number of this node, the number of nodes that share keys, and the smallest id that the node gives to a key: '
    'see set_key_node(). In a database without a row, every id is for a key of this database.';

-- It is another table than key_node: a replica of all tables has the row of its publisher there, but its own source.
CREATE TABLE @extschema@.key_source (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    name text NOT NULL CHECK (
        pg_catalog.length(name) OPERATOR(pg_catalog.>=) 1 AND pg_catalog.length(name) OPERATOR(pg_catalog.<=) 255
    )
);
REVOKE ALL ON @extschema@.key_source FROM PUBLIC;
COMMENT ON TABLE @extschema@.key_source IS
    'The name of the node that makes the keys of this database: see follow_key_source(). In a database without a row, '
    'keys are made here, unless a subscription brings the key table.';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.key_node', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.key_source', '');

-- Set the number of this node, from 1 to the number of nodes that share keys: the ids of keys that are made here have
-- the remainder node when they are divided by nodes, and no two nodes give the same id. No key gets an id below
-- first_id. Keys with other ids from first_id on must not exist.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.set_key_node(
    node integer,
    nodes integer,
    first_id integer DEFAULT 1
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].set_key_node(node, nodes, first_id)
$$;

-- Let another node make the keys of this database, which are replicated to it: functions that make, supersede, disable,
-- destroy or wrap keys are refused here from now on, and their errors have the name of that node. The call waits for
-- transactions that are changing keys.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.follow_key_source(
    name text
)
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].follow_key_source(name)
$$;

-- Let this node make keys, in place of the node that follow_key_source() has named, and set the sequences of ids that
-- are behind. The call is refused while a subscription brings the key table.
-- EXECUTE: pgkeymgr_admin
CREATE FUNCTION @extschema@.make_keys_here()
RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].make_keys_here()
$$;

-- Return the number of this node and the number of nodes, the smallest id that the node gives to a key, whether keys
-- are made here, the node that makes them otherwise, and the subscriptions and publications that have the key table.
-- EXECUTE: pgkeymgr_admin, pgkeymgr_monitor
CREATE FUNCTION @extschema@.key_node_status(
    OUT node integer,
    OUT nodes integer,
    OUT first_id integer,
    OUT makes_keys boolean,
    OUT source text,
    OUT subscriptions text[],
    OUT publications text[]
)
RETURNS record
LANGUAGE plpython3u STABLE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr'].key_node_status()
$$;
