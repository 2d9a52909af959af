package backupbatch

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// selecting creates a batch that selects all claims and Deployments of an application, and names one claim of another
// application.
func selecting(namespace string, edit ...func(*v1alpha1.TargetSelector)) *v1alpha1.BackupBatch {
	batch := batchOf(namespace, "named")
	selector := &v1alpha1.TargetSelector{
		Kinds:         []v1alpha1.TargetKind{v1alpha1.KindPersistentVolumeClaim, v1alpha1.KindDeployment},
		LabelSelector: &metav1.LabelSelector{MatchLabels: shop},
	}
	for _, e := range edit {
		e(selector)
	}
	batch.Spec.Targets = append(batch.Spec.Targets, v1alpha1.BatchTarget{Name: "all", Selector: selector})
	session := &batch.Spec.Sessions[0]
	session.Targets = append(session.Targets, v1alpha1.BatchSessionTarget{Name: "all"})
	session.Repositories = []v1alpha1.RepositoryInfo{{
		Name: "app", Backend: "main", Directory: "/app",
		EncryptionSecret: &v1alpha1.ObjectReference{Name: "enc"},
	}}
	return batch
}

var shop = map[string]string{"app": "shop"}

func shopClaim(namespace, name string) *corev1.PersistentVolumeClaim {
	c := testbed.Claim(namespace, name)
	c.Labels = shop
	return c
}

// shopDeployment returns a Deployment that mounts claims.
func shopDeployment(namespace, name string, claims ...string) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: shop}}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"pod": name}}
	d.Spec.Template.Labels = d.Spec.Selector.MatchLabels
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "web", Image: "web:1"}}
	for _, claim := range claims {
		d.Spec.Template.Spec.Volumes = append(d.Spec.Template.Spec.Volumes,
			corev1.Volume{Name: claim, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
			}})
	}
	return d
}

// expectFound waits until the status and the children are those of the named target and of the targets that the
// selector finds.
func expectFound(t *testing.T, batch *v1alpha1.BackupBatch, reason string, found ...string) {
	t.Helper()
	bed.Eventually(t, batch, func(g Gomega) {
		want, got := []string{"shop-named"}, []string{}
		for _, name := range found {
			want = append(want, "shop-all-"+name)
		}
		for _, target := range batch.Status.Targets {
			got = append(got, target.Configuration)
			g.Expect(target.FoundBy == "all").To(Equal(target.Name != "named"))
		}
		g.Expect(got).To(Equal(want))
		g.Expect(childrenOf(t, batch)).To(ConsistOf(want))
	}, reason)
}

func childrenOf(t *testing.T, batch *v1alpha1.BackupBatch) []string {
	t.Helper()
	var list v1alpha1.BackupConfigurationList
	NewWithT(t).Expect(bed.Client.List(t.Context(), &list, client.InNamespace(batch.Namespace))).To(Succeed())
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names
}

// localStorage returns a BackupStorage that keeps backups in a claim.
func localStorage(namespace, name, claim string) *v1alpha1.BackupStorage {
	s := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	s.Spec.Storage = v1alpha1.Storage{Provider: v1alpha1.ProviderLocal, Local: &v1alpha1.LocalStorage{
		PersistentVolumeClaim: &v1alpha1.ClaimVolumeSource{ClaimName: claim},
	}}
	return s
}

func TestASelectorLeavesOutTheClaimOfItsStorage(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := namespaceWith(t, "named", "other")
	batch := selecting(namespace)
	batch.Spec.Backends = append(batch.Spec.Backends,
		v1alpha1.BackendReference{Name: "here", StorageRef: &v1alpha1.ObjectReference{Name: "here"}})
	bed.Create(t, shopClaim(namespace, "backups"), shopClaim(namespace, "pages"), batch)
	expectFound(t, batch, "without a storage, each claim is data", "persistentvolumeclaim-backups",
		"persistentvolumeclaim-pages")

	storage := localStorage(namespace, "here", "backups")
	bed.Create(t, localStorage(namespace, "trial", "pages"))
	bed.Create(t, storage)
	expectFound(t, batch, "a claim is not backed up into itself, but into another storage",
		"persistentvolumeclaim-pages")

	g.Expect(bed.Client.Delete(t.Context(), storage)).To(Succeed())
	expectFound(t, batch, "no storage keeps backups in it any more", "persistentvolumeclaim-backups",
		"persistentvolumeclaim-pages")
}

