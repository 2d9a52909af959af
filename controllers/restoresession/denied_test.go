package restoresession

import (
	"context"
	"errors"
	"net/http"
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
