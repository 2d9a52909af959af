package status

import (
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

// Each transition is one line at the level of information. A wait, and that there was nothing to do, is one at V(1).
func TestTransitionsAreLogged(t *testing.T) {
	waits := func(r *v1alpha1.Repository) {
		r.Status.Phase = v1alpha1.PhaseNotReady
		conditions.MarkUnknown(r, meta.ReadyCondition, v1alpha1.ReasonProgressing, "the Job runs")
	}
	const object = `"repository"={"name"="data" "namespace"="shop"}`
	for name, c := range map[string]struct {
		before, edit func(*v1alpha1.Repository)
		kind         string
		info, debug  []any
	}{
		"a new phase": {
			before: notReady, edit: becomesReady, kind: v1alpha1.RepositoryKind,
			info: []any{
				And(ContainSubstring(`"msg"="phase changed"`), ContainSubstring(`"from"="NotReady" "to"="Ready"`),
					ContainSubstring(`"reason"="Ready"`), Not(ContainSubstring(object))),
			},
		},
		"a new phase of an object that no request names": {
			before: notReady, edit: becomesReady, kind: v1alpha1.SnapshotKind,
			info: []any{ContainSubstring(object)},
		},
		"another reason": {
			before: notReady, edit: func(r *v1alpha1.Repository) {
				conditions.MarkFalse(r, meta.ReadyCondition, v1alpha1.ReasonUnreachable, "down")
			},
			info: []any{
				And(ContainSubstring(`"msg"="readiness changed"`), ContainSubstring(v1alpha1.ReasonUnreachable)),
			},
		},
		"a wait": {
			before: notReady, edit: waits,
			debug: []any{And(ContainSubstring(`"msg"="waits"`), ContainSubstring("the Job runs"))},
		},
		"nothing": {
			before: waits, edit: func(*v1alpha1.Repository) {},
			debug: []any{And(ContainSubstring(`"msg"="waits"`), ContainSubstring("the Job runs"))},
		},
		"nothing, of an object that is ready": {
			before: becomesReady, edit: func(*v1alpha1.Repository) {},
			debug: []any{ContainSubstring("nothing to write")},
		},
		"nothing, of an object that is tried again": {
			before: func(r *v1alpha1.Repository) { NotReady(r, v1alpha1.ReasonUnreachable, "down") },
			edit:   func(*v1alpha1.Repository) {},
			debug:  []any{And(ContainSubstring(`"msg"="waits"`), ContainSubstring("down"))},
		},
		"nothing, of an object that has failed": {
			before: func(r *v1alpha1.Repository) {
				conditions.MarkFalse(r, meta.ReadyCondition, v1alpha1.ReasonUnreachable, "down")
			},
			edit:  func(*v1alpha1.Repository) {},
			debug: []any{And(ContainSubstring("nothing to write"), ContainSubstring("down"))},
		},
		"nothing, of an object that a person has to mend": {
			before: func(r *v1alpha1.Repository) {
				r.Status.Phase = v1alpha1.PhaseNotReady
				conditions.MarkFalse(r, meta.ReadyCondition, v1alpha1.ReasonInvalidPath, "make another")
				conditions.MarkTrue(r, meta.StalledCondition, v1alpha1.ReasonInvalidPath, "make another")
			},
			edit:  func(*v1alpha1.Repository) {},
			debug: []any{ContainSubstring("nothing to write")},
		},
		"a deletion that begins to wait": {
			before: deleted, edit: func(r *v1alpha1.Repository) {
				conditions.MarkFalse(r, v1alpha1.ConditionWiped, v1alpha1.ReasonInUse, "a restore reads it")
			},
			debug: []any{And(ContainSubstring(`"msg"="waits for the removal of its data"`),
				ContainSubstring(`"reason"="InUse"`), ContainSubstring("a restore reads it"))},
		},
		"nothing, of a deletion that waits": {
			before: func(r *v1alpha1.Repository) {
				deleted(r)
				conditions.MarkFalse(r, v1alpha1.ConditionWiped, v1alpha1.ReasonInUse, "a restore reads it")
			},
			edit:  func(*v1alpha1.Repository) {},
			debug: []any{ContainSubstring("waits for the removal of its data")},
		},
		"a deletion whose wait is over": {
			before: func(r *v1alpha1.Repository) {
				deleted(r)
				conditions.MarkFalse(r, v1alpha1.ConditionWiped, v1alpha1.ReasonInUse, "a restore reads it")
			},
			edit: func(r *v1alpha1.Repository) { r.Status.Size = "1 B" },
		},
		"nothing, of an object that has only its finalizers": {
			before: func(*v1alpha1.Repository) {}, edit: func(*v1alpha1.Repository) {},
		},
		"a field alone": {
			before: notReady, edit: func(r *v1alpha1.Repository) { r.Status.Size = "1 B" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			ctx, lines := loglines.Record(t.Context(), 1)
			p := newPatched(t, c.before)
			w := Writer{Client: p.Client, Owner: "test", Kind: c.kind}
			object := p.get(t)
			before := object.DeepCopy()
			c.edit(object)
			g.Expect(w.Status(ctx, before, object)).To(Succeed())
			var info, debug []string
			for _, line := range *lines {
				if strings.Contains(line, `"level"=0`) {
					info = append(info, line)
				} else {
					debug = append(debug, line)
				}
			}
			g.Expect(info).To(HaveExactElements(c.info...))
			g.Expect(debug).To(HaveExactElements(c.debug...))
		})
	}
}

func deleted(r *v1alpha1.Repository) {
	becomesReady(r)
	r.DeletionTimestamp, r.Finalizers = new(metav1.Now()), []string{v1alpha1.FinalizerWipe}
}

// An event belongs to a change: a status that stays as it is emits none.
func TestAnnounce(t *testing.T) {
	g := NewWithT(t)
	p := newPatched(t, notReady)
	events := record.NewFakeRecorder(2)
	w := Writer{Client: p.Client, Events: events, Owner: "test"}
	event := &run.Event{Type: "Normal", Reason: "Started", Message: "it has started"}
	object := p.get(t)
	before := object.DeepCopy()
	becomesReady(object)
	g.Expect(w.Announce(t.Context(), before, object, event)).To(Succeed())
	g.Expect(events.Events).To(Receive(ContainSubstring("it has started")))
	g.Expect(w.Announce(t.Context(), object.DeepCopy(), object, event)).To(Succeed())
	g.Expect(events.Events).To(BeEmpty())
}