func TestWhatASelectorFindsHasAChild(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := namespaceWith(t, "named", "other")
	pages, alone := shopClaim(namespace, "pages"), shopClaim(namespace, "alone")
	web, front := shopDeployment(namespace, "web", "pages"), shopDeployment(namespace, "front")
	bed.Create(t, pages, alone, web, front)
	batch := selecting(namespace)
	bed.Create(t, batch)

	expectFound(t, batch, "the backup of web covers the claim that it mounts, and front mounts none", "deployment-web",
		"persistentvolumeclaim-alone")
	child := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace,
		Name:      "shop-all-deployment-web",
	}}
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(child), child)).To(Succeed())
	g.Expect(child.Spec.Sessions[0].Repositories).To(HaveLen(1))
	g.Expect(child.Spec.Sessions[0].Repositories[0].Name).To(Equal("app-all-deployment-web"))
	g.Expect(child.Spec.Sessions[0].Repositories[0].Directory).To(Equal("/app/all-deployment-web"))

	bed.Create(t, shopClaim(namespace, "late"))
	expectFound(t, batch, "an object that comes later", "deployment-web", "persistentvolumeclaim-alone",
		"persistentvolumeclaim-late")

	bed.Edit(t, alone, func() { alone.Labels = nil })
	expectFound(t, batch, "an object that loses its label", "deployment-web", "persistentvolumeclaim-late")

	bed.Edit(t, web, func() { web.Spec.Template.Spec.Volumes[0].PersistentVolumeClaim.ClaimName = "late" })
	expectFound(t, batch, "the claim that web mounts now", "deployment-web", "persistentvolumeclaim-pages")

	bed.Edit(t, front,
		func() { front.Spec.Template.Spec.Volumes = shopDeployment("", "", "x").Spec.Template.Spec.Volumes })
	expectFound(t, batch, "front mounts a volume now", "deployment-front", "deployment-web",
		"persistentvolumeclaim-pages")

	g.Expect(bed.Client.Delete(t.Context(), web)).To(Succeed())
	expectFound(t, batch, "what goes", "deployment-front", "persistentvolumeclaim-late", "persistentvolumeclaim-pages")

	pages.Finalizers = append(pages.Finalizers, "example.com/hold")
	g.Expect(bed.Client.Update(t.Context(), pages)).To(Succeed())
	g.Expect(bed.Client.Delete(t.Context(), pages)).To(Succeed())
	expectFound(t, batch, "an object that is being deleted", "deployment-front", "persistentvolumeclaim-late")
	events.Eventually(t, namespace,
		ContainElement(ContainSubstring("removed BackupConfiguration shop-all-persistentvolumeclaim-pages")))
	bed.NoOp(t, reconciler, &events, batch)
	release := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	g.Expect(bed.Client.Patch(t.Context(), pages, release)).To(Succeed())
}

func TestASelectorFindsDatabases(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := namespaceWith(t, "named")
	database := func(name string, labels map[string]string) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 5432}}},
		}
	}
	bed.Create(t, database("orders", shop), database("front", nil), shopClaim(namespace, "orders"))
	batch := selecting(namespace,
		func(s *v1alpha1.TargetSelector) { s.Kinds = []v1alpha1.TargetKind{v1alpha1.KindService} })
	batch.Spec.Sessions[0].Targets[1].Addon = &v1alpha1.AddonInfo{
		Name: "postgres-addon", Tasks: []v1alpha1.TaskReference{{
			Name: "logical-backup", Params: &apiextensionsv1.JSON{Raw: []byte(`{"secretName":"login"}`)},
		}},
	}
	bed.Create(t, batch)
	expectFound(t, batch, "the Service with the labels", "service-orders")
	child := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace,
		Name:      "shop-all-service-orders",
	}}
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(child), child)).To(Succeed())
	g.Expect(child.Spec.Target).To(Equal(&v1alpha1.TypedObjectReference{Kind: v1alpha1.KindService, Name: "orders"}))
	bed.Create(t, database("stock", shop))
	expectFound(t, batch, "an object that comes later", "service-orders", "service-stock")
}

