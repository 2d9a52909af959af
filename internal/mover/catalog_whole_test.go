package mover_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The image of PostGIS makes a template of its own. PostgreSQL drops no template, and no database with a subscription.
func TestAllOfPostgreSQLIsRestoredOverDatabasesThatCanNotBeDropped(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", `CREATE DATABASE "template 'post''gis" IS_TEMPLATE true; CREATE DATABASE app`))
	s.must(s.psql("app", "CREATE TABLE orders AS SELECT 1 AS n"))
	base := catalogTask{addon: "postgres-addon", server: s}
	made := base.backedUp(p, "all")
	s.must(s.psql("app", "UPDATE orders SET n = 2"))
	const templates = "SELECT datname FROM pg_database WHERE datistemplate ORDER BY 1"
	before := s.must(s.psql("postgres", templates))

	for _, database := range []string{"app", "postgres", "template1"} { // two are dropped late
		s.must(s.psql(database,
			"CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect=false, slot_name=NONE)"))
		g.Expect(base.confirmed().restore(p, made)).To(And(HaveField("Reason", v1alpha1.ReasonLoadFailed),
			HaveField("Message", ContainSubstring("nothing was dropped: database "+database+" has the subscription"))))
		g.Expect(s.psql("app", "SELECT n FROM orders")).To(Equal("2\n"))
		g.Expect(s.psql("postgres", templates)).To(Equal(before), "nothing was changed")
		s.must(s.psql(database, "DROP SUBSCRIPTION s"))
	}

	base.confirmed().restored(p, made)
	g.Expect(s.psql("app", "SELECT n FROM orders")).To(Equal("1\n"))
	g.Expect(s.psql("postgres", templates)).To(Equal(before))

	s.must(s.psql("postgres", "DROP DATABASE app"))
	g.Expect(base.restore(p, made).Reason).To(Equal(v1alpha1.ReasonVolumeNotEmpty), "the template can hold data")
}

// A server takes the grants on a routine away when it is dropped. Those of a dump are in the database mysql, which is
// loaded before the databases whose names come later.
func TestTheGrantsOnRoutinesSurviveARestore(t *testing.T) {
	t.Parallel()
	g, s, to, p := NewWithT(t), startMariaDB(t), startMariaDB(t), withSecret(t)
	s.must(s.mariadb("CREATE USER clerk"))
	for _, database := range []string{"blog", "shop"} {
		s.must(s.mariadb("CREATE DATABASE " + database + " CHARACTER SET latin1; USE " + database + `;
			EXECUTE IMMEDIATE 'CREATE AGGREGATE FUNCTION ag(x int) RETURNS int BEGIN
			DECLARE EXIT HANDLER FOR NOT FOUND RETURN 1; LOOP FETCH GROUP NEXT ROW; END LOOP; END';
			CREATE PROCEDURE pr() SELECT 'DROP';
			CREATE FUNCTION fu() RETURNS int RETURN 1; GRANT EXECUTE ON PROCEDURE pr TO clerk;
			GRANT EXECUTE ON FUNCTION fu TO clerk; GRANT EXECUTE ON FUNCTION ag TO clerk;
			ALTER DATABASE ` + database + " CHARACTER SET utf8mb4"))
	}
	base := catalogTask{addon: "mariadb-addon", server: s}
	state := func(s *databaseServer) []string {
		lines := strings.Split(s.must(s.mariadb("SHOW GRANTS FOR clerk; SELECT db, name, type, body, db_collation "+
			"FROM mysql.proc WHERE db IN ('blog', 'shop')")), "\n")
		slices.Sort(lines)
		return lines
	}
	want := state(s)
	base.on(to).restored(p, base.backedUp(p, "all"))
	g.Expect(state(to)).To(Equal(want))

	made := base.with("databases", "shop").backedUp(p, "one")
	s.must(s.mariadb("USE shop; ALTER PROCEDURE pr COMMENT 'new'"))
	base.confirmed().restored(p, made)
	g.Expect(state(s)).To(Equal(want))
	g.Expect(s.mariadb("SELECT count(*) FROM mysql.proc WHERE comment = 'new'")).To(Equal("0\n"))
}

