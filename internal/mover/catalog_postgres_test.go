package mover_test

import (
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// TestPostgreSQLTasks runs the tasks of postgres-addon, as the catalog has them, with each parameter.
func TestPostgreSQLTasks(t *testing.T) {
	t.Parallel()
	s, p := startPostgreSQL(t), withSecret(t)
	for _, database := range []string{"shop", "crm"} {
		s.must(s.psql("postgres", "CREATE DATABASE "+database))
		s.must(s.psql(database, postgresTables+
			`CREATE SCHEMA audit; CREATE TABLE audit.events (n int); INSERT INTO audit.events VALUES (1), (2);
			CREATE TABLE secrets (n int); INSERT INTO secrets VALUES (7);`))
	}
	s.must(
		s.psql("postgres",
			"CREATE ROLE clerk; CREATE ROLE seller LOGIN PASSWORD 'of the seller'; GRANT clerk TO seller"))
	s.must(s.psql("shop", "GRANT SELECT ON people TO clerk; ALTER TABLE audit.events OWNER TO clerk"))
	base := catalogTask{addon: "postgres-addon", server: s}
	const tables = "SELECT string_agg(schemaname || '.' || tablename, ' ' ORDER BY 1) FROM (SELECT * FROM pg_tables " +
		"WHERE schemaname IN ('public', 'audit') ORDER BY 1, 2) t"

	for name, tc := range map[string]struct {
		task  catalogTask
		holds string
	}{
		"a database": {base.with("databases", "shop"), "audit.events public.people public.secrets\n"},
		"schemas": {base.with("databases", "shop", "schemas", "audit", "largeObjects",
			"no-blobs"), "audit.events\n"},
		"tables": {base.with("databases", "shop", "tables", "people,audit.*", "largeObjects", "no-blobs", "args",
			"--no-owner --no-privileges"), "audit.events public.people\n"},
		"further arguments": {
			base.with("databases", "shop", "args", "--exclude-table=secrets '--exclude-table=audit.e*'"),
			"public.people\n",
		},
		"arguments as a shell": {
			base.with("databases", "shop", "args", `"--exclude-table=secrets" --exclude-schema='audit'`),
			"public.people\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			made := tc.task.backedUp(p, name)
			g.Expect(made.Components).To(HaveLen(1))
			g.Expect(made.Components[0].Name).To(Equal("dump-shop"))
			s.must(s.psql("postgres", "ALTER DATABASE shop RENAME TO kept"))
			defer func() { s.must(s.psql("postgres", "DROP DATABASE shop; ALTER DATABASE kept RENAME TO shop")) }()
			s.must(s.psql("postgres", "CREATE DATABASE shop"))
			if name == "tables" { // A table's dump does not create its schema.
				s.must(s.psql("shop", "CREATE SCHEMA audit"))
			}
			base.with().restored(p, made)
			g.Expect(s.psql("shop", tables)).To(Equal(tc.holds))
		})
	}

	t.Run("what can't be done fails", func(t *testing.T) {
		for says, task := range map[string]catalogTask{
			`no matching tables were found for pattern "absent"`: base.with("databases", "shop", "tables",
				"people,absent", "largeObjects", "no-blobs"),
			`no matching schemas were found for pattern "absent"`: base.with("databases", "shop", "schemas",
				"public,absent", "largeObjects", "no-blobs"),
			"said: ignored: schemas":           base.with("databases", "shop", "schemas", "audit", "tables", "people"),
			`database "absent" does not exist`: base.with("databases", "absent"),
			`no matching tables were found for pattern "public.pe;ople"`: base.with("databases", "shop", "tables",
				"public.pe;ople", "largeObjects", "no-blobs"),
			`invalid sslmode value: "verify-none"`: base.with("databases", "shop", "sslMode", "verify-none"),
			"server does not support SSL":          base.with("databases", "shop", "sslMode", "require"),
		} {
			g := NewWithT(t)
			result := task.backup(p, says)
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDumpFailed), says)
			g.Expect(result.Message).To(ContainSubstring(says))
		}
	})

	t.Run("two databases into another server, twice", func(t *testing.T) {
		g := NewWithT(t)
		to := startPostgreSQL(t)
		made := base.with("databases", "shop,crm").backedUp(p, "two")
		there := base.on(to).with()
		result := there.restore(p, made)
		g.Expect(result.Message).To(ContainSubstring(`database "shop" does not exist`),
			"it is not created: its encoding and owner are not in its dump")
		to.must(to.psql("postgres", "CREATE DATABASE shop"))
		to.must(to.psql("postgres", "CREATE DATABASE crm"))

		g.Expect(there.restore(p, made)).To(And(HaveField("Reason", v1alpha1.ReasonLoadFailed),
			HaveField("Message", ContainSubstring(`role "clerk" does not exist`))))
		g.Expect(to.psql("shop", tables)).To(Equal("\n"), "all or nothing")
		to.must(to.psql("postgres", "DROP DATABASE crm"))
		to.must(to.psql("postgres", "CREATE DATABASE crm"))

		without := there.with("args", "--no-owner --no-privileges")
		without.restored(p, made)
		sum := "SELECT count(*), md5(string_agg(people::text, '|' ORDER BY id)) FROM people; SELECT f(), " +
			"last_value FROM " +
			"s; SELECT md5(data) FROM pg_largeobject"
		for _, database := range []string{"shop", "crm"} {
			g.Expect(to.psql(database, sum)).To(Equal(s.must(s.psql(database, sum))), database)
		}
		to.must(to.psql("crm", "DELETE FROM people; CREATE TABLE mine (n int)"))
		result = without.restore(p, made)
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonVolumeNotEmpty), result.Message)
		g.Expect(to.psql("crm", "SELECT count(*) FROM people")).To(Equal("0\n"), "nothing was written")
		without.confirmed().restored(p, made)
		g.Expect(to.psql("crm", sum)).To(Equal(s.must(s.psql("crm", sum))))
		g.Expect(to.psql("crm", "SELECT count(*) FROM mine")).To(Equal("0\n"), "objects that are not in the dump stay")
	})

	t.Run("everything into another server", func(t *testing.T) {
		g := NewWithT(t)
		to := startPostgreSQL(t)
		made := base.with().backedUp(p, "everything")
		g.Expect(made.Components[0].Name).To(Equal("dump"))
		to.must(to.psql("postgres", "ALTER ROLE app PASSWORD 'of the other server' CONNECTION LIMIT 50"))
		to.password = "of the other server"
		defer p.login("username", account, "password", accountPassword)
		p.login("username", account, "password", to.password)
		base.on(to).with().restored(p, made)
		g.Expect(to.psql("shop", "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'app'")).To(Equal("50\n"))
		const rights = "SELECT has_table_privilege('seller', 'people', 'SELECT'), tableowner, rolpassword IS NOT " +
			"NULL FROM " +
			"pg_tables, pg_authid WHERE tablename = 'events' AND rolname = 'seller'"
		g.Expect(to.psql("shop", rights)).To(Equal("t|clerk|t\n"))
		g.Expect(to.psql("crm", tables)).To(Equal("audit.events public.people public.secrets\n"))
		result := base.on(to).with().restore(p, made)
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonVolumeNotEmpty), result.Message)
		to.must(to.psql("shop", "DELETE FROM people"))
		base.on(to).with().confirmed().restored(p, made)
		g.Expect(to.psql("shop", "SELECT count(*) FROM people")).To(Equal("5000\n"))
		p.login("username", account, "password", accountPassword)
		narrow := base.with("args", "--exclude-database=crm --exclude-database=postgres").backedUp(p, "narrow")
		g.Expect(p.content(narrow.Components[0].ID)).
			To(And(ContainSubstring("\\connect shop"), Not(ContainSubstring("\\connect crm"))))
	})

	t.Run("a password that is wrong, or none", func(t *testing.T) {
		g := NewWithT(t)
		made := base.with("databases", "shop").backedUp(p, "before")
		defer p.login("username", account, "password", accountPassword)
		p.login("username", account, "password", "of another")
		g.Expect(base.backup(p, "wrong")).
			To(
				And(HaveField("Reason", v1alpha1.ReasonDumpFailed),
					HaveField("Message", ContainSubstring("password authentication failed"))))
		for _, task := range []catalogTask{base, base.confirmed()} {
			g.Expect(task.restore(p, made)).
				To(
					And(HaveField("Reason", v1alpha1.ReasonLoadFailed),
						HaveField("Message", ContainSubstring("password authentication failed"))))
		}
		p.login("username", account)
		g.Expect(base.backup(p, "none")).
			To(
				And(HaveField("Reason", v1alpha1.ReasonDumpFailed),
					HaveField("Message", ContainSubstring("no password supplied"))))
		p.login("password", accountPassword)
		g.Expect(base.backup(p, "nobody")).
			To(And(HaveField("Reason", v1alpha1.ReasonDatabaseSecretNotAvailable),
				HaveField("Message", ContainSubstring("lacks username"))))
	})
	p.secretIsNowhere(accountPassword, `p\:a`)
}

