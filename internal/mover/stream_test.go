package mover_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/install"
	"github.com/cairn-backup/cairn/internal/task"
)

// dumpOf returns a component that a shell, which stands for any program, writes or reads.
func dumpOf(lines string) task.Component {
	return task.Component{
		Name:   "dump",
		Stream: &v1alpha1.ResolvedStream{Command: []string{"/bin/sh", "-c", lines}, FileName: "dump.sql"},
	}
}

// streaming returns a pod whose programs have little time to end, but enough on a busy machine.
func streaming(t testing.TB) *pod {
	p := initialised(t)
	p.mover.ProgramGrace = 3 * time.Second
	return p
}

// load restores a dump with lines of a shell.
func (p *pod) load(ctx context.Context, id, lines string) (int, *task.Result) {
	t := restoreTask(id)
	t.Components = []task.Component{dumpOf(lines)}
	t.Components[0].ID, t.Components[0].Bytes = id, 10
	return p.run(ctx, t)
}

// ids returns the IDs of the engine's snapshots of the dump.
func (p *pod) records(snapshot string) string {
	b, err := os.ReadFile(filepath.Join(p.root, "cairn/storage/backups/shop/web/snapshots", snapshot, "dump.yaml"))
	NewWithT(p.t).Expect(err).NotTo(HaveOccurred())
	return string(b)
}

func TestADumpIsKeptAndFedBack(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	code, result := p.run(t.Context(), backupTask("snap-1", dumpOf("echo some rows; echo a warning >&2")))
	g.Expect(code).To(BeZero(), result.Message)
	c := result.Components[0]
	g.Expect(c.ID).NotTo(BeEmpty())
	g.Expect(c.SizeBytes).To(BeEquivalentTo(len("some rows\n")))
	g.Expect(c.Files).To(BeEquivalentTo(1))
	told := p.reports.snapshots["dump"]
	g.Expect(told[0].Phase).To(Equal(v1alpha1.SnapshotRunning))
	g.Expect(json.Marshal(told[len(told)-1])).To(MatchJSON(must(json.Marshal(c.Component(v1alpha1.DriverKopia)))))
	g.Expect(p.records("snap-1")).To(And(ContainSubstring("id: "+c.ID), ContainSubstring("phase: Succeeded")))
	g.Expect(p.log.String()).To(ContainSubstring("a warning"))

	out := filepath.Join(t.TempDir(), "out")
	code, result = p.load(t.Context(), c.ID, "cat >"+out)
	g.Expect(code).To(BeZero(), result.Message)
	g.Expect(os.ReadFile(out)).To(BeEquivalentTo("some rows\n"))
	g.Expect(result.Components[0]).
		To(And(HaveField("SizeBytes", BeEquivalentTo(10)), HaveField("Files", BeEquivalentTo(1))))
	restored := p.reports.restores["dump"]
	g.Expect(restored[len(restored)-1].Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
	g.Expect(filepath.Join(p.root, task.StreamDir)).NotTo(BeADirectory(), "nothing is left behind")
}

func TestADumpThatEndsBadlyIsNone(t *testing.T) {
	for name, tc := range map[string]struct{ lines, reason, says string }{
		"exit code 1 after everything": {
			"head -c 9000000 /dev/urandom; echo lost connection >&2; exit 1",
			v1alpha1.ReasonDumpFailed, "sh ended with exit code 1: lost connection",
		},
		"killed after everything": {
			"head -c 9000000 /dev/urandom; kill -9 $$", v1alpha1.ReasonDumpFailed,
			"sh was killed",
		},
		"its output closed, but it goes on": {
			"echo x; exec >&-; sleep 60", v1alpha1.ReasonDumpFailed,
			"sh closed its output, but did not end",
		},
		"a process left behind": {"echo x; sleep 60 &", v1alpha1.ReasonDumpFailed, "left a process behind"},
		"messages alone":        {"echo nothing to do >&2", v1alpha1.ReasonEmpty, "wrote nothing: nothing to do"},
		"nothing":               {":", v1alpha1.ReasonEmpty, "wrote nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			p := streaming(t)
			in := backupTask("snap-1", dumpOf(tc.lines), dumpOf("echo fine"))
			in.Components[1].Name = "other"
			in.SuccessPolicy = &v1alpha1.SuccessPolicy{
				Empty: v1alpha1.DoubtAllow, Unreadable: v1alpha1.DoubtAllow,
				Changed: v1alpha1.DoubtAllow,
			}
			code, result := p.run(t.Context(), in)
			g.Expect(code).To(Equal(task.ExitSource))
			c := result.Components[0]
			g.Expect(c.Reason).To(Equal(tc.reason), c.Error)
			g.Expect(c.Error).To(ContainSubstring(tc.says))
			g.Expect(c.ID).To(BeEmpty())
			g.Expect(result.Components[1].Outcome).To(Equal(task.OutcomeSucceeded), "the others go on")
			g.Expect(p.records("snap-1")).To(And(ContainSubstring("phase: Failed"), Not(ContainSubstring("id:"))))

			// There is nothing that another mover could take for a backup.
			code, result = p.run(t.Context(), backupTask("snap-1", dumpOf("echo again; exit 7")))
			g.Expect(code).To(Equal(task.ExitSource))
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDumpFailed))
			g.Expect(p.log.String()).NotTo(ContainSubstring("an earlier mover has backed it up"))
		})
	}
}

