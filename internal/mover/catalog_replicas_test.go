package mover_test

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A replica answers also when it has stopped following: each backup of it would have the same old data.
func TestAStandbyThatHasStoppedFollowingIsNotBackedUp(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t, "-c", "autovacuum=off"), withSecret(t)
	s.must(s.psql("postgres", `CREATE DATABASE shop; CREATE ROLE keeper LOGIN PASSWORD 'k';
		GRANT pg_read_all_data TO keeper`))
	s.must(s.psql("shop", "CREATE TABLE people (n int)"))
	standby, data := s.standby()
	base := catalogTask{addon: "postgres-addon", server: standby}
	tasks := map[string]func(...string) catalogTask{
		"everything": func(more ...string) catalogTask { return base.with(more...) },
		"one":        func(more ...string) catalogTask { return base.with(append(more, "databases", "shop")...) },
	}
	backedUp := func(when string, more ...string) {
		for name, task := range tasks {
			task(more...).backedUp(p, name+" "+when)
		}
	}
	refused := func(when, says string) {
		for name, task := range tasks {
			g.Expect(task().backup(p, name+" "+when)).To(And(HaveField("Reason", v1alpha1.ReasonDumpFailed),
				HaveField("Message",
					And(ContainSubstring("said: stale: "+says), ContainSubstring("staleReplica")))), when)
		}
		backedUp("accepted "+when, "staleReplica", "true")
	}
	restart := func() { // at a point after which it replays nothing
		standby.must(standby.psql("postgres", "CHECKPOINT"))
		standby.kill()
		standby.startOn(data)
	}
	const none = "it has replayed no transaction since it started"

	s.must(s.psql("postgres", "CHECKPOINT"))
	s.caughtUp(standby)
	restart()
	g.Eventually(func() (string, error) {
		return standby.psql("postgres", "SELECT pid > 0 FROM pg_stat_wal_receiver")
	}).WithTimeout(time.Minute).Should(Equal("t\n"))
	backedUp("from an idle primary")
	p.login("username", "keeper", "password", "k")
	tasks["one"]().backedUp(p, "by an account with few rights")
	p.login("username", account, "password", accountPassword)

	write := s.writesNothing()
	s.caughtUp(standby)
	standby.must(standby.psql("postgres", "SELECT pg_wal_replay_pause()"))
	backedUp("paused with nothing to replay")
	write()
	s.must(s.psql("shop", "CREATE TABLE items (n int)"))
	g.Eventually(func() (string, error) {
		return standby.psql("postgres", "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()")
	}).WithTimeout(time.Minute).Should(Equal("t\n"))
	refused("paused", none)
	standby.must(standby.psql("postgres", "SELECT pg_wal_replay_resume()"))

	s.must(s.psql("postgres", "CHECKPOINT"))
	s.caughtUp(standby)
	s.kill()
	backedUp("that has just replayed something")
	restart()
	refused("alone", none)
	p.login("username", "keeper", "password", "k")
	g.Expect(tasks["one"]().backup(p, "alone, with few rights").Message).To(ContainSubstring("stale: "))
}

// standby starts a standby of a server of PostgreSQL. It returns it and its directory.
func (s *databaseServer) standby() (*databaseServer, string) {
	s.t.Helper()
	standby := newServer(s.t)
	data := filepath.Join(standby.dir, "data")
	password := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(accountPassword)
	standby.prepare("", "pg_basebackup", "--pgdata="+data, "--write-recovery-conf", "--checkpoint=fast",
		"--dbname=host=127.0.0.1 port="+s.port+" user="+account+" password='"+password+"'")
	standby.startOn(data)
	return standby, data
}

