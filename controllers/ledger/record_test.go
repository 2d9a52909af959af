package ledger

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	fluxcheck "github.com/fluxcd/pkg/runtime/conditions/check"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/gitstore"
	"github.com/cairn-backup/cairn/internal/ledger"
)

func TestOneRecordPerObject(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	sessions := []*v1alpha1.BackupSession{w.session("a"), w.session("b")}
	drill, application := w.restore("drill"), w.restoreBatch("back")
	w.settle(l)

	files := w.files("clusters/production")
	g.Expect(files).To(ConsistOf(
		"clusters/production/cluster.yaml", "clusters/production/STATUS.md", w.path(sessions[0]), w.path(sessions[1]),
		ContainSubstring("/restoresession.drill/"), ContainSubstring("/restorebatch.back/"),
	))
	g.Expect(w.git("log", "-1", "--format=%s", branch)).To(Equal(w.namespace + ": 3 succeeded, 1 failed"))
	message := w.git("log", "-1", "--format=%B", branch)
	g.Expect(message).To(ContainSubstring("BackupSession " + w.namespace + "/a Succeeded\n"))
	g.Expect(message).
		To(ContainSubstring("\nCairn-Cluster: production\nCairn-Policy-Revision: " +
			"main@sha1:4be2b5f3a1c04f2b9e7d1a0c5f6e7d8c9b0a1f2e"))
	g.Expect(w.git("show", branch+":"+w.path(sessions[0]))).
		To(ContainSubstring("k1234"), "the Snapshot is in the record")
	g.Expect(strings.ReplaceAll(w.git("rev-list", "--all", "--count"), "\n", "")).
		To(Equal("1"), "one batch, one commit")

	get(w, l)
	g.Expect(l.Status.Recorded).To(BeEquivalentTo(4))
	g.Expect(l.Status.Pending).To(BeZero())
	g.Expect(l.Status.OldestPendingTime).To(BeNil())
	g.Expect(l.Status.LastPushedCommit).To(Equal(w.tip()))
	g.Expect(l).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
	for _, s := range sessions {
		g.Expect(get(w, s).Finalizers).To(BeEmpty())
		g.Expect(s.Status.Records).
			To(Equal([]v1alpha1.RecordStatus{{Ledger: w.namespace + "/ledger", Commit: w.tip()}}))
	}
	g.Expect(get(w, drill).Finalizers).To(BeEmpty())
	g.Expect(drill.Status.Records).To(HaveLen(1))
	g.Expect(get(w, application).Finalizers).To(BeEmpty())
	g.Expect(application.Status.Records).To(HaveLen(1))
	fluxcheck.NewChecker(bed.Client, &fluxcheck.Conditions{NegativePolarity: []string{
		"Stalled", "Reconciling",
		"Backlogged", "RecordsMissing",
	}}).
		WithT(g).CheckErr(t.Context(), l)

	tip, version := w.tip(), l.ResourceVersion
	for range 3 { // no change, no write
		w.pass(11 * time.Minute)
		_, err := w.collect()
		g.Expect(err).NotTo(HaveOccurred())
		_, err = w.push(l)
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(w.tip()).To(Equal(tip))
	g.Expect(get(w, l).ResourceVersion).To(Equal(version))
}

// A record in Git passes the API server's validation and starts nothing.
func TestRecordIsAcceptedByTheServer(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	s := w.session("a")
	w.restore("drill")
	w.settle(l)
	for _, f := range w.files("clusters/production/records") {
		for _, doc := range strings.Split(w.git("show", branch+":"+f), "---\n") {
			u := &unstructured.Unstructured{}
			g.Expect(yaml.UnmarshalStrict([]byte(doc), &u.Object)).To(Succeed())
			g.Expect(v1alpha1.HasRecordAnnotation(u.GetAnnotations())).To(BeTrue())
			u.SetName(u.GetName() + "-again")
			g.Expect(bed.Client.Create(t.Context(), u.DeepCopy(), client.DryRunAll, client.FieldValidation("Strict"))).
				To(Succeed())
			err := bed.Client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.DryRunAll,
				client.FieldOwner("kubectl"))
			g.Expect(err).NotTo(HaveOccurred())
		}
	}
	restored := &unstructured.Unstructured{}
	doc, _, _ := strings.Cut(w.git("show", branch+":"+w.path(s)), "---\n")
	g.Expect(yaml.Unmarshal([]byte(doc), &restored.Object)).To(Succeed())
	restored.SetName("copy")
	restored.SetFinalizers([]string{v1alpha1.FinalizerRecord})
	g.Expect(bed.Client.Create(t.Context(), restored)).To(Succeed())
	pending, err := w.collector.pending(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(pending).To(BeEmpty(), "nothing acts on a record")
}

func TestBatchWindow(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.ledger("slow", func(l *v1alpha1.Ledger) { l.Spec.BatchWindow.Duration = time.Hour })
	w.ledger("quick", func(l *v1alpha1.Ledger) { l.Spec.BatchWindow.Duration = 30 * time.Second })
	w.session("a")
	result, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(BeNumerically("~", 30*time.Second, time.Second), "the shortest window")
	w.pass(20 * time.Second)
	w.session("b")
	result, err = w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(BeNumerically("~", 10*time.Second, time.Second),
		"the window began with the first object")
	g.Expect(w.parcels()).To(BeEmpty())
	w.pass(11 * time.Second)
	_, err = w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.parcels()).To(HaveLen(2), "one for each Ledger")

	c := w.session("c")
	g.Expect(bed.Client.Delete(t.Context(), c)).To(Succeed())
	_, err = w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(client.IgnoreNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(c), c))).To(Succeed())
	g.Expect(w.parcels()).To(HaveLen(4), "an object that is being deleted does not wait")
}

