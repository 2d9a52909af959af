package mover_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// streamOf returns a component of a program with its arguments.
func streamOf(p *pod, name string, args ...string) task.Component {
	s := &v1alpha1.ResolvedStream{Command: []string{databaseProgram(p.t, name)}, FileName: "dump"}
	for _, a := range args {
		s.Args = append(s.Args, v1alpha1.ResolvedStreamArgument{Value: a})
	}
	return task.Component{Name: "dump", Stream: s}
}

// withSecret returns a pod with the Secret of the databases.
func withSecret(t testing.TB) *pod {
	p := streaming(t)
	p.mover.ProgramGrace = 10 * time.Second
	p.write("cairn/database/username", account)
	p.write("cairn/database/password", accountPassword+"\n")
	return p
}

// postgres returns a component of one of PostgreSQL's programs.
func (p *pod) postgres(s *databaseServer, name string, args ...string) task.Component {
	c := streamOf(p, name, append([]string{"--host=127.0.0.1", "--port=" + s.port, "--no-password"}, args...)...)
	c.Stream.Env = []v1alpha1.StreamEnv{
		{Name: "PGUSER", SecretKey: "username"},
		{Name: "PGPASSFILE", Value: filepath.Join(p.root, task.StreamDir, "pgpass")},
	}
	c.Stream.Files = []v1alpha1.StreamFile{
		{Name: "pgpass", Content: "*:*:*:$(username):$(password)\n", Escape: v1alpha1.StreamEscapePgPass},
	}
	return c
}

// mariadb returns a component of one of MariaDB's programs.
func (p *pod) mariadb(s *databaseServer, name string, args ...string) task.Component {
	c := streamOf(
		p, name,
		append([]string{
			"--defaults-file=" + filepath.Join(p.root, task.StreamDir, "my.cnf"), "--host=127.0.0.1",
			"--port=" + s.port,
		}, args...)...)
	c.Stream.Files = []v1alpha1.StreamFile{
		{
			Name: "my.cnf", Content: "[client]\nuser=$(username)\npassword=$(password)\n",
			Escape: v1alpha1.StreamEscapeOptionFile,
		},
	}
	return c
}

// backUp returns the ID of a backup that must succeed.
func (p *pod) backUp(snapshot string, c task.Component) string {
	p.t.Helper()
	code, result := p.run(p.t.Context(), backupTask(snapshot, c))
	NewWithT(p.t).Expect(code).To(BeZero(), result.Message)
	return result.Components[0].ID
}

// restoreInto returns the result of a restore.
func (p *pod) restoreInto(id string, c task.Component) *task.Result {
	p.t.Helper()
	c.ID = id
	in := restoreTask(id)
	in.Components = []task.Component{c}
	_, result := p.run(p.t.Context(), in)
	return result
}

// content returns a backup as its program wrote it.
func (p *pod) content(id string) string {
	p.t.Helper()
	out := filepath.Join(p.t.TempDir(), "content")
	code, result := p.load(p.t.Context(), id, "cat >"+out)
	NewWithT(p.t).Expect(code).To(BeZero(), result.Message)
	b, err := os.ReadFile(out)
	NewWithT(p.t).Expect(err).NotTo(HaveOccurred())
	return string(b)
}

// filler is text for statements that does not compress.
func filler(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

const postgresTables = `
	CREATE TABLE people (id int PRIMARY KEY, name text, photo bytea, tags text[], born date, j jsonb);
	INSERT INTO people SELECT n, 'Ä''"\' || n || E'\n\t', sha256(n::text::bytea), ARRAY['a,b', NULL, '"'],
		'1999-12-31', '{"k": [1, null]}' FROM generate_series(1, 5000) n;
	CREATE VIEW old AS SELECT * FROM people WHERE id < 10;
	CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 42; END $$;
	CREATE SEQUENCE s START 100; SELECT nextval('s');
	SELECT lo_from_bytea(0, '\x0001ff');
`

func TestPostgreSQLIsDumpedAndLoaded(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, p := startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("postgres", "CREATE DATABASE copy"))
	s.must(s.psql("shop", postgresTables))

	id := p.backUp("snap-1", p.postgres(s, "pg_dump", "--no-owner", "shop"))
	load := p.postgres(s, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction",
		"--dbname=copy")
	result := p.restoreInto(id, load)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
	sum := "SELECT count(*), md5(string_agg(people::text, '|' ORDER BY id)) FROM people; SELECT f(), last_value " +
		"FROM s; " +
		"SELECT count(*) FROM old; SELECT md5(data) FROM pg_largeobject"
	g.Expect(s.psql("copy", sum)).To(Equal(s.must(s.psql("shop", sum))))
	again := p.backUp("snap-2", p.postgres(s, "pg_dump", "--no-owner", "copy"))
	g.Expect(ordered(p.content(again))).To(Equal(ordered(p.content(id))), "the copy's dump is the same")

	// A second restore fails as a whole: nothing is added.
	result = p.restoreInto(id, load)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed))
	g.Expect(result.Message).To(And(ContainSubstring("psql ended with exit code 3"),
		ContainSubstring("already exists")))
	g.Expect(s.psql("copy", sum)).To(Equal(s.must(s.psql("shop", sum))))

	// The custom format works in the same way.
	s.must(s.psql("postgres", "CREATE DATABASE other"))
	id = p.backUp("snap-3", p.postgres(s, "pg_dump", "--format=custom", "--compress=0", "shop"))
	result = p.restoreInto(id, p.postgres(s, "pg_restore", "--exit-on-error", "--no-owner", "--dbname=other"))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
	g.Expect(s.psql("other", sum)).To(Equal(s.must(s.psql("shop", sum))))

	// The whole server, with its roles.
	s.must(s.psql("postgres", "CREATE ROLE clerk"))
	g.Expect(p.content(p.backUp("snap-4", p.postgres(s, "pg_dumpall")))).
		To(And(ContainSubstring("CREATE ROLE clerk"), ContainSubstring("\\connect shop")))
	p.secretIsNowhere(accountPassword, `p\:a`)
}

