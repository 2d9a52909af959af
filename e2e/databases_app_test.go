package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/e2e/testbed"
)

// The user of the test's servers and its password, with every character that needs an escape somewhere.
const (
	databaseUser     = "keeper"
	databasePassword = `canary p:a\s's"w$o{r}d#%`
)

// databaseServer is a real server with what the test does to it in its own shell.
type databaseServer struct {
	testbed.Database
	bed *testbed.Testbed
	// shell reads statements from standard input, in a database where the server has several.
	shell func(database string) []string
	// before is what the shell reads first.
	before string
	// fill makes databases, users and rows of all sorts; drop removes them; look shows all of them, with one query for
	// each database.
	fill, drop, look []statement
}

// statement is for one database.
type statement struct{ database, text string }

// loadDatabases loads the images of servers. It skips the test on a machine that can't make them.
func loadDatabases(t *testing.T, bed *testbed.Testbed, images ...string) {
	t.Helper()
	for _, image := range images {
		if _, err := os.Stat(filepath.Join(root(t), "dist", "images", image+".tar")); errors.Is(err, fs.ErrNotExist) {
			t.Skip("\"hack/images databases\" makes the image " + image + " of Debian's packages")
		}
		NewWithT(t).Expect(bed.LoadImage(t.Context(), image)).To(Succeed())
	}
}

// databaseNamespace is a namespace that enforces the Pod Security level restricted, with the servers' Secret.
func databaseNamespace(t *testing.T, bed *testbed.Testbed, namespace string) {
	t.Helper()
	scratchNamespace(t, bed, namespace)
	_, err := kubectl(t, bed, "", "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	spineSecrets(t, bed, namespace)
	databaseSecret(t, bed, namespace)
}

// databaseSecret is the Secret of the servers' user.
func databaseSecret(t *testing.T, bed *testbed.Testbed, namespace string) {
	t.Helper()
	_, err := kubectl(t, bed, "", "create", "secret", "generic", "server", "-n", namespace,
		"--from-literal=username="+databaseUser, "--from-literal=password="+databasePassword)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
}

// start deploys the server.
func (s *databaseServer) start(t *testing.T) {
	t.Helper()
	NewWithT(t).Expect(s.bed.DeployDatabase(t.Context(), s.Database)).To(Succeed())
}

// say runs statements and returns what the server answered.
func (s *databaseServer) say(t *testing.T, statements ...statement) string {
	t.Helper()
	var said strings.Builder
	for _, one := range statements {
		out, err := s.bed.Exec(t.Context(), s.Namespace, s.Pod(), strings.NewReader(s.before+one.text),
			s.shell(one.database)...)
		NewWithT(t).Expect(err).NotTo(HaveOccurred(), out)
		said.WriteString(out)
	}
	return said.String()
}

// replace deletes the server's pod and waits for the next one.
func (s *databaseServer) replace(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	key := client.ObjectKey{Namespace: s.Namespace, Name: s.Pod()}
	out, err := kubectl(t, s.bed, "", "delete", "pod", "-n", s.Namespace, s.Pod(), "--timeout="+patience.String())
	g.Expect(err).NotTo(HaveOccurred(), out)
	g.Expect(s.bed.WaitPod(t.Context(), key)).To(Succeed())
}

// lock keeps the last table of the database archive from being read until the server dies. It is for MariaDB: its dump
// waits for a locked table after it has written the tables before.
func (s *databaseServer) lock(t *testing.T) {
	t.Helper()
	s.say(t, statement{"archive", "CREATE TABLE IF NOT EXISTS zebra (n int);"})
	ctx, done := context.WithCancel(t.Context())
	held := make(chan struct{})
	go func() { // it ends with the server
		defer close(held)
		_, _ = s.bed.Exec(ctx, s.Namespace, s.Pod(), strings.NewReader("LOCK TABLES zebra WRITE; DO SLEEP(600);"),
			s.shell("archive")...)
	}()
	t.Cleanup(func() { done(); <-held })
	NewWithT(t).Expect(testbed.Poll(t.Context(), patience, "the table to be locked", func(ctx contextT) (bool, error) {
		return s.any(ctx, "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'DO SLEEP%'")
	})).To(Succeed())
}

// waits waits until a dump waits for the locked table.
func (s *databaseServer) waits(t *testing.T) {
	t.Helper()
	NewWithT(t).Expect(testbed.Poll(t.Context(), 2*patience, "a dump in the middle", func(ctx contextT) (bool, error) {
		return s.any(ctx,
			"SELECT count(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata lock' "+
				"AND user = '"+databaseUser+"'")
	})).To(Succeed())
}

// any reports whether a query of MariaDB counts more than zero.
func (s *databaseServer) any(ctx contextT, query string) (bool, error) {
	out, err := s.bed.Exec(ctx, s.Namespace, s.Pod(), strings.NewReader(query), s.shell("mysql")...)
	return err == nil && strings.TrimSpace(out) != "0", err
}

// kill ends the server's pod at once.
func (s *databaseServer) kill(t *testing.T) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Pod()}}
	NewWithT(t).Expect(s.bed.Client.Delete(t.Context(), pod, client.GracePeriodSeconds(0))).To(Succeed())
}

