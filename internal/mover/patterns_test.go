package mover_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/task"
)

// TestPatternsNameThePathsOfTheContainer backs up with the patterns of a user of KubeStash or Stash. What they exclude
// is not in the backup, and a restore deletes none of it.
func TestPatternsNameThePathsOfTheContainer(t *testing.T) {
	mounts := []v1alpha1.ResolvedMount{{Path: "/source/data"}, {Path: "/site", SubPath: "www"}}
	for name, tc := range map[string]struct {
		component task.Component
		exclude   []string
		unmatched []string
		left      map[string]string
	}{
		"a mount path": {
			component: task.Component{Mounts: mounts},
			exclude:   []string{"/source/data/lost+found", "/source/data/nothing", "cache/tmp", "/site/log"},
			unmatched: []string{"/source/data/nothing"},
			left:      map[string]string{"a": "1", "www/cache/x": "4"},
		},
		"a mount path, and a part of the volume": {
			component: task.Component{Mounts: mounts, Path: "www"},
			exclude:   []string{"/source/data/www/log", "/site/cache/tmp"},
			left:      map[string]string{"cache/x": "4"},
		},
		"the path of KubeStash": {
			exclude: []string{"/kubestash-data/lost+found", "/kubestash-data/www"},
			left:    map[string]string{"a": "1"},
		},
		"the path of Stash": {
			exclude: []string{"/stash-data/lost+found", "/stash-data/www"},
			left:    map[string]string{"a": "1"},
		},
		"a path in the volume": {
			component: task.Component{Path: "/www"}, exclude: []string{"/www/log", "/cache/tmp", "/log/x"},
			unmatched: []string{"/log/x"},
			left:      map[string]string{"cache/x": "4"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			p := initialised(t)
			for file, text := range map[string]string{
				"a": "1", "lost+found/b": "2", "www/log/c": "3", "www/cache/x": "4", "www/cache/tmp/d": "5",
			} {
				p.write("cairn/volumes/pvc/"+file, text)
			}
			tc.component.Name = "pvc"
			code, result := p.run(t.Context(), backupTask("snap-1", tc.component), tc.exclude...)
			g.Expect(code).To(BeZero(), result.Message)
			c := result.Components[0]
			g.Expect(c.UnmatchedPatterns).To(Equal(tc.unmatched))
			told := p.reports.snapshots["pvc"]
			g.Expect(told[len(told)-1].UnmatchedPatterns).To(Equal(tc.unmatched), "the status says it")
			_, result = p.run(t.Context(), backupTask("snap-1", tc.component), tc.exclude...)
			g.Expect(result.Components[0].UnmatchedPatterns).To(Equal(tc.unmatched), "a second mover says the same")

			g.Expect(os.MkdirAll(filepath.Join(p.root, "cairn/volumes/new"), 0o755)).To(Succeed())
			_, result = p.run(t.Context(), restoreTask(c.ID))
			g.Expect(result.Components[0].Reason).To(BeEmpty(), result.Message)
			g.Expect(files(t, filepath.Join(p.root, "cairn/volumes/new"))).To(Equal(tc.left))
		})
	}
}

// TestARestoreKeepsWhatTheBackupExcluded restores with deleteExtraFiles over the volume that was backed up.
func TestARestoreKeepsWhatTheBackupExcluded(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	for _, file := range []string{"a", "cache/x", "dir/b"} {
		p.write("cairn/volumes/pvc/"+file, "ours")
	}
	c := p.backs("snap-1", nil, "", "/kubestash-data/cache")
	for _, file := range []string{"a", "cache/x", "cache/y", "dir/extra"} {
		p.write("cairn/volumes/pvc/"+file, "theirs")
	}
	in := restoreTask(c.ID)
	in.Components[0].Name = "pvc"
	in.Restore = &task.Restore{Overwrite: v1alpha1.OverwriteAlways, DeleteExtra: true, Verify: true}
	_, result := p.run(t.Context(), in)
	r := result.Components[0]
	g.Expect(r.Reason).To(BeEmpty(), r.Error)
	g.Expect(files(t, p.volume())).To(Equal(map[string]string{
		"a": "ours", "cache/x": "theirs", "cache/y": "theirs", "dir/b": "ours",
	}))
	g.Expect([]int64{r.Deleted, r.ExtraKept}).To(Equal([]int64{1, 0}))
}

// TestARestoreOfNothingIsNoSuccess checks patterns of a restore that match nothing.
func TestARestoreOfNothingIsNoSuccess(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/a", "ours")
	p.write("cairn/volumes/pvc/b", "ours")
	c := p.backs("snap-1", nil, "")
	p.write("cairn/volumes/new/uploads/x", "theirs")
	in := restoreTask(c.ID)
	in.Restore = &task.Restore{Overwrite: v1alpha1.OverwriteAlways, DeleteExtra: true}
	_, result := p.with(t.Context(), in, mover.Flags{Include: []string{"/uploads"}})
	r := result.Components[0]
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonEmpty), r.Error)
	g.Expect(r.UnmatchedPatterns).To(Equal([]string{"/uploads"}))
	out := filepath.Join(p.root, "cairn/volumes/new")
	g.Expect(files(t, out)).To(Equal(map[string]string{"uploads/x": "theirs"}), "nothing is deleted for it")

	_, result = p.with(t.Context(), in, mover.Flags{
		Include: []string{"/kubestash-data/a", "c"}, Exclude: []string{"uploads", "d"},
	})
	r = result.Components[0]
	g.Expect(r.Reason).To(BeEmpty(), r.Error)
	g.Expect(files(t, out)).To(Equal(map[string]string{"uploads/x": "theirs", "a": "ours"}))
	told := p.reports.restores["new"]
	g.Expect(told[len(told)-1].UnmatchedPatterns).To(Equal([]string{"c", "d"}), "the status says it")

	in.Components[0].Files = 2
	_, result = p.with(t.Context(), in, mover.Flags{Exclude: []string{"*"}})
	g.Expect(result.Components[0].Reason).To(Equal(v1alpha1.ReasonEmpty), "everything is left out")
}
