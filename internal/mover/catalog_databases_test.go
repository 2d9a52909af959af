package mover_test

import (
	"os"
	"os/exec"
	"path/filepath"
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
	s.must(s.mariadb(twoDatabases))
	made := catalogTask{addon: "mariadb-addon", server: s}.backedUp(p, "all")
	s.must(s.mariadb("DROP VIEW shop.v; DROP FUNCTION shop.f; UPDATE shop.t SET n = 2; UPDATE blog.t SET n = 2"))
	dump, content := filepath.Join(t.TempDir(), "dump.sql"), p.content(made.Components[0].ID)
	g.Expect(strings.Count(content, "\n-- Current Database: `shop`\n")).To(Equal(2), "tables, then views")
	g.Expect(os.WriteFile(dump, []byte(content), 0o644)).To(Succeed())
	part, err := exec.Command("awk",
		"/^-- Current Database: /{other = $0 != \"-- Current Database: `shop`\"} !other", dump).Output()
	g.Expect(err).NotTo(HaveOccurred())
	s.must(s.mariadb(string(part)))
	g.Expect(s.mariadb("SELECT n, shop.f() FROM shop.v")).To(Equal("1\t1\n"))
	g.Expect(s.mariadb("SELECT n FROM blog.t")).To(Equal("2\n"))
}

// The guide says how to get the rows of one table back: pg_restore would drop all of the table, and bring back a part.
func TestTheRowsOfOneTableOfPostgreSQL(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("shop", `CREATE TABLE items (id serial PRIMARY KEY, name text UNIQUE); CREATE ROLE clerk;
		INSERT INTO items (name) VALUES ('a'), ('b'); ALTER TABLE items ENABLE ROW LEVEL SECURITY;
		GRANT SELECT ON items TO clerk`))
	made := catalogTask{addon: "postgres-addon", server: s}.with("databases", "shop").backedUp(p, "one")
	s.must(s.psql("shop", "DELETE FROM items WHERE id = 1; UPDATE items SET name = 'oops'"))
	s.must(s.psql("postgres", "CREATE DATABASE shop_before TEMPLATE template0"))
	client := func(stdin, name string, args ...string) string {
		return s.must(s.client([]string{"PGPASSWORD=" + s.password}, stdin, name, append([]string{
			"--host=127.0.0.1", "--port=" + s.port, "--username=" + account}, args...)...))
	}
	client(p.content(made.Components[0].ID), "pg_restore", "--exit-on-error", "--dbname=shop_before")
	s.must(s.psql("shop", "BEGIN; TRUNCATE items;\n"+client("", "pg_dump", "--data-only", "--table=items",
		"--dbname=shop_before")+"COMMIT;"))
	g.Expect(s.psql("shop", "INSERT INTO items (name) VALUES ('c') RETURNING id")).To(Equal("3\n"))
	g.Expect(s.psql("shop", `SELECT string_agg(name, ',' ORDER BY id), (SELECT relrowsecurity FROM pg_class
		WHERE relname = 'items'), has_table_privilege('clerk', 'items', 'SELECT') FROM items`)).
		To(Equal("a,b,c|t|t\n"))
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