func newPostgreSQL(bed *testbed.Testbed, namespace string) *databaseServer {
	return &databaseServer{
		Database: testbed.Database{Image: "postgresql", Namespace: namespace, Name: "postgresql", Secret: "server"},
		bed:      bed,
		shell: func(database string) []string {
			return []string{"psql", "-h", "/tmp", "-U", databaseUser, "-d", database, "-v", "ON_ERROR_STOP=1", "-AtqX"}
		},
		fill: []statement{
			{
				"postgres",
				"CREATE ROLE reader LOGIN PASSWORD 'only reads'; CREATE DATABASE shop; CREATE DATABASE archive;",
			},
			{"shop", `
CREATE SCHEMA stock;
CREATE TABLE stock.items (id serial PRIMARY KEY, name text NOT NULL, picture bytea, at timestamptz DEFAULT now());
INSERT INTO stock.items (name, picture) SELECT 'Größe ' || n || E' 日本 \t "quoted" ''too'' \\',
  decode(md5(n::text) || '00ff0a0d5c', 'hex') FROM generate_series(1, 5000) n;
CREATE TABLE orders (item int REFERENCES stock.items, note text);
INSERT INTO orders SELECT n, NULLIF(n % 3, 0)::text FROM generate_series(1, 1000) n;
CREATE VIEW popular AS SELECT name FROM stock.items JOIN orders ON item = id WHERE note IS NULL;
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN n * 2; END $$;
GRANT SELECT ON orders TO reader;
SELECT lo_from_bytea(4711, decode(repeat('00ff5c', 100000), 'hex'));`},
			{
				"archive",
				"CREATE TABLE old (year int, body text); INSERT INTO old SELECT n, repeat(n::text, 50) FROM " +
					"generate_series(1990, 2020) n;",
			},
		},
		drop: []statement{
			{
				"shop",
				"DROP TABLE stock.items CASCADE; DROP TABLE orders; DROP FUNCTION twice; DROP SCHEMA stock; SELECT " +
					"lo_unlink(4711);",
			},
			{"postgres", "DROP DATABASE shop; DROP DATABASE archive; DROP ROLE reader;"},
		},
		look: []statement{
			{"shop", `
SELECT count(*), md5(string_agg(i::text, '|' ORDER BY id)) FROM stock.items i;
SELECT count(*), md5(string_agg(o::text, '|' ORDER BY item)) FROM orders o;
SELECT count(*), md5(string_agg(name, '|' ORDER BY name)) FROM popular;
SELECT twice(21), nextval('stock.items_id_seq') > 5000, has_table_privilege('reader', 'orders', 'SELECT');
SELECT length(lo_get(4711)), md5(lo_get(4711));
SELECT conname, contype FROM pg_constraint WHERE connamespace::regnamespace::text IN ('stock', 'public') ORDER BY 1;`},
			{"archive", "SELECT count(*), md5(string_agg(old::text, '|' ORDER BY year)) FROM old;"},
			{
				"postgres",
				"SELECT rolname, rolcanlogin, rolsuper, md5(rolpassword) FROM pg_authid WHERE rolname = 'reader';",
			},
		},
	}
}

