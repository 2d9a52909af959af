package mover_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// twoDatabases are to be told apart.
const twoDatabases = `CREATE DATABASE shop; CREATE TABLE shop.t (n int); INSERT INTO shop.t VALUES (1);
	CREATE VIEW shop.v AS SELECT n FROM shop.t; CREATE FUNCTION shop.f() RETURNS int RETURN 1;
	CREATE DATABASE blog; CREATE TABLE blog.t (n int); INSERT INTO blog.t VALUES (1);`

// The guide says how to cut one database out of a dump of everything: the client can't.
func TestOneDatabaseOfADumpOfAllOfMariaDB(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startMariaDB(t), withSecret(t)
	s.must(s.mariadb(twoDatabases + `CREATE USER web; GRANT EXECUTE ON FUNCTION shop.f TO web;
		CREATE SEQUENCE shop.seq; CREATE TABLE shop.a (n int DEFAULT NEXT VALUE FOR shop.seq, s text, ` + "`LOCK\n" +
		"LOCK TABLES `` WRITE;` int); INSERT INTO shop.a (s) VALUES ('\nLOCK TABLES `t` WRITE;\n');" +
		"CREATE FUNCTION shop.g() RETURNS text RETURN '\nLOCK TABLES `t` WRITE;\n'"))
	made := catalogTask{addon: "mariadb-addon", server: s}.backedUp(p, "all")
	blocks, dir, content := ofGuide(t, "One database of a dump of everything"), t.TempDir(),
		p.content(made.Components[0].ID)
	g.Expect(blocks).To(HaveLen(2))
	g.Expect(strings.Count(content, "\n-- Current Database: `shop`\n")).To(Equal(2), "tables, then views")
	g.Expect(strings.Count(content, "\nLOCK TABLES `t` WRITE;\n")).To(Equal(3), "one is of a routine")
	g.Expect(s.run(dir, "", blocks[1])).To(BeEmpty(), "it is about another database")
	g.Expect(s.run(dir, "", strings.ReplaceAll(blocks[1], "blog", "shop"))).To(ContainSubstring("\tweb\tf\tFUNCTION\t"))
	s.must(s.mariadb("DROP VIEW shop.v; DROP FUNCTION shop.f; UPDATE shop.t SET n = 2; UPDATE blog.t SET n = 2; " +
		"DELETE FROM shop.a"))
	out, err := s.run(dir, content, strings.ReplaceAll(blocks[0], "blog", "shop"))
	g.Expect(err).NotTo(HaveOccurred(), out)
	g.Expect(s.mariadb("SELECT n, shop.f() FROM shop.v")).To(Equal("1\t1\n"))
	g.Expect(s.mariadb("SELECT n, s = shop.g(), s = '\nLOCK TABLES `t` WRITE;\n' FROM shop.a")).To(Equal("1\t1\t1\n"))
	g.Expect(s.mariadb("INSERT INTO shop.a (s) VALUES ('') RETURNING n > 1")).To(Equal("1\n"))
	g.Expect(s.mariadb("SELECT n FROM blog.t")).To(Equal("2\n"))
}

// ofGuide returns the blocks of commands in a section of the guide to databases.
func ofGuide(t *testing.T, section string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/guides/databases.md")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	_, text, _ = bytes.Cut(text, []byte("\n### "+section+"\n"))
	text, _, _ = bytes.Cut(text, []byte("\n## "))
	text, _, _ = bytes.Cut(text, []byte("\n### "))
	var blocks []string
	inside := false
	for line := range strings.Lines(string(text)) {
		command, indented := strings.CutPrefix(line, "    ")
		switch {
		case indented && inside:
			blocks[len(blocks)-1] += command
		case indented:
			blocks = append(blocks, command)
		}
		inside = indented
	}
	return blocks
}

