package mover_test

import (
	"path/filepath"
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
		p.refusesEmpty(base, "all", postgres(s, "postgres"), "CREATE TABLE t (n int); CREATE EXTENSION postgres_fdw",
			"DROP TABLE t")
		p.acceptsEmpty(base, "all")
		p.refusesEmpty(base, "functions", postgres(s, "postgres"),
			"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP FUNCTION f()")
		p.refusesEmpty(base, "databases", postgres(s, "postgres"), "CREATE DATABASE shop", "DROP DATABASE shop")
		s.must(s.psql("postgres", "CREATE DATABASE crm"))
		one := base.with("databases", "crm")
		p.refusesEmpty(one, "one", postgres(s, "crm"), "CREATE TABLE t (n int)", "DROP TABLE t")
		p.refusesEmpty(one, "objects", postgres(s, "crm"), "SELECT lo_create(7)", "SELECT lo_unlink(7)")
		p.refusesEmpty(one, "schema", postgres(s, "crm"), "CREATE SCHEMA a; CREATE SEQUENCE a.s",
			"DROP SCHEMA a CASCADE")
		s.must(s.psql("crm", "CREATE SCHEMA \"b.C\"; CREATE SCHEMA c; CREATE TABLE public.t (n int)"))
		some := one.with("databases", "crm", "schemas", `"b.C", c*`)
		p.refusesEmpty(some, "schemas", postgres(s, "crm"), `CREATE TABLE "b.C".t (n int)`, `DROP TABLE "b.C".t`)
		p.refusesEmpty(some, "function", postgres(s, "crm"),
			"CREATE FUNCTION c.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP FUNCTION c.f()")
		p.refusesEmpty(some.with("databases", "crm", "schemas", "c", "largeObjects", "blobs"), "blobs",
			postgres(s, "crm"), "SELECT lo_create(8)", "SELECT lo_unlink(8)")
		some.with("databases", "crm", "schemas", "c", "args", "--schema=public").backedUp(p, "args")
		g := NewWithT(t)
		g.Expect(one.with("databases", "crm", "schemas", "c, pg_*").backup(p, "system").Reason).
			To(Equal(v1alpha1.ReasonEmpty), "the server's own schemas hold nothing of the user's")
	})
	t.Run("MariaDB", func(t *testing.T) {
		t.Parallel()
		s, p := startMariaDB(t), withSecret(t)
		base := catalogTask{addon: "mariadb-addon", server: s}
		run := func(statements string) { s.must(s.mariadb(statements)) }
		run("CREATE DATABASE shop")
		p.refusesEmpty(base, "all", run, "CREATE TABLE shop.t (n int)", "DROP TABLE shop.t")
		p.acceptsEmpty(base, "all")
		one := base.with("databases", "shop")
		p.refusesEmpty(one, "one", run, "CREATE VIEW shop.v AS SELECT 1", "DROP VIEW shop.v")
		p.refusesEmpty(one, "routine", run, "CREATE FUNCTION shop.f() RETURNS int RETURN 1", "DROP FUNCTION shop.f")
		p.refusesEmpty(one.with("databases", "shop", "probeArgs", "-vvv --table"), "printed", run,
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
		p.refusesEmpty(base, "keys", run, "SET a 1", "FLUSHALL")
		p.acceptsEmpty(base, "keys")
		s.must(s.redis("FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function() return 1 end)"))
		base.backedUp(p, "functions")
	})
}

// Other schemas hold something, and so does the server's own. What args choose counts, too.
func TestWhatCountsAsDataBesideAnEmptySchema(t *testing.T) {
	t.Parallel()
	s, p := startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE crm"))
	s.must(s.psql("crm", "CREATE SCHEMA c; CREATE TABLE t AS SELECT 1 AS n; SELECT lo_create(8)"))
	base := catalogTask{addon: "postgres-addon", server: s}
	for _, tc := range []struct{ schemas, args, reason string }{
		{"c", "--no-blobs", v1alpha1.ReasonEmpty},
		{"c", "-n public --no-blobs", v1alpha1.ReasonSucceeded},
		{"c", "-t public.t --no-blobs", v1alpha1.ReasonSucceeded},
		{"c", "-b", v1alpha1.ReasonSucceeded},
		{"c", "--blobs", v1alpha1.ReasonSucceeded},
		{"c, information_schema", "--no-blobs", v1alpha1.ReasonEmpty},
	} {
		t.Run(tc.schemas+" "+tc.args, func(t *testing.T) {
			made := base.with("databases", "crm", "schemas", tc.schemas, "args", tc.args).backup(p, tc.schemas+tc.args)
			NewWithT(t).Expect(made.Reason).To(Equal(tc.reason), made.Message)
		})
	}
}

