package retention

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// TestAnEntryThatIsNotWrittenIsAnError checks that a lost entry is written again, and that a BackupSession that is gone
// needs none.
func TestAnEntryThatIsNotWrittenIsAnError(t *testing.T) {
	resource := schema.GroupResource{Group: v1alpha1.Group, Resource: "backupsessions"}
	for name, tt := range map[string]struct {
		answer error
		fails  bool
	}{
		"written":  {nil, false},
		"gone":     {apierrors.NewNotFound(resource, "nightly"), false},
		"conflict": {apierrors.NewConflict(resource, "nightly", nil), true},
		"refused":  {apierrors.NewForbidden(resource, "nightly", nil), true},
	} {
		t.Run(name, func(t *testing.T) {
			api := interceptor.Funcs{SubResourceApply: func(
				context.Context, client.Client, string, runtime.ApplyConfiguration, ...client.SubResourceApplyOption,
			) error {
				return tt.answer
			}}
			r := &Reconciler{Client: fake.NewClientBuilder().WithInterceptorFuncs(api).Build()}
			session := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "nightly"}}
			err := r.writeSession(t.Context(), session, v1alpha1.RetentionPolicyApplyStatus{Repository: "data"})
			NewWithT(t).Expect(err != nil).To(Equal(tt.fails), "%v", err)
		})
	}
}

// A clock in doubt removes nothing now, and can remove something later.
func TestRetentionInDoubtIsPending(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		doubt string
		want  v1alpha1.RetentionPhase
	}{
		"no doubt": {"", v1alpha1.RetentionApplied},
		"a doubt":  {"the clock jumped", v1alpha1.RetentionPending},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			is, ok := applied(&v1alpha1.Repository{}, &state{
				ref: &v1alpha1.ObjectReference{Name: "keep"}, doubt: tt.doubt,
			})
			g.Expect(ok).To(BeTrue())
			g.Expect(is.Phase).To(Equal(tt.want))
		})
	}
}

// The clock of the API server was a year ahead while a run was made. The runs since then get their entries, too.
func TestARunOfAClockThatWasAheadHidesNoEntry(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	session := func(name string, created time.Time) *v1alpha1.BackupSession {
		return &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(created),
		}}
	}
	var written []string
	api := interceptor.Funcs{SubResourceApply: func(
		_ context.Context, _ client.Client, _ string, o runtime.ApplyConfiguration, _ ...client.SubResourceApplyOption,
	) error {
		written = append(written, o.(client.Object).GetName())
		return nil
	}}
	all := func(client.Object) []string { return []string{"data"} }
	r := &Reconciler{
		Client: fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(api).
			WithIndex(&v1alpha1.BackupSession{}, indexSessions, all).
			WithObjects(session("ahead", now.AddDate(1, 0, 0)), session("old", now.Add(-2*time.Hour)),
				session("today", now.Add(-time.Hour))).Build(),
		Clock: clocktesting.NewFakePassiveClock(now),
	}
	repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data"}}
	s := &state{ref: &v1alpha1.ObjectReference{Name: "keep"}}
	g.Expect(r.writeSessions(t.Context(), repository, s)).To(Succeed())
	g.Expect(written).To(ConsistOf("ahead", "today"))
}