func TestASelectorThatFindsTooManyChangesNothing(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := namespaceWith(t, "named")
	one := shopClaim(namespace, "one")
	bed.Create(t, one)
	batch := selecting(namespace, func(s *v1alpha1.TargetSelector) { s.MaxTargets = 1 })
	bed.Create(t, batch)
	expectFound(t, batch, "one is not too many", "persistentvolumeclaim-one")

	two := shopClaim(namespace, "two")
	bed.Create(t, two)
	bed.ExpectReason(t, batch, v1alpha1.PhaseInvalid, v1alpha1.ReasonTooManyTargets,
		"spec.targets[1].selector: it finds more objects than its maxTargets, 1")
	expectFound(t, batch, "the last good state stays in force", "persistentvolumeclaim-one")
	bed.NoOp(t, reconciler, &events, batch)

	g.Expect(bed.Client.Delete(t.Context(), one)).To(Succeed())
	expectFound(t, batch, "only one claim matches again", "persistentvolumeclaim-two")
}

// A run of more targets would not fit into one object. The batch reports this, with the field, before it starts a run.
func TestASessionOfTooManyTargets(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := namespaceWith(t, "named")
	var group errgroup.Group
	group.SetLimit(16)
	for i := range v1alpha1.MaxSessionTargets {
		group.Go(func() error { return bed.Client.Create(t.Context(), shopClaim(namespace, fmt.Sprintf("c%03d", i))) })
	}
	g.Expect(group.Wait()).To(Succeed())
	batch := selecting(namespace, func(s *v1alpha1.TargetSelector) { s.MaxTargets = v1alpha1.MaxSessionTargets })
	bed.Create(t, batch)
	bed.ExpectReason(t, batch, v1alpha1.PhaseInvalid, v1alpha1.ReasonTooManyTargets,
		"spec.sessions[0].targets: a session has at most 500 targets, including those that selectors find")
}

// The batch backs up both targets, and reports the overlap.
func TestABatchSaysWhatItBacksUpTwice(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := namespaceWith(t)
	bed.Create(t, shopClaim(namespace, "named"))
	batch := selecting(namespace)
	bed.Create(t, batch)
	expectFound(t, batch, "each has its child", "persistentvolumeclaim-named")
	const message = "session \"hourly\" backs up PersistentVolumeClaim/named twice: for target named and for target all"
	bed.Eventually(t, batch, func(g Gomega) {
		g.Expect(conditions.IsTrue(batch, v1alpha1.ConditionTargetsOverlap)).To(BeTrue())
		g.Expect(conditions.GetReason(batch, v1alpha1.ConditionTargetsOverlap)).To(Equal(v1alpha1.ReasonBackedUpTwice))
		g.Expect(conditions.GetMessage(batch, v1alpha1.ConditionTargetsOverlap)).To(HavePrefix(message))
	}, "the condition")
	events.Eventually(t, namespace, ContainElement(HavePrefix("Warning BackedUpTwice "+message)))
	bed.ReadyRepositories(t, namespace, "named", "app-all-persistentvolumeclaim-named")
	bed.ExpectReason(t, batch, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "every target can be backed up")
	told := len(events.Of(namespace))
	bed.NoOp(t, reconciler, &events, batch)
	g.Expect(events.Of(namespace)[told:]).NotTo(ContainElement(ContainSubstring("BackedUpTwice")),
		"one event reports the overlap")

	bed.Edit(t, batch, func() {
		batch.Spec.Targets[1].Selector.Exclude = &v1alpha1.TargetExclusion{
			Names: []v1alpha1.ExcludedTarget{{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "named"}},
		}
	})
	bed.Eventually(t, batch, func(g Gomega) {
		g.Expect(conditions.Has(batch, v1alpha1.ConditionTargetsOverlap)).To(BeFalse())
	}, "the selector excludes the claim")
	expectFound(t, batch, "once")
}