// An object that no Ledger matches, or that FinalizerCancel holds, does not enter an outbox.
func TestSelectors(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.ledger("by-label", func(l *v1alpha1.Ledger) {
		l.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelSession: "nightly"}}
	})
	w.ledger("by-namespace", func(l *v1alpha1.Ledger) {
		l.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "other"}}
	})
	w.ledger("itself-a-record",
		func(l *v1alpha1.Ledger) { l.Annotations = map[string]string{v1alpha1.AnnotationRecord: "x"} })
	a := w.session("a")
	running := w.session("running",
		func(s *v1alpha1.BackupSession) { s.Finalizers = append(s.Finalizers, v1alpha1.FinalizerCancel) })
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, a).Finalizers).To(BeEmpty(), "no Ledger matches: released at once")
	g.Expect(get(w, running).Finalizers).To(ContainElement(v1alpha1.FinalizerRecord))
	g.Expect(w.parcels()).To(BeEmpty())

	w.ledger("both", func(l *v1alpha1.Ledger) {
		l.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelSession: "hourly"}}
		l.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "shop"}}
	})
	b := w.session("b")
	w.pass(11 * time.Second)
	_, err = w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, b).Finalizers).To(BeEmpty())
	g.Expect(w.parcels()).To(ConsistOf(HavePrefix("both-outbox-")))
}

// A Ledger whose selector can't be read can match any object of its namespace: none is released before the selector is
// corrected, unless the object is deleted.
func TestUnreadableSelectorLosesNothing(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger", func(l *v1alpha1.Ledger) {
		l.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a b": ""}} // the API server takes it
	})
	kept, deleted := w.session("kept"), w.session("deleted")
	g.Expect(bed.Client.Delete(t.Context(), deleted)).To(Succeed())
	result, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(Equal(fullRetry))
	g.Expect(get(w, kept).Finalizers).To(ContainElement(v1alpha1.FinalizerRecord))
	g.Expect(apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(deleted), deleted))).
		To(BeTrue())
	g.Expect(w.seen()).To(And(ContainSubstring(v1alpha1.ReasonRecordDropped), ContainSubstring("selector of a Ledger")))
	get(w, l).Spec.Selector = nil
	g.Expect(bed.Client.Update(t.Context(), l)).To(Succeed())
	w.settle(l)
	g.Expect(get(w, kept).Finalizers).To(BeEmpty())
	g.Expect(w.files("clusters/production/records")).To(Equal([]string{w.path(kept)}))
}