func TestADumpIsNotRepeated(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	runs := filepath.Join(t.TempDir(), "runs")
	component := dumpOf("echo run >>" + runs + "; echo rows")
	_, first := p.run(t.Context(), backupTask("snap-1", component))
	code, second := p.run(t.Context(), backupTask("snap-1", component))
	g.Expect(code).To(BeZero())
	g.Expect(second.Components[0].ID).To(Equal(first.Components[0].ID))
	g.Expect(os.ReadFile(runs)).To(BeEquivalentTo("run\n"))
}

func TestADumpIsComparedWithTheLastOne(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	size := filepath.Join(t.TempDir(), "size")
	dump := func(snapshot, bytes string, component task.Component) *task.Result {
		g.Expect(os.WriteFile(size, []byte(bytes), 0o600)).To(Succeed())
		_, result := p.run(t.Context(), backupTask(snapshot, component))
		return result
	}
	all := dumpOf("head -c $(cat " + size + ") /dev/zero")
	g.Expect(dump("snap-1", "100000", all).Reason).To(Equal(v1alpha1.ReasonSucceeded))
	shrunk := dump("snap-2", "10", all)
	g.Expect(shrunk.Reason).To(Equal(v1alpha1.ReasonShrunk))
	g.Expect(shrunk.Components[0].ID).To(BeEmpty())
	g.Expect(shrunk.Components[0].PreviousSizeBytes).To(BeEquivalentTo(100000))
	one := all
	one.Stream = all.Stream.DeepCopy()
	one.Stream.Args = []v1alpha1.ResolvedStreamArgument{{Value: "--table=small"}}
	g.Expect(dump("snap-3", "10", one).Reason).To(Equal(v1alpha1.ReasonSucceeded), "a dump of something else")
}

// Only what a Function says to select keeps two dumps apart: neither how the program connects, nor that an earlier
// version did not say it yet.
func TestADumpIsComparedWithTheLastOneThatSelectedTheSame(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	size := filepath.Join(t.TempDir(), "size")
	dump := func(snapshot, bytes, scope, argument string) string {
		g.Expect(os.WriteFile(size, []byte(bytes), 0o600)).To(Succeed())
		component := dumpOf("head -c $(cat " + size + ") /dev/zero")
		component.Stream.Scope, component.Stream.Args = scope, []v1alpha1.ResolvedStreamArgument{{Value: argument}}
		_, result := p.run(t.Context(), backupTask(snapshot, component))
		return result.Reason
	}
	g.Expect(dump("snap-1", "100000", "", "--tls=no")).To(Equal(v1alpha1.ReasonSucceeded))
	g.Expect(dump("snap-2", "10", "all", "--tls=no")).To(Equal(v1alpha1.ReasonShrunk), "after an upgrade")
	g.Expect(dump("snap-3", "90000", "all", "--tls=no")).To(Equal(v1alpha1.ReasonSucceeded))
	g.Expect(dump("snap-4", "10", "all", "--tls=yes")).To(Equal(v1alpha1.ReasonShrunk), "over another connection")
	g.Expect(dump("snap-5", "10", "a table", "--table=a")).To(Equal(v1alpha1.ReasonSucceeded), "a narrower choice")
	g.Expect(dump("snap-6", "10", "all", "--tls=yes")).To(Equal(v1alpha1.ReasonShrunk), "all of it again")
}