// A selector need not find the workload that mounts a claim.
func TestABatchSaysThatAWorkloadItNamesMountsAClaim(t *testing.T) {
	t.Parallel()
	namespace := namespaceWith(t)
	bed.Create(t, shopClaim(namespace, "data"))
	web := shopDeployment(namespace, "web", "data")
	web.Labels = nil
	bed.Create(t, web)
	batch := selecting(namespace, func(s *v1alpha1.TargetSelector) {
		s.Kinds = []v1alpha1.TargetKind{v1alpha1.KindPersistentVolumeClaim}
	})
	batch.Spec.Targets[0].AppRef = v1alpha1.TypedObjectReference{
		APIGroup: "apps", Kind: string(v1alpha1.KindDeployment), Name: "web",
	}
	batch.Spec.Sessions[0].Targets[0].Addon = nil
	bed.Create(t, batch)
	bed.Eventually(t, batch, func(g Gomega) {
		g.Expect(conditions.GetMessage(batch, v1alpha1.ConditionTargetsOverlap)).To(ContainSubstring(
			"PersistentVolumeClaim/data twice: for target all, and with the workload that mounts it for target named"))
	}, "the condition")

	bed.Edit(t, web, func() { web.Spec.Template.Spec.Volumes = nil })
	bed.Eventually(t, batch, func(g Gomega) {
		g.Expect(conditions.Has(batch, v1alpha1.ConditionTargetsOverlap)).To(BeFalse())
	}, "the workload mounts it no more")
}

func TestABatchSaysWhichSelectorsFindNothing(t *testing.T) {
	t.Parallel()
	namespace := namespaceWith(t, "named")
	batch := selecting(namespace)
	bed.Create(t, batch)
	bed.ReadyRepositories(t, namespace, "named")
	bed.ExpectReason(t, batch, v1alpha1.PhaseReady, v1alpha1.ReasonReady,
		"the selectors of these targets find nothing: all")
	expectEmpty(t, batch, "nothing matches yet", true)
	warned := func(times int, why string) {
		t.Helper()
		const warning = "Warning SelectorFindsNothing the selectors of these targets find nothing: all. "
		bed.Quiet(t, namespace)
		n := 0
		for _, e := range events.Of(namespace) {
			if strings.HasPrefix(e, warning) {
				n++
			}
		}
		NewWithT(t).Expect(n).To(Equal(times), why)
	}
	warned(1, "one event says so")
	bed.NoOp(t, reconciler, &events, batch)

	r := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "named"}}
	bed.EditStatus(t, r, func() { r.Status.SnapshotCount = new(int32(1)) })
	run := succeeded(batch, "named")
	bed.Create(t, run)
	bed.EditStatus(t, run, func() { run.Status = succeeded(batch, "named").Status })
	protected := func(status metav1.ConditionStatus, reason, why string) {
		t.Helper()
		bed.Eventually(t, batch, func(g Gomega) {
			c := conditions.Get(batch, v1alpha1.ConditionProtected)
			g.Expect(c).To(HaveValue(And(HaveField("Status", status), HaveField("Reason", reason))))
		}, why)
	}
	protected(metav1.ConditionUnknown, v1alpha1.ReasonSelectorFindsNothing, "the run has backed up one of two targets")
	bed.ExpectReason(t, batch, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	warned(1, "a run changes nothing of that")

	claim := shopClaim(namespace, "late")
	bed.Create(t, claim)
	expectFound(t, batch, "an object that comes later", "persistentvolumeclaim-late")
	expectEmpty(t, batch, "the selector finds a claim", false)
	protected(metav1.ConditionUnknown, v1alpha1.ReasonNoBackupYet, "the claim has no backup")
	bed.Edit(t, claim, func() { claim.Labels = nil })
	expectEmpty(t, batch, "the claim has lost its label", true)
	protected(metav1.ConditionUnknown, v1alpha1.ReasonSelectorFindsNothing, "nothing is left to find")
	warned(2, "another event says so")

	bed.Edit(t, batch, func() {
		batch.Spec.Targets, batch.Spec.Sessions[0].Targets = batch.Spec.Targets[:1], batch.Spec.Sessions[0].Targets[:1]
	})
	expectEmpty(t, batch, "the batch has no selector", false)
	protected(metav1.ConditionTrue, v1alpha1.ReasonProtected, "the policy asks for one target")
}

