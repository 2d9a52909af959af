package backup_test

import (
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

// The targets follow each other, so the copy of the second one is made when the mover of the first one has ended. It
// can be of what a pod writes that nobody froze.
func TestACopyIsWholeIfItIsFromBeforeTheFrozenPodWasReplaced(t *testing.T) {
	const ofA, ofB = time.Duration(0), 20 * time.Minute // when the copies are made
	for name, tt := range map[string]struct {
		class     string
		since     time.Duration // when the frozen pod was replaced, or its container ended
		restarted bool
		ends      bool // it terminates while it is thawed
		killed    bool // when the copies were discarded, before that was written
		lost      bool // nobody knows when the copies were made
		torn      []string
	}{
		"before both copies":        {class: "snap", since: ofA - time.Hour, torn: []string{"a", "b"}},
		"between the copies":        {class: "snap", since: ofA + 10*time.Minute, torn: []string{"b"}},
		"between clones":            {since: ofA + 10*time.Minute, torn: []string{"b"}},
		"after both copies":         {class: "snap", since: ofB + 10*time.Minute},
		"nobody knows":              {class: "snap", since: -1},
		"a restart after them":      {class: "snap", since: ofB + 10*time.Minute, restarted: true},
		"it was told to end first":  {class: "snap", since: ofA - time.Minute, ends: true, torn: []string{"a", "b"}},
		"it was told to end after":  {class: "snap", since: ofB + 10*time.Minute, ends: true},
		"killed before both copies": {class: "snap", since: ofA - time.Hour, killed: true, torn: []string{"a", "b"}},
		"killed after both copies":  {class: "snap", since: ofB + 10*time.Minute, killed: true},
		"nobody knows of copies":    {class: "snap", since: ofB + 10*time.Minute, lost: true, torn: []string{"a", "b"}},
		"nobody knows anything":     {class: "snap", since: -1, lost: true},
		"by the clock of its node":  {class: "snap", since: ofB + 2*time.Minute, restarted: true, torn: []string{"b"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			target := func(name string) v1alpha1.ResolvedTarget {
				out := runtest.Target(name, "data-"+name)
				out.Copies = []v1alpha1.ResolvedCopy{{
					ClaimName: "data-" + name, Name: "copy-" + name, VolumeSnapshotClassName: tt.class,
					StorageClassName: "fast", Immediate: true, Size: resource.MustParse("1Gi"),
				}}
				return out
			}
			h := attempting(frozenAs(backup.Start{
				Timeout: 2 * time.Hour, ExecutionOrder: v1alpha1.ExecutionSequential,
				Hooks: freezing("app=db", "app=db"),
			}, target("a"), target("b")))
			h.copies = map[string]backup.Copy{}
			begin := h.at
			was := v1alpha1.HookPod{Name: "db-0", UID: "1", Container: "db", ContainerID: "a"}
			is := v1alpha1.HookPod{Name: "db-0", UID: "2", Container: "db", ContainerID: "b"}
			if tt.restarted || tt.ends {
				is.UID = was.UID
			}
			if tt.ends {
				is.ContainerID = was.ContainerID
			}
			if tt.since != -1 {
				is.Since = new(metav1.NewTime(begin.Add(tt.since)))
			}
			h.outcome = choosing(map[string]v1alpha1.HookPod{"freeze": was, "thaw": is})
			h.mover = func(m backup.Mover) run.Job {
				if m.Target.Name == "a" {
					h.at = begin.Add(ofB)
				}
				return runtest.Succeeded(m.Host.Volumes[0].Component)
			}
			for kills := tt.killed; kills || tt.lost && !h.session.Status.Phase.Terminal(); {
				before := *h.session.Status.DeepCopy()
				d := h.look()
				if kills && len(d.Discard) > 0 {
					kills, h.session.Status = false, before
				}
				for i := range h.session.Status.Targets {
					if tt.lost {
						h.session.Status.Targets[i].CopiedAt = nil
					}
				}
				h.at = h.at.Add(time.Second)
			}
			h.settle(g)
			s := h.session
			g.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonSucceeded))
			if !tt.lost {
				g.Expect(s.Status.Targets[0].CopiedAt.Time).To(BeTemporally("~", begin.Add(ofA), time.Minute))
				g.Expect(s.Status.Targets[1].CopiedAt.Time).To(BeTemporally("~", begin.Add(ofB), time.Minute))
			}
			var torn []string
			for _, name := range []string{"a", "b"} {
				if strings.Contains(conditions.GetMessage(s, v1alpha1.ConditionPartial), name+": the frozen pod") {
					torn = append(torn, name)
				}
			}
			g.Expect(torn).To(Equal(tt.torn))
		})
	}
}

// Two hooks freeze a pod each, and both pods are replaced: web after the copy, db before it.
func TestEachReplacedPodCounts(t *testing.T) {
	for _, order := range [][]string{{"web", "db"}, {"db", "web"}} {
		g := NewWithT(t)
		target := runtest.Target("a", "data-a")
		target.Copies = []v1alpha1.ResolvedCopy{{
			ClaimName: "data-a", Name: "copy-a", VolumeSnapshotClassName: "snap", StorageClassName: "fast",
			Immediate: true, Size: resource.MustParse("1Gi"),
		}}
		hooks := &v1alpha1.ResolvedHooks{}
		for _, app := range order {
			hooks.Pre = append(hooks.Pre, resolvedHook("freeze-"+app, inPods("app="+app)))
			hooks.Post = append(hooks.Post, resolvedHook("thaw-"+app, inPods("app="+app)))
		}
		h := attempting(frozenAs(backup.Start{Timeout: 2 * time.Hour, Hooks: hooks}, target))
		h.copies = map[string]backup.Copy{}
		since := func(d time.Duration) *metav1.Time { return new(metav1.NewTime(h.at.Add(d))) }
		h.outcome = choosing(map[string]v1alpha1.HookPod{
			"freeze-web": {Name: "web", UID: "1"}, "thaw-web": {Name: "web", UID: "2", Since: since(time.Hour)},
			"freeze-db": {Name: "db", UID: "3"}, "thaw-db": {Name: "db", UID: "4", Since: since(-time.Hour)},
		})
		h.settle(g)
		g.Expect(h.session.Status.Reason).To(Equal(v1alpha1.ReasonSucceeded))
		partial := conditions.GetMessage(h.session, v1alpha1.ConditionPartial)
		g.Expect(partial).To(ContainSubstring("thaw-db"), "%v", order)
	}
}