// A server can have functions and no tables. A restore that nobody confirmed must not replace them.
func TestARestoreIntoPostgreSQLWithFunctionsNeedsAConfirmation(t *testing.T) {
	t.Parallel()
	g, s, to, p := NewWithT(t), startPostgreSQL(t), startPostgreSQL(t), withSecret(t)
	const function = "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS "
	s.must(s.psql("postgres", function+"$$SELECT 'of the dump'$$; CREATE DATABASE shop"))
	to.must(to.psql("postgres", function+"$$SELECT 'of the server'$$"))
	base := catalogTask{addon: "postgres-addon", server: s}
	made := base.backedUp(p, "functions")
	result := base.on(to).restore(p, made)
	g.Expect(to.psql("postgres", "SELECT f()")).To(Equal("of the server\n"), "the restore: %s", result.Reason)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonVolumeNotEmpty), result.Message)
	base.on(to).confirmed().restored(p, made)
	g.Expect(to.psql("postgres", "SELECT f()")).To(Equal("of the dump\n"))
}

// pg_dump only warns of subscriptions that it leaves out, and says nothing of the options of user mappings.
func TestAPostgreSQLAccountThatIsNoSuperuserMakesNoHalfBackup(t *testing.T) {
	t.Parallel()
	s, p := startPostgreSQL(t, "-c", "wal_level=logical"), withSecret(t)
	s.must(s.psql("postgres", `CREATE DATABASE shop; CREATE DATABASE crm; CREATE ROLE keeper LOGIN PASSWORD 'k';
		GRANT pg_read_all_data TO keeper`))
	s.must(s.psql("shop", "CREATE TABLE people (n int); INSERT INTO people VALUES (1), (2)"))
	s.must(s.psql("crm", "CREATE TABLE calls (n int)"))
	base := catalogTask{addon: "postgres-addon", server: s}
	shop, crm := base.with("databases", "shop"), base.with("databases", "crm")
	super, keeper := []string{"username", account, "password", accountPassword}, []string{
		"username", "keeper", "password", "k",
	}
	for _, step := range []struct {
		name, sql string
		task      catalogTask
		login     []string
		says      string
	}{
		{"nothing is hidden", "", shop, keeper, ""},
		{"a subscription", `CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1' PUBLICATION p
			WITH (connect=false, slot_name=NONE)`, shop, keeper, "left out: subscriptions"},
		{"a subscription of another database", "", crm, keeper, ""},
		{"a subscription of any database", "", base, keeper, "left out: subscriptions"},
		{"a subscription that may be missing", "", base.with("databases", "shop", "onlyVisible", "true"), keeper, ""},
		{"tables alone", "", base.with("databases", "shop", "tables", "people"), keeper, ""},
		{"a superuser", "", shop, super, ""},
		{
			"a user mapping", `DROP SUBSCRIPTION s; CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w;
			CREATE USER MAPPING FOR app SERVER far OPTIONS (password 'x')`, shop, keeper,
			"left out: options of the user mapping of app for far",
		},
		{"a superuser again", "", base, super, ""},
		{
			"its own user mapping", `DROP USER MAPPING FOR app SERVER far; CREATE USER MAPPING FOR keeper SERVER far;
			GRANT USAGE ON FOREIGN SERVER far TO keeper`, shop, keeper, "",
		},
		{
			"its own for a server of others", "REVOKE USAGE ON FOREIGN SERVER far FROM keeper", shop, keeper,
			"left out: options of the user mapping of keeper for far",
		},
		{
			"rows", "DROP SERVER far CASCADE; ALTER TABLE people ENABLE ROW LEVEL SECURITY", shop, keeper,
			"row-level security",
		},
		{"all rows", "ALTER ROLE keeper BYPASSRLS", shop, keeper, ""},
		{"a closed database", "ALTER DATABASE crm ALLOW_CONNECTIONS false", base, super, "said: closed: crm"},
		{"a closed database that may be missing", "", base.with("onlyVisible", "true"), super, ""},
		{"a database beside it", "", shop, super, ""},
		{"a database that is open again", "ALTER DATABASE crm ALLOW_CONNECTIONS true", base, super, ""},
		{"roles", "REVOKE pg_read_all_data FROM keeper", base, keeper, "permission denied for table pg_authid"},
		{"tables", "", shop, keeper, "denied for table people"},
	} {
		t.Run(step.name, func(t *testing.T) {
			g := NewWithT(t)
			for sql := range strings.SplitSeq(step.sql, ";") {
				s.must(s.psql("shop", sql))
			}
			p.login(step.login...)
			result := step.task.backup(p, step.name)
			if step.says == "" {
				g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
				return
			}
			g.Expect(result).To(And(HaveField("Reason", v1alpha1.ReasonDumpFailed),
				HaveField("Message", ContainSubstring(step.says))))
		})
	}
}