// run runs commands of the guide in a directory, as a user who has the clients and this server as their default. dump
// is what the command cairn prints.
func (s *databaseServer) run(dir, dump, commands string) (string, error) {
	s.t.Helper()
	NewWithT(s.t).Expect(os.WriteFile(filepath.Join(dir, "dump"), []byte(dump), 0o644)).To(Succeed())
	NewWithT(s.t).Expect(os.WriteFile(filepath.Join(dir, ".my.cnf"), []byte("[client]\nuser="+account+"\n"), 0o644)).
		To(Succeed())
	cmd := exec.Command("sh", "-ec", "cairn() { cat dump; }\n"+commands)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + filepath.Dir(databaseProgram(s.t, "psql")) + ":" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C",
		"PGHOST=127.0.0.1", "PGPORT=" + s.port, "PGUSER=" + account, "PGPASSWORD=" + s.password,
		"MYSQL_HOST=127.0.0.1", "MYSQL_TCP_PORT=" + s.port, "MYSQL_PWD=" + s.password,
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// The guide says how to get the rows of one table back: pg_restore would drop all of the table, and bring back a part.
func TestTheRowsOfOneTableOfPostgreSQL(t *testing.T) {
	t.Parallel()
	g, s, p, dir := NewWithT(t), startPostgreSQL(t), withSecret(t), t.TempDir()
	s.must(s.psql("postgres", "CREATE DATABASE orders"))
	s.must(s.psql("orders", `CREATE TABLE items (id serial PRIMARY KEY, name text UNIQUE); CREATE ROLE clerk;
		INSERT INTO items (name) VALUES ('a'), ('b'); ALTER TABLE items ENABLE ROW LEVEL SECURITY;
		GRANT SELECT ON items TO clerk; CREATE TABLE "Items" AS SELECT * FROM items;
		CREATE TABLE changed AS SELECT * FROM items; CREATE TABLE child () INHERITS (items);
		CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.name := ''f''; RETURN NEW; END';
		CREATE TRIGGER f BEFORE INSERT ON changed FOR EACH ROW EXECUTE FUNCTION f();
		CREATE TRIGGER off BEFORE INSERT ON changed FOR EACH ROW EXECUTE FUNCTION f();
		ALTER TABLE changed DISABLE TRIGGER off; CREATE SCHEMA acme; CREATE TABLE acme.items (id int, name text);
		INSERT INTO acme.items VALUES (1, 'acme'); ALTER DATABASE orders SET search_path = acme, public;
		CREATE TABLE parts (id int, name text) PARTITION BY LIST (name);
		CREATE TABLE part PARTITION OF parts DEFAULT; INSERT INTO parts SELECT * FROM items`))
	made := catalogTask{addon: "postgres-addon", server: s}.with("databases", "orders").backedUp(p, "one")
	s.must(s.psql("orders", `INSERT INTO child VALUES (7, 'child');
		UPDATE ONLY public.items SET name = name || '!'; UPDATE "Items" SET name = name || '!';
		UPDATE changed SET name = name || '!'; UPDATE parts SET name = name || '!'`))
	blocks := ofGuide(t, "One table")
	g.Expect(blocks).To(HaveLen(2))
	const loads = "--dbname=orders_before orders.dump\n"
	load, rows, found := strings.Cut(blocks[0], loads)
	g.Expect(found).To(BeTrue())
	out, err := s.run(dir, p.content(made.Components[0].ID), load+loads)
	g.Expect(err).NotTo(HaveOccurred(), out)
	of := func(commands, table string) (string, error) {
		return s.run(dir, "", strings.NewReplacer("--table=public.items ", "--table='public."+table+"' ",
			"ONLY public.items;", "ONLY public."+table+";").Replace(commands))
	}
	names := func(table string) string {
		return s.must(s.psql("orders", "SELECT string_agg(name, ',' ORDER BY id) FROM ONLY public."+table))
	}
	for _, table := range []string{"items", `"Items"`, "changed", "part"} {
		out, err := of(strings.ReplaceAll(rows, " orders_before", " orders_befor"), table)
		g.Expect(err).To(HaveOccurred(), out)
		g.Expect(names(table)).To(Equal("a!,b!\n"), "without a dump: %s", out)
		out, err = of(rows, table)
		g.Expect(err).NotTo(HaveOccurred(), out)
		g.Expect(names(table)).To(Equal("a,b\n"), out)
	}
	g.Expect(s.psql("orders", "INSERT INTO public.items (name) VALUES ('c') RETURNING id")).To(Equal("3\n"))
	g.Expect(s.psql("orders", `SELECT relrowsecurity, has_table_privilege('clerk', 'public.items', 'SELECT'),
		(SELECT name FROM child), (SELECT name FROM acme.items), (SELECT tgenabled FROM pg_trigger WHERE tgname = 'off')
		FROM pg_class WHERE oid = 'public.items'::regclass`)).To(Equal("t|t|child|acme|D\n"))
	parts := strings.NewReplacer("=public.items", "=public.parts", "ONLY public.items", "public.parts")
	out, err = s.run(dir, "", parts.Replace(rows))
	g.Expect(err).To(HaveOccurred(), out)
	g.Expect(names("part")).To(Equal("a,b\n"), "its rows are not those of parts: %s", out)

	s.must(s.psql("orders", `DROP TABLE "Items", parts`))
	for table, more := range map[string]string{`"Items"`: "", "parts": "--table=public.part "} {
		gone := strings.ReplaceAll(blocks[1], "orders_before", more+"orders_before")
		out, err := of(strings.ReplaceAll(gone, " orders_before", " orders_befor"), table)
		g.Expect(err).To(HaveOccurred(), out)
		out, err = of(gone, table)
		g.Expect(err).NotTo(HaveOccurred(), out)
		back := "SELECT string_agg(name, ',' ORDER BY id) FROM public." + table
		g.Expect(s.psql("orders", back)).To(Equal("a,b\n"), out)
	}
}

// An argument can name another database than the component does.
func TestADatabaseThatArgumentsNameMustBeEmpty(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startMariaDB(t), withSecret(t)
	s.must(s.mariadb(twoDatabases))
	base := catalogTask{addon: "mariadb-addon", server: s}
	made := base.with("databases", "shop").backedUp(p, "one")
	s.must(s.mariadb("UPDATE blog.t SET n = 2; CREATE DATABASE shop_new; CREATE DATABASE SHOP"))
	g.Expect(base.with("args", "--database=shop_new").restore(p, made).Message).To(BeEmpty())
	g.Expect(s.mariadb("SELECT n FROM shop_new.t")).To(Equal("1\n"))
	g.Expect(base.with("args", "--database=SHOP").restore(p, made).Message).To(BeEmpty(), "another one is full")
	s.must(s.mariadb("DROP DATABASE shop; CREATE DATABASE shop"))
	for _, args := range []string{"--database=blog", "-D blog", "blog"} {
		g.Expect(base.with("args", args).restore(p, made).Reason).To(Equal(v1alpha1.ReasonVolumeNotEmpty), args)
	}
	g.Expect(s.mariadb("SELECT n FROM blog.t")).To(Equal("2\n"))
}

// MariaDB replaces one table after the other. What a migration has added can keep one from being made again.
func TestAMigrationOfMariaDBIsUndoneInAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	s, p := startMariaDB(t), withSecret(t)
	const key = "CONSTRAINT fk FOREIGN KEY (u) REFERENCES users (id)"
	for name, m := range map[string][2]string{
		"types": {"CREATE TABLE orders (u int, " + key + ")", `ALTER TABLE orders DROP FOREIGN KEY fk;
			ALTER TABLE users MODIFY id bigint; ALTER TABLE orders MODIFY u bigint, ADD ` + key},
		"renamed": {"CREATE TABLE posts (u int, " + key + ")", "RENAME TABLE posts TO articles"},
		"swapped": {"CREATE VIEW people AS SELECT * FROM users", `DROP VIEW people; RENAME TABLE users TO people;
			CREATE VIEW users AS SELECT * FROM people`},
		"triggers": {"CREATE TRIGGER tr BEFORE INSERT ON users FOR EACH ROW SET @x = 1", `DROP TRIGGER tr;
			CREATE TABLE zz (n int); CREATE TRIGGER tr BEFORE INSERT ON zz FOR EACH ROW SET @x = 1`},
	} {
		g := NewWithT(t)
		s.must(s.mariadb("CREATE DATABASE " + name + "; USE " + name + `; CREATE TABLE users (id int PRIMARY KEY);
			INSERT INTO users VALUES (1); ` + m[0]))
		base := catalogTask{addon: "mariadb-addon", server: s}
		made := base.with("databases", name).backedUp(p, name)
		s.must(s.mariadb("USE " + name + "; " + m[1]))
		result := base.with().confirmed().restore(p, made)
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed), name)
		g.Expect(result.Message).To(And(HavePrefix("the database can hold a part of the dump now: "),
			HaveSuffix("and restore again, one database without confirm")))
		s.must(s.mariadb("DROP DATABASE " + name + "; CREATE DATABASE " + name))
		base.with().restored(p, made)
		g.Expect(s.mariadb("SELECT id FROM " + name + ".users")).To(Equal("1\n"))
	}
}