// ordered drops what differs between two dumps of equal databases: a random token of newer versions.
func ordered(dump string) string {
	lines := strings.Split(dump, "\n")
	out := lines[:0]
	for _, l := range lines {
		if !strings.HasPrefix(l, `\restrict `) && !strings.HasPrefix(l, `\unrestrict `) {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

// secretIsNowhere checks everything that leaves the pod.
func (p *pod) secretIsNowhere(secrets ...string) {
	p.t.Helper()
	message, err := os.ReadFile(p.mover.TerminationPath)
	NewWithT(p.t).Expect(err).NotTo(HaveOccurred())
	everything := p.log.String() + string(message) + fmt.Sprintf("%+v %+v", p.reports.snapshots, p.reports.restores)
	for _, s := range secrets {
		NewWithT(p.t).Expect(everything).NotTo(ContainSubstring(s))
	}
}

func TestAPostgreSQLDumpThatBreaksOffIsNone(t *testing.T) {
	t.Parallel()
	s, p := startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("shop", "CREATE TABLE small (x int); INSERT INTO small VALUES (1); CREATE TABLE large (x text);"+
		"INSERT INTO large SELECT string_agg(repeat(md5(random()::text), 16), '') "+
		"FROM generate_series(1, 300000) n GROUP BY n % 1000"))
	dump := p.postgres(s, "pg_dump", "shop")
	busy := func() (string, error) {
		return s.psql(
			"postgres",
			"SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY public.large%' AND state = 'active'")
	}
	p.breaksOff("pg_dump", dump, busy, map[string]func(){
		"the program is killed": func() { p.killChild("pg_dump") },
		"the server ends the session": func() {
			s.must(
				s.psql("postgres",
					"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY public.large%'"))
		},
		"the server is killed, at last": s.kill,
	})
	g := NewWithT(t)
	_, result := p.run(t.Context(), backupTask("late", dump))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDumpFailed))
	g.Expect(result.Message).To(ContainSubstring("Connection refused"))
	p.secretIsNowhere(accountPassword, `p\:a`)
}

// breaksOff interrupts a dump while its server is busy with it, and checks that nothing is left. The mover does not
// read before it has reported that it runs: data that does not fit into the pipe waits in the server. The data must be
// larger than the buffers of a connection, which Linux grows to almost 40 MB.
func (p *pod) breaksOff(name string, dump task.Component, busy func() (string, error), ways map[string]func()) {
	p.t.Helper()
	order := 0
	for _, last := range []bool{false, true} {
		for way, do := range ways {
			if strings.HasSuffix(way, ", at last") != last {
				continue
			}
			order++
			g := NewWithT(p.t)
			g.Eventually(busy).WithTimeout(time.Minute).
				Should(HavePrefix("0"), "%s: the server is done with the one before",
					way)
			once := false
			p.reports.told = func() {
				if once {
					return
				}
				once = true
				g.Eventually(busy).WithTimeout(time.Minute).Should(HavePrefix("1"), "%s: the server is at it", way)
				do()
			}
			snapshot := fmt.Sprint("broken-", order)
			code, result := p.run(p.t.Context(), backupTask(snapshot, dump))
			p.reports.told = nil
			g.Expect(code).To(Equal(task.ExitSource), way)
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDumpFailed), way)
			g.Expect(result.Message).To(HavePrefix(name+" "), way)
			g.Expect(result.Components[0].ID).To(BeEmpty(), way)
			g.Expect(result.Components[0].SizeBytes).To(BeZero(), way)
			told := p.reports.snapshots["dump"]
			g.Expect(told[len(told)-1].Phase).To(Equal(v1alpha1.SnapshotFailed), way)
			p.t.Logf("%s: %s", way, result.Message)
		}
	}
}

// killChild kills the program with this name that this pod started. Other tests can run a program of the same name.
func (p *pod) killChild(name string) {
	p.t.Helper()
	g := NewWithT(p.t)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	g.Expect(err).NotTo(HaveOccurred())
	killed := 0
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		before, after, _ := bytes.Cut(stat, []byte(") "))
		fields := bytes.Fields(after)
		if len(fields) < 2 || !bytes.HasSuffix(before, []byte("("+name)) ||
			string(fields[1]) != strconv.Itoa(os.Getpid()) {
			continue
		}
		if environment, err := os.ReadFile(filepath.Join(filepath.Dir(file), "environ")); err != nil ||
			!bytes.Contains(environment, []byte("HOME="+p.root+"/")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(syscall.Kill(pid, syscall.SIGKILL)).To(Succeed())
		killed++
	}
	g.Expect(killed).To(BeNumerically(">=", 1))
}
