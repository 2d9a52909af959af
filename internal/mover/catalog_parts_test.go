package mover_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// pg_dump with --table or --schema dumps no rows of partitions and children that no pattern matches.
func TestPartsOfTablesThatNoPatternMatchesFailTheBackup(t *testing.T) {
	t.Parallel()
	s, to, p := startPostgreSQL(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("shop", `CREATE SCHEMA parts; CREATE SCHEMA site; CREATE SCHEMA "Odd";
		CREATE TABLE events (n int) PARTITION BY RANGE (n);
		CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (1000);
		CREATE TABLE site.events (n int) PARTITION BY RANGE (n);
		CREATE TABLE parts.events_1 PARTITION OF site.events FOR VALUES FROM (0) TO (1000) PARTITION BY RANGE (n);
		CREATE TABLE parts.low PARTITION OF parts.events_1 FOR VALUES FROM (0) TO (1000);
		INSERT INTO events SELECT generate_series(1, 500); INSERT INTO site.events SELECT generate_series(1, 500);
		CREATE TABLE "Odd"."We.ird$x" (n int); CREATE TABLE "Odd".kid () INHERITS ("Odd"."We.ird$x");
		INSERT INTO "Odd".kid VALUES (1)`))
	base := catalogTask{addon: "postgres-addon", server: s}
	const public, site = "apart: public.events_1 is a part of public.events", "apart: parts.events_1 is a part of " +
		"site.events; apart: parts.low is a part of parts.events_1"
	const odd = `apart: "Odd".kid is a part of "Odd"."We.ird$x"`
	for _, tc := range []struct{ parameter, patterns, says, restored string }{
		{"tables", "events", public, ""},
		{"tables", " EVENTS , parts.*", public, ""},
		{"tables", "site.*", site, ""},
		{"tables", "s?te.(events|none)", site, ""},
		{"tables", "site.events,parts.*_1", "said: apart: parts.low is a part of parts.events_1", ""},
		{"tables", `"Odd"."We.ird$x"`, odd, ""},
		{"tables", `"Odd"."W"*x`, odd, ""},
		{"schemas", "site", site, ""},
		{"schemas", "s*,public", site, ""},
		{"tables", "event*", "", "SELECT count(*) FROM events"},
		{"tables", `"Odd".*`, "", `SELECT count(*) * 500 FROM "Odd"."We.ird$x"`},
		{"schemas", "site, parts", "", "SELECT count(*) FROM site.events"},
	} {
		t.Run(tc.parameter+" "+tc.patterns, func(t *testing.T) {
			g := NewWithT(t)
			made := base.with("databases", "shop", tc.parameter, tc.patterns).backup(p, tc.parameter+tc.patterns)
			if tc.says != "" {
				g.Expect(made).To(And(HaveField("Reason", v1alpha1.ReasonDumpFailed),
					HaveField("Message", ContainSubstring(tc.says))))
				return
			}
			g.Expect(made.Reason).To(Equal(v1alpha1.ReasonSucceeded), made.Message)
			to.must(to.psql("postgres", "DROP DATABASE IF EXISTS shop"))
			to.must(to.psql("postgres", "CREATE DATABASE shop"))
			to.must(to.psql("shop", `CREATE SCHEMA "Odd"`))
			base.on(to).with().restored(p, made)
			g.Expect(to.psql("shop", tc.restored)).To(Equal("500\n"))
		})
	}
	base.with("databases", "shop", "tables", "events", "onlyVisible", "true").backedUp(p, "without parts")

	s.must(s.psql("shop", "CREATE TABLE whole (n int)"))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = s.psql("shop", "CREATE TEMPORARY TABLE mine () INHERITS (whole); SELECT pg_sleep(600)")
	}()
	NewWithT(t).Eventually(func() (string, error) {
		return s.psql("shop", "SELECT count(*) FROM pg_inherits WHERE inhparent = 'whole'::regclass")
	}, "30s").Should(Equal("1\n"))
	base.with("databases", "shop", "tables", "whole").backedUp(p, "with a temporary child")
	s.must(s.psql("shop", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND "+
		"pid <> pg_backend_pid()"))
	<-ended
}

