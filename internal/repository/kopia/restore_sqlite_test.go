package kopia_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// contentOf is what a file holds in a state. A .db looks like a database of SQLite.
func contentOf(name, state string) string {
	if strings.HasSuffix(name, ".db") {
		return "SQLite format 3\x00" + state
	}
	return state
}

// writeState writes files that were changed at an hour. A name after = is that of a file to which to link.
func writeState(t *testing.T, dir, state string, hour int, names ...string) {
	t.Helper()
	g := NewWithT(t)
	for _, name := range names {
		name, first, linked := strings.Cut(name, "=")
		if linked {
			g.Expect(os.Link(filepath.Join(dir, first), filepath.Join(dir, name))).To(Succeed())
			continue
		}
		g.Expect(os.WriteFile(filepath.Join(dir, name), []byte(contentOf(name, state)), 0o600)).To(Succeed())
	}
	longAgo(t, dir, hour)
}

// sqliteCase is a restore into a directory that holds another state.
type sqliteCase struct {
	has      []string // of the snapshot; app.db if nil
	over     []string // of the directory
	hour     int      // at which the directory changed; the snapshot did at 5
	conflict repository.Conflict
	opt      repository.RestoreOptions
	want     map[string]string // the state of each file afterwards
}

// TestARestoredDatabaseOfSQLiteLosesTheFilesOfAnotherState checks that no log or journal of another state stays beside
// a database that a restore writes: SQLite would play it back. A comparison reports what is there again.
func TestARestoredDatabaseOfSQLiteLosesTheFilesOfAnotherState(t *testing.T) {
	t.Parallel()
	all := []string{"app.db", "app.db-journal", "app.db-shm", "app.db-wal"}
	restored := map[string]string{"app.db": "backup"}
	for name, tc := range map[string]sqliteCase{
		"replaced":                  {over: all, want: restored},
		"replaced, though newer":    {over: all, hour: 6, want: restored},
		"older":                     {over: all, conflict: repository.ConflictNewer, want: restored},
		"gone":                      {over: all[1:], conflict: repository.ConflictSkip, want: restored},
		"in a directory of no rest": {over: all, opt: repository.RestoreOptions{DeleteExtra: true}, want: restored},
		"newer": {
			over: []string{"app.db", "app.db-wal"}, hour: 6, conflict: repository.ConflictNewer,
			want: map[string]string{"app.db": "volume", "app.db-wal": "volume"},
		},
		"kept": {
			over: []string{"app.db", "app.db-wal"}, conflict: repository.ConflictSkip,
			want: map[string]string{"app.db": "volume", "app.db-wal": "volume"},
		},
		"with other files": {
			over: []string{"app.db", "app.db-wal", "app.db-wal2", "app-wal", "b", "other.db", "other.db-wal"},
			want: map[string]string{
				"app.db": "backup", "app.db-wal2": "volume", "app-wal": "volume", "b": "volume", "other.db": "volume",
				"other.db-wal": "volume",
			},
		},
		"beside a log of the snapshot": {
			has: []string{"app.db", "app.db-wal"}, over: all,
			want: map[string]string{"app.db": "backup", "app.db-wal": "backup"},
		},
		"beside a log that is excluded": {
			over: all, opt: repository.RestoreOptions{Exclude: []string{"*-wal"}},
			want: map[string]string{"app.db": "backup", "app.db-wal": "volume"},
		},
		"alone": {
			has: []string{"app.db", "app.db-wal"}, over: all, want: restored,
			opt: repository.RestoreOptions{Path: "app.db"},
		},
		"chosen": {
			has: []string{"app.db", "app.db-wal"}, over: all, want: restored,
			opt: repository.RestoreOptions{Include: []string{"/app.db"}},
		},
		"a file that is no database": {
			has: []string{"a"}, over: []string{"a", "a-wal"}, want: map[string]string{"a": "backup", "a-wal": "volume"},
		},
		"with a second name": {
			has: []string{"app.db", "b.db=app.db"}, over: []string{"app.db", "b.db", "b.db-wal", "b.db-journal"},
			want: map[string]string{"app.db": "backup", "b.db": "backup"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.run(t)
		})
	}
}