// A database moves to another server, and the policy with it. The data was left behind.
func TestAnEmptyServerIsNoticedHoweverItIsReached(t *testing.T) {
	t.Parallel()
	s, to, p := startPostgreSQL(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	to.must(to.psql("postgres", "CREATE DATABASE shop"))
	to.must(to.psql("shop", "CREATE TABLE items (n int, name text)"))
	s.must(s.psql("shop", "CREATE TABLE items AS SELECT n, repeat('x', 100) AS name FROM generate_series(1, 5000) n"))
	base := catalogTask{addon: "postgres-addon", server: s}
	base.with("databases", "shop").backedUp(p, "all")
	moved := base.on(to).with("databases", "shop", "sslMode", "allow")
	NewWithT(t).Expect(moved.backup(p, "moved").Reason).To(Equal(v1alpha1.ReasonShrunk))
	moved.with("databases", "shop", "schemas", "public").backedUp(p, "part")
}

// A migration has added what the dump lacks. It went wrong, and the backup of the night before is restored over it.
func TestAMigrationIsUndone(t *testing.T) {
	t.Parallel()
	s, p := startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("shop", "CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1)"))
	base := catalogTask{addon: "postgres-addon", server: s}
	made := base.with("databases", "shop").backedUp(p, "before")
	s.must(s.psql("shop", "CREATE TABLE reviews (item int REFERENCES items); UPDATE items SET id = 2"))
	g, result := NewWithT(t), base.with().confirmed().restore(p, made)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed))
	g.Expect(result.Message).To(HaveSuffix("rename the database, create it again, empty, and restore without confirm"))
	g.Expect(s.psql("shop", "SELECT id FROM items")).To(Equal("2\n"), "nothing was changed")
	s.must(s.psql("postgres", "ALTER DATABASE shop RENAME TO shop_wrong"))
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	base.with().restored(p, made)
	g.Expect(s.psql("shop", "SELECT id FROM items")).To(Equal("1\n"))
}

// One transaction locks every table, index and sequence, and a server has room for so many locks.
func TestMoreTablesThanAServerHasLocksFor(t *testing.T) {
	t.Parallel()
	few := []string{"-c", "max_connections=10", "-c", "max_wal_senders=0", "-c", "max_locks_per_transaction=10"}
	s, to, p := startPostgreSQL(t), startPostgreSQL(t, few...), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("shop", `DO $$ BEGIN FOR i IN 1..300 LOOP
		EXECUTE format('CREATE TABLE t%s (id serial PRIMARY KEY, name text)', i); END LOOP; END $$`))
	base := catalogTask{addon: "postgres-addon", server: s}
	made := base.with("databases", "shop").backedUp(p, "many")
	to.must(to.psql("postgres", "CREATE DATABASE shop"))
	result := base.on(to).with().restore(p, made)
	NewWithT(t).Expect(result).To(And(HaveField("Reason", v1alpha1.ReasonLoadFailed),
		HaveField("Message", HaveSuffix("of the server, for example to 1024, and restart it"))))
	to.kill()
	to.startOn(filepath.Join(to.dir, "data"), append(few, "-c", "max_locks_per_transaction=1024")...)
	base.on(to).with().restored(p, made)
}