func TestServerDownThenUp(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.down = true
	s := w.session("a")
	w.pass(11 * time.Second)
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, s).Finalizers).To(BeEmpty(), "a Git server that is down blocks nothing")
	last := time.Duration(0)
	for range 3 {
		result, err := w.push(l)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(result.RequeueAfter).To(BeNumerically(">", last), "the pause grows")
		last = result.RequeueAfter
		early, err := w.push(l)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(early.RequeueAfter).To(BeNumerically("~", last, time.Second), "a new record does not end the pause")
		w.pass(result.RequeueAfter)
	}
	g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonUnreachable))
	g.Expect(l.Status.Pending).To(BeEquivalentTo(1))
	g.Expect(l.Status.OldestPendingTime).NotTo(BeNil())
	g.Expect(ready(l).Message).NotTo(ContainSubstring(gitPassword))
	g.Expect(w.seen()).To(ContainSubstring("Warning " + v1alpha1.ReasonUnreachable))
	w.down = false
	w.pass(time.Hour)
	w.settle(l)
	g.Expect(w.files("clusters/production/records")).To(Equal([]string{w.path(s)}))
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
	g.Expect(l.Status.Recorded).To(BeEquivalentTo(1))
}

func TestTwoLedgers(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l1 := w.ledger("one")
	l2 := w.ledger("two", func(l *v1alpha1.Ledger) { l.Spec.ClusterName = "copy"; l.Spec.Path = "./archive" })
	s := w.session("a")
	w.pass(11 * time.Second)
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	_, err = w.push(l1)
	g.Expect(err).NotTo(HaveOccurred())
	result, err := w.push(l2)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(BeNumerically("~", pushInterval, time.Second),
		"one repository, one push in ten seconds")
	w.settle(l1, l2)
	g.Expect(w.files(".")).To(ContainElements(w.path(s),
		"archive/"+strings.Replace(w.path(s), "production", "copy", 1)))
	g.Expect(get(w, s).Status.Records).To(ConsistOf(
		HaveField("Ledger", w.namespace+"/one"), HaveField("Ledger", w.namespace+"/two"),
	), "each Ledger has its own entry")
	g.Expect(get(w, l1).Status.Recorded).To(BeEquivalentTo(1))
	g.Expect(get(w, l2).Status.Recorded).To(BeEquivalentTo(1))
}

func TestSuspend(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger", func(l *v1alpha1.Ledger) { l.Spec.Suspend = true })
	s := w.session("a")
	w.pass(11 * time.Second)
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.tip()).To(BeEmpty())
	g.Expect(get(w, l).Status.Pending).To(BeEquivalentTo(1))
	g.Expect(get(w, s).Finalizers).To(BeEmpty())
	l.Spec.Suspend = false
	g.Expect(bed.Client.Update(t.Context(), l)).To(Succeed())
	w.settle(l)
	g.Expect(w.files("clusters/production/records")).To(HaveLen(1))
}