// Accounts that may write into the schema public can put functions and operators there that fit the questions better
// than the server's own. None of them runs as the account of the backup.
func TestFunctionsOfOthersAnswerNoQuestionAboutPostgreSQL(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE closed ALLOW_CONNECTIONS false"))
	const traps = `CREATE FUNCTION unnest(text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$BEGIN RETURN; END$$;
		CREATE FUNCTION cardinality(text[]) RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE 'stolen'; END$$;
		CREATE FUNCTION join_to(text, regclass) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'stolen'; END$$;
		CREATE FUNCTION join_to(name, name) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'stolen'; END$$;
		CREATE FUNCTION unlike(name, name) RETURNS bool LANGUAGE plpgsql AS $$BEGIN RETURN false; END$$;
		CREATE OPERATOR || (LEFTARG = text, RIGHTARG = regclass, FUNCTION = join_to);
		CREATE OPERATOR || (LEFTARG = name, RIGHTARG = name, FUNCTION = join_to);
		CREATE OPERATOR !~ (LEFTARG = name, RIGHTARG = name, FUNCTION = unlike);
		CREATE TABLE events (n int) PARTITION BY RANGE (n);
		CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (1000)`
	s.must(s.psql("postgres", traps))
	base := catalogTask{addon: "postgres-addon", server: s}
	g.Expect(base.with("databases", "postgres", "tables", "events").backup(p, "of a table").Message).
		To(ContainSubstring("apart: public.events_1 is a part of public.events"))
	g.Expect(base.backup(p, "everything").Message).To(ContainSubstring("closed: closed"))
	made := base.with("onlyVisible", "true").backedUp(p, "what is open")
	s.must(s.psql("postgres", "DROP DATABASE closed; DROP TABLE events"))
	g.Expect(base.restore(p, made).Reason).To(Equal(v1alpha1.ReasonVolumeNotEmpty), "it has functions")
}

// pg_dump makes letters of ASCII small in patterns. The database could make others of them: a Turkish I has no dot.
func TestPatternsOfTablesFoldAsPgDumpDoes(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE shop TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'tr'"))
	s.must(s.psql("shop", `CREATE TABLE items (n int) PARTITION BY RANGE (n);
		CREATE TABLE items_1 PARTITION OF items FOR VALUES FROM (0) TO (1000)`))
	base := catalogTask{addon: "postgres-addon", server: s}
	result := base.with("databases", "shop", "tables", "ITEMS").backup(p, "i")
	g.Expect(result.Message).To(ContainSubstring("apart: public.items_1 is a part of public.items"))
}

// Names can have quotes, and one table hides another of the same name later in the path.
func TestPatternsOfTablesMeanWhatTheyMeanToPgDump(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", `CREATE SCHEMA late; ALTER DATABASE postgres SET search_path = public, late`))
	s.must(s.psql("postgres", `CREATE TABLE "o'brien" (n int); CREATE TABLE "o'kid" () INHERITS ("o'brien");
		CREATE TABLE public.twice (n int); CREATE TABLE late.twice (n int);
		CREATE TABLE late.kid () INHERITS (late.twice);
		CREATE TABLE late.once (n int); CREATE TABLE late.twin () INHERITS (late.once);`))
	base := catalogTask{addon: "postgres-addon", server: s}.with("databases", "postgres")
	for tables, says := range map[string]string{
		"o'brien": `apart: public."o'kid" is a part of public."o'brien"`, "o'*": "", "twice": "",
		"late.twice": "apart: late.kid is a part of late.twice", "once": "apart: late.twin is a part of late.once",
	} {
		result := base.with("databases", "postgres", "tables", tables).backup(p, tables)
		if says == "" {
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
			continue
		}
		g.Expect(result.Message).To(ContainSubstring(says))
	}
}