func expectEmpty(t *testing.T, batch *v1alpha1.BackupBatch, why string, is bool) {
	t.Helper()
	bed.Eventually(t, batch, func(g Gomega) {
		g.Expect(conditions.IsTrue(batch, v1alpha1.ConditionSelectorFindsNothing)).To(Equal(is))
	}, why)
}

// succeeded returns a run of the session hourly that has backed up a target of the batch.
func succeeded(batch *v1alpha1.BackupBatch, target string) *v1alpha1.BackupSession {
	s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{
		Namespace: batch.Namespace, Name: policy.BackupSessionName(batch.Name, "hourly", now),
		Labels: map[string]string{
			v1alpha1.LabelInvokerKind: v1alpha1.BackupBatchKind, v1alpha1.LabelInvokerName: batch.Name,
			v1alpha1.LabelSession: "hourly",
		},
	}}
	s.Spec.Invoker = v1alpha1.TypedLocalObjectReference{
		APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupBatchKind, Name: batch.Name,
	}
	s.Spec.Session, s.Spec.ScheduledTime = "hourly", new(metav1.NewTime(now))
	s.Status.Phase, s.Status.CompletionTime = v1alpha1.BackupSessionSucceeded, new(metav1.NewTime(now))
	s.Status.Resolved = &v1alpha1.ResolvedBackup{Targets: []v1alpha1.ResolvedTarget{{
		Name: target, Configuration: policy.ChildName(batch.Name, target), AppRef: batch.Spec.Targets[0].AppRef,
		Repositories: []v1alpha1.ResolvedRepository{{Name: target}},
	}}}
	s.Status.Targets = []v1alpha1.BackupTargetStatus{{
		Name: target, AppRef: batch.Spec.Targets[0].AppRef, Configuration: policy.ChildName(batch.Name, target),
		Phase: v1alpha1.BackupSessionSucceeded,
	}}
	return s
}

// A hundred children are made in parallel, and none takes over a foreign object of its name.
func TestManyChildrenAreMadeAtOnce(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := namespaceWith(t, "named")
	const count = 100
	for i := range count {
		bed.Create(t, shopClaim(namespace, fmt.Sprintf("c%03d", i)))
	}
	strange := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace,
		Name:      "shop-all-persistentvolumeclaim-c007",
	}}
	strange.Spec.Target = &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "named"}
	strange.Spec.Sessions = []v1alpha1.BackupConfigurationSession{{SessionConfig: v1alpha1.SessionConfig{Name: "s"}}}
	bed.Create(t, strange)
	generation := strange.Generation
	batch := selecting(namespace)
	bed.Create(t, batch)

	bed.Eventually(t, batch, func(g Gomega) {
		g.Expect(batch.Status.Targets).To(HaveLen(count + 1))
		g.Expect(batch.Status.Targets[8].Reason).To(Equal(v1alpha1.ReasonNameConflict))
		g.Expect(childrenOf(t, batch)).To(HaveLen(count + 1))
	}, "every target has its child except the one whose name is taken")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(strange), strange)).To(Succeed())
	g.Expect(strange.Generation).To(Equal(generation))
	g.Expect(metav1.GetControllerOf(strange)).To(BeNil())
}