func TestADumpThatIsToldToStopIsLeftForAnother(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	ctx, cancel := context.WithCancel(t.Context())
	p.reports.told = cancel // the first report is that it runs
	code, result := p.run(ctx, backupTask("snap-1", dumpOf("echo rows; sleep 60")))
	g.Expect(code).To(Equal(task.ExitCancelled))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonCancelled))
	told := p.reports.snapshots["dump"]
	g.Expect(told[len(told)-1].Phase.Terminal()).To(BeFalse())
	p.reports.told = nil
	code, _ = p.run(t.Context(), backupTask("snap-1", dumpOf("echo rows")))
	g.Expect(code).To(BeZero(), "nothing half-done was left")
}

func TestALoadThatEndsBadlyIsNone(t *testing.T) {
	p := streaming(t)
	_, result := p.run(t.Context(), backupTask("snap-1", dumpOf("head -c 4000000 /dev/urandom")))
	id := result.Components[0].ID
	NewWithT(t).Expect(id).NotTo(BeEmpty())
	for name, tc := range map[string]struct{ lines, reason, says string }{
		"exit code 3 after everything": {
			"cat >/dev/null; echo 'ERROR: no such role' >&2; exit 3", v1alpha1.ReasonLoadFailed,
			"sh ended with exit code 3: ERROR: no such role",
		},
		"exit code 3 in the middle": {
			"head -c 100 >/dev/null; exit 3", v1alpha1.ReasonLoadFailed,
			"sh ended with exit code 3",
		},
		"exit code 0 in the middle": {
			"head -c 100 >/dev/null", v1alpha1.ReasonLoadFailed, "before it had read everything",
		},
		"killed": {"kill -9 $$", v1alpha1.ReasonLoadFailed, "sh was killed"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			code, result := p.load(t.Context(), id, tc.lines)
			g.Expect(code).To(Equal(task.ExitTarget))
			c := result.Components[0]
			g.Expect(c.Reason).To(Equal(tc.reason))
			g.Expect(c.Error).To(ContainSubstring(tc.says))
			told := p.reports.restores["dump"]
			g.Expect(told[len(told)-1].Phase).To(Equal(v1alpha1.RestoreSessionFailed))
		})
	}
}

// TestAPartIsNeverTakenForTheWhole: a program that commits at the end of its input sees no end when the repository
// fails.
func TestAPartIsNeverTakenForTheWhole(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	_, result := p.run(t.Context(), backupTask("snap-1", dumpOf("head -c 30000000 /dev/urandom")))
	id := result.Components[0].ID
	packs, err := filepath.Glob(filepath.Join(p.root, "cairn/storage/backups/shop/web/kopia/p*/*/*"))
	g.Expect(err).NotTo(HaveOccurred())
	flat, err := filepath.Glob(filepath.Join(p.root, "cairn/storage/backups/shop/web/kopia/p*/*.f"))
	g.Expect(err).NotTo(HaveOccurred())
	packs = append(packs, flat...)
	damaged := 0
	for _, f := range packs {
		if info, err := os.Stat(f); err == nil && info.Mode().IsRegular() && info.Size() < 15<<20 {
			g.Expect(os.WriteFile(f, make([]byte, info.Size()), 0o600)).To(Succeed())
			damaged++
		}
	}
	g.Expect(damaged).To(BeNumerically(">", 0))
	committed := filepath.Join(t.TempDir(), "committed")
	code, result := p.load(t.Context(), id, "cat >/dev/null; echo yes >"+committed)
	g.Expect(code).To(Equal(task.ExitRepository), result.Message)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonRepositoryDamaged))
	g.Expect(result.Components[0].TargetWritten).To(BeTrue(), "a part was fed")
	g.Expect(committed).NotTo(BeAnExistingFile())
}