// To replace a routine takes no more rights than to drop it and make it.
func TestAnAccountOfOneDatabaseRestoresItsRoutines(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startMariaDB(t), withSecret(t)
	s.must(s.mariadb("CREATE DATABASE shop; CREATE USER own IDENTIFIED BY 'o'; GRANT ALL ON shop.* TO own; USE shop; " +
		"CREATE DEFINER=own PROCEDURE pr() SELECT 1; SET sql_mode=ORACLE; " +
		"EXECUTE IMMEDIATE 'CREATE DEFINER=own PACKAGE pk AS PROCEDURE a; END'; " +
		"EXECUTE IMMEDIATE 'CREATE DEFINER=own PACKAGE BODY pk AS PROCEDURE a AS BEGIN /* it''s */ NULL; END; END'; " +
		"CREATE USER clerk; GRANT EXECUTE ON PACKAGE pk TO clerk; GRANT EXECUTE ON PACKAGE BODY pk TO clerk"))
	p.login("username", "own", "password", "o")
	base := catalogTask{addon: "mariadb-addon", server: s}
	made := base.with("databases", "shop", "onlyVisible", "true").backedUp(p, "one")
	const state = "SELECT name, type, body, sql_mode FROM mysql.proc WHERE db = 'shop'; SHOW GRANTS FOR clerk"
	want := s.must(s.mariadb(state))
	base.confirmed().restored(p, made)
	g.Expect(s.mariadb(state)).To(Equal(want))
	s.must(s.mariadb("DROP DATABASE shop; CREATE DATABASE shop"))
	base.restored(p, made)
	g.Expect(s.mariadb("SELECT count(*) FROM mysql.proc WHERE db = 'shop'")).To(Equal("3\n"))
}

// The lock of a table forbids to read its sequence.
func TestATableWithASequenceIsRestored(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startMariaDB(t), withSecret(t)
	s.must(s.mariadb(`CREATE DATABASE shop; USE shop; CREATE SEQUENCE ids;
		CREATE TABLE orders (id int PRIMARY KEY DEFAULT (NEXTVAL(ids)), n int); INSERT INTO orders (n) VALUES (1), (2)`))
	base := catalogTask{addon: "mariadb-addon", server: s}
	base.confirmed().restored(p, base.backedUp(p, "all"))
	base.confirmed().restored(p, base.with("databases", "shop").backedUp(p, "one"))
	s.must(s.mariadb("INSERT INTO shop.orders (n) VALUES (3)"))
	g.Expect(s.mariadb("SELECT count(*) FROM shop.orders")).To(Equal("3\n"))
}

// By default the client of MariaDB takes comments out of the bodies of routines.
func TestCommentsInRoutinesSurviveARestore(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startMariaDB(t), withSecret(t)
	s.must(s.mariadb("CREATE DATABASE shop; USE shop; EXECUTE IMMEDIATE 'CREATE PROCEDURE pr() BEGIN\\n" +
		`-- it\'s why\n# don\'t;\n/* a "b; */\nSELECT 1;-- x;;\nEND'; CREATE VIEW v AS SELECT 1 AS one`))
	base := catalogTask{addon: "mariadb-addon", server: s}
	const body = "SELECT body FROM mysql.proc WHERE db = 'shop'; SELECT * FROM shop.v"
	want := s.must(s.mariadb(body))
	g.Expect(want).To(ContainSubstring("-- it's why"))
	for _, databases := range []string{"", "shop"} {
		base.confirmed().restored(p, base.with("databases", databases).backedUp(p, "comments"+databases))
		g.Expect(s.mariadb(body)).To(Equal(want))
	}
}

// pg_dumpall makes the first database that it connects to writable, and each database as it was before it is filled.
func TestAReadOnlyDatabaseOfPostgreSQLIsRestored(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE archive; CREATE DATABASE shop"))
	for _, database := range []string{"archive", "shop"} {
		s.must(s.psql(database, "CREATE TABLE years AS SELECT 1 AS n"))
	}
	s.must(s.psql("postgres", "ALTER DATABASE archive SET default_transaction_read_only = on"))
	base := catalogTask{addon: "postgres-addon", server: s}
	made := base.backedUp(p, "all")
	s.must(s.psql("postgres", "DROP DATABASE archive; DROP DATABASE shop"))
	base.restored(p, made)
	base.confirmed().restored(p, made)
	s.must(s.psql("postgres", "ALTER SYSTEM SET default_transaction_read_only = on"))
	s.must(s.psql("postgres", "SELECT pg_reload_conf()"))
	base.confirmed().restored(p, made)
	for _, database := range []string{"archive", "shop"} {
		g.Expect(s.psql(database, "SELECT n FROM years")).To(Equal("1\n"))
		g.Expect(s.psql(database, "SHOW transaction_read_only")).To(Equal("on\n"))
	}
}