func TestPageInGit(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.create(&v1alpha1.BackupBatch{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "shop"},
		Spec: v1alpha1.BackupBatchSpec{
			Backends: []v1alpha1.BackendReference{{Name: "main", StorageRef: &v1alpha1.ObjectReference{Name: "s3"}}},
			Targets: []v1alpha1.BatchTarget{{
				Name: "data", AppRef: v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "data"},
			}},
			Sessions: []v1alpha1.BackupBatchSession{{
				SessionConfig: v1alpha1.SessionConfig{
					Name: "hourly", Scheduler: &v1alpha1.SchedulerSpec{Schedule: "0 * * * *"},
				},
				Targets: []v1alpha1.BatchSessionTarget{{
					Name: "data", Addon: &v1alpha1.AddonInfo{
						Name:  "pvc-addon",
						Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}},
					},
					Repositories: []v1alpha1.RepositoryInfo{{
						Name: "r", Backend: "main", Directory: "/d",
						EncryptionSecret: &v1alpha1.ObjectReference{Name: "enc"},
					}},
				}},
			}},
		},
	})
	s := w.session("a")
	w.settle(l)
	row := "| BackupBatch/shop | PersistentVolumeClaim/data | " +
		s.Status.CompletionTime.UTC().Format("2006-01-02 15:04") + " | Succeeded | - | %s |"
	g.Expect(w.git("show", branch+":clusters/production/STATUS.md")).To(ContainSubstring(fmt.Sprintf(row, "no")))
	w.pass(8 * time.Hour) // the next slot and the six hours that its run is allowed to take
	_, err := w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.git("show", branch+":clusters/production/STATUS.md")).To(ContainSubstring(fmt.Sprintf(row, "**late**")))
	g.Expect(w.git("log", "-1", "--format=%s", branch)).To(Equal("bring STATUS.md up to date"))

	// A later success whose run was deleted is in the status of the policy.
	batch := &v1alpha1.BackupBatch{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "shop"}}
	batch = get(w, batch)
	at := metav1.NewTime(w.clock.Now()).Rfc3339Copy()
	batch.Status.Sessions = []v1alpha1.SessionStatus{{Name: "hourly", LastSuccessTime: &at}}
	g.Expect(bed.Client.Status().Update(t.Context(), batch)).To(Succeed())
	w.pass(time.Hour)
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.git("show", branch+":clusters/production/STATUS.md")).To(ContainSubstring(
		"| BackupBatch/shop | PersistentVolumeClaim/data | " + at.UTC().Format("2006-01-02 15:04") +
			" | Succeeded | - | no |"))
}

func TestLog(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.session("a")
	w.settle(l)
	w.session("b")
	w.settle(l)
	remote, err := gitstore.NewRemote(w.url(), gitstore.Auth{
		Username: gitUser, Password: gitPassword,
		AllowPlainHTTP: true, Network: egress.Anywhere(),
	})
	g.Expect(err).NotTo(HaveOccurred())
	defer remote.Close()
	commits, err := ledger.Log(t.Context(), remote, branch, 10)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(commits).To(HaveLen(2))
	g.Expect(commits[0].Hash).To(Equal(w.tip()))
	g.Expect(commits[0].Subject).To(Equal(w.namespace + ": 1 succeeded"))
	g.Expect(commits[0].Cluster).To(Equal("production"))
	g.Expect(commits[0].Objects).
		To(Equal([]ledger.Object{{Kind: "BackupSession", Namespace: w.namespace, Name: "b", Phase: "Succeeded"}}))
	g.Expect(commits[1].Objects[0].Name).To(Equal("a"))
	first, err := ledger.Log(t.Context(), remote, branch, 1)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(first).To(Equal(commits[:1]))
	none, err := ledger.Log(t.Context(), remote, "no-such-branch", 10)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(none).To(BeEmpty())
}

func TestNoCredentialInAnything(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "wrong"},
		StringData: map[string]string{"username": gitUser, "password": "not+the:pass/word"},
	})
	l.Spec.SecretRef.Name = "wrong"
	g.Expect(bed.Client.Update(t.Context(), l)).To(Succeed())
	_, err := w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonAuthenticationFailed))
	raw, err := yaml.Marshal(l.Status)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(raw) + w.seen()).NotTo(ContainSubstring("not+the"))
	g.Expect(string(raw)).NotTo(ContainSubstring(os.TempDir()))
}
