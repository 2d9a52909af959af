package mover_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
)

// ownerOf returns the owner of a file.
func ownerOf(stat os.FileInfo) [2]uint32 {
	sys := stat.Sys().(*syscall.Stat_t)
	return [2]uint32{sys.Uid, sys.Gid}
}

// baseBackup is the program of the catalog's Function, without TLS.
var baseBackup = []string{
	"--pgdata=-", "--format=tar", "--wal-method=fetch", "--checkpoint=fast",
	"--dbname=dbname=postgres sslmode=prefer",
}

// From the files of a standby comes a standby, which would follow its primary also through what is to be undone.
func TestABaseBackupOfAStandbyIsMadeOnPurposeOnly(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	base := catalogTask{addon: "postgres-addon", server: s, backs: "physical-backup"}
	base.backedUp(p, "of the primary")
	s.kill()
	data := filepath.Join(s.dir, "data")
	g.Expect(os.WriteFile(filepath.Join(data, "standby.signal"), nil, 0o644)).To(Succeed())
	s.startOn(data)
	g.Expect(base.backup(p, "of the standby").Message).To(ContainSubstring("the server is a standby"))
	base.with("standby", "true").backedUp(p, "of the standby, on purpose")
}

// TestAPostgreSQLServerStartsFromItsBaseBackup goes the whole way: a server that is written to is backed up, its
// files are restored, PostgreSQL's own tool finds each of them right, and a server that starts on them has the rows.
func TestAPostgreSQLServerStartsFromItsBaseBackup(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, p := startPostgreSQL(t), withSecret(t)
	p.isolated()
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("shop", postgresTables+"CREATE TABLE log (n int);"))
	sum := "SELECT count(*), md5(string_agg(people::text, '|' ORDER BY id)) FROM people; SELECT f(), last_value " +
		"FROM s; " +
		"SELECT count(*) FROM old; SELECT md5(data) FROM pg_largeobject"
	before := s.must(s.psql("shop", sum))

	// Rows are written all the time. The backup has the rows from before it, and none of them half.
	first := true
	p.reports.told = func() {
		if first {
			first = false
			s.must(s.psql("shop",
				"INSERT INTO log SELECT generate_series(1, 20000); UPDATE log SET n = -n WHERE n % 2 = 0"))
		}
	}
	id := p.backUp("snap-1", p.postgres(s, "pg_basebackup", baseBackup...))
	p.reports.told = nil
	p.secretIsNowhere(accountPassword, `p\:a`)
	s.must(s.psql("shop", "DROP TABLE people CASCADE"))

	// It is no dump, and no server accepts it as one.
	psql := p.postgres(s, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname=shop")
	psql.Stream.Filter = v1alpha1.StreamFilterPostgresRoles
	result := p.restoreInto(id, psql)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed))
	g.Expect(result.Message).To(HavePrefix("the component is a physical backup"))
	g.Expect(result.Components[0].TargetWritten).To(BeFalse(), "nothing was given to the server")

	result = p.unpacks(id, mover.Flags{Unpack: "pgdata"}, nil)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
	g.Expect(result.Components[0].OwnersNotRestored).To(BeZero())
	// the test's own directories let no other user in
	for dir := p.in("."); dir != filepath.Dir(p.root); dir = filepath.Dir(dir) {
		g.Expect(os.Chmod(dir, 0o755)).To(Succeed())
	}
	g.Expect(os.Chmod(filepath.Dir(p.root), 0o755)).To(Succeed())

	copied := newServer(t)
	copied.prepare("", "pg_verifybackup", p.in("pgdata"))
	copied.startOn(p.in("pgdata"))
	g.Expect(copied.psql("shop", sum)).To(Equal(before))
	g.Expect(copied.must(copied.psql("shop", "SELECT count(*) FROM log"))).To(BeElementOf("0\n", "20000\n"))
	s.must(copied.psql("shop", "INSERT INTO log VALUES (1)")) // it is a server like any other
	s.kill()
}

func TestAPostgreSQLBaseBackupThatBreaksOffIsNone(t *testing.T) {
	t.Parallel()
	s, p := startPostgreSQL(t), withSecret(t)
	s.must(
		s.psql(
			"postgres",
			"CREATE TABLE large AS SELECT n, repeat(md5(n::text), 50) AS text FROM generate_series(1, 20000) n"))
	busy := func() (string, error) {
		return s.psql("postgres",
			"SELECT count(*) FROM pg_stat_progress_basebackup WHERE phase = 'streaming database files'")
	}
	dump := p.postgres(s, "pg_basebackup", baseBackup...)
	p.breaksOff("pg_basebackup", dump, busy, map[string]func(){
		"the program is killed": func() { p.killChild("pg_basebackup") },
		"the server ends the session": func() {
			s.must(s.psql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_progress_basebackup"))
		},
		"the server is killed, at last": s.kill,
	})
	p.secretIsNowhere(accountPassword, `p\:a`)
}

// pg_basebackup itself refuses what it can't write to its standard output, and the backup ends with its message.
func TestAPostgreSQLBaseBackupThatCannotBe(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, p := startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE ROLE reader LOGIN PASSWORD 'sesame-123'"))
	p.write("cairn/database/username", "reader")
	p.write("cairn/database/password", "sesame-123")
	fails := func(snapshot, message string) {
		t.Helper()
		_, result := p.run(t.Context(), backupTask(snapshot, p.postgres(s, "pg_basebackup", baseBackup...)))
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDumpFailed))
		g.Expect(result.Message).To(ContainSubstring(message))
		g.Expect(result.Components[0].ID).To(BeEmpty())
		t.Log(result.Message)
	}
	fails("snap-1", "replication")

	space := filepath.Join(s.dir, "space")
	g.Expect(os.Mkdir(space, 0o700)).To(Succeed())
	if os.Geteuid() == 0 {
		g.Expect(os.Chown(space, 65534, 65534)).To(Succeed())
	}
	s.must(s.psql("postgres", "ALTER ROLE reader REPLICATION"))
	s.must(s.psql("postgres", "CREATE TABLESPACE more LOCATION '"+strings.ReplaceAll(space, "'", "''")+"'"))
	fails("snap-2", "can only write single tablespace to stdout")
	s.must(s.psql("postgres", "DROP TABLESPACE more"))
	p.backUp("snap-3", p.postgres(s, "pg_basebackup", baseBackup...))
}