// writesNothing holds the background writer of a server of PostgreSQL until write is called. By itself it writes WAL up
// to 15 seconds after somebody else.
func (s *databaseServer) writesNothing() (write func()) {
	s.t.Helper()
	g := NewWithT(s.t)
	pid, err := strconv.Atoi(strings.TrimSpace(s.must(s.psql("postgres",
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'background writer'"))))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(syscall.Kill(pid, syscall.SIGSTOP)).To(Succeed())
	s.must(s.psql("postgres", "CHECKPOINT")) // What it wrote last can still be in memory.
	write = sync.OnceFunc(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	s.t.Cleanup(write) // a process that is held does not end with its server
	return write
}

// caughtUp waits until a standby has replayed all.
func (s *databaseServer) caughtUp(standby *databaseServer) {
	s.t.Helper()
	at := strings.TrimSpace(s.must(s.psql("postgres", "SELECT pg_current_wal_lsn()")))
	NewWithT(s.t).Eventually(func() (string, error) {
		return standby.psql("postgres", "SELECT pg_last_wal_replay_lsn() >= '"+at+"'")
	}).WithTimeout(time.Minute).Should(Equal("t\n"))
}

// The threads of a replica of MariaDB stop by themselves at an error.
func TestAReplicaThatHasStoppedFollowingIsNotBackedUp(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startMariaDB(t, "--log-bin", "--server-id=1"), withSecret(t)
	replica := startMariaDB(t, "--server-id=2")
	s.must(s.mariadb("CREATE USER 'copy'@'%' IDENTIFIED BY 'c'; GRANT REPLICATION SLAVE ON *.* TO 'copy'@'%'; " +
		"RESET MASTER; CREATE DATABASE shop; CREATE TABLE shop.items (n int PRIMARY KEY)"))
	replica.must(replica.mariadb(`CREATE USER keeper@'%' IDENTIFIED BY 'k';
		GRANT SELECT, TRIGGER, EVENT, SHOW VIEW, REPLICA MONITOR ON *.* TO keeper@'%';
		CREATE USER few@'%' IDENTIFIED BY 'f'; GRANT SELECT, TRIGGER, EVENT, SHOW VIEW ON *.* TO few@'%'`))
	p.login("username", "keeper", "password", "k")
	base := catalogTask{addon: "mariadb-addon", server: replica}
	refused := func(when, says string) {
		for _, databases := range []string{"", "shop"} {
			name := when + databases
			g.Expect(base.with("databases", databases).backup(p, name)).
				To(And(HaveField("Reason", v1alpha1.ReasonDumpFailed), HaveField("Message",
					And(ContainSubstring("staleReplica"), ContainSubstring("said: "+says)))), name)
			base.with("databases", databases, "staleReplica", "true").backedUp(p, "accepted, "+name)
		}
	}
	for _, channel := range []string{"''", "'second'"} {
		replica.must(replica.mariadb(fmt.Sprintf("CHANGE MASTER %s TO master_host='127.0.0.1', master_port=%s, "+
			"master_user='copy', master_password='c', master_connect_retry=1; START REPLICA %s", channel, s.port,
			channel)))
		status := func() (string, error) { return replica.mariadb("SHOW ALL REPLICAS STATUS\\G") }
		g.Eventually(status).WithTimeout(time.Minute).Should(MatchRegexp(`(?s)^[^*]*(\*.*Yes\n.*Yes\n.*)+$`))
		g.Eventually(func() (string, error) { return replica.mariadb("SELECT count(*) FROM shop.items") }).
			WithTimeout(time.Minute).Should(Equal("0\n"))
		base.with().backedUp(p, "everything of one that follows"+channel)
		base.with("databases", "shop").backedUp(p, "one of one that follows"+channel)
		for sql, says := range map[string]string{
			"SQL_THREAD": "Slave_SQL_Running: No", "IO_THREAD": "Slave_IO_Running: No",
		} {
			replica.must(replica.mariadb("SET default_master_connection = " + channel + "; STOP REPLICA " + sql))
			refused(sql+channel, says)
			replica.must(replica.mariadb("START ALL REPLICAS"))
		}
		p.login("username", "few", "password", "f")
		base.with().backedUp(p, "by one who may not ask")
		p.login("username", "keeper", "password", "k")
		if channel == "''" {
			replica.must(replica.mariadb("STOP REPLICA; RESET REPLICA ALL"))
			base.with().backedUp(p, "of one that is no replica any more")
		}
	}
	s.kill()
	g.Eventually(func() string { return base.with().backup(p, "while nobody answers").Message }).
		WithTimeout(time.Minute).Should(ContainSubstring("said: Last_IO_Error: error reconnecting to master"))
	s.startMariaDBOn(filepath.Join(s.dir, "data"), "--log-bin", "--server-id=1")
	g.Eventually(func() string { return base.with().backup(p, "since it is back").Reason }).
		WithTimeout(time.Minute).Should(Equal(v1alpha1.ReasonSucceeded))
}