// pg_dump with --schema or --table dumps no large object, also none that a row of the dump refers to.
func TestLargeObjectsBesideSchemasNeedADecision(t *testing.T) {
	t.Parallel()
	g, s, to, p := NewWithT(t), startPostgreSQL(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	to.must(to.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("shop", "CREATE SCHEMA files; CREATE TABLE files.scans (n int, scan oid)"))
	base := catalogTask{addon: "postgres-addon", server: s}
	base.with("databases", "shop", "schemas", "files").backedUp(p, "there are none")
	s.must(s.psql("shop", "INSERT INTO files.scans VALUES (1, lo_from_bytea(0, 'a scan'))"))
	for _, params := range [][]string{{"schemas", "files"}, {"tables", "files.*"}} {
		task := base.with(append(params, "databases", "shop")...)
		g.Expect(task.backup(p, "undecided")).To(And(HaveField("Reason", v1alpha1.ReasonDumpFailed),
			HaveField("Message", ContainSubstring("parameter largeObjects to blobs"))))
	}
	base.with("databases", "shop", "schemas", "files", "largeObjects", "no-blobs").backedUp(p, "without")
	for _, args := range []string{"--blobs", "-b", "--no-owner '--no-blobs'"} {
		base.with("databases", "shop", "schemas", "files", "args", args).backedUp(p, "decided by "+args)
	}
	g.Expect(base.with("databases", "shop", "schemas", "files", "args", "'--exclude-table=x--blobs'").
		backup(p, "undecided").Message).To(ContainSubstring("parameter largeObjects to blobs"))
	made := base.with("databases", "shop", "schemas", "files", "largeObjects", "blobs").backedUp(p, "with")
	const scan = "SELECT convert_from(lo_get(scan), 'UTF8') FROM files.scans"
	base.on(to).with().restored(p, made)
	g.Expect(to.psql("shop", scan)).To(Equal("a scan\n"))
	to.must(to.psql("shop", "SELECT lo_put(scan, 0, 'MY') FROM files.scans"))
	base.on(to).with().confirmed().restored(p, made)
	g.Expect(to.psql("shop", scan)).To(Equal("a scan\n"))
}

// A list of patterns without a name, such as a template leaves, names nothing: all of the database is dumped.
func TestPatternsOfCommasAloneHideNothing(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t, "-c", "wal_level=logical"), withSecret(t)
	for _, sql := range []string{
		"CREATE DATABASE shop", "CREATE ROLE keeper LOGIN PASSWORD 'k'", "GRANT pg_read_all_data TO keeper",
	} {
		s.must(s.psql("postgres", sql))
	}
	s.must(s.psql("shop", `CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1' PUBLICATION p
		WITH (connect=false, slot_name=NONE)`))
	p.login("username", "keeper", "password", "k")
	base := catalogTask{addon: "postgres-addon", server: s}
	for _, params := range [][]string{nil, {"tables", " , "}, {"schemas", ",\n\t"}} {
		g.Expect(base.with(append(params, "databases", "shop")...).backup(p, "of shop").Message).
			To(ContainSubstring("left out: subscriptions"), "%q", params)
	}
}

// On a standby pg_dump leaves out the rows of unlogged tables without a word.
func TestUnloggedTablesOfAStandbyFailTheBackup(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", `CREATE UNLOGGED TABLE loose (n int); CREATE TABLE tight (n int); CHECKPOINT`))
	base := catalogTask{addon: "postgres-addon", server: s}
	base.with("databases", "postgres").backedUp(p, "of the primary")
	s.kill()
	data := filepath.Join(s.dir, "data")
	g.Expect(os.WriteFile(filepath.Join(data, "standby.signal"), nil, 0o644)).To(Succeed())
	s.startOn(data)
	with := func(params ...string) catalogTask { // It has no primary that it could follow.
		return base.with(append(params, "staleReplica", "true")...)
	}
	for _, params := range [][]string{nil, {"databases", "postgres"}, {"databases", "postgres", "tables", "lo*"}} {
		g.Expect(with(params...).backup(p, "of the standby").Message).To(ContainSubstring("unlogged: public.loose"))
	}
	with("databases", "postgres", "tables", "tight").backedUp(p, "of another table")
	with("databases", "postgres", "onlyVisible", "true").backedUp(p, "without")
}