func newMariaDB(bed *testbed.Testbed, namespace string) *databaseServer {
	return &databaseServer{
		Database: testbed.Database{Image: "mariadb", Namespace: namespace, Name: "mariadb", Secret: "server"}, bed: bed,
		shell: func(database string) []string {
			return []string{
				"mariadb", "--no-defaults", "--socket=/tmp/mysqld.sock", "--default-character-set=utf8mb4", "--batch",
				"--skip-column-names", database,
			}
		},
		fill: []statement{
			{
				"mysql",
				"CREATE DATABASE shop; CREATE DATABASE archive; CREATE USER reader@'%' IDENTIFIED BY 'only reads'; " +
					"GRANT SELECT ON shop.* TO reader@'%';",
			},
			{"shop", `
CREATE TABLE items (id int AUTO_INCREMENT PRIMARY KEY, name varchar(200) NOT NULL, picture longblob,
  at timestamp(6) DEFAULT now(6));
INSERT INTO items (name, picture) SELECT concat('Größe ', seq, ' 日本 😀 \t "quoted" ''too'' \\'),
  unhex(concat(md5(seq), '00ff0a0d5c')) FROM seq_1_to_5000;
CREATE TABLE orders (item int, note text, FOREIGN KEY (item) REFERENCES items (id));
INSERT INTO orders SELECT seq, nullif(seq % 3, 0) FROM seq_1_to_1000;
CREATE VIEW popular AS SELECT name FROM items JOIN orders ON item = id WHERE note IS NULL;
CREATE FUNCTION twice(n int) RETURNS int DETERMINISTIC RETURN n * 2;
CREATE TRIGGER no_blanks BEFORE INSERT ON orders FOR EACH ROW SET NEW.note = trim(NEW.note);`},
			{
				"archive",
				"CREATE TABLE old (year int, body text); INSERT INTO old SELECT seq, repeat(seq, 50) FROM " +
					"seq_1990_to_2020;",
			},
		},
		drop: []statement{{"mysql", "DROP DATABASE shop; DROP DATABASE archive; DROP USER reader@'%';"}},
		look: []statement{
			{"shop", `
SET group_concat_max_len = 1 << 30;
SELECT count(*), md5(group_concat(id, hex(name), hex(picture), at ORDER BY id)) FROM items;
SELECT count(*), md5(group_concat(item, coalesce(hex(note), 'NULL') ORDER BY item)) FROM orders;
SELECT count(*), md5(group_concat(hex(name) ORDER BY name)) FROM popular;
SELECT twice(21), (SELECT count(*) FROM information_schema.triggers WHERE trigger_schema = 'shop');
SHOW CREATE TABLE orders;
SHOW GRANTS FOR reader@'%';`},
			{
				"archive",
				"SET group_concat_max_len = 1 << 30; SELECT count(*), md5(group_concat(year, body ORDER BY year)) " +
					"FROM old;",
			},
		},
	}
}

func newRedis(bed *testbed.Testbed, namespace string) *databaseServer {
	var fill strings.Builder
	for n := range 2000 {
		fmt.Fprintf(&fill, "SET item:%d \"Größe %d \\x00\\xff\\r\\n 日本\"\n", n, n)
	}
	fill.WriteString(`HSET basket apple 2 "a pear" 3
RPUSH queue one two three one
SADD tags red green
ZADD scores 1.5 ann 2 bob
XADD log 1-1 event start
XGROUP CREATE log readers $
PFADD visitors a b c
SET short-lived soon EX 86400
SELECT 3
SET elsewhere yes
`)
	return &databaseServer{
		Database: testbed.Database{Image: "redis", Namespace: namespace, Name: "redis", Secret: "server"}, bed: bed,
		shell:  func(string) []string { return []string{"redis-cli"} },
		before: "AUTH " + databaseUser + " " + fmt.Sprintf("%q", databasePassword) + "\n",
		fill:   []statement{{"", fill.String()}},
		drop:   []statement{{"", "FLUSHALL\n"}},
		look:   []statement{{"", "DEBUG DIGEST\nDBSIZE\nGET item:7\nSELECT 3\nDBSIZE\nGET elsewhere\n"}},
	}
}