func TestAProgramIsGivenItsSecretAndNobodyElse(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	const password = `p:a\s"s#w ord;$(id)`
	p.write("cairn/database/username", "app")
	p.write("cairn/database/password", password+"\n")
	p.write("cairn/database/ca.crt", "-----BEGIN CERTIFICATE-----\nMIIBverysecretnot\n-----END CERTIFICATE-----\n")
	p.write("cairn/database/..2026/password", "old")
	component := dumpOf(`
		echo "args $*"; env | grep '^PG' | sort; echo "home $HOME $LANG"
		cat "$HOME/.pgpass" "$HOME/my.cnf" "$HOME/plain"; stat -c %a "$HOME/.pgpass" "$HOME"
		ls -A "$HOME"; env | grep -c KUBERNETES
		cat "$HOME/.pgpass" >&2; cat "$HOME/my.cnf" >&2; echo "$PGPASSWORD app" >&2; exit 1`)
	component.Stream.Command = append(component.Stream.Command, "sh")
	component.Stream.Args = []v1alpha1.ResolvedStreamArgument{
		{Value: "--all"},
		{Value: "--tls", IfKey: "ca.crt"},
		{Value: "--client", IfKey: "tls.crt"},
	}
	component.Stream.Env = []v1alpha1.StreamEnv{
		{Name: "PGUSER", SecretKey: "username"},
		{Name: "PGPASSWORD", SecretKey: "password"},
		{Name: "PGSSL", Value: "on", IfKey: "ca.crt"},
		{Name: "PGKEY", SecretKey: "tls.key", IfKey: "tls.key"},
	}
	component.Stream.Files = []v1alpha1.StreamFile{
		{Name: ".pgpass", Content: "*:*:*:$(username):$(password)\n", Escape: v1alpha1.StreamEscapePgPass},
		{Name: "my.cnf", Content: "[client]\npassword=$(password)\n", Escape: v1alpha1.StreamEscapeOptionFile},
		{Name: "plain", Content: "$(username) $HOME $ (x\n"},
		{Name: "absent", Content: "$(tls.key)", IfKey: "tls.key"},
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	_, result := p.run(t.Context(), backupTask("snap-1", component))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDumpFailed))
	g.Expect(result.Message).To(ContainSubstring("*:*:*:app:***; [client]; password=\"***\"; *** app"))
	everything := result.Message + p.log.String() + p.records("snap-1") +
		string(must(json.Marshal(p.reports.snapshots))) +
		p.fileText("cairn/task/task.json")
	for _, secret := range []string{password, `p\:a`, `p:a\\s`, "MIIBverysecretnot"} {
		g.Expect(everything).NotTo(ContainSubstring(secret))
	}
	g.Expect(filepath.Join(p.root, task.StreamDir)).NotTo(BeADirectory())

	component.Stream.Command[2] = component.Stream.Command[2][:len(component.Stream.Command[2])-len("; exit 1")] +
		"; exit 0"
	_, result = p.run(t.Context(), backupTask("snap-2", component))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
	out := filepath.Join(t.TempDir(), "out")
	_, result = p.load(t.Context(), result.Components[0].ID, "cat >"+out)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
	home := filepath.Join(p.root, task.StreamDir)
	g.Expect(os.ReadFile(out)).To(BeEquivalentTo(`args --all --tls
PGPASSWORD=` + password + `
PGSSL=on
PGUSER=app
home ` + home + ` C
*:*:*:app:p\:a\\s"s#w ord;$(id)
[client]
password="p:a\\s\"s#w ord;$(id)"
app $HOME $ (x
600
700
.pgpass
my.cnf
plain
0
`))
}

// fileText is a file of the pod.
func (p *pod) fileText(name string) string {
	b, err := os.ReadFile(filepath.Join(p.root, name))
	NewWithT(p.t).Expect(err).NotTo(HaveOccurred())
	return string(b)
}

