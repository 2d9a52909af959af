package mover_test

import (
	"io"
	"os/exec"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// PostgreSQL drops no database with a session. Exporters and operators keep theirs in postgres, which a dump drops
// after it has filled others.
func TestAllOfPostgreSQLIsNotRestoredOverSessions(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t, "-c", "max_prepared_transactions=5"), withSecret(t)
	for _, database := range []string{"app", "shop"} {
		s.must(s.psql("postgres", "CREATE DATABASE "+database))
		s.must(s.psql(database, "CREATE TABLE orders AS SELECT 1 AS n"))
	}
	base := catalogTask{addon: "postgres-addon", server: s}
	made := base.backedUp(p, "all")
	without := base.with("args", "--exclude-database=postgres").backedUp(p, "without postgres")
	s.must(s.psql("postgres", "CREATE DATABASE other"))
	for _, database := range []string{"app", "shop"} {
		s.must(s.psql(database, "UPDATE orders SET n = 2"))
	}
	refused := func(message string) {
		t.Helper()
		g.Expect(base.confirmed().restore(p, made)).To(And(HaveField("Reason", v1alpha1.ReasonLoadFailed),
			HaveField("Message", ContainSubstring("nothing was dropped: "+message))))
		for _, database := range []string{"app", "shop"} {
			g.Expect(s.psql(database, "SELECT n FROM orders")).To(Equal("2\n"))
		}
	}

	const sessions, client = "databases have sessions ", " (user app, application exporter, 127.0.0.1)"
	defer s.session("other")() // no dump drops this one
	first, second := s.session("template1"), s.session("shop")
	refused(sessions + "(2): shop" + client + "; template1" + client + ". What to do: ")
	second()
	refused(sessions + "(1): template1" + client + ". What to do: ")
	first()
	s.must(s.psql("shop", "BEGIN; UPDATE orders SET n = 3; PREPARE TRANSACTION 'it''s'"))
	refused("database shop has the prepared transaction 'it''s'")
	s.must(s.psql("shop", "ROLLBACK PREPARED 'it''s'"))

	end := s.session("postgres")
	refused(sessions + "(1): postgres" + client + ". What to do: ")
	s.must(s.psql("postgres", "ALTER ROLE app SET cairn.postgres_stays = on"))
	base.confirmed().restored(p, without)
	g.Expect(s.psql("shop", "SELECT n FROM orders")).To(Equal("1\n"), "this dump does not drop postgres")
	s.must(s.psql("postgres", "ALTER ROLE app RESET cairn.postgres_stays"))
	end()
	base.confirmed().restored(p, made)
}

// session connects to a database and returns what ends the session.
func (s *databaseServer) session(database string) (end func()) {
	s.t.Helper()
	g := NewWithT(s.t)
	cmd := exec.Command(databaseProgram(s.t, "psql"), "--no-psqlrc", "--no-align", "--tuples-only",
		"host=127.0.0.1 port="+s.port+" user="+account+" dbname="+database+" application_name=exporter")
	cmd.Env = append(cmd.Environ(), "PGPASSWORD="+s.password)
	in, err := cmd.StdinPipe()
	g.Expect(err).NotTo(HaveOccurred())
	out, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmd.Start()).To(Succeed())
	_, err = io.WriteString(in, "SELECT 1;\n")
	g.Expect(err).NotTo(HaveOccurred())
	answer := make([]byte, 1)
	_, err = io.ReadFull(out, answer)
	g.Expect(err).NotTo(HaveOccurred(), "the session is there")
	return func() {
		_ = in.Close()
		_ = cmd.Wait()
	}
}

// The key of a partition is the one of its table, and pg_restore drops each by itself.
func TestAPartitionedTableWithAKeyIsRestoredIntoAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("shop", `CREATE TABLE events (id int, d date, PRIMARY KEY (id, d)) PARTITION BY RANGE (d);
		CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
		INSERT INTO events VALUES (1, '2026-02-02')`))
	base := catalogTask{addon: "postgres-addon", server: s}
	made := base.with("databases", "shop").backedUp(p, "one")
	s.must(s.psql("shop", "UPDATE events SET id = 2"))
	g.Expect(base.confirmed().restore(p, made)).To(And(HaveField("Reason", v1alpha1.ReasonLoadFailed),
		HaveField("Message", And(ContainSubstring("cannot drop inherited constraint"),
			ContainSubstring("What to do: ")))))
	g.Expect(s.psql("shop", "SELECT id FROM events")).To(Equal("2\n"), "nothing has changed")
	s.must(s.psql("postgres", "ALTER DATABASE shop RENAME TO shop_wrong"))
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	base.restored(p, made)
	g.Expect(s.psql("shop", "SELECT id FROM events")).To(Equal("1\n"))
}
