package judge_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/judge"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// Scopes are in repositories. With other values the first backup after an upgrade would be compared with nothing.
func TestScopesStayAsTheyAre(t *testing.T) {
	t.Parallel()
	dump := func(scope string) task.Component {
		return task.Component{Name: "dump", Stream: &v1alpha1.ResolvedStream{
			Command: []string{"pg_dump", "--format=custom"}, FileName: "dump", Scope: scope,
			Args: []v1alpha1.ResolvedStreamArgument{{Value: `--dbname="shop"`}, {Value: "--tls", IfKey: "ca.crt"}},
		}}
	}
	plain := dump("")
	plain.Stream.Args = nil
	for name, tc := range map[string]struct {
		of      task.Component
		exclude []string
		want    []string
	}{
		"a volume": {
			of: task.Component{Name: "data", Path: "/a/"}, exclude: []string{"*.tmp", "b"},
			want: []string{"c3a9cb54130395e6"},
		},
		"a program without arguments":      {of: plain, want: []string{"5740d16f15e29145"}},
		"a program":                        {of: dump(""), want: []string{"8f2e40d036e2c07d"}},
		"a program that says what selects": {of: dump("selected"), want: []string{"selected", "8f2e40d036e2c07d"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			NewWithT(t).Expect(judge.Scopes(tc.of, tc.exclude)).To(Equal(tc.want))
		})
	}
}

func TestThePreviousBackupIsTheNewestOfItsScopes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	made := func(id, scope string, ago time.Duration) repository.Snapshot {
		return repository.Snapshot{
			ID: id, Start: now.Add(-ago),
			Tags: map[string]string{judge.TagSnapshotUID: id, judge.TagScope: scope},
		}
	}
	old, other := made("old", "command", 3*time.Hour), made("other", "tables", time.Hour)
	for name, tc := range map[string]struct {
		all  []repository.Snapshot
		want string
	}{
		"nothing":                {nil, ""},
		"of an earlier version":  {[]repository.Snapshot{old, other}, "old"},
		"of this one":            {[]repository.Snapshot{old, made("new", "scope", 2*time.Hour), other}, "new"},
		"of an earlier one last": {[]repository.Snapshot{made("new", "scope", 4*time.Hour), old, other}, "old"},
		"of another scope":       {[]repository.Snapshot{other}, ""},
		"of a clock ahead":       {[]repository.Snapshot{made("ahead", "scope", -time.Hour)}, "ahead"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			done, previous := judge.FindPrevious(tc.all, "mine", []string{"scope", "command"}, now)
			g.Expect(done).To(BeNil())
			if tc.want == "" {
				g.Expect(previous).To(BeNil())
				return
			}
			g.Expect(previous).To(HaveField("ID", tc.want))
		})
	}
}