func TestAProgramThatCantBeGivenWhatItNeedsDoesNotStart(t *testing.T) {
	for name, tc := range map[string]struct {
		change       func(*v1alpha1.ResolvedStream)
		reason, says string
		code         int
	}{
		"a key of its environment": {
			func(s *v1alpha1.ResolvedStream) {
				s.Env = []v1alpha1.StreamEnv{{Name: "A", SecretKey: "absent"}}
			},
			v1alpha1.ReasonDatabaseSecretNotAvailable, "Secret shop/login lacks absent", task.ExitCredentials,
		},
		"a key of a file": {
			func(s *v1alpha1.ResolvedStream) {
				s.Files = []v1alpha1.StreamFile{{Name: "f", Content: "x$(absent)"}}
			},
			v1alpha1.ReasonDatabaseSecretNotAvailable, "Secret shop/login lacks absent", task.ExitCredentials,
		},
		"a value that a password file can't hold": {
			func(s *v1alpha1.ResolvedStream) {
				s.Files = []v1alpha1.StreamFile{{Name: "f", Content: "$(lines)", Escape: v1alpha1.StreamEscapePgPass}}
			}, v1alpha1.ReasonDatabaseSecretNotAvailable, "key lines of Secret shop/login holds a line break",
			task.ExitCredentials,
		},
		"an escape of tomorrow": {func(s *v1alpha1.ResolvedStream) {
			s.Files = []v1alpha1.StreamFile{{Name: "f", Content: "$(lines)", Escape: "JSON"}}
		}, v1alpha1.ReasonDatabaseSecretNotAvailable, `escaped as "JSON"`, task.ExitCredentials},
		"a file elsewhere": {
			func(s *v1alpha1.ResolvedStream) {
				s.Files = []v1alpha1.StreamFile{{Name: "../f", Content: "x"}}
			},
			v1alpha1.ReasonInvalidTask, `file "../f" can't be written`, task.ExitInvalidTask,
		},
		"a content that does not end": {
			func(s *v1alpha1.ResolvedStream) {
				s.Files = []v1alpha1.StreamFile{{Name: "f", Content: "$(x"}}
			},
			v1alpha1.ReasonInvalidTask, "$( without )", task.ExitInvalidTask,
		},
		"a program that the image lacks": {
			func(s *v1alpha1.ResolvedStream) { s.Command = []string{"pg_dump_of_tomorrow"} },
			v1alpha1.ReasonDumpFailed, "the image has no program pg_dump_of_tomorrow", task.ExitSource,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			p := streaming(t)
			p.write("cairn/database/lines", "a\nb")
			component := dumpOf("echo rows")
			tc.change(component.Stream)
			in := backupTask("snap-1", component)
			in.DatabaseSecret = "login"
			code, result := p.run(t.Context(), in)
			g.Expect(result.Reason).To(Equal(tc.reason), result.Message)
			g.Expect(result.Message).To(ContainSubstring(tc.says))
			g.Expect(code).To(Equal(tc.code))
			g.Expect(filepath.Join(p.root, task.StreamDir, "..", "f")).NotTo(BeAnExistingFile())
		})
	}
}

// The kubelet shows a Secret that does not exist as an empty directory.
func TestADatabaseSecretThatDoesNotExistIsNamed(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	component := dumpOf("echo rows")
	component.Stream.Env = []v1alpha1.StreamEnv{{Name: "PGUSER", SecretKey: "username"}}
	in := backupTask("snap-1", component)
	in.DatabaseSecret = "pg-logim"
	_, result := p.run(t.Context(), in)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDatabaseSecretNotAvailable))
	g.Expect(result.Message).To(Equal("there is no Secret shop/pg-logim, or it is empty: it needs username"))
}

func TestAFilterOfTomorrowIsRefused(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	_, result := p.run(t.Context(), backupTask("snap-1", dumpOf("echo not an RDB file")))
	in := restoreTask(result.Components[0].ID)
	in.Components = []task.Component{dumpOf("cat >/dev/null")}
	in.Components[0].ID = result.Components[0].ID
	in.Components[0].Stream.Filter = "Tomorrow"
	_, result = p.run(t.Context(), in)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonInvalidTask))
	in.Components[0].Stream.Filter = v1alpha1.StreamFilterRedisCommands
	_, result = p.run(t.Context(), in)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed))
	g.Expect(result.Message).
		To(ContainSubstring("can't be turned into commands: the RDB file is damaged: its header is wrong"))
}

// A dump that no restore could load is no backup: whoever needs it would learn that too late.
func TestADumpThatNoRestoreCouldLoadIsNone(t *testing.T) {
	const (
		header = `REDIS0011`
		key    = `\000\001k\001v`
		end    = `\377\000\000\000\000\000\000\000\000`
		aux    = `\367\201\000\000\000\000\000\000\000\001`
	)
	for name, tt := range map[string]struct{ dump, says string }{
		"keys":                       {header + key + end, ""},
		"data of a module, at first": {header + aux + key + end, "keeps data outside of keys"},
		"data of a module, at last":  {header + key + aux, "keeps data outside of keys"},
		"a type of tomorrow":         {header + `\310\001k\001v` + end, "does not know"},
		"cut off":                    {header + key, "ends too early"},
		"something else":             {`rows`, "ends too early"},
		"more than one":              {header + end + strings.Repeat("x", 41), "follows its end"},
	} {
		t.Run(name, func(t *testing.T) {
			g, p := NewWithT(t), streaming(t)
			dump := dumpOf("printf '" + tt.dump + "'")
			dump.Stream.Filter = v1alpha1.StreamFilterRedisCommands
			_, result := p.run(t.Context(), backupTask("snap-1", dump))
			if tt.says == "" {
				g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
				return
			}
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDumpFailed))
			g.Expect(result.Message).To(And(ContainSubstring("could not load this dump: "), ContainSubstring(tt.says)))
			// A dump that is cut off says nothing of the next one.
			advised := strings.HasSuffix(result.Message, ". Back up the server's volume instead")
			g.Expect(advised).To(Equal(!strings.Contains(result.Message, "is damaged")), result.Message)
		})
	}
}