// pg_dump leaves out members of an extension: its own tables, and those that somebody gave to it.
func TestTablesThatAnExtensionAdoptedFailTheBackup(t *testing.T) {
	t.Parallel()
	s, p := startPostgreSQL(t), withSecret(t)
	// The server's scripts can't be written here: what lies between an extension and its last function is its own.
	s.must(s.psql("postgres", `CREATE SCHEMA shop; CREATE SEQUENCE shop.ids; CREATE TABLE shop.before AS SELECT 1 AS n`))
	s.must(s.psql("postgres", `CREATE EXTENSION tcn; BEGIN; CREATE EXTENSION lo; CREATE TABLE own AS SELECT 1 AS n;
		CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER EXTENSION lo ADD FUNCTION f();
		CREATE TABLE late AS SELECT 1 AS n; ALTER EXTENSION lo ADD TABLE late; COMMIT`))
	s.must(s.psql("postgres", `CREATE TABLE shop.after AS SELECT 1 AS n; CREATE TABLE shop.bare (n int);
		CREATE TABLE shop.parts (n int) PARTITION BY RANGE (n); CREATE TABLE config AS SELECT 1 AS n;
		CREATE TABLE lookup AS SELECT 1 AS n; CREATE TABLE plain AS SELECT 1 AS n;
		ALTER EXTENSION lo ADD TABLE own; ALTER EXTENSION lo ADD TABLE shop.before; ALTER EXTENSION lo ADD TABLE shop.bare;
		ALTER EXTENSION lo ADD TABLE shop.parts;
		ALTER EXTENSION lo ADD TABLE shop.after; ALTER EXTENSION lo ADD TABLE config;
		BEGIN; CREATE TABLE updated AS SELECT 1 AS n; ALTER EXTENSION lo ADD TABLE updated;
		UPDATE pg_extension SET extconfig = ARRAY['config'::regclass::oid], extcondition = ARRAY['']
		WHERE extname = 'lo'; COMMIT; ALTER EXTENSION tcn DROP FUNCTION triggered_change_notification(); ALTER EXTENSION tcn ADD TABLE lookup`))
	base := catalogTask{addon: "postgres-addon", server: s}
	const before, after = "adopted: shop.before of extension lo", "adopted: shop.after of extension lo"
	all := []string{before, after, "adopted: shop.bare of extension lo", "adopted: shop.parts of extension lo"}
	for name, tc := range map[string]struct {
		params []string
		says   []string
	}{
		"everything":            {nil, all},
		"a database":            {[]string{"databases", "postgres"}, all},
		"its schema":            {[]string{"databases", "postgres", "schemas", "shop"}, all},
		"one of the tables":     {[]string{"databases", "postgres", "tables", "shop.a*"}, []string{after}},
		"another schema":        {[]string{"databases", "postgres", "schemas", "public"}, nil},
		"another table":         {[]string{"databases", "postgres", "tables", "plain"}, nil},
		"everything that shows": {[]string{"onlyVisible", "true"}, nil},
		"a database that shows": {[]string{"databases", "postgres", "onlyVisible", "true"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			made := base.with(tc.params...).backup(p, name)
			if tc.says == nil {
				g.Expect(made.Reason).To(Equal(v1alpha1.ReasonSucceeded), made.Message)
				return
			}
			g.Expect(made.Reason).To(Equal(v1alpha1.ReasonDumpFailed), made.Message)
			g.Expect(strings.Count(made.Message, "adopted: ")).To(Equal(len(tc.says)), made.Message)
			for _, says := range tc.says {
				g.Expect(made.Message).To(ContainSubstring(says))
			}
			g.Expect(made.Message).To(ContainSubstring("ALTER EXTENSION ... DROP TABLE"))
		})
	}
	const query = "SELECT pg_catalog.format('ALTER EXT"
	_, guide, _ := strings.Cut(string(must(os.ReadFile("../../docs/guides/databases.md"))), "\n    "+query)
	guide, _, _ = strings.Cut(query+guide, ";\n\n")
	s.must(s.psql("postgres", `CREATE FUNCTION format(text, name, text, regclass, text) RETURNS text LANGUAGE plpgsql
		AS $$BEGIN RAISE 'stolen'; END$$; CREATE FUNCTION same(oid, regclass) RETURNS bool LANGUAGE plpgsql
		AS $$BEGIN RAISE 'stolen'; END$$; CREATE OPERATOR = (LEFTARG = oid, RIGHTARG = regclass, FUNCTION = same);
		ALTER EXTENSION lo ADD SEQUENCE shop.ids`))
	NewWithT(t).Expect(strings.Split(strings.TrimSpace(s.must(s.psql("postgres", guide))), "\n")).To(ConsistOf(
		HaveSuffix(" shop.before;"), HaveSuffix(" shop.after;"), HaveSuffix(" shop.bare;"), HaveSuffix(" shop.parts;"),
		HaveSuffix(" own;"), HaveSuffix(" late; -- came with a function"), HaveSuffix(" updated;"),
		Equal("ALTER EXTENSION lo DROP SEQUENCE shop.ids;"), Equal("ALTER EXTENSION tcn DROP TABLE lookup;"),
	), "the query of the guide")
	s.must(s.psql("postgres", "DROP OPERATOR = (oid, regclass)"))
	for _, f := range []string{"f", "lo_oid", "lo_manage"} { // as pg_upgrade does
		s.must(s.psql("postgres", `UPDATE pg_depend SET deptype = 'e' WHERE deptype = 'e'
			AND objid = '`+f+`'::regproc AND classid = 'pg_proc'::regclass`))
	}
	base.with("databases", "postgres", "tables", "shop.after").backedUp(p, "nobody can tell")
	base.with("databases", "postgres", "tables", "shop.before").backedUp(p, "nor of an older one")
	s.must(s.psql("postgres", `ALTER EXTENSION lo DROP TABLE shop.before; ALTER EXTENSION lo DROP TABLE shop.after; ALTER EXTENSION lo DROP TABLE shop.bare;
		ALTER EXTENSION lo DROP TABLE shop.parts`))
	base.with("databases", "postgres", "schemas", "shop").backedUp(p, "taken out")
}

