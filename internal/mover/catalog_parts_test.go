package mover_test

import (
	"os"
	"path/filepath"
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
	const public, site = "apart: events_1 is a part of events", "apart: parts.events_1 is a part of site.events; " +
		"apart: parts.low is a part of parts.events_1"
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
	for _, params := range [][]string{nil, {"databases", "postgres"}, {"databases", "postgres", "tables", "lo*"}} {
		g.Expect(base.with(params...).backup(p, "of the standby").Message).To(ContainSubstring("unlogged: loose"))
	}
	base.with("databases", "postgres", "tables", "tight").backedUp(p, "of another table")
	base.with("databases", "postgres", "onlyVisible", "true").backedUp(p, "without")
}
