package status

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

// Work that fails because its namespace is being deleted is not tried again: the object goes too.
func TestANamespaceThatGoesIsNoError(t *testing.T) {
	gone := apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("repositories").GroupResource(), "data",
		errors.New("being terminated"))
	gone.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	other := errors.New("something else")
	for name, c := range map[string]struct{ err, want error }{
		"nothing":               {nil, nil},
		"a namespace that goes": {fmt.Errorf("apply Repository: %w", gone), nil},
		"any other error":       {other, other},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
			object := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3"}}
			writer := Writer{
				Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(object).WithStatusSubresource(object).
					Build(),
				Events: record.NewFakeRecorder(1), Owner: "test",
			}
			_, err := writer.Reconcile(t.Context(), client.ObjectKeyFromObject(object), &v1alpha1.BackupStorage{},
				func(context.Context) (ctrl.Result, error) { return ctrl.Result{}, c.err })
			if c.want == nil {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(c.want))
			}
		})
	}
}

// Work is not for records and not for objects that are being deleted, and the log says so.
func TestWhatIsLeftAlone(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*v1alpha1.Repository)
		line string
	}{
		"a record": {func(r *v1alpha1.Repository) {
			r.Annotations = map[string]string{v1alpha1.AnnotationRecord: "x"}
		}, "was applied from a record"},
		"a deletion": {deleted, "is being deleted"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p := newPatched(t, c.edit)
			ctx, lines := loglines.Record(t.Context(), 1)
			_, err := Writer{Client: p.Client, Owner: "test"}.Reconcile(ctx, p.key,
				&v1alpha1.Repository{}, func(context.Context) (ctrl.Result, error) {
					return ctrl.Result{}, errors.New("it worked on it")
				})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(*lines).To(HaveExactElements(ContainSubstring(c.line)))
		})
	}
}

// A reader who waits for Ready and a reader who waits for the phase see both at once.
func TestAStatusIsWrittenInOneRequest(t *testing.T) {
	g := NewWithT(t)
	p := newPatched(t, notReady)
	events := record.NewFakeRecorder(2)
	writer := Writer{Client: p.Client, Events: events, Owner: "test"}
	reconcile := func() (ctrl.Result, error) {
		r := &v1alpha1.Repository{}
		return writer.Reconcile(t.Context(), p.key, r, func(context.Context) (ctrl.Result, error) {
			becomesReady(r)
			return ctrl.Result{}, nil
		})
	}
	g.Expect(reconcile()).To(BeZero())
	g.Expect([]int{p.status, p.rest}).To(Equal([]int{1, 0}))
	g.Expect(p.seen[0].Status.Phase).To(Equal(v1alpha1.PhaseReady))
	g.Expect(conditions.IsReady(&p.seen[0])).To(BeTrue())
	g.Expect(events.Events).To(Receive(ContainSubstring("it can be used")))

	g.Expect(reconcile()).To(BeZero())
	g.Expect([]int{p.status, p.rest}).To(Equal([]int{1, 0}), "nothing has changed")
}

// A status computed from an outdated object can be wrong: it is neither written nor announced, but computed again.
func TestWhatWasWorkedOutFromAnOldObjectIsNotWritten(t *testing.T) {
	g := NewWithT(t)
	p := newPatched(t, notReady)
	events := record.NewFakeRecorder(2)
	writer := Writer{Client: p.Client, Events: events, Owner: "test"}
	work := errors.New("work failed")
	p.first = func(other client.Client) {
		r := p.get(t)
		r.Status.Size = "1 B"
		g.Expect(other.Status().Update(t.Context(), r)).To(Succeed())
	}
	reconcile := func(err error) (ctrl.Result, error) {
		r := &v1alpha1.Repository{}
		return writer.Reconcile(t.Context(), p.key, r, func(context.Context) (ctrl.Result, error) {
			becomesReady(r)
			r.Status.Size += "!"
			return ctrl.Result{RequeueAfter: time.Hour}, err
		})
	}
	first := p.first
	g.Expect(reconcile(nil)).To(Equal(ctrl.Result{RequeueAfter: again}))
	g.Expect(conditions.IsReady(p.get(t))).To(BeFalse())
	p.first = first
	_, err := reconcile(work)
	g.Expect(err).To(MatchError(work), "the error of work makes it run again")
	g.Expect(events.Events).To(BeEmpty())

	g.Expect(reconcile(nil)).To(Equal(ctrl.Result{RequeueAfter: time.Hour}))
	g.Expect(p.get(t).Status.Size).To(Equal("1 B!"), "what another writer wrote is not lost")
	g.Expect(conditions.IsReady(p.get(t))).To(BeTrue())
}

// A warning is one event once it is written. With eachMessage, it is another event when its message changes.
func TestAWarningIsAnEventOnceItIsWritten(t *testing.T) {
	for name, eachMessage := range map[string]bool{"each message": true, "the first message": false} {
		t.Run(name, func(t *testing.T) { warnsOnceWritten(t, eachMessage) })
	}
}

func warnsOnceWritten(t *testing.T, eachMessage bool) {
	t.Helper()
	g := NewWithT(t)
	p := newPatched(t, becomesReady)
	events := record.NewFakeRecorder(9)
	writer := Writer{
		Client: p.Client, Events: events, Owner: "test",
		Warnings: []Warning{{Condition: v1alpha1.ConditionVolumeSnapshotsAtRisk, EachMessage: eachMessage}},
	}
	warn := func(message string) {
		r := &v1alpha1.Repository{}
		_, err := writer.Reconcile(t.Context(), p.key, r, func(context.Context) (ctrl.Result, error) {
			conditions.MarkTrue(r, v1alpha1.ConditionVolumeSnapshotsAtRisk, "Deletes", "%s", message)
			return ctrl.Result{}, nil
		})
		g.Expect(err).NotTo(HaveOccurred())
	}
	p.first = func(other client.Client) {
		r := p.get(t)
		r.Status.Size = "1 B"
		g.Expect(other.Status().Update(t.Context(), r)).To(Succeed())
	}
	warn("class a deletes")
	g.Expect(events.Events).To(BeEmpty(), "another writer was faster")
	warn("class a deletes")
	g.Expect(events.Events).To(Receive(ContainSubstring("class a deletes")))
	warn("class a deletes")
	g.Expect(events.Events).To(BeEmpty())
	warn("class b deletes")
	if eachMessage {
		g.Expect(events.Events).To(Receive(ContainSubstring("class b deletes")))
	}
	g.Expect(events.Events).To(BeEmpty())
}
