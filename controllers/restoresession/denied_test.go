package restoresession

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// What a restore needs is tried again, and fails the restore with the words of the API server if that goes on for too
// long.
func TestWhatTheAPIServerRefusesIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		kind   string
		code   int32
		passes bool
	}{
		"a Job, for ever":                     {kind: "Job", code: http.StatusForbidden},
		"a Job, by a webhook that comes back": {kind: "Job", code: http.StatusInternalServerError, passes: true},
		"a Secret, for ever":                  {kind: "Secret", code: http.StatusBadRequest},
		"an account, for a while":             {kind: "ServiceAccount", code: http.StatusForbidden, passes: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var denied error
			w.Client = interceptor.NewClient(w.Client, testbed.Deny(tt.kind, "", &denied))
			w.restore("restore")
			denied = testbed.Denied(tt.code)
			for range 3 {
				w.Reconcile("restore")
			}
			s := w.session("restore")
			w.Expect(s.Status.Phase).To(Equal(v1alpha1.RestoreSessionRunning))
			w.Expect(s.Status.Conditions).To(ContainElement(And(
				HaveField("Type", v1alpha1.ConditionCreationRefused),
				HaveField("Message", ContainSubstring("rules.example.com")))))
			w.Expect(w.EventReasons()).To(ConsistOf(run.ReasonStarted, v1alpha1.ReasonCreationRefused))
			if tt.passes {
				denied = nil
			}
			w.Clock.SetTime(w.Clock.Now().Add(run.WaitForRefused))
			s = w.settle("restore")
			w.Expect(apimeta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionCreationRefused)).To(BeNil())
			if tt.passes {
				w.Expect(s.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
				return
			}
			w.Expect(s.Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
			w.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonCreationRefused))
			w.Expect(apimeta.FindStatusCondition(s.Status.Conditions, "Ready").Message).
				To(ContainSubstring("rules.example.com"))
		})
	}
}

func TestARefusalIsTriedAgainAfterAPauseAndNotAtEachEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tried := 0
	w.Client = interceptor.NewClient(w.Client, testbed.DenyEach("Job", &tried))
	w.restore("restore")
	r := reconciler(w.World) // it remembers what another one does not
	look := func() (pause time.Duration) {
		for range 4 {
			result, err := r.Reconcile(t.Context(), ctrl.Request{
				NamespacedName: client.ObjectKey{Namespace: w.Namespace, Name: "restore"},
			})
			w.Expect(err).NotTo(HaveOccurred())
			pause = result.RequeueAfter
		}
		return pause
	}
	for n := 1; n <= 4; n++ {
		pause := look()
		w.Expect(tried).To(Equal(n), "events try nothing")
		w.Clock.SetTime(w.Clock.Now().Add(pause))
	}
	w.Clock.SetTime(w.Clock.Now().Add(run.WaitForRefused))
	w.Expect(ending(w.settle("restore"))).To(Equal("Failed/CreationRefused"))
}

// The applications of a restore can wait, scaled down or frozen, when its database can no longer be looked up.
func TestADatabaseThatCannotBeLookedUpLaterFailsItsRestore(t *testing.T) {
	t.Parallel()
	w, _ := databaseWorld(t, true)
	w.restore("restore", intoService(auth))
	whole, broken := w.Client, apierrors.NewInternalError(errors.New("conversion webhook for v1 failed: no answer"))
	w.Client = interceptor.NewClient(whole, interceptor.Funcs{Get: func(
		ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption,
	) error {
		if _, ok := o.(*corev1.Service); ok && w.session("restore").Status.Resolved != nil {
			return broken
		}
		return c.Get(ctx, key, o, opts...)
	}})
	w.Reconcile("restore")
	w.Reconcile("restore")
	s := w.session("restore")
	w.Expect(s.Status.Phase).To(Equal(v1alpha1.RestoreSessionRunning))
	w.Expect(s.Status.Conditions).To(ContainElement(And(HaveField("Type", v1alpha1.ConditionCreationRefused),
		HaveField("Message", ContainSubstring(broken.Error())))))
	w.Clock.SetTime(w.Clock.Now().Add(run.WaitForRefused))
	w.Expect(ending(w.settle("restore"))).To(Equal("Failed/CreationRefused"))
	w.Expect(w.Jobs()).To(BeEmpty())
}

