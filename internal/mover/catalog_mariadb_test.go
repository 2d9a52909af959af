package mover_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// TestMariaDBTasks runs the tasks of mariadb-addon, as the catalog has them, with each parameter.
func TestMariaDBTasks(t *testing.T) {
	t.Parallel()
	s, p := startMariaDB(t, "--max-allowed-packet=64M"), withSecret(t)
	s.must(s.mariadb(mariadbTables + `
		CREATE TABLE other (x int); INSERT INTO other VALUES (1);
		CREATE TABLE old_text (x varchar(20) CHARACTER SET latin1); INSERT INTO old_text VALUES ('Größe');
		CREATE TABLE large (x longblob); INSERT INTO large VALUES (repeat(unhex('00FF0A27'), 5000000));
		CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM other;
		CREATE PROCEDURE pr() SELECT 1;
		CREATE DATABASE crm; USE crm; CREATE TABLE clients (n int); INSERT INTO clients VALUES (1), (2);
		CREATE USER clerk IDENTIFIED BY 'of the clerk'; GRANT SELECT ON shop.* TO clerk`))
	base := catalogTask{addon: "mariadb-addon", server: s}
	const sum = "USE shop; SELECT count(*), md5(group_concat(id, hex(name), hex(photo), price, born, note ORDER " +
		"BY id)) " +
		"FROM people; SELECT f(); SELECT hex(x) FROM old_text; SELECT md5(x) FROM large;" +
		"SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop' ORDER BY 1; SELECT event_name " +
		"FROM information_schema.events; SELECT trigger_name FROM information_schema.triggers; SELECT routine_name " +
		"FROM information_schema.routines WHERE routine_schema = 'shop' ORDER BY 1"

	for name, tc := range map[string]struct {
		task         catalogTask
		holds, lacks string
	}{
		"tables": {
			base.with("databases", "shop", "tables", "people,other"), "CREATE TABLE `other`",
			"CREATE TABLE `large`",
		},
		"further arguments": {
			base.with("databases", "shop", "args", "--no-data '--ignore-table=shop.people'"),
			"CREATE TABLE `other`", "INSERT INTO",
		},
	} {
		t.Run(name, func(t *testing.T) {
			made := tc.task.backedUp(p, name)
			NewWithT(t).Expect(p.content(made.Components[0].ID)).
				To(And(ContainSubstring(tc.holds), Not(ContainSubstring(tc.lacks))))
		})
	}

	t.Run("what can't be done fails", func(t *testing.T) {
		for says, task := range map[string]catalogTask{
			`Couldn't find table: "absent"`: base.with("databases", "shop", "tables", "people,absent"),
			"Unknown database 'absent'":     base.with("databases", "shop,absent"),
			"Unknown column 'nonsense'": base.with("databases", "shop", "tables", "people", "args",
				"--force --where=nonsense"),
		} {
			g := NewWithT(t)
			result := task.backup(p, says)
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDumpFailed), says)
			g.Expect(result.Message).To(ContainSubstring(says))
		}
	})

	t.Run("two databases into another server, twice", func(t *testing.T) {
		g := NewWithT(t)
		to := startMariaDB(t, "--max-allowed-packet=64M")
		made := base.with("databases", "shop,crm").backedUp(p, "two")
		there := base.on(to).with()
		g.Expect(there.restore(p, made).Message).To(ContainSubstring("Unknown database 'shop'"))
		to.must(to.mariadb("CREATE DATABASE shop CHARACTER SET utf8mb4; CREATE DATABASE crm"))
		there.restored(p, made)
		g.Expect(to.mariadb(sum)).To(Equal(s.must(s.mariadb(sum))))
		to.must(to.mariadb("DELETE FROM crm.clients"))
		result := there.restore(p, made)
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonVolumeNotEmpty), result.Message)
		g.Expect(to.mariadb("SELECT count(*) FROM crm.clients")).To(Equal("0\n"), "nothing was written")
		there.confirmed().restored(p, made)
		g.Expect(to.mariadb("SELECT count(*) FROM crm.clients")).To(Equal("2\n"))
	})

	t.Run("everything into another server", func(t *testing.T) {
		g := NewWithT(t)
		to := startMariaDB(t, "--max-allowed-packet=64M")
		made := base.with().backedUp(p, "everything")
		g.Expect(made.Components[0].Name).To(Equal("dump"))
		base.on(to).with().restored(p, made)
		g.Expect(to.mariadb(sum)).To(Equal(s.must(s.mariadb(sum))))
		g.Expect(to.mariadb("SHOW GRANTS FOR clerk")).To(Equal(s.must(s.mariadb("SHOW GRANTS FOR clerk"))))
	})

	t.Run("everything into a server with another password", func(t *testing.T) {
		g := NewWithT(t)
		to := startMariaDB(t, "--max-allowed-packet=64M")
		made := base.with().backedUp(p, "everything again")
		to.must(to.mariadb("ALTER USER app IDENTIFIED BY 'of the other server'"))
		defer p.login("username", account, "password", accountPassword)
		p.login("username", account, "password", "of the other server")
		result := base.on(to).with().restore(p, made)
		g.Expect(result).To(And(HaveField("Reason", v1alpha1.ReasonVerificationFailed), HaveField("Message", And(
			ContainSubstring("Access denied"),
			ContainSubstring("the password that it had at the time of the backup")))))
		g.Expect(result.Components[0].TargetWritten).To(BeTrue())
		g.Expect(to.mariadb(sum)).To(Equal(s.must(s.mariadb(sum))), "the data and the password of the dump are there")
	})

	t.Run("the first error ends a restore", func(t *testing.T) {
		made := base.with("databases", "shop").backedUp(p, "first")
		for name, there := range map[string]catalogTask{
			"as it is":                      base.with(),
			"whatever the arguments say":    base.with("args", "--force"),
			"in the middle of a large dump": base.with("args", "--init-command='SET SESSION sql_mode = \"\"'"),
		} {
			g := NewWithT(t)
			to := startMariaDB(t, "--max-allowed-packet=1M") // the large row does not fit
			to.must(to.mariadb("CREATE DATABASE shop"))
			result := there.on(to).restore(p, made)
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed), name)
			g.Expect(to.mariadb(
				"SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop' AND table_name "+
					"IN ('other', 'people')")).NotTo(ContainSubstring("people"), name)
		}
	})

	t.Run("a dump that holds commands of the client", func(t *testing.T) {
		g := NewWithT(t)
		to := startMariaDB(t)
		id := p.backUp(
			"commands", dumpOf("printf 'CREATE TABLE a (x int);\\n\\\\! touch "+p.root+
				"/escaped\\nCREATE TABLE b (x int);\\n'"))
		to.must(to.mariadb("CREATE DATABASE shop"))
		component := base.on(to).with().components(p, true, "dump-shop")[0]
		result := p.restoreInto(id, component)
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed), result.Message)
		g.Expect(p.root + "/escaped").NotTo(BeAnExistingFile())
	})

	t.Run("a password that is wrong, or none", func(t *testing.T) {
		g := NewWithT(t)
		made := base.with("databases", "crm").backedUp(p, "before")
		defer p.login("username", account, "password", accountPassword)
		p.login("username", account, "password", "of another")
		g.Expect(base.backup(p, "wrong")).
			To(And(HaveField("Reason", v1alpha1.ReasonDumpFailed),
				HaveField("Message", ContainSubstring("Access denied"))))
		for _, task := range []catalogTask{base, base.confirmed()} {
			g.Expect(task.restore(p, made)).
				To(And(HaveField("Reason", v1alpha1.ReasonLoadFailed),
					HaveField("Message", ContainSubstring("Access denied"))))
		}
		p.login("username", account)
		g.Expect(base.backup(p, "none")).
			To(And(HaveField("Reason", v1alpha1.ReasonDatabaseSecretNotAvailable),
				HaveField("Message", ContainSubstring("lacks password"))))
	})
	p.secretIsNowhere(accountPassword, strings.ReplaceAll(accountPassword, `\`, `\\`))
}

// A database can hold procedures and events alone. A restore that nobody confirmed must not replace them.
func TestARestoreIntoADatabaseOfProceduresNeedsAConfirmation(t *testing.T) {
	t.Parallel()
	s := startMariaDB(t)
	s.must(s.mariadb(`CREATE DATABASE tools; USE tools; CREATE TABLE t (n int); CREATE PROCEDURE it() SELECT 'backup';
		CREATE EVENT it ON SCHEDULE EVERY 1 DAY DO SELECT 'backup'`))
	base := catalogTask{addon: "mariadb-addon", server: s}
	for _, databases := range []string{"", "tools"} {
		p := withSecret(t)
		made := base.with("databases", databases).backedUp(p, "tools")
		for kind, begin := range map[string]string{"PROCEDURE": "()", "EVENT": " ON SCHEDULE EVERY 1 DAY DO"} {
			g, to := NewWithT(t), startMariaDB(t)
			to.must(to.mariadb("CREATE DATABASE tools; USE tools; CREATE " + kind + " it" + begin +
				" SELECT 'of the server'"))
			result := base.on(to).with().restore(p, made)
			g.Expect(to.mariadb("SHOW CREATE "+kind+" tools.it")).To(ContainSubstring("of the server"), result.Reason)
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonVolumeNotEmpty), kind)
		}
	}
}

// mariadb-dump leaves out the rows of a table with system versioning that were updated or deleted, unless it is told to
// dump them.
func TestTheHistoryOfATableIsInTheDump(t *testing.T) {
	t.Parallel()
	s, p := startMariaDB(t), withSecret(t)
	s.must(s.mariadb(`CREATE DATABASE shop; USE shop; CREATE TABLE other (n int);
		CREATE TABLE prices (id int, price int) WITH SYSTEM VERSIONING;
		INSERT INTO prices VALUES (1, 100); UPDATE prices SET price = 200; UPDATE prices SET price = 300`))
	const history = "SELECT price FROM shop.prices FOR SYSTEM_TIME ALL ORDER BY 1; SELECT price FROM shop.prices"
	base := catalogTask{addon: "mariadb-addon", server: s}
	one := []string{"databases", "shop"}
	for name, params := range map[string][]string{"one database": one, "everything": nil} {
		t.Run(name, func(t *testing.T) {
			to := startMariaDB(t)
			if params != nil {
				to.must(to.mariadb("CREATE DATABASE shop"))
			}
			base.on(to).with().restored(p, base.with(params...).backedUp(p, name))
			NewWithT(t).Expect(to.mariadb(history)).To(Equal("100\n200\n300\n300\n"))
		})
	}

	t.Run("history by transactions", func(t *testing.T) {
		g := NewWithT(t)
		s.must(s.mariadb(`CREATE TABLE shop.exact (n int, b bigint unsigned GENERATED ALWAYS AS ROW START,
			e bigint unsigned GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (b, e)) WITH SYSTEM VERSIONING`))
		g.Expect(base.with(one...).backup(p, "exact")).To(And(HaveField("Reason", v1alpha1.ReasonDumpFailed),
			HaveField("Message", ContainSubstring("Cannot use --dump-history for table `exact`"))))
		base.with("databases", "shop", "args", "--skip-dump-history").backedUp(p, "exact, without")
		base.with("databases", "shop", "args", "--skip-dump-history --replace").backedUp(p, "replacing")
		g.Expect(base.with("databases", "shop", "tables", "prices", "args", "--replace").backup(p, "both").Message).
			To(ContainSubstring("--replace"))
	})

	t.Run("a server that can't take history back", func(t *testing.T) {
		_, functions := shipped()
		command := functions["mariadb-backup"].Spec.Stream.Probe.Command
		const exact, prices = "history: shop.exact\n", "history: shop.prices\n"
		for _, tc := range []struct{ database, tables, says string }{
			{"shop", "", exact + prices},
			{"", "", exact + prices},
			{"shop", " other, prices", prices},
			{"shop", "other", ""},
			{"test", "", "# holds no data\n"},
			{"Shop", "", "# holds no data\n"},
			{"shop", "Prices", ""},
			{"shop", "o'brien", ""},
		} {
			question := strings.NewReplacer("--execute=", "", "${value}", tc.database, "${tables}", tc.tables,
				"'SYSTEM_VERSIONING_INSERT_HISTORY'", "'ABSENT'").Replace(command[len(command)-1])
			NewWithT(t).Expect(s.mariadb(question)).To(Equal(tc.says), "%v", tc)
		}
	})
}

// A server that lets nobody set the time takes no history. The restore must say so, and not write rows of today.
func TestHistoryThatAServerRefusesFailsTheRestore(t *testing.T) {
	t.Parallel()
	g, s, to, p := NewWithT(t), startMariaDB(t), startMariaDB(t, "--secure-timestamp=YES"), withSecret(t)
	s.must(s.mariadb(`CREATE DATABASE shop; CREATE TABLE shop.prices (price int) WITH SYSTEM VERSIONING;
		INSERT INTO shop.prices VALUES (100); UPDATE shop.prices SET price = 200`))
	to.must(to.mariadb("CREATE DATABASE shop"))
	base := catalogTask{addon: "mariadb-addon", server: s}
	result := base.on(to).restore(p, base.with("databases", "shop").backedUp(p, "history"))
	g.Expect(result.Message).To(ContainSubstring("secure"))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed))
	plain := base.with("databases", "shop", "args", "--skip-dump-history").backedUp(p, "without")
	base.on(to).confirmed().restored(p, plain)
	g.Expect(to.mariadb("SELECT price FROM shop.prices FOR SYSTEM_TIME ALL")).To(Equal("200\n"))
}

// Names of tables can have single quotes.
func TestQuotesInTheNameOfATableBreakNoBackup(t *testing.T) {
	t.Parallel()
	s, p := startMariaDB(t), withSecret(t)
	s.must(s.mariadb("CREATE DATABASE shop; CREATE TABLE shop.`o'brien` (n int)"))
	made := catalogTask{addon: "mariadb-addon", server: s}.with("databases", "shop", "tables", "o'brien").
		backedUp(p, "quoted")
	NewWithT(t).Expect(p.content(made.Components[0].ID)).To(ContainSubstring("CREATE TABLE `o'brien`"))
}

// --hex-blob doubles a row that the server took, so a server with the same settings can refuse what was dumped of it.
func TestARowThatIsTooLongForTheServerOfARestore(t *testing.T) {
	t.Parallel()
	const limit = "--max-allowed-packet=1M"
	s, to, p := startMariaDB(t, limit), startMariaDB(t, limit), withSecret(t)
	s.must(s.mariadb(`CREATE DATABASE shop; USE shop; CREATE TABLE files (id int primary key, x longblob);
		CREATE DATABASE crm; USE crm; CREATE TABLE clients AS SELECT seq, repeat('x', 90) AS name FROM seq_1_to_30000`))
	base := catalogTask{addon: "mariadb-addon", server: s}
	crm := base.with("databases", "crm").backedUp(p, "many rows that fit")
	s.must(s.mariadb("INSERT INTO shop.files VALUES (1, repeat(unhex('00FF0A3B'), 150000))"))
	made := base.with("databases", "shop").backedUp(p, "one that does not")
	everything := base.with().backedUp(p, "everything")
	to.must(to.mariadb("CREATE DATABASE shop; CREATE DATABASE crm"))
	there := base.on(to).with()
	for name, refused := range map[string]*task.Result{
		"alone": there.restore(p, made), "confirmed": there.confirmed().restore(p, made),
		"with all":   there.confirmed().restore(p, everything),
		"in a table": there.with("args", "-vvv").confirmed().restore(p, made),
	} {
		g := NewWithT(t)
		g.Expect(refused.Message).To(HavePrefix("nothing was written: a statement of the dump is 1.144 MiB long"), name)
		g.Expect(refused.Message).To(ContainSubstring("SET GLOBAL max_allowed_packet = 2097152"), name)
		g.Expect(refused.Reason).To(Equal(v1alpha1.ReasonLoadFailed), name)
		g.Expect(refused.Components[0].TargetUntouched).To(BeTrue(), name)
		g.Expect(to.mariadb("SHOW TABLES IN shop")).To(BeEmpty(), name)
	}
	there.restored(p, crm)
	to.must(to.mariadb("SET GLOBAL max_allowed_packet = 2097152"))
	there.restored(p, made)
	const sum = "SELECT md5(x) FROM shop.files; SELECT count(*) FROM crm.clients"
	NewWithT(t).Expect(to.mariadb(sum)).To(Equal(s.must(s.mariadb(sum))))
}