// A dump in a format that the restore does not read is no backup either. The programs themselves end well.
func TestADumpInAnotherFormatIsNone(t *testing.T) {
	const (
		tar   = v1alpha1.StreamFormatTar
		pg    = v1alpha1.StreamFormatPostgresArchive
		maria = v1alpha1.StreamFormatMariaDBStream
		sql   = v1alpha1.StreamFormatSQL
	)
	file := func(name string) string {
		return `printf 'XBSTCK01\000P\` + fmt.Sprintf("%03o", len(name)) + `\0\0\0` + name + `'`
	}
	for name, tt := range map[string]struct {
		format v1alpha1.StreamFormat
		dump   string
		wrong  bool
	}{
		"any form":                     {"", "echo rows", false},
		"any form, on purpose":         {v1alpha1.StreamFormatNone, "echo rows", false},
		"a tar archive":                {tar, "tar -cf - -C / etc/hostname", false},
		"a compressed tar archive":     {tar, "tar -czf - -C / etc/hostname", true},
		"no tar archive, and short":    {tar, "echo rows", true},
		"an archive of PostgreSQL":     {pg, "printf PGD; printf MPrest", false},
		"text instead of an archive":   {pg, "echo '--'; yes rows | head -c 5000", true},
		"shorter than any archive":     {pg, "printf PGD", true},
		"files of MariaDB":             {maria, file("ibdata1") + "; yes | head -c 5000", false},
		"a file with a very long name": {maria, `printf 'XBSTCK01\000P\377\377\377\377name'`, false},
		"compressed files of MariaDB":  {maria, file("ibdata1.qp") + "; yes | head -c 5000", true},
		"a part of a mark":             {maria, "printf 'XBSTCK01'", true},
		"no files of MariaDB":          {maria, "yes | head -c 5000", true},
		"SQL":                          {sql, "echo 'CREATE TABLE a (x int);'", false},
		"XML":                          {sql, "printf '<?x'; echo 'ml version=\"1.0\"?>'", true},
	} {
		t.Run(name, func(t *testing.T) {
			g, p := NewWithT(t), streaming(t)
			dump := dumpOf(tt.dump)
			dump.Stream.Format = tt.format
			_, result := p.run(t.Context(), backupTask("snap-1", dump))
			if !tt.wrong {
				g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
				return
			}
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDumpFailed))
			g.Expect(result.Message).To(And(ContainSubstring("could not read this dump"),
				ContainSubstring("the parameter args")))
			g.Expect(result.Components[0].ID).To(BeEmpty())
		})
	}
	dump := dumpOf("echo rows")
	dump.Stream.Format = "Tomorrow"
	_, result := streaming(t).run(t.Context(), backupTask("snap-1", dump))
	NewWithT(t).Expect(result.Reason).To(Equal(v1alpha1.ReasonInvalidTask))
}

func TestAStreamHasNoFiles(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	code, result := p.run(t.Context(), backupTask("snap-1", dumpOf("echo rows")), "*.tmp")
	g.Expect(code).To(Equal(task.ExitInvalidTask))
	g.Expect(result.Message).To(ContainSubstring("no files to include or exclude"))
	_, result = p.run(t.Context(), backupTask("snap-1", dumpOf("echo rows")))
	in := restoreTask(result.Components[0].ID)
	in.Components = []task.Component{dumpOf("cat >/dev/null")}
	in.Components[0].ID = result.Components[0].ID
	in.Restore = &task.Restore{Verify: true}
	code, result = p.run(t.Context(), in)
	g.Expect(code).To(Equal(task.ExitInvalidTask))
	g.Expect(result.Message).To(ContainSubstring("can't be verified"))
}

