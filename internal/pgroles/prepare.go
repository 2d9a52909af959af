package pgroles

import "strings"

// prepare finds what would keep PostgreSQL from dropping databases. From version 11 on the dump drops template1 and
// postgres too, after it has filled others, and nothing before tells whether it leaves postgres out: the role can say
// so. Versions before 10 have no subscriptions and no types of sessions.
//
// A session may end within five seconds, as for DROP DATABASE itself. PostgreSQL ends the workers of autovacuum, and
// extensions their own, except pg_cron. So only clients count, and what follows a slot. A message has little room.
//
// The dump drops its tablespaces after these databases, and before postgres and template1. What a table leaves there
// that was dropped or moved goes with a checkpoint, or later if the role may not make one. Only some roles may look for
// a directory. For others the dump ends where it makes the tablespace.
var prepare = oneLine(`
DECLARE names pg_catalog.name[] := ARRAY[NAMES]; dropped pg_catalog.name[] := names;
	spaces pg_catalog.name[] := ARRAY[SPACES]::pg_catalog.name[];
	places pg_catalog.text[] := ARRAY[PLACES]::pg_catalog.text[]; place pg_catalog.text; away bool; found record;
BEGIN
	SET LOCAL search_path = pg_catalog;
	IF current_setting('server_version_num')::int >= 110000 THEN
		dropped := dropped || 'template1'::name;
		IF current_setting('cairn.postgres_stays', true) IS DISTINCT FROM 'on' THEN
			dropped := dropped || 'postgres'::name;
		END IF;
	END IF;
	IF to_regclass('pg_catalog.pg_subscription') IS NOT NULL THEN
		FOR found IN SELECT subname, datname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
			WHERE datname = ANY (dropped)
		LOOP
			RAISE EXCEPTION USING MESSAGE = 'nothing was dropped: database ' || found.datname ||
				' has the subscription ' || found.subname || ', and PostgreSQL does not drop it then. ' ||
				'Drop the subscription and restore again';
		END LOOP;
		FOR round IN 1..50 LOOP
			PERFORM pg_stat_clear_snapshot();
			SELECT sum(n) AS n, string_agg(said, '; ' ORDER BY nr) FILTER (WHERE nr <= 3) AS said INTO found
			FROM (SELECT said, count(*) AS n, row_number() OVER (ORDER BY said) AS nr
				FROM (SELECT datname || ' (' || concat_ws(', ', 'user ' || usename,
						'application ' || nullif(application_name, ''), nullif(backend_type, 'client backend'),
						coalesce(host(client_addr), 'on the server')) || ')' AS said
					FROM pg_stat_activity WHERE datname = ANY (dropped) AND pid <> pg_backend_pid()
					AND backend_type ~ '^(client backend|walsender|pg_cron)') session
				GROUP BY said) kind;
			EXIT WHEN found.n IS NULL;
			IF round = 50 THEN
				RAISE EXCEPTION USING MESSAGE = 'nothing was dropped: databases have sessions (' || found.n || '): ' ||
					found.said;
			END IF;
			PERFORM pg_sleep(0.1);
		END LOOP;
	END IF;
	FOR found IN SELECT gid, database FROM pg_prepared_xacts WHERE database = ANY (dropped) LOOP
		RAISE EXCEPTION USING MESSAGE = 'nothing was dropped: database ' || found.database ||
			' has the prepared transaction ' || quote_literal(found.gid) || ', and PostgreSQL does not drop it then. ' ||
			'Run COMMIT PREPARED or ROLLBACK PREPARED there and restore again';
	END LOOP;
	IF spaces <> '{}' THEN
		BEGIN
			CHECKPOINT;
		EXCEPTION WHEN insufficient_privilege THEN
			NULL;
		END;
	END IF;
	FOR found IN SELECT spcname, coalesce(datname, 'with the number ' || used) AS datname FROM pg_tablespace t
		CROSS JOIN pg_tablespace_databases(t.oid) used LEFT JOIN pg_database d ON d.oid = used
		WHERE spcname = ANY (spaces) AND (datname = ANY (names)) IS NOT TRUE
	LOOP
		RAISE EXCEPTION USING MESSAGE = 'nothing was dropped: the dump drops the tablespace ' || found.spcname ||
			' and makes it anew, but database ' || found.datname || ' uses it, which the dump does not drop before. ' ||
			'Move what it has there to another tablespace (ALTER DATABASE or ALTER TABLE ... SET TABLESPACE) and ' ||
			'restore again';
	END LOOP;
	FOREACH place IN ARRAY places LOOP
		BEGIN
			SELECT isdir IS NOT TRUE INTO away FROM pg_stat_file(place, true);
		EXCEPTION WHEN OTHERS THEN
			away := false;
		END;
		IF away THEN
			RAISE EXCEPTION USING MESSAGE = 'nothing was dropped: the dump makes a tablespace in the directory ' || place ||
				', which the server does not have. Make it, for the user of the server, and restore again';
		END IF;
	END LOOP;
	FOR found IN SELECT datname FROM pg_database WHERE datistemplate AND datname = ANY (names) LOOP
		EXECUTE format('ALTER DATABASE %I IS_TEMPLATE false', found.datname);
	END LOOP;
END`)

// oneLine returns a statement without its line breaks.
func oneLine(statement string) string { return strings.Join(strings.Fields(statement), " ") }