// A policy of the cluster forbids to change what a restore writes into, such as a rule for labels that came after the
// claim; or it can't be asked.
func TestATargetThatMayNotBeChanged(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		code             int32
		database         bool
		written          bool // by then
		passes, deletion bool
		want             string
	}{
		"before it is written, for ever":       {code: http.StatusForbidden, want: "Failed/CreationRefused"},
		"a database, for ever":                 {code: 403, database: true, want: "Failed/CreationRefused"},
		"before it is written, for a while":    {code: 500, passes: true, want: "Succeeded/Succeeded"},
		"when it is written, for ever":         {code: 403, written: true, want: "Succeeded/Succeeded"},
		"when it is written, by an expression": {code: 422, written: true, want: "Succeeded/Succeeded"},
		"when it is written, for a while":      {code: 403, written: true, passes: true, want: "Succeeded/Succeeded"},
		"when it is written, by nobody":        {code: 500, written: true, want: "Succeeded/Succeeded"},
		"a database that is written":           {code: 403, database: true, written: true, want: "Succeeded/Succeeded"},
		"of a restore that is deleted":         {code: 403, written: true, deletion: true, want: "Succeeded/Succeeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, target, kind := newWorld(t), func(*v1alpha1.RestoreSession) {}, "PersistentVolumeClaim"
			if tt.database {
				w, _ = databaseWorld(t, true)
				target, kind = intoService(auth), "Lease"
				w.restore("earlier", target)
				w.settle("earlier")
				w.EventReasons()
			}
			var denied error
			w.Client = interceptor.NewClient(w.Client, testbed.DenyPatch(kind, "", &denied))
			w.restore("restore", target)
			if tt.written {
				w.Reconcile("restore")
				w.Cluster()
			}
			denied = testbed.Denied(tt.code)
			for range 3 {
				w.Reconcile("restore")
			}
			s := w.session("restore")
			w.Expect(s.Status.Phase).To(Equal(v1alpha1.RestoreSessionRunning))
			w.Expect(message(s)).To(And(HavePrefix("waiting: "), ContainSubstring("rules.example.com")))
			w.Expect(w.EventReasons()).To(ConsistOf(run.ReasonStarted, v1alpha1.ReasonCreationRefused))
			if tt.passes {
				denied = nil
			}
			if tt.deletion {
				w.Expect(w.Client.Delete(t.Context(), s)).To(Succeed())
			}
			w.Clock.SetTime(w.Clock.Now().Add(run.WaitForRefused))
			s = w.settle("restore")
			w.Expect(ending(s)).To(Equal(tt.want), message(s))
			w.Expect(apimeta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionCreationRefused)).To(BeNil())
			w.Expect(strings.Contains(message(s), "rules.example.com")).To(Equal(!tt.passes), message(s))
			denied = nil
			w.forget("restore")
			w.restore("restore", target)
			w.Reconcile("restore")
			want := v1alpha1.RestoreSessionRunning
			if tt.passes {
				want = v1alpha1.RestoreSessionSkipped
			}
			w.Expect(w.session("restore").Status.Phase).To(Equal(want), "what nobody knows of is not Ready")
		})
	}
}

// One claim of two may not be changed: the other one is marked all the same.
func TestAClaimThatMayNotBeChangedHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	both := w.twoClaims()
	var denied error
	w.Client = interceptor.NewClient(w.Client, testbed.DenyPatch("PersistentVolumeClaim", "target", &denied))
	w.restore("restore", both)
	w.Reconcile("restore")
	w.Cluster()
	denied = testbed.Denied(http.StatusForbidden)
	w.Reconcile("restore")
	w.Expect(w.claim("other").Annotations).To(HaveKey(v1alpha1.AnnotationRestored))
	w.Clock.SetTime(w.Clock.Now().Add(run.WaitForRefused))
	s := w.settle("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"))
	w.Expect(message(s)).To(And(ContainSubstring("not Skipped"), ContainSubstring(v1alpha1.AnnotationHalfRestored),
		ContainSubstring("PersistentVolumeClaim target")))
	w.Expect(w.claim("other").Annotations).NotTo(HaveKey(v1alpha1.AnnotationRestoring))
	w.Expect(w.claim("target").Annotations).NotTo(HaveKey(v1alpha1.AnnotationRestored))
}