// An account of one database can restore what the server no longer lets it create.
func TestATableThatStrictModeRefuses(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startMariaDB(t), withSecret(t)
	columns := strings.Repeat(", c%d varchar(255)", 120)
	for i := range 120 {
		columns = strings.Replace(columns, "%d", strconv.Itoa(i), 1)
	}
	s.must(s.mariadb(`CREATE DATABASE rows_; CREATE DATABASE options_; SET innodb_strict_mode = OFF;
		CREATE TABLE rows_.wide (id int PRIMARY KEY` + columns + `) ROW_FORMAT=COMPACT CHARACTER SET latin1;
		CREATE TABLE options_.kb (id int PRIMARY KEY) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=32;
		CREATE USER keeper IDENTIFIED BY 'k'; GRANT ALL ON rows_.* TO keeper; GRANT ALL ON options_.* TO keeper;
		GRANT SELECT ON mysql.proc TO keeper`))
	p.login("username", "keeper", "password", "k")
	base := catalogTask{addon: "mariadb-addon", server: s}
	for _, name := range []string{"rows_", "options_"} {
		made := base.with("databases", name).backedUp(p, name)
		g.Expect(base.with().confirmed().restore(p, made).Message).To(HaveSuffix("SESSION_VARIABLES_ADMIN"))
		args := `"--init-command=SET SESSION innodb_strict_mode=OFF"`
		base.with("args", args).confirmed().restored(p, made)
	}
}
