package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

func TestWatchedBranchIsRefused(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	sync := &v1alpha1.PolicySync{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "policy"},
		// the same repository, spelled differently
		Spec: v1alpha1.PolicySyncSpec{
			URL:  strings.ToUpper(strings.TrimSuffix(w.url(), ".git"))[len("HTTP"):],
			Path: "elsewhere",
		},
	}
	sync.Spec.URL = "http" + sync.Spec.URL
	w.create(sync)
	testbed.ASecondLater(t, sync) // neither has proved access: the older one has the branch
	l := w.ledger("ledger", func(l *v1alpha1.Ledger) { l.Spec.Branch = "main" })
	w.session("a")
	w.pass(11 * time.Second)
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonWatchedBranch))
	g.Expect(ready(l).Message).To(ContainSubstring("PolicySync/" + w.namespace + "/policy"))
	g.Expect(w.git("for-each-ref")).To(BeEmpty(), "nothing was written")
	g.Expect(w.parcels()).To(HaveLen(1), "and nothing was lost")

	g.Expect(bed.Client.Delete(t.Context(), sync)).To(Succeed())
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed),
		"the push follows at once, not after the pause")
}

// A cluster that has the kind GitRepository of Flux.
func TestBranchThatFluxWatchesIsRefused(t *testing.T) {
	g, w := NewWithT(t), newWorld(t)
	keep := true
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "gitrepositories." + gitRepository.Group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: gitRepository.Group, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{
				Kind: gitRepository.Kind, ListKind: "GitRepositoryList", Plural: "gitrepositories",
				Singular: "gitrepository",
			},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{
					OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &keep},
				},
			}},
		},
	}
	crds, err := envtest.InstallCRDs(bed.Config,
		envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{crd}})
	g.Expect(err).NotTo(HaveOccurred())
	repository := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": gitRepository.Group + "/v1", "kind": gitRepository.Kind,
		"metadata": map[string]any{"namespace": w.namespace, "name": "flux"},
		"spec":     map[string]any{"url": w.url(), "ref": map[string]any{"name": "refs/heads/" + branch}},
		"status":   map[string]any{"artifact": map[string]any{"revision": "refs/heads/" + branch + "@sha1:0123"}},
	}}
	g.Expect(bed.Client.Create(t.Context(), repository)).To(Succeed())
	testbed.ASecondLater(t, repository)
	l := w.ledger("ledger")
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonWatchedBranch))
	g.Expect(ready(l).Message).To(ContainSubstring("GitRepository/" + w.namespace + "/flux"))
	g.Expect(w.tip()).To(BeEmpty())

	// Anybody can name a branch: Flux has not read it yet.
	unstructured.RemoveNestedField(repository.Object, "status")
	g.Expect(bed.Client.Update(t.Context(), repository)).To(Succeed())
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
	g.Expect(conditions.GetMessage(l, v1alpha1.ConditionBranchWatched)).To(And(
		HavePrefix("GitRepository/"+w.namespace+"/flux names the branch "+branch), ContainSubstring("Flux can take")))
	g.Expect(w.seen()).To(ContainSubstring("Warning BranchWatched GitRepository/"))
	tip := w.tip()
	g.Expect(unstructured.SetNestedField(repository.Object, branch+"@sha1:0123", "status", "artifact", "revision")).
		To(Succeed())
	g.Expect(bed.Client.Update(t.Context(), repository)).To(Succeed())
	w.pass(11 * time.Minute)
	w.session("a")
	g.Expect(w.collect()).Error().NotTo(HaveOccurred())
	w.pass(11 * time.Second)
	g.Expect(w.collect()).Error().NotTo(HaveOccurred())
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed), "to read proves less than to push")
	g.Expect(conditions.IsTrue(l, v1alpha1.ConditionBranchWatched)).To(BeTrue())
	g.Expect(w.tip()).NotTo(Equal(tip))

	g.Expect(envtest.UninstallCRDs(bed.Config, envtest.CRDInstallOptions{CRDs: crds})).To(Succeed())
	g.Eventually(func(g Gomega) {
		w.pass(time.Minute)
		_, err = w.push(l)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
	}, testbed.Patience, 100*time.Millisecond).Should(Succeed(), "Flux was removed while the manager runs")
}