// Any role can set its own search_path, and pg_dumpall writes the line breaks in it as they are.
func TestSettingsOfRolesAreNoStatements(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE ROLE eve LOGIN; CREATE DATABASE shop"))
	s.must(s.psql("shop", "CREATE TABLE orders AS SELECT 1 AS n"))
	base := catalogTask{addon: "postgres-addon", server: s}
	const state = "SELECT rolsuper, setconfig FROM pg_roles r JOIN pg_db_role_setting s ON setrole = r.oid"
	for _, tc := range []struct{ name, setting string }{
		{"a role", `x\nCREATE ROLE "; ALTER ROLE eve SUPERUSER; --";\n--`},
		{"a database", `x\nDROP DATABASE IF EXISTS x;\n--`},
		{"backslashes", `\\\\\nDROP ROLE x;\nCREATE ROLE "; ALTER ROLE eve SUPERUSER; --";\n--`},
		{"a connection", `x\n\\connect x\nSET statement_timeout = 0;\n--`},
		{"quotes", `x\'\n"\n--\'\nDROP DATABASE IF EXISTS x;\n`},
		{"a long line", strings.Repeat("y", 1<<20) + `\nDROP DATABASE IF EXISTS x;\n--`}, // a backup after it is Shrunk
	} {
		s.must(s.psql("postgres", "SET SESSION AUTHORIZATION eve; ALTER ROLE eve SET search_path = E'"+tc.setting+"'"))
		before := s.must(s.psql("postgres", state))
		g.Expect(before).To(HavePrefix("f|"))
		base.confirmed().restored(p, base.backedUp(p, tc.name))
		g.Expect(s.psql("shop", "SELECT n FROM orders")).To(Equal("1\n"), tc.name)
		g.Expect(s.must(s.psql("postgres", state)) == before).To(BeTrue(), tc.name)
	}
}