// An update of an extension makes its functions anew, and tables. Most extensions have no configuration.
func TestTablesThatAnUpdatedExtensionAdoptedFailTheBackup(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", `CREATE EXTENSION lo; CREATE TABLE adopted (n int); ALTER EXTENSION lo ADD TABLE adopted;
		BEGIN; CREATE TABLE updated (n int); ALTER EXTENSION lo ADD TABLE updated;
		UPDATE pg_extension SET extversion = '2' WHERE extname = 'lo'; COMMIT; CREATE TABLE kept (n int)`))
	all := catalogTask{addon: "postgres-addon", server: s}
	refused := func(name string, tables ...string) {
		for _, task := range []catalogTask{all, all.with("databases", "postgres")} {
			made := task.backup(p, name)
			g.Expect(made.Reason).To(Equal(v1alpha1.ReasonDumpFailed), made.Message)
			g.Expect(strings.Count(made.Message, "adopted: ")).To(Equal(len(tables)), made.Message)
			for _, table := range tables {
				g.Expect(made.Message).To(ContainSubstring("adopted: public." + table + " of extension lo"))
			}
		}
	}
	refused("an update without functions", "adopted")
	s.must(s.psql("postgres", `BEGIN; UPDATE pg_extension SET extversion = '3' WHERE extname = 'lo';
		UPDATE pg_depend SET deptype = 'e' WHERE deptype = 'e' AND classid = 'pg_proc'::regclass
		AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'lo'); COMMIT;
		CREATE TABLE later (n int); ALTER EXTENSION lo ADD TABLE later`))
	refused("an update that made all functions anew", "adopted", "updated", "later")
}

// With confirm, the dump of a whole database drops its extensions, and members that no dump has go with them.
func TestARestoreDropsNoTableThatAnExtensionAdopted(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("shop", `CREATE EXTENSION lo; CREATE TABLE plain AS SELECT 1 AS n;
		CREATE TABLE orders AS SELECT 42 AS n; ALTER EXTENSION lo ADD TABLE orders`))
	base := catalogTask{addon: "postgres-addon", server: s}
	made := base.with("databases", "shop", "onlyVisible", "true").backedUp(p, "without orders")
	g.Expect(base.confirmed().restore(p, made)).To(And(HaveField("Reason", v1alpha1.ReasonLoadFailed),
		HaveField("Message", HaveSuffix("psql said: adopted: public.orders of extension lo")),
		HaveField("Message", ContainSubstring("dropAdopted"))))
	s.must(s.psql("shop", "UPDATE plain SET n = 2; ALTER EXTENSION lo DROP TABLE orders"))
	base.confirmed().restored(p, made)
	g.Expect(s.psql("shop", "TABLE plain")).To(Equal("1\n"))
	g.Expect(s.psql("shop", "TABLE orders")).To(Equal("42\n"), "taken out, as the message says")
	s.must(s.psql("shop", "UPDATE plain SET n = 2; ALTER EXTENSION lo ADD TABLE orders"))
	base.with("args", "--schema=public").confirmed().restored(p, made)
	g.Expect(s.psql("shop", "TABLE plain")).To(Equal("1\n"), "a schema alone has no extension")
	g.Expect(s.psql("shop", "TABLE orders")).To(Equal("42\n"))
	g.Expect(base.with("args", "--schema-only").confirmed().restore(p, made).Message).To(ContainSubstring("adopted: "))
	base.with("dropAdopted", "true").confirmed().restored(p, made)
	g.Expect(s.psql("shop", "SELECT to_regclass('orders')")).To(Equal("\n"))
	base.confirmed().restored(p, made)
	s.must(s.psql("postgres", "DROP DATABASE shop"))
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("shop", `CREATE EXTENSION lo; CREATE TABLE orders (n int); ALTER EXTENSION lo ADD TABLE orders`))
	base.with("databases", "shop").restored(p, made)
	g.Expect(s.psql("shop", "SELECT count(*) FROM orders")).To(Equal("0\n"), "without confirm it drops nothing")
}

// The dump drops its schemas, where tables that it does not have are in the way.
func TestARestoreOverATableThatWasTakenOutChangesNothing(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("shop", `CREATE SCHEMA queue; CREATE EXTENSION lo SCHEMA queue; CREATE TABLE plain AS SELECT 1 AS n;
		CREATE TABLE queue.q AS SELECT 42 AS n; ALTER EXTENSION lo ADD TABLE queue.q`))
	base := catalogTask{addon: "postgres-addon", server: s}
	made := base.with("databases", "shop", "onlyVisible", "true").backedUp(p, "without the queue")
	s.must(s.psql("shop", "UPDATE plain SET n = 2; ALTER EXTENSION lo DROP TABLE queue.q"))
	g.Expect(base.confirmed().restore(p, made).Reason).To(Equal(v1alpha1.ReasonLoadFailed))
	g.Expect(s.psql("shop", "TABLE plain")).To(Equal("2\n"))
	g.Expect(s.psql("shop", "TABLE queue.q")).To(Equal("42\n"))
}

// pg_restore would load nothing, and end well.
func TestARestoreOfATableThatTheDumpDoesNotHaveFails(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("shop", "CREATE TABLE items AS SELECT 1 AS n"))
	base := catalogTask{addon: "postgres-addon", server: s}
	made := base.with("databases", "shop").backedUp(p, "one")
	g.Expect(base.with("args", "--schema=publik").confirmed().restore(p, made).Message).
		To(ContainSubstring("not found"))
	s.must(s.psql("shop", "DROP TABLE items"))
	for _, args := range []string{"--table=itemz", "--schema=publik"} {
		g.Expect(base.with("args", args).restore(p, made)).To(And(
			HaveField("Reason", v1alpha1.ReasonLoadFailed), HaveField("Message", ContainSubstring("not found"))), args)
	}
	base.with("args", "--table=items").restored(p, made)
	g.Expect(s.psql("shop", "SELECT n FROM items")).To(Equal("1\n"))
}