// pg_dump dumps an extension's configuration in a chosen schema, unless the schema is a member too, as that of pg_cron.
func TestTheConfigurationOfAnExtensionIsData(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE crm"))
	s.must(s.psql("crm", `CREATE TABLE t (n int); CREATE SCHEMA part; CREATE EXTENSION lo;
		CREATE TABLE part.config AS SELECT 1 AS n; CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
		ALTER EXTENSION lo ADD TABLE part.config; ALTER EXTENSION lo ADD FUNCTION f()`))
	base := catalogTask{addon: "postgres-addon", server: s}
	task := base.with("databases", "crm", "schemas", "part")
	const configure = `UPDATE pg_extension SET extconfig = ARRAY['pg_class'::regclass::oid, 'part.config'::regclass],
		extcondition = ARRAY['', '%'] WHERE extname = 'lo'`
	g.Expect(task.backup(p, "none").Reason).To(Equal(v1alpha1.ReasonEmpty))
	s.must(s.psql("crm", strings.Replace(configure, "%", "WHERE n > 5", 1)))
	g.Expect(task.backup(p, "with a condition").Reason).To(Equal(v1alpha1.ReasonEmpty))
	s.must(s.psql("crm", strings.Replace(configure, "%", "", 1)))
	made := task.backedUp(p, "all rows")
	s.must(s.psql("crm", "DROP TABLE t; TRUNCATE part.config"))
	base.with("args", "--data-only").restored(p, made)
	g.Expect(s.psql("crm", "SELECT n FROM part.config")).To(Equal("1\n"))
	s.must(s.psql("crm", "CREATE TABLE t (n int); CREATE TABLE kept AS TABLE part.config; TRUNCATE part.config"))
	g.Expect(task.backup(p, "emptied").Reason).To(Equal(v1alpha1.ReasonEmpty))
	s.must(s.psql("crm", "INSERT INTO part.config TABLE kept; ALTER EXTENSION lo ADD SCHEMA part"))
	g.Expect(task.backup(p, "of a member").Reason).To(Equal(v1alpha1.ReasonEmpty))
	s.must(s.psql("crm", "ALTER EXTENSION lo DROP SCHEMA part; DELETE FROM part.config"))
	task.backedUp(p, "deleted rows that nobody has vacuumed")
	s.must(s.psql("crm", "VACUUM part.config"))
	g.Expect(task.backup(p, "deleted rows of a schema").Reason).To(Equal(v1alpha1.ReasonEmpty))
	s.must(s.psql("crm", "DROP TABLE t; DROP TABLE kept; TRUNCATE part.config"))
	whole := base.with("databases", "crm")
	g.Expect(whole.backup(p, "no rows").Reason).To(Equal(v1alpha1.ReasonEmpty), "PostGIS has such tables, too")
	s.must(s.psql("crm", "INSERT INTO part.config VALUES (2)"))
	whole.backedUp(p, "rows")
	base.with("databases", "crm", "tables", "part.config").backedUp(p, "a table")
	s.must(s.psql("crm", "DELETE FROM part.config"))
	whole.backedUp(p, "deleted rows")
	s.must(s.psql("crm", "VACUUM part.config"))
	g.Expect(whole.backup(p, "deleted and vacuumed").Reason).To(Equal(v1alpha1.ReasonEmpty))
	s.must(s.psql("crm", "INSERT INTO part.config VALUES (2), (3), (4)"))
	s.must(s.psql("crm", "SELECT pg_stat_reset()"))
	whole.backedUp(p, "rows that the statistics do not know of")
	s.must(s.psql("crm", strings.Replace(configure, "%", "WHERE n > 5", 1)))
	g.Expect(whole.backup(p, "with a condition").Reason).To(Equal(v1alpha1.ReasonEmpty), "as in PostGIS")
	s.must(s.psql("postgres", "DROP DATABASE crm"))
	s.must(s.psql("postgres", `CREATE EXTENSION lo; CREATE SCHEMA part; CREATE TABLE part.config AS SELECT 1 AS n;
		CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER EXTENSION lo ADD TABLE part.config;
		ALTER EXTENSION lo ADD FUNCTION f()`))
	s.must(s.psql("postgres", strings.Replace(configure, "%", "WHERE n > 5", 1)))
	g.Expect(base.backup(p, "all with a condition").Reason).To(Equal(v1alpha1.ReasonEmpty))
	s.must(s.psql("postgres", strings.Replace(configure, "%", "", 1)))
	base.backedUp(p, "all of it")
	s.must(s.psql("postgres", "SELECT pg_stat_reset()"))
	base.backedUp(p, "all of it, after a crash")
	s.must(s.psql("postgres", "DELETE FROM part.config"))
	s.must(s.psql("postgres", "VACUUM part.config"))
	g.Expect(base.backup(p, "all with deleted rows").Reason).To(Equal(v1alpha1.ReasonEmpty))
}