// What reads a dump twice finds the roles of the first time, whatever their names are.
func TestOddNamesOfRolesAndDatabases(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	names := []string{
		`CORP\alice`, `a\`, `'`, `"`, `a"" WITH "b`, `$cairn$`, `$name$x`, `x$cairn`, `x$name`, `$`, `two words`,
		`é`, `NAMES`,
	}
	quoted := func(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
	for _, name := range names {
		s.must(s.psql("postgres", "CREATE ROLE "+quoted(name)+" LOGIN PASSWORD 'p'"))
		s.must(s.psql("postgres", "CREATE DATABASE "+quoted(name)+" IS_TEMPLATE true OWNER "+quoted(name)))
	}
	s.must(s.psql("postgres", "CREATE ROLE \"a\nb\nDROP ROLE x;\n\"; COMMENT ON ROLE \"'\" IS '\nDROP ROLE x;\n'"))
	base := catalogTask{addon: "postgres-addon", server: s}
	const state = "SELECT rolname, rolcanlogin, shobj_description(oid, 'pg_authid') FROM pg_roles ORDER BY 1; " +
		"SELECT datname, datdba::regrole, datistemplate FROM pg_database ORDER BY 1"
	before := s.must(s.psql("postgres", state))
	made := base.backedUp(p, "all")
	base.confirmed().restored(p, made)
	g.Expect(s.psql("postgres", state)).To(Equal(before))
}

// A table that is made again gets the default privileges of the database, and its dump revokes none of them.
func TestNoTableGetsMoreRightsByARestore(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE ROLE readers; CREATE ROLE writers; CREATE DATABASE shop"))
	s.must(s.psql("shop", `ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO readers;
		CREATE TABLE items (id serial); GRANT INSERT ON items TO writers`))
	base := catalogTask{addon: "postgres-addon", server: s}
	shop := base.confirmed()
	made := base.with("databases", "shop").backedUp(p, "fits")
	shop.restored(p, made)
	for i, sql := range []string{
		"CREATE TABLE secrets AS SELECT 1 AS n; REVOKE SELECT ON secrets FROM readers",
		"GRANT SELECT ON secrets TO writers",
	} {
		s.must(s.psql("shop", sql))
		made = base.with("databases", "shop").backedUp(p, fmt.Sprintf("wider-%d", i))
		g.Expect(shop.restore(p, made)).To(And(HaveField("Reason", v1alpha1.ReasonLoadFailed),
			HaveField("Message", HaveSuffix("psql said: wider: public.secrets"))), sql)
	}
	const reads = "SELECT has_table_privilege('readers', 'secrets', 'SELECT')"
	g.Expect(s.psql("shop", reads)).To(Equal("f\n"))
	shop.with("defaultPrivileges", "true").restored(p, made)
	g.Expect(s.psql("shop", reads)).To(Equal("t\n"))

	s.must(s.psql("shop", `ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM readers`))
	shop.restored(p, made)
	g.Expect(s.psql("shop", reads)).To(Equal("f\n"))
	g.Expect(s.psql("shop", "SELECT count(*) FROM pg_default_acl")).To(Equal("1\n"), "the dump brings them back")
}

// Superusers and members of the owner of a table can do all with it as it is.
func TestDefaultPrivilegesOfWhomHasAllAnyway(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE ROLE root SUPERUSER; CREATE ROLE owner; CREATE ROLE member IN ROLE owner; "+
		"CREATE DATABASE shop"))
	s.must(s.psql("shop", `CREATE TABLE items AS SELECT 1 AS n; ALTER TABLE items OWNER TO owner;
		ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO root, member`))
	base := catalogTask{addon: "postgres-addon", server: s}
	made := base.with("databases", "shop").backedUp(p, "one")
	base.confirmed().restored(p, made)
	s.must(s.psql("shop", "REVOKE ALL ON items FROM root, member; "+
		"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO public"))
	g.Expect(base.confirmed().restore(p, made)).To(HaveField("Message", HaveSuffix("psql said: wider: public.items")))
}

// The dump drops its tablespaces and makes them anew. PostgreSQL drops none that is in use.
func TestAllOfPostgreSQLIsNotRestoredOverATablespaceThatOthersUse(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	fast := filepath.Join(s.dir, "fast")
	g.Expect(os.Mkdir(fast, 0o700)).To(Succeed())
	if os.Geteuid() == 0 {
		g.Expect(os.Chown(fast, 65534, 65534)).To(Succeed())
	}
	s.must(s.psql("postgres", "CREATE TABLESPACE fast LOCATION '"+fast+"'"))
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("shop", "CREATE TABLE items TABLESPACE fast AS SELECT 1 AS n"))
	base := catalogTask{addon: "postgres-addon", server: s}
	made := base.backedUp(p, "all")
	s.must(s.psql("postgres", "CREATE DATABASE crm TABLESPACE fast"))
	s.must(s.psql("template1", "CREATE TABLE items (n int) TABLESPACE fast"))
	for _, step := range []struct{ database, from, away string }{
		{"crm", "postgres", "DROP DATABASE crm"},
		{"template1", "template1", "ALTER TABLE items SET TABLESPACE pg_default"},
	} {
		s.must(s.psql("shop", "UPDATE items SET n = 2"))
		g.Expect(base.confirmed().restore(p, made)).To(And(HaveField("Reason", v1alpha1.ReasonLoadFailed),
			HaveField("Message", And(ContainSubstring("nothing was dropped: the dump drops the tablespace fast"),
				ContainSubstring("database "+step.database+" uses it")))))
		g.Expect(s.psql("shop", "SELECT n FROM items")).To(Equal("2\n"))
		s.must(s.psql(step.from, step.away))
	}
	base.confirmed().restored(p, made)
	g.Expect(s.psql("shop", "SELECT n FROM items")).To(Equal("1\n"))
}

