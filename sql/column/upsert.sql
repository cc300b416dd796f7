-- INSERT ... ON CONFLICT, which PostgreSQL does not do on a view with triggers. Python: column/upsert.py

CREATE FUNCTION @extschema@._key_columns(relation regclass)
RETURNS name[]
LANGUAGE plpython3u STABLE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr']._key_columns(relation)
$$;
COMMENT ON FUNCTION @extschema@._key_columns(regclass) IS
    'Internal: the columns by which rows of a table with encrypted columns are found.';

CREATE FUNCTION @extschema@._equal_column(relation regclass, column_name name)
RETURNS text
LANGUAGE plpython3u STABLE PARALLEL UNSAFE COST 10000
AS $$
@load@
return GD['pgkeymgr']._equal_column(relation, column_name)
$$;
COMMENT ON FUNCTION @extschema@._equal_column(regclass, name) IS
    'Internal: a condition for equal values of a column in the rows target and new, by the blind index if there is '
    'one.';

CREATE FUNCTION @extschema@.upsert(
    relation regclass,
    new_row jsonb,
    conflict_columns name[] DEFAULT NULL,
    on_conflict text DEFAULT 'update'
)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    given name[];
    unknown name;
    conflict name[] := conflict_columns;
    conditions text;
    assignments text;
    inserted text;
    found_row boolean;
BEGIN
    IF relation IS NULL OR new_row IS NULL OR jsonb_typeof(new_row) <> 'object' THEN
        RAISE EXCEPTION 'upsert: relation and new_row must not be NULL, and new_row must be a JSON object'
            USING ERRCODE = '22023';
    END IF;
    IF on_conflict IS NULL OR on_conflict NOT IN ('update', 'nothing') THEN
        RAISE EXCEPTION 'upsert: on_conflict must be update or nothing' USING ERRCODE = '22023';
    END IF;
    IF conflict IS NULL THEN
        conflict := @extschema@._key_columns(relation);
    END IF;
    IF coalesce(cardinality(conflict), 0) = 0 THEN
        RAISE EXCEPTION 'upsert: % has no primary key: name the columns of the conflict', relation
            USING ERRCODE = '22023';
    END IF;
    SELECT array_agg(a.attname ORDER BY a.attnum) INTO given
    FROM pg_attribute AS a
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND new_row ? a.attname::text;
    SELECT n INTO unknown FROM (
        SELECT k::name AS n FROM jsonb_object_keys(new_row) AS k UNION ALL SELECT n FROM unnest(conflict) AS n
    ) AS names
    WHERE n <> ALL (coalesce(given, '{}'))
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'upsert: "%" is a column of the conflict that new_row does not have, or is not a column of %',
            unknown, relation USING ERRCODE = '42703';
    END IF;
    SELECT string_agg(@extschema@._equal_column(relation, c), ' AND ') INTO conditions FROM unnest(conflict) AS c;
    SELECT string_agg(format('%1$I = new.%1$I', g), ', ') FILTER (WHERE g <> ALL (conflict)),
        string_agg(format('%I', g), ', ')
    INTO assignments, inserted
    FROM unnest(given) AS g;
    LOOP
        IF on_conflict = 'update' AND assignments IS NOT NULL THEN
            EXECUTE format(
                'UPDATE %1$s AS target SET %2$s FROM jsonb_populate_record(NULL::%1$s, $1) AS new WHERE %3$s',
                relation, assignments, conditions
            ) USING new_row;
            GET DIAGNOSTICS found_row = ROW_COUNT;
        ELSE
            EXECUTE format(
                'SELECT EXISTS (SELECT FROM %1$s AS target, jsonb_populate_record(NULL::%1$s, $1) AS new WHERE %2$s)',
                relation, conditions
            ) INTO found_row USING new_row;
        END IF;
        IF found_row THEN
            RETURN false;
        END IF;
        BEGIN
            EXECUTE format(
                'INSERT INTO %1$s (%2$s) SELECT %2$s FROM jsonb_populate_record(NULL::%1$s, $1) AS new',
                relation, inserted
            ) USING new_row;
            RETURN true;
        EXCEPTION WHEN unique_violation THEN
            -- Inserted by another session in between, which is then found; or in conflict with another column.
            EXECUTE format(
                'SELECT EXISTS (SELECT FROM %1$s AS target, jsonb_populate_record(NULL::%1$s, $1) AS new WHERE %2$s)',
                relation, conditions
            ) INTO found_row USING new_row;
            IF NOT found_row THEN
                RAISE;
            END IF;
        END;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION @extschema@.upsert(regclass, jsonb, name[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.upsert(regclass, jsonb, name[], text) TO PUBLIC;
COMMENT ON FUNCTION @extschema@.upsert(regclass, jsonb, name[], text) IS
    'Insert a row into a table with encrypted columns, or, if there is one with the same values in conflict_columns '
    '(by default the primary key), set its other columns, or do nothing. Whether it was inserted.';
