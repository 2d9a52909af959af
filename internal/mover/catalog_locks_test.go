package mover_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// A dump that waits for a table has a snapshot already, which sees no rows of a table that is rewritten meanwhile.
func TestNoDumpWaitsForARewrittenTable(t *testing.T) {
	t.Parallel()
	s, p := startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("shop", "CREATE TABLE orders AS SELECT generate_series(1, 1000) AS id; CREATE TABLE others (n int)"))
	base := catalogTask{addon: "postgres-addon", server: s}
	made := base.with("databases", "shop").backedUp(p, "free")
	for name, sql := range map[string]string{
		"a load":      "TRUNCATE orders; INSERT INTO orders SELECT generate_series(1, 1000)",
		"a migration": "ALTER TABLE orders ALTER id TYPE bigint",
	} {
		g := NewWithT(t)
		over := make(chan struct{})
		go func() {
			defer close(over)
			_, _ = s.psql("shop", "BEGIN; "+sql+"; SELECT pg_sleep(300); COMMIT")
		}()
		g.Eventually(func() (string, error) {
			return s.psql("shop", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
		}).WithTimeout(testbed.Patience).Should(Equal("1\n"))
		for _, params := range [][]string{
			{"databases", "shop"},
			{"lockWaitTimeout", "100ms"},
			{"databases", "shop", "lockWaitTimeout", "1h", "args", "--lock-wait-timeout=100"},
		} {
			result := base.with(params...).backup(p, name)
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDumpFailed), "%s %v", name, params)
			g.Expect(result.Message).To(And(ContainSubstring("LOCK TABLE public.orders"),
				ContainSubstring("parameter lockWaitTimeout")))
		}
		s.must(s.psql("shop", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
		<-over
	}
	base.confirmed().restored(p, made)
	base.with("databases", "shop", "lockWaitTimeout", "0").backedUp(p, "without end")
	NewWithT(t).Expect(s.psql("shop", "SELECT count(*) FROM orders")).To(Equal("1000\n"))
}

// An index that calls a function which names another one without a schema can't be made with an empty search path.
func TestFunctionsWithoutSchemaAreRestored(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	const index = `CREATE FUNCTION plain(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
		CREATE FUNCTION f_plain(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT plain($1)';
		CREATE INDEX ON items (f_plain(name))`
	for _, d := range []string{"animals", "shop", `"we'ird ""one"`} {
		s.must(s.psql("postgres", "CREATE DATABASE "+d))
	}
	s.must(s.psql("postgres", "ALTER DATABASE shop SET work_mem = '7MB'"))
	for _, d := range []string{"animals", "shop", `we'ird "one`} {
		s.must(s.psql(d, "CREATE TABLE items AS SELECT 'X' || n AS name FROM generate_series(1, 9) n"))
	}
	s.must(s.psql("shop", index+`; CREATE SCHEMA "a b"; CREATE TABLE kinds (n int CHECK (f_plain(n::text) <> ''));
		INSERT INTO kinds VALUES (1); CREATE MATERIALIZED VIEW plains AS SELECT f_plain(name) FROM items`))
	s.must(s.psql(`we'ird "one`, index))
	base := catalogTask{addon: "postgres-addon", server: s}
	all, one := base.backedUp(p, "all"), base.with("databases", "shop").backedUp(p, "one")
	const rows = "SELECT count(*) FROM items WHERE f_plain(name) LIKE 'x%'"
	const more = "; SELECT count(*) FROM kinds; SELECT count(*) FROM plains; SHOW work_mem"

	failed := And(HaveField("Reason", v1alpha1.ReasonLoadFailed),
		HaveField("Message", And(ContainSubstring("function plain(text) does not exist"),
			ContainSubstring("parameter searchPath"))))
	base = base.confirmed()
	g.Expect(base.restore(p, one)).To(failed)
	g.Expect(base.with("searchPath", `"a b"`).restore(p, one)).To(failed)
	base.with("searchPath", `"a b", public`).restored(p, one)
	g.Expect(s.psql("shop", rows+more)).To(Equal("9\n1\n9\n7MB\n"))

	g.Expect(base.restore(p, all)).To(failed)
	base.with("searchPath", "public").restored(p, all)
	g.Expect(s.psql("shop", rows+more)).To(Equal("9\n1\n9\n7MB\n"))
	g.Expect(s.psql(`we'ird "one`, rows)).To(Equal("9\n"))
	g.Expect(s.psql("animals", "SELECT count(*) FROM items; SHOW search_path")).To(Equal("9\n\"$user\", public\n"))
}
