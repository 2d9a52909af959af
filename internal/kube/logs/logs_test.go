package logs_test

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

func TestTheLoggerOfARequestNamesItsObject(t *testing.T) {
	g := NewWithT(t)
	ctx, lines := loglines.Record(t.Context(), 1)
	logger := logs.Constructor(logf.FromContext(ctx), "backupsession", "BackupSession")
	logger(&reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: "nightly"}}).Info("waits")
	logger(nil).Info("starts")
	g.Expect(*lines).To(HaveLen(2))
	g.Expect((*lines)[0]).To(And(
		ContainSubstring(`"controller"="backupsession"`),
		ContainSubstring(`"backupSession"={"name"="nightly" "namespace"="shop"}`)))
	g.Expect((*lines)[1]).To(Equal(`"level"=1 "msg"="starts" "controller"="backupsession"`))
}

func TestARecordIsLeftAlone(t *testing.T) {
	for name, tt := range map[string]struct {
		annotations map[string]string
		leaves      bool
		lines       int
	}{
		"an object of the cluster": {annotations: map[string]string{"example.com/team": "shop"}},
		"a record": {
			annotations: map[string]string{v1alpha1.AnnotationRecord: "x"}, leaves: true, lines: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			ctx, lines := loglines.Record(t.Context(), 1)
			job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "backup", Annotations: tt.annotations}}
			g.Expect(logs.LeavesRecord(ctx, job)).To(Equal(tt.leaves))
			g.Expect(*lines).To(HaveLen(tt.lines))
		})
	}
}

func TestTheClientLogsWhatItCreatesAndDeletes(t *testing.T) {
	g := NewWithT(t)
	ctx, lines := loglines.Record(t.Context(), 0)
	scheme := runtime.NewScheme()
	g.Expect(batchv1.AddToScheme(scheme)).To(Succeed())
	c := logs.NewClient(fake.NewClientBuilder().WithScheme(scheme).Build())
	job := func() *batchv1.Job {
		return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "backup"}}
	}
	g.Expect(c.Create(ctx, job(), client.DryRunAll)).To(Succeed())
	g.Expect(*lines).To(BeEmpty(), "a dry run makes nothing")
	g.Expect(c.Create(ctx, job())).To(Succeed())
	g.Expect(c.Create(ctx, job())).NotTo(Succeed(), "it exists")
	g.Expect(c.Delete(ctx, job())).To(Succeed())
	g.Expect(c.Delete(ctx, job())).NotTo(Succeed(), "it is gone")
	held := job()
	held.Name, held.Finalizers = "held", []string{"example.com/held"}
	g.Expect(c.Create(ctx, held)).To(Succeed())
	for range 3 {
		g.Expect(c.Delete(ctx, held)).To(Succeed())
		g.Expect(c.Get(ctx, client.ObjectKeyFromObject(held), held)).To(Succeed(), "a finalizer keeps it")
	}
	g.Expect(*lines).To(HaveExactElements(
		And(ContainSubstring("created"), ContainSubstring(`"job"={"name"="backup" "namespace"="shop"}`)),
		And(ContainSubstring("deleted"), ContainSubstring(`"job"={"name"="backup" "namespace"="shop"}`)),
		And(ContainSubstring("created"), ContainSubstring("held")),
		And(ContainSubstring("deleted"), ContainSubstring("held"))))
}

// A reason that only the caller knows is in the line about the deletion.
func TestADeletionIsLoggedWithItsReason(t *testing.T) {
	g := NewWithT(t)
	ctx, lines := loglines.Record(t.Context(), 1)
	scheme := runtime.NewScheme()
	g.Expect(batchv1.AddToScheme(scheme)).To(Succeed())
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "backup"}}
	c := logs.NewClient(fake.NewClientBuilder().WithScheme(scheme).WithObjects(job).Build())
	g.Expect(c.Delete(logs.WithReason(ctx, "HistoryLimit"), job)).To(Succeed())
	g.Expect(*lines).To(HaveExactElements(
		And(ContainSubstring("deleted"), ContainSubstring(`"reason"="HistoryLimit"`))))
}

func TestOnce(t *testing.T) {
	g := NewWithT(t)
	var o logs.Once
	g.Expect(o.Has("run", "a")).To(BeFalse())
	g.Expect(o.First("run", "a")).To(BeTrue(), "a question is no line")
	g.Expect(o.Has("run", "a")).To(BeTrue())
	g.Expect(o.First("run", "a")).To(BeFalse())
	g.Expect(o.First("run", "b")).To(BeTrue())
	g.Expect(o.First("other", "a")).To(BeTrue())
	o.Forget("run")
	g.Expect(o.First("run", "a")).To(BeTrue())
	g.Expect(o.First("other", "a")).To(BeFalse())
	for i := range 4096 { // an object can go without a word
		g.Expect(o.First(types.UID(fmt.Sprint(i)), "a")).To(BeTrue())
	}
	g.Expect(o.Has("other", "a")).To(BeFalse(), "it remembers a limited number of objects")
}
