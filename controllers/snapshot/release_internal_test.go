package snapshot

import (
	"errors"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

// TestTheLineOfARelease checks what the release of a Snapshot logs, and what becomes of a write that fails: an API
// server does not lose a write on demand.
func TestTheLineOfARelease(t *testing.T) {
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "snapshots"}, "one", errors.New("changed"))
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		write  error
		result ctrl.Result
		err    error
		want   string
	}{
		"released": {
			want: `"level"=0 "msg"="released the Snapshot" "why"="its deletionPolicy is not WipeOut"`,
		},
		"changed meanwhile": {
			write: conflict, result: ctrl.Result{RequeueAfter: soon},
			want: `"level"=1 "msg"="decides again, because the object changed meanwhile"`,
		},
		"the write fails": {write: broken, err: broken},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
			g.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
			s := &v1alpha1.Snapshot{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "shop", Name: "one", DeletionTimestamp: new(metav1.Now()),
					Finalizers: []string{v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord},
				},
				Spec: v1alpha1.SnapshotSpec{DeletionPolicy: v1alpha1.DeletionPolicy("Delete")},
			}
			c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(s).WithObjects(s).
				WithInterceptorFuncs(testbed.FailPatch(&tt.write)).Build()
			ctx, lines := loglines.Record(t.Context(), 1)
			r := &Reconciler{
				Client: c, APIReader: c, EventRecorder: record.NewFakeRecorder(10), FieldManager: "test",
				Clock: clock.RealClock{},
			}
			result, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s)})
			g.Expect(result).To(Equal(tt.result))
			if tt.err != nil {
				g.Expect(err).To(MatchError(tt.err))
				g.Expect(*lines).NotTo(ContainElement(ContainSubstring("released")))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(*lines).To(ContainElement(ContainSubstring(tt.want)))
			if tt.write == nil {
				err := c.Get(t.Context(), client.ObjectKeyFromObject(s), s)
				g.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "no finalizer holds the Snapshot")
			}
		})
	}
}

// The wipe of a Repository takes its Snapshots along without a mark on them. Whoever gives up one of them while that is
// half done must not read that its data stays.
func TestAHalfWipedRepositoryLeavesNoWholeSnapshot(t *testing.T) {
	t.Parallel()
	const stays = "the data stays in the backend: its removal was given up"
	for name, tt := range map[string]struct {
		began bool
		owner types.UID
		want  string
	}{
		"nothing has begun":   {owner: "repository", want: stays},
		"the wipe has begun":  {began: true, owner: "repository", want: stays + ". But its removal had begun"},
		"of an earlier owner": {began: true, owner: "earlier", want: stays},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
			g.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
			repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: "backups", UID: "repository",
			}}
			if tt.began {
				retention.MarkRemovalBegan(repository)
			}
			s := &v1alpha1.Snapshot{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "shop", Name: "one", UID: "one", DeletionTimestamp: new(metav1.Now()),
					Finalizers:  []string{v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord},
					Annotations: map[string]string{v1alpha1.AnnotationGiveUp: "one"},
					OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(
						&metav1.ObjectMeta{Name: "backups", UID: tt.owner},
						v1alpha1.GroupVersion.WithKind(v1alpha1.RepositoryKind))},
				},
				Spec: v1alpha1.SnapshotSpec{Repository: "backups", DeletionPolicy: v1alpha1.WipeOut},
			}
			c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(s).WithObjects(s, repository).Build()
			events := record.NewFakeRecorder(10)
			r := &Reconciler{
				Client: c, APIReader: c, EventRecorder: events, FieldManager: "test", Clock: clock.RealClock{},
			}
			_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s)})
			g.Expect(err).NotTo(HaveOccurred())
			said := <-events.Events
			g.Expect(said).To(ContainSubstring("DataKept " + tt.want))
			g.Expect(strings.Contains(said, "But its removal had begun")).To(Equal(tt.want != stays))
		})
	}
}