func TestAPasswordInAURLIsScrubbed(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	p.write("cairn/database/uri", "postgres://app:very%2Fsecret@db/shop")
	p.write("cairn/database/host", "db.example.com")
	component := dumpOf(
		`echo "can't log in to $URI as app at db.example.com with very/secret or very%2Fsecret" >&2; exit 1`)
	component.Stream.Env = []v1alpha1.StreamEnv{{Name: "URI", SecretKey: "uri"}}
	_, result := p.run(t.Context(), backupTask("snap-1", component))
	g.Expect(result.Message).To(HaveSuffix("can't log in to *** as app at db.example.com with *** or ***"))
}

// A server can repeat in its answer what it was told, and print what a terminal obeys.
func TestARefusedLineIsScrubbedAndCut(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	p.write("cairn/database/password", "very-secret")
	component := dumpOf("echo rows")
	component.Stream.Env = []v1alpha1.StreamEnv{{Name: "PASSWORD", SecretKey: "password"}}
	component.Stream.Probe = &v1alpha1.ResolvedProbe{
		ResolvedProgram: v1alpha1.ResolvedProgram{Command: []string{
			"/bin/sh", "-c",
			`printf 'LOADING %s \033[2J\342\200\256 %470s%s%900s\n' "$PASSWORD" '' "$PASSWORD" x`,
		}},
		Refuse: []v1alpha1.ResolvedRefusal{{Prefix: "LOADING", Message: "ask again"}},
	}
	_, result := p.run(t.Context(), backupTask("snap-1", component))
	g.Expect(result.Message).To(And(HavePrefix("ask again; sh said: LOADING *** .[2J. "), HaveSuffix("…")))
	g.Expect(len(result.Message)).To(BeNumerically("<", 600))
	g.Expect(result.Message).NotTo(ContainSubstring("very"))
	p.write("cairn/database/password", "with space ")
	component.Stream.Probe.Command[2] = `printf 'LOADING %s\n' "$PASSWORD"`
	_, result = p.run(t.Context(), backupTask("snap-2", component))
	g.Expect(result.Message).To(Equal("ask again; sh said: LOADING ***"))
	component.Stream.Probe.Command[2] = `printf 'LOADING %s\r\n' "$PASSWORD" >&2`
	_, result = p.run(t.Context(), backupTask("snap-2", component))
	g.Expect(result.Message).To(Equal("ask again; sh said: LOADING ***"))
	in := restoreTask(p.backUp("snap-3", dumpOf("echo rows")))
	in.Components = []task.Component{component}
	in.Components[0].ID = p.backUp("snap-4", dumpOf("echo rows"))
	for _, to := range []string{"", " >&2"} {
		in.Components[0].Stream.Probe.Command[2] = `printf 'LOADING %s\n' "$PASSWORD"` + to
		_, result = p.run(t.Context(), in)
		g.Expect(result.Message).To(HaveSuffix("ask again; sh said: LOADING ***"))
	}
	component.Stream.Probe.Command[2] = `printf 'LOADING %16370s%s' x "$PASSWORD"`
	_, result = p.run(t.Context(), backupTask("snap-5", component))
	g.Expect(result.Message).To(Equal("ask again; sh said: LOADING… (a line that is too long)"))
}