// A row can break a constraint that it met when it was written. psql would go on after the error.
func TestAStatementThatCanNotBeLoadedEndsARestoreOfAllWhateverItsArguments(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.withALicence("licences")
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("shop", "CREATE TABLE items AS SELECT 1 AS n"))
	base := catalogTask{addon: "postgres-addon", server: s}
	made := base.backedUp(p, "all")
	for _, args := range []string{"--set=ON_ERROR_STOP=0", "-v ON_ERROR_STOP=off"} {
		g.Expect(base.with("args", args).confirmed().restore(p, made)).To(And(
			HaveField("Reason", v1alpha1.ReasonLoadFailed),
			HaveField("Message", And(ContainSubstring("violates check constraint"),
				ContainSubstring("connected to the database licences. Those that the dump has after it")))))
	}
	// This is how the guide gets the others.
	dump := filepath.Join(s.dir, "dump.sql")
	g.Expect(os.WriteFile(dump, []byte(p.content(made.Components[0].ID)), 0o600)).To(Succeed())
	part, err := exec.Command("awk", `/^-- Database "/ {take = /^-- Database "shop" dump$/} take`, dump).Output()
	g.Expect(err).NotTo(HaveOccurred())
	s.must(s.psql("postgres", string(part)))
	g.Expect(s.psql("shop", "SELECT n FROM items")).To(Equal("1\n"))
}

// withALicence makes a database whose only row breaks a constraint by now.
func (s *databaseServer) withALicence(database string) {
	s.t.Helper()
	s.must(s.psql("postgres", "CREATE DATABASE "+database))
	s.must(s.psql(database, `CREATE TABLE licence (ends timestamptz CHECK (ends > now()));
		INSERT INTO licence VALUES (clock_timestamp() + interval '50 ms')`))
	NewWithT(s.t).Eventually(func() (string, error) {
		return s.psql(database, "SELECT count(*) FROM licence WHERE ends > now()")
	}).WithTimeout(time.Minute).Should(Equal("0\n"))
}

// The dump makes its tablespaces after it has dropped the databases.
func TestAllOfPostgreSQLIsNotRestoredWithoutTheDirectoryOfATablespace(t *testing.T) {
	t.Parallel()
	g, s, other, p := NewWithT(t), startPostgreSQL(t), startPostgreSQL(t), withSecret(t)
	fast := filepath.Join(s.dir, "so fast")
	g.Expect(os.Mkdir(fast, 0o700)).To(Succeed())
	if os.Geteuid() == 0 {
		g.Expect(os.Chown(fast, 65534, 65534)).To(Succeed())
	}
	s.must(s.psql("postgres", "CREATE TABLESPACE fast LOCATION '"+fast+"'"))
	for _, s := range []*databaseServer{s, other} {
		s.must(s.psql("postgres", "CREATE DATABASE shop"))
	}
	s.must(s.psql("shop", "CREATE TABLE items TABLESPACE fast AS SELECT 1 AS n"))
	other.must(other.psql("shop", "CREATE TABLE items AS SELECT 7 AS n"))
	base := catalogTask{addon: "postgres-addon", server: s}
	made := base.backedUp(p, "all")
	base = base.on(other).confirmed()
	g.Expect(os.Rename(fast, fast+"-away")).To(Succeed())
	g.Expect(base.restore(p, made)).To(And(HaveField("Reason", v1alpha1.ReasonLoadFailed), HaveField("Message",
		ContainSubstring("nothing was dropped: the dump makes a tablespace in the directory "+fast+", which"))))
	g.Expect(other.psql("shop", "SELECT n FROM items")).To(Equal("7\n"))

	// Nothing looks for what else can be wrong with the directory.
	g.Expect(os.Mkdir(fast, 0o700)).To(Succeed())
	g.Expect(os.Chmod(fast, 0)).To(Succeed())
	g.Expect(base.restore(p, made)).To(And(HaveField("Reason", v1alpha1.ReasonLoadFailed), HaveField("Message",
		HaveSuffix(" Databases of the dump are dropped and not loaded yet. They are whole in the Snapshot: "+
			"restore again when the error has no more cause"))))
	g.Expect(os.Remove(fast)).To(Succeed())
	g.Expect(os.Rename(fast+"-away", fast)).To(Succeed())
	s.kill()
	g.Expect(os.RemoveAll(fast)).To(Succeed())
	g.Expect(os.Mkdir(fast, 0o700)).To(Succeed())
	if os.Geteuid() == 0 {
		g.Expect(os.Chown(fast, 65534, 65534)).To(Succeed())
	}
	base.restored(p, made)
	g.Expect(other.psql("shop", "SELECT n FROM items")).To(Equal("1\n"))
}