func TestFluxRef(t *testing.T) {
	for name, tt := range map[string]struct {
		ref  map[string]any
		want string
	}{
		"nothing":              {nil, "master"},
		"a branch":             {map[string]any{"branch": "main"}, "main"},
		"a tag":                {map[string]any{"tag": "v1", "branch": "main"}, ""},
		"a range":              {map[string]any{"semver": "1.x"}, ""},
		"a ref":                {map[string]any{"name": "refs/heads/main", "branch": "x"}, "refs/heads/main"},
		"a commit":             {map[string]any{"commit": "abc"}, ""},
		"a commit of a branch": {map[string]any{"commit": "abc", "branch": "main"}, "main"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := map[string]any{}
			if tt.ref != nil {
				spec["ref"] = tt.ref
			}
			NewWithT(t).Expect(fluxRef(map[string]any{"spec": spec})).To(Equal(tt.want))
		})
	}
}

func TestClusterNameTaken(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.session("a")
	w.settle(l)
	tip := w.tip()

	w.reconciler.ClusterUID = "cluster-2"
	w.session("b")
	w.pass(11 * time.Second)
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonClusterNameTaken))
	g.Expect(w.tip()).To(Equal(tip))
	g.Expect(w.parcels()).To(HaveLen(1))

	l.Spec.ClusterName = "staging"
	g.Expect(bed.Client.Update(t.Context(), l)).To(Succeed())
	w.settle(l)
	g.Expect(w.files("clusters/staging/records")).To(HaveLen(1))
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
}

func TestHistoryRewritten(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.session("a")
	w.settle(l)
	w.git("update-ref", "refs/heads/"+branch, w.git("commit-tree", "-m", "x",
		w.git("hash-object", "-t", "tree", "-w", os.DevNull)))
	w.session("b")
	w.pass(11 * time.Second)
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonHistoryRewritten))
	g.Expect(w.parcels()).To(HaveLen(1))

	w.restart()
	g.Expect(os.RemoveAll(w.data)).To(Succeed())
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonHistoryRewritten),
		"the status remembers what the directory lost")

	l.Spec.Branch = "records-2"
	g.Expect(bed.Client.Update(t.Context(), l)).To(Succeed())
	w.settle(l)
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed), "another branch is another history")
}

func TestReasons(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*world, *v1alpha1.Ledger)
		reason string
	}{
		"no Secret": {
			func(_ *world, l *v1alpha1.Ledger) { l.Spec.SecretRef.Name = "none" },
			v1alpha1.ReasonSecretNotFound,
		},
		"no repository": {
			func(w *world, l *v1alpha1.Ledger) { l.Spec.URL = w.HTTPAddress() + "/none.git" },
			v1alpha1.ReasonRepositoryNotFound,
		},
		"an invalid path": {func(_ *world, l *v1alpha1.Ledger) { l.Spec.Path = "a:b" }, v1alpha1.ReasonInvalidPath},
		"a hook that refuses": {func(w *world, _ *v1alpha1.Ledger) {
			hook := "#!/bin/sh\necho 'protected branch' >&2\nexit 1\n"
			if err := os.WriteFile(filepath.Join(w.repo, "hooks", "pre-receive"), []byte(hook), 0o755); err != nil {
				w.t.Fatal(err)
			}
		}, v1alpha1.ReasonPushRefused},
		"an invalid selector": {func(_ *world, l *v1alpha1.Ledger) {
			// the API server takes it
			l.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a b": ""}}
		}, v1alpha1.ReasonValidationFailed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			l := w.ledger("ledger", func(l *v1alpha1.Ledger) { tt.change(w, l) })
			result, err := w.push(l)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(result.RequeueAfter).To(BeNumerically(">", 0))
			g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, tt.reason))
			g.Expect(l.Status.ObservedGeneration).To(Equal(l.Generation))
		})
	}
}

// Whichever process is killed before or after any write to the API server, every record is in Git once and counted
// once, and nothing is left over.
func TestCrash(t *testing.T) {
	t.Parallel()
	for _, before := range []bool{true, false} {
		for _, lost := range []bool{false, true} {
			all, _ := crash(t, 0, before, lost)
			if all < 5 {
				t.Errorf("only %d writes are tried", all)
			}
			for n := 1; n <= all; n++ {
				t.Run(fmt.Sprintf("before %t, directory lost %t, write %d", before, lost, n), func(t *testing.T) {
					t.Parallel()
					_, killed := crash(t, n, before, lost)
					NewWithT(t).Expect(killed).To(BeTrue())
				})
			}
		}
	}
}