// emptyDatabase is what a failure says of a database that holds no data.
const emptyDatabase = "the database, or what the parameters choose of it, holds no data to back up"

// refusesEmpty backs a database up without data, with what fill makes, and again after empty took it away.
func (p *pod) refusesEmpty(c catalogTask, name string, run func(string), fill, empty string) {
	p.t.Helper()
	g := NewWithT(p.t)
	first := c.backup(p, name+"-first")
	g.Expect(first.Reason).To(Equal(v1alpha1.ReasonEmpty), "%s: %s", name, first.Message)
	g.Expect(first.Message).To(And(HavePrefix(emptyDatabase),
		ContainSubstring("; successPolicy.empty: Allow")), name)
	run(fill)
	c.backedUp(p, name+"-full")
	run(empty)
	gone := c.backup(p, name+"-gone")
	g.Expect(gone.Reason).To(Equal(v1alpha1.ReasonEmpty), "%s: %s", name, gone.Message)
	g.Expect(gone.Message).To(And(HavePrefix(emptyDatabase+", but its last backup holds "),
		ContainSubstring("; successPolicy.empty: Allow and, once, acceptShrink")), name)
}

// acceptsEmpty lets the policy accept a backup without data, first beside one with data.
func (p *pod) acceptsEmpty(c catalogTask, name string) {
	p.t.Helper()
	g := NewWithT(p.t)
	allowed := backupTask(name+"-allowed", c.components(p, false)...)
	allowed.SuccessPolicy = &v1alpha1.SuccessPolicy{Empty: v1alpha1.DoubtAllow}
	_, result := p.run(p.t.Context(), allowed)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonShrunk), "%s: it held data", name)
	g.Expect(result.Message).To(ContainSubstring(emptyDatabase+", but its last "+
		"backup holds "), name)
	allowed.SuccessPolicy.MaxShrinkPercent = new(int32(100))
	_, result = p.run(p.t.Context(), allowed)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), "%s: accepted once: %s", name, result.Message)
	again := backupTask(name+"-again", c.components(p, false)...)
	again.SuccessPolicy = &v1alpha1.SuccessPolicy{Empty: v1alpha1.DoubtAllow}
	_, result = p.run(p.t.Context(), again)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), "%s: as empty as before: %s", name, result.Message)
	c.restored(p, result)
}

// A server of MariaDB stands in for MySQL. What the probe asks is the same.
func TestWhatMySQLSaysOfAnEmptyServer(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), startMariaDB(t)
	s.must(s.mariadb("CREATE DATABASE shop; CREATE DATABASE full; CREATE USER keeper@'%' IDENTIFIED BY 'k'; " +
		"GRANT ALL ON *.* TO keeper@'%'"))
	_, functions := shipped()
	command := functions["mysql-backup"].Spec.Stream.Probe.Command
	ask := func(database string) string {
		question := strings.NewReplacer("--execute=", "", "${value}", database, "${tables}", "", "ROLE_HOST", "''''").
			Replace(command[len(command)-1])
		return s.must(s.client([]string{"MYSQL_PWD=k"}, question, "mariadb", "--no-defaults", "--batch", "--raw",
			"--skip-column-names", "--host=127.0.0.1", "--port="+s.port, "--user=keeper"))
	}
	g.Expect(ask("")).To(Equal("# holds no data\n"))
	s.must(s.mariadb("CREATE TABLE full.t (n int)"))
	g.Expect(ask("")).To(BeEmpty())
	g.Expect(ask("full")).To(BeEmpty())
	g.Expect(ask("shop")).To(Equal("# holds no data\n"))
	s.must(s.mariadb("CREATE FUNCTION shop.f() RETURNS int RETURN 1"))
	g.Expect(ask("shop")).To(BeEmpty())
}