func (tc sqliteCase) run(t *testing.T) {
	g, src, out, told := NewWithT(t), t.TempDir(), t.TempDir(), ""
	r := initialized(t)
	r.Log = func(_, component, msg string) {
		if component == "restore" {
			told += msg + "\n"
		}
	}
	if tc.has == nil {
		tc.has = []string{"app.db"}
	}
	if tc.conflict == repository.ConflictFail {
		tc.conflict = repository.ConflictReplace
	}
	if tc.hour == 0 {
		tc.hour = 4
	}
	writeState(t, src, "backup", 5, tc.has...)
	writeState(t, out, "volume", tc.hour, tc.over...)
	e := enginetest.Open(t, kopia.Driver{}, r)
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	if tc.opt.DeleteExtra {
		s.ID = neverRested(t, e, s.ID)
	}
	tc.opt.OnConflict, tc.opt.Owners, tc.opt.Kept = tc.conflict, os.Getuid() == 0, new(repository.Kept)
	res, err := e.Restore(t.Context(), s.ID, out, tc.opt)
	g.Expect(err).NotTo(HaveOccurred())
	got := map[string]string{}
	for _, name := range pathsIn(t, out) {
		content, err := os.ReadFile(filepath.Join(out, name))
		g.Expect(err).NotTo(HaveOccurred())
		for _, state := range []string{"backup", "volume"} {
			if string(content) == contentOf(name, state) {
				got[name] = state
			}
		}
	}
	g.Expect(got).To(Equal(tc.want))
	var gone []string
	for _, name := range tc.over {
		if tc.want[name] == "" {
			gone = append(gone, name)
			g.Expect(told).To(ContainSubstring(fmt.Sprintf("%q: removed", name)))
		}
	}
	g.Expect(res.Deleted).To(BeEquivalentTo(len(gone)), told)
	for _, different := range []int{0, len(gone)} {
		compared, err := e.Compare(t.Context(), s.ID, out, tc.opt)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(compared.Different).To(BeEquivalentTo(different), "%v", compared.Problems)
		writeState(t, out, "volume", 6, gone...)
	}
}

// neverRested makes a snapshot whose root never rested during the backup.
func neverRested(t *testing.T, e repository.Engine, id string) string {
	t.Helper()
	return kopia.WithDescription(t, e, id, func(old string) string {
		var d map[string]any
		g := NewWithT(t)
		g.Expect(json.Unmarshal([]byte(old), &d)).To(Succeed())
		d["Rules"].(map[string]any)["Restless"] = []string{"."}
		b, err := json.Marshal(d)
		g.Expect(err).NotTo(HaveOccurred())
		return string(b)
	})
}

// TestAKilledRestoreOfADatabaseLeavesNoLogOfAnotherState kills a restore before each of its changes, and checks that
// the database of the snapshot never stands beside a log of another state, and that the next restore completes it.
func TestAKilledRestoreOfADatabaseLeavesNoLogOfAnotherState(t *testing.T) {
	t.Parallel()
	for _, conflict := range []repository.Conflict{repository.ConflictReplace, repository.ConflictNewer} {
		g, src, k := NewWithT(t), t.TempDir(), &killer{}
		writeState(t, src, "backup", 5, "app.db", "b")
		e := enginetest.Open(t, kopia.WithStep(kopia.Driver{}, k.step), initialized(t))
		s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		n := 1
		for killed := true; killed; n++ {
			out := enginetest.InMemory(t)
			writeState(t, out, "volume", 4, "app.db", "app.db-wal", "app.db-journal")
			killed = k.restore(t, e, s.ID, out, conflict, n)
			content, err := os.ReadFile(filepath.Join(out, "app.db"))
			g.Expect(err).NotTo(HaveOccurred())
			if string(content) == contentOf("app.db", "backup") {
				g.Expect(filepath.Join(out, "app.db-wal")).NotTo(BeAnExistingFile(), "killed after %d changes", n)
				g.Expect(filepath.Join(out, "app.db-journal")).NotTo(BeAnExistingFile(), "killed after %d changes", n)
			}
			_, err = e.Restore(t.Context(), s.ID, out, restoring(conflict))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(pathsIn(t, out)).To(ConsistOf("app.db", "b"))
			g.Expect(os.ReadFile(filepath.Join(out, "app.db"))).To(BeEquivalentTo(contentOf("app.db", "backup")))
		}
		g.Expect(n).To(BeNumerically(">", 8), "so few changes cannot be all")
	}
}

// TestADatabaseThatCannotBeReplacedKeepsItsLog checks that a database which stays is still one with its log: without it
// the database is an older state of itself.
func TestADatabaseThatCannotBeReplacedKeepsItsLog(t *testing.T) {
	t.Parallel()
	all := []string{"app.db", "app.db-journal", "app.db-shm", "app.db-wal"}
	for _, busy := range []string{"app.db", "app.db-journal"} { // a mount keeps its name
		g, src, out := NewWithT(t), t.TempDir(), t.TempDir()
		writeState(t, src, "backup", 5, "app.db")
		writeState(t, out, "volume", 4, all...)
		mountOver(t, filepath.Join(out, busy), filepath.Join(out, busy), false)
		e := enginetest.Open(t, kopia.Driver{}, initialized(t))
		s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		res, err := e.Restore(t.Context(), s.ID, out, restoring(repository.ConflictReplace))
		g.Expect(err).To(MatchError(repository.ErrTarget))
		g.Expect(pathsIn(t, out)).To(ConsistOf(all))
		for _, name := range all {
			g.Expect(os.ReadFile(filepath.Join(out, name))).To(BeEquivalentTo(contentOf(name, "volume")), name)
		}
		g.Expect(res.Deleted).To(BeZero())
	}
}
