package mover_test

import (
	"io"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A delayed standby starts no WAL receiver while it waits with WAL that it has already.
func TestADelayedStandbyIsBackedUpAfterARestart(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", `CREATE DATABASE shop; CREATE ROLE keeper LOGIN PASSWORD 'k';
		GRANT pg_read_all_data TO keeper`))
	s.must(s.psql("shop", "CREATE TABLE people (n int)"))
	standby, data := s.standby()
	s.caughtUp(standby)
	standby.must(standby.psql("postgres", "ALTER SYSTEM SET recovery_min_apply_delay = '8h'"))
	standby.must(standby.psql("postgres", "SELECT pg_reload_conf()"))
	s.must(s.psql("shop", "CREATE TABLE items AS SELECT 1 AS n"))
	g.Eventually(func() (string, error) {
		return standby.psql("postgres", "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()")
	}).WithTimeout(time.Minute).Should(Equal("t\n"))
	standby.must(standby.psql("postgres", "CHECKPOINT"))
	standby.kill()
	standby.startOn(data)
	g.Expect(standby.psql("postgres", "SELECT count(*) FROM pg_stat_wal_receiver")).To(Equal("0\n"))
	base := catalogTask{addon: "postgres-addon", server: standby}
	base.backedUp(p, "all")
	p.login("username", "keeper", "password", "k")
	base.with("databases", "shop").backedUp(p, "one")
}

// Replay that waits for a session without end is as old as a paused one.
func TestAStandbyWhoseReplayIsStuckIsNotBackedUp(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("shop", "CREATE TABLE report AS SELECT 1 AS n; CREATE TABLE items AS SELECT 1 AS n"))
	standby, data := s.standby()
	s.must(s.psql("postgres", "CHECKPOINT"))
	s.caughtUp(standby)
	standby.must(standby.psql("postgres", "CHECKPOINT"))
	standby.kill()
	standby.startOn(data, "-c", "max_standby_streaming_delay=-1")
	g.Eventually(func() (string, error) {
		return standby.psql("postgres", "SELECT count(*) FROM pg_stat_wal_receiver")
	}).WithTimeout(time.Minute).Should(Equal("1\n"))
	in, end := io.Pipe()
	idle := make(chan error, 1)
	go func() { idle <- standby.idle("shop", in) }()
	_, err := io.WriteString(end, "BEGIN; SELECT * FROM report;\n")
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() (string, error) {
		return standby.psql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'")
	}).WithTimeout(time.Minute).Should(Equal("1\n"))
	s.must(s.psql("shop", "DROP TABLE report"))
	s.must(s.psql("shop", "INSERT INTO items VALUES (2)"))
	g.Eventually(func() (string, error) {
		return standby.psql("postgres", "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()")
	}).WithTimeout(time.Minute).Should(Equal("t\n"))
	base := catalogTask{addon: "postgres-addon", server: standby}.with("databases", "shop")
	g.Expect(base.backup(p, "stuck")).To(And(HaveField("Reason", v1alpha1.ReasonDumpFailed),
		HaveField("Message", ContainSubstring("said: stale: it has replayed no transaction since it started"))))
	g.Expect(end.Close()).To(Succeed())
	g.Eventually(idle).WithTimeout(time.Minute).Should(Receive(BeNil()))
	s.caughtUp(standby)
	base.backedUp(p, "goes on")
}

// idle runs the statements that it reads.
func (s *databaseServer) idle(database string, from io.Reader) error {
	cmd := s.command("psql", "--no-psqlrc", "--host=127.0.0.1", "--port="+s.port, "--username="+account,
		"--dbname="+database)
	cmd.Env = append(cmd.Env, "PGPASSWORD="+s.password)
	cmd.Stdin = from
	return cmd.Run()
}