// A server that was not upgraded, or whose event scheduler is disabled, answers no question about routines or events,
// and no dump has them.
func TestAServerThatCannotListEventsOrRoutinesIsBackedUp(t *testing.T) {
	t.Parallel()
	for name, alter := range map[string]string{
		"events": "ALTER TABLE mysql.event MODIFY sql_mode set('REAL_AS_FLOAT','PIPES_AS_CONCAT') NOT NULL " +
			"DEFAULT ''",
		"routines": "ALTER TABLE mysql.proc DROP COLUMN aggregate",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := startMariaDB(t), withSecret(t)
			s.must(s.mariadb("CREATE DATABASE shop; CREATE TABLE shop.t (n int); " + alter))
			_, _ = s.mariadb("SHUTDOWN")
			_ = s.cmd.Wait()
			s.startMariaDBOn(filepath.Join(s.dir, "data"))
			catalogTask{addon: "mariadb-addon", server: s}.with("databases", "shop", "args", "--skip-"+name).
				backedUp(p, name)
		})
	}
}

// Whoever may make a table chooses its name, which the client prints with its newlines: it must not answer for the
// database.
func TestTheNameOfATableDoesNotSayThatADatabaseIsEmpty(t *testing.T) {
	t.Parallel()
	const name = `own."x
# holds no data
y"`
	t.Run("backup", func(t *testing.T) {
		t.Parallel()
		s, p := startPostgreSQL(t), withSecret(t)
		s.must(s.psql("postgres", "CREATE DATABASE shop"))
		s.must(s.psql("shop", "CREATE TABLE orders (n int); CREATE SCHEMA own; CREATE TABLE "+name+
			" () INHERITS (public.orders)"))
		catalogTask{addon: "postgres-addon", server: s}.with("databases", "shop", "schemas", "public", "onlyVisible",
			"true").backedUp(p, "apart")
	})
	for kind, sql := range map[string]string{
		"database": "CREATE DATABASE " + strings.TrimPrefix(name, "own.") + " ALLOW_CONNECTIONS false",
		"table of an extension": "CREATE SCHEMA own; CREATE TABLE " + name + " AS SELECT 1 AS n; " +
			"CREATE EXTENSION lo; ALTER EXTENSION lo ADD TABLE " + name,
		"extension": "CREATE TABLE given AS SELECT 1 AS n; CREATE EXTENSION lo; ALTER EXTENSION lo ADD TABLE given; " +
			"UPDATE pg_extension SET extname = E'lo\n# holds no data' WHERE extname = 'lo'",
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s, p := startPostgreSQL(t), withSecret(t)
			s.must(s.psql("postgres", "CREATE TABLE orders (n int); "+sql))
			base := catalogTask{addon: "postgres-addon", server: s}
			base.with("onlyVisible", "true").backedUp(p, "everything")
			base.with("databases", "postgres", "onlyVisible", "true").backedUp(p, "one")
		})
	}
	t.Run("restore", func(t *testing.T) {
		t.Parallel()
		g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
		s.must(s.psql("postgres", "CREATE DATABASE shop"))
		s.must(s.psql("shop", "CREATE ROLE reader; CREATE TABLE orders AS SELECT 1 AS n"))
		base := catalogTask{addon: "postgres-addon", server: s}.with("databases", "shop")
		made := base.backedUp(p, "good")
		s.must(s.psql("shop", "INSERT INTO orders SELECT 2; CREATE SCHEMA own; CREATE TABLE "+name+" (n int); "+
			"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader"))
		result := base.with("args", "--clean --if-exists").restore(p, made)
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonVolumeNotEmpty), result.Message)
		g.Expect(s.must(s.psql("shop", "SELECT count(*) FROM orders"))).To(ContainSubstring("2"))
	})
}
