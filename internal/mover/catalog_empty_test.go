package mover_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Somebody has dropped all tables: the next backup would restore nothing, and retention would let those go that hold
// data.
func TestABackupOfAnEmptyDatabaseIsNoSuccess(t *testing.T) {
	t.Parallel()
	postgres := func(s *databaseServer, database string) func(string) {
		return func(statements string) { s.must(s.psql(database, statements)) }
	}
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		s, p := startPostgreSQL(t), withSecret(t)
		base := catalogTask{addon: "postgres-addon", server: s}
		p.neverEmpty(base, "all", postgres(s, "postgres"), "CREATE TABLE t (n int); CREATE EXTENSION postgres_fdw",
			"DROP TABLE t")
		p.neverEmpty(base, "functions", postgres(s, "postgres"),
			"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP FUNCTION f()")
		p.neverEmpty(base, "databases", postgres(s, "postgres"), "CREATE DATABASE shop", "DROP DATABASE shop")
		s.must(s.psql("postgres", "CREATE DATABASE crm"))
		one := base.with("databases", "crm")
		p.neverEmpty(one, "one", postgres(s, "crm"), "CREATE TABLE t (n int)", "DROP TABLE t")
		p.neverEmpty(one, "objects", postgres(s, "crm"), "SELECT lo_create(7)", "SELECT lo_unlink(7)")
		p.neverEmpty(one, "schema", postgres(s, "crm"), "CREATE SCHEMA a; CREATE SEQUENCE a.s", "DROP SCHEMA a CASCADE")
	})
	t.Run("MariaDB", func(t *testing.T) {
		t.Parallel()
		s, p := startMariaDB(t), withSecret(t)
		base := catalogTask{addon: "mariadb-addon", server: s}
		run := func(statements string) { s.must(s.mariadb(statements)) }
		run("CREATE DATABASE shop")
		p.neverEmpty(base, "all", run, "CREATE TABLE shop.t (n int)", "DROP TABLE shop.t")
		one := base.with("databases", "shop")
		p.neverEmpty(one, "one", run, "CREATE VIEW shop.v AS SELECT 1", "DROP VIEW shop.v")
		p.neverEmpty(one, "routine", run, "CREATE FUNCTION shop.f() RETURNS int RETURN 1", "DROP FUNCTION shop.f")
		p.neverEmpty(one.with("databases", "shop", "probeArgs", "-vvv --table"), "printed", run,
			"CREATE EVENT shop.e ON SCHEDULE EVERY 1 DAY DO SELECT 1", "DROP EVENT shop.e")
		run("CREATE DATABASE blog; CREATE TABLE blog.t (n int)")
		NewWithT(t).Expect(one.backup(p, "another").Reason).To(Equal(v1alpha1.ReasonEmpty), "that is in another one")
		base.backedUp(p, "both")
	})
	t.Run("MariaDB that knows no case", func(t *testing.T) {
		t.Parallel()
		s, p := startMariaDB(t, "--lower-case-table-names=1"), withSecret(t)
		s.must(s.mariadb("CREATE DATABASE shop; CREATE TABLE shop.t (n int)"))
		catalogTask{addon: "mariadb-addon", server: s}.with("databases", "Shop").backedUp(p, "Shop")
	})
	t.Run("Redis", func(t *testing.T) {
		t.Parallel()
		s, p := startRedis(t), withSecret(t)
		p.login("password", "hunter2secret")
		base := catalogTask{addon: "redis-addon", server: s}
		run := func(command string) { s.must(s.redis(strings.Fields(command)...)) }
		p.neverEmpty(base, "keys", run, "SET a 1", "FLUSHALL")
		s.must(s.redis("FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function() return 1 end)"))
		base.backedUp(p, "functions")
	})
}

// neverEmpty backs a database up with data that fill makes, and again after empty took it away.
func (p *pod) neverEmpty(c catalogTask, name string, run func(string), fill, empty string) {
	p.t.Helper()
	g := NewWithT(p.t)
	first := c.backup(p, name+"-first")
	g.Expect(first.Reason).To(Equal(v1alpha1.ReasonEmpty), "%s: %s", name, first.Message)
	g.Expect(first.Message).To(And(HavePrefix("the database holds no data"),
		HaveSuffix("; successPolicy.empty: Allow would accept that")), name)
	run(fill)
	c.backedUp(p, name+"-full")
	run(empty)
	gone := c.backup(p, name+"-gone")
	g.Expect(gone.Reason).To(Equal(v1alpha1.ReasonEmpty), "%s: %s", name, gone.Message)
	g.Expect(gone.Message).To(ContainSubstring("the database holds no data, but its last backup holds "), name)
	allowed := backupTask(name+"-allowed", c.components(p, false)...)
	allowed.SuccessPolicy = &v1alpha1.SuccessPolicy{Empty: v1alpha1.DoubtAllow}
	_, result := p.run(p.t.Context(), allowed)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), "%s: %s", name, result.Message)
}