func TestAMoverIsInstalled(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	for range 2 {
		g.Expect(install.Install(dir)).To(Succeed())
	}
	info, err := os.Stat(filepath.Join(dir, "mover"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode().Perm()).To(Equal(os.FileMode(0o755)), "every user of the database's image can run it")
	self, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	own, err := os.Stat(self)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Size()).To(Equal(own.Size()))
	entries, err := os.ReadDir(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(HaveLen(1))
	g.Expect(install.Install(filepath.Join(dir, "absent"))).To(MatchError(ContainSubstring("write to the directory")))
}

// Data that nobody allowed to overwrite is not touched: the loading program does not even start.
func TestADatabaseThatHoldsDataIsLeftAlone(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	_, result := p.run(t.Context(), backupTask("snap-1", dumpOf("echo rows")))
	id := result.Components[0].ID
	for name, tc := range map[string]struct {
		probe, reason, says string
		restore             *task.Restore
		resume, loads       bool
	}{
		"it is empty":            {probe: "echo; echo '# Keyspace'", loads: true},
		"it says nothing at all": {probe: ":", loads: true},
		"it holds data": {
			probe: "echo '#'; echo 1", reason: v1alpha1.ReasonVolumeNotEmpty,
			says: "the database holds data already",
		},
		"it holds very much": {
			probe: "head -c 1000000 /dev/zero", reason: v1alpha1.ReasonVolumeNotEmpty,
			says: "the database holds data already",
		},
		"it holds data, and that is known": {
			probe: "echo 1", restore: &task.Restore{Overwrite: v1alpha1.OverwriteAlways},
			loads: true,
		},
		"it holds the work of an earlier attempt": {probe: "echo 1", resume: true, loads: true},
		"it can't be asked again": {
			probe: "exit 2", resume: true, reason: v1alpha1.ReasonLoadFailed, says: "exit code 2",
		},
		"it refuses to answer after an earlier attempt": {
			probe: "echo LOADING", resume: true, reason: v1alpha1.ReasonLoadFailed, says: "ask again",
		},
		"its client refuses": {
			probe: "echo 'LOADING of the client' >&2", reason: v1alpha1.ReasonLoadFailed, says: "ask again",
		},
		"it can't be asked": {
			probe: "echo no route >&2; exit 2", reason: v1alpha1.ReasonLoadFailed,
			says: "can't find out whether the database holds data: sh ended with exit code 2: no route",
		},
		"it has no such program": {probe: "exit 127", reason: v1alpha1.ReasonLoadFailed, says: "can't find out"},
		"it refuses to answer": {
			probe: "echo LOADING; echo busy >&2", reason: v1alpha1.ReasonLoadFailed,
			says: "can't find out whether the database holds data: ask again; sh said: LOADING; the program said: busy",
		},
		"it refuses to answer, and that it holds data is known": {
			probe: "echo LOADING; echo busy >&2", restore: &task.Restore{Overwrite: v1alpha1.OverwriteAlways},
			reason: v1alpha1.ReasonLoadFailed, says: "ask again; sh said: LOADING; the program said: busy",
		},
		"it refuses to answer, and holds data": {
			probe: "echo LOADING; echo 1", reason: v1alpha1.ReasonVolumeNotEmpty,
			says: "the database holds data already",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			out := filepath.Join(t.TempDir(), "out")
			in := restoreTask(id)
			in.Restore = tc.restore
			in.Components = []task.Component{dumpOf("cat >" + out)}
			in.Components[0].ID, in.Components[0].Resume = id, tc.resume
			in.Components[0].Stream.Probe = &v1alpha1.ResolvedProbe{
				ResolvedProgram: v1alpha1.ResolvedProgram{Command: []string{"/bin/sh", "-c", tc.probe}},
				Refuse:          []v1alpha1.ResolvedRefusal{{Prefix: "LOADING", Message: "ask again"}},
			}
			clear(p.reports.restores)
			code, result := p.run(t.Context(), in)
			if tc.loads {
				g.Expect(code).To(BeZero(), result.Message)
				g.Expect(os.ReadFile(out)).To(BeEquivalentTo("rows\n"))
				told := p.reports.restores["dump"][0]
				g.Expect(told.TargetWritten).To(Equal(tc.resume), "a killed mover reports no more")
				return
			}
			g.Expect(code).To(Equal(task.ExitTarget))
			c := result.Components[0]
			g.Expect(c.Reason).To(Equal(tc.reason), c.Error)
			g.Expect(c.Error).To(ContainSubstring(tc.says))
			g.Expect(c.TargetWritten).To(Equal(tc.resume), "an earlier attempt has written")
			g.Expect(out).NotTo(BeAnExistingFile())
		})
	}
	g.Expect(filepath.Join(p.root, task.StreamDir)).NotTo(BeADirectory())
}

// A server that reads a dump of another server has some of its roles already.
func TestRolesOfADumpAreMadeWhereTheyAreMissing(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	_, result := p.run(t.Context(),
		backupTask("snap-1", dumpOf(`printf -- '--\n-- PostgreSQL database cluster dump\nCREATE ROLE a;\n'`)))
	id, out := result.Components[0].ID, filepath.Join(t.TempDir(), "out")
	in := restoreTask(id)
	in.Components = []task.Component{dumpOf("cat >" + out)}
	in.Components[0].ID, in.Components[0].Stream.Filter = id, v1alpha1.StreamFilterPostgresRoles
	code, result := p.run(t.Context(), in)
	g.Expect(code).To(BeZero(), result.Message)
	text, err := os.ReadFile(out)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(text)).To(ContainSubstring(
		"IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $name$a$name$) THEN CREATE ROLE a;"))
}