// crash kills the process at the nth write, or never, and returns the number of writes until then.
func crash(t *testing.T, n int, before, lost bool) (writes int, killed bool) {
	t.Helper()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.settle(l) // the branch exists, the Ledger has its finalizer
	a, b := w.session("a"), w.session("b")
	happened, count := w.crashAt(n, before)
	for range 4 {
		w.pass(11 * time.Second)
		if _, err := w.collect(); err != nil && !errors.Is(err, errCrash) {
			g.Expect(err.Error()).To(ContainSubstring(errCrash.Error()))
		}
		if !*happened {
			_, _ = w.push(l)
		}
	}
	w.write = nil
	w.restart()
	if lost {
		g.Expect(os.RemoveAll(w.data)).To(Succeed())
	}
	c := w.session("c")
	w.settle(l)
	g.Expect(w.files("clusters/production/records")).To(ConsistOf(w.path(a), w.path(b), w.path(c)))
	for _, s := range []*v1alpha1.BackupSession{a, b, c} {
		g.Expect(get(w, s).Finalizers).To(BeEmpty())
		g.Expect(s.Status.Records).To(HaveLen(1))
		g.Expect(strings.Fields(w.git("rev-list", branch, "--", w.path(s)))).
			To(HaveLen(1), "one commit holds the record")
	}
	g.Expect(get(w, l).Status.Recorded).To(BeEquivalentTo(3))
	g.Expect(l.Status.Counted).To(BeEmpty())
	return *count, *happened
}

func TestDeletionFlushes(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.settle(l)
	s := w.session("a")
	w.pass(11 * time.Second)
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	w.down = true
	g.Expect(bed.Client.Delete(t.Context(), l)).To(Succeed())
	for range 5 {
		w.pass(10 * time.Minute)
		result, err := w.push(l)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(result.RequeueAfter).To(And(BeNumerically(">", 0), BeNumerically("<=", flushRetry)))
	}
	g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonUnreachable))
	ignored := w.session("b")
	_, err = w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, ignored).Finalizers).To(BeEmpty(), "a Ledger that is being deleted takes no more records")
	w.down = false
	w.pass(10 * time.Minute)
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(l), l))).To(BeTrue())
	g.Expect(w.files("clusters/production/records")).To(Equal([]string{w.path(s)}))
	g.Expect(filepath.Join(w.data, string(l.UID))).NotTo(BeADirectory())
}

func TestDeletionDropsWhenAsked(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.settle(l)
	w.session("a")
	w.pass(11 * time.Second)
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	w.down = true
	get(w, l).Annotations = map[string]string{v1alpha1.AnnotationDropRecords: "true"} // of another Ledger, or from Git
	g.Expect(bed.Client.Update(t.Context(), l)).To(Succeed())
	g.Expect(bed.Client.Delete(t.Context(), l)).To(Succeed())
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.parcels()).NotTo(BeEmpty(), "only a word for this very Ledger counts")
	get(w, l).Annotations = map[string]string{v1alpha1.AnnotationDropRecords: string(l.UID)}
	g.Expect(bed.Client.Update(t.Context(), l)).To(Succeed())
	ctx, lines := loglines.Record(t.Context(), 0, "gave up records", "released the Ledger")
	for range 2 {
		_, err = w.reconciler.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(l)})
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(l), l))).To(BeTrue())
	g.Expect(*lines).To(HaveExactElements(
		And(ContainSubstring("gave up records"), HaveSuffix(`"records"=1`)), ContainSubstring("released the Ledger"),
	), "each line stands once in the log")
	g.Expect(w.parcels()).To(BeEmpty())
	g.Expect(w.seen()).To(ContainSubstring(v1alpha1.ReasonRecordDropped))
}

func TestNamespaceDeletionIsNotBlocked(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.settle(l)
	a, b := w.session("a"), w.session("b")
	w.down = true
	w.pass(11 * time.Second)
	g.Expect(w.collect()).Error().NotTo(HaveOccurred())
	c := w.session("c")
	g.Expect(bed.Client.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}})).
		To(Succeed())
	for _, o := range []client.Object{a, b, c, l} { // as the namespace controller does
		g.Expect(bed.Client.Delete(t.Context(), o)).To(Succeed())
	}
	// The Ledger as a stale cache has it: not being deleted yet, in a namespace that takes no new objects.
	stale := get(w, l).DeepCopy()
	stale.DeletionTimestamp = nil
	pending, err := w.collector.pending(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(pending).To(HaveLen(1))
	pending[0].ledgers = []*v1alpha1.Ledger{stale}
	_, err = w.collector.store(t.Context(), pending)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(c), c))).To(BeTrue())
	g.Expect(w.seen()).To(ContainSubstring(v1alpha1.ReasonRecordDropped))

	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, l).Finalizers).NotTo(BeEmpty(), "the Ledger retries for a while")
	w.pass(giveUpAfter + time.Minute)
	_, err = w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(l), l))).To(BeTrue())
	g.Expect(w.seen()).To(ContainSubstring(v1alpha1.ReasonRecordDropped))
}
