package backupstorage

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// staleReader is the API server, which knows some objects that the cache lacks.
type staleReader struct {
	client.Reader
	newer client.Reader
}

func (r staleReader) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	switch list.(type) {
	case *v1alpha1.BackupConfigurationList, *v1alpha1.BackupBatchList:
		return r.newer.List(ctx, list, opts...)
	}
	return r.Reader.List(ctx, list, opts...)
}

// goingStorage returns a storage that is being deleted and wipes its Repository, and a reconciler whose cache lacks the
// policy.
func goingStorage(
	t testing.TB, isDefault bool, policy ...client.Object,
) (*Reconciler, *v1alpha1.BackupStorage, *v1alpha1.Repository) {
	t.Helper()
	g := NewWithT(t)
	s := testbed.S3("shop")
	s.Finalizers, s.DeletionTimestamp = []string{v1alpha1.FinalizerWipe}, new(metav1.Now())
	s.Spec.DeletionPolicy, s.Spec.Default = v1alpha1.WipeOut, isDefault
	r := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Finalizers: []string{v1alpha1.FinalizerWipe}},
		Spec: v1alpha1.RepositorySpec{
			StorageRef: v1alpha1.ObjectReference{Name: s.Name}, Path: "/shop/web",
			DeletionPolicy: v1alpha1.DeleteObjects,
		},
	}
	build := func(objects ...client.Object) client.WithWatch {
		return fake.NewClientBuilder().WithScheme(testbed.Scheme()).WithObjects(objects...).WithStatusSubresource(s).
			WithIndex(&v1alpha1.Repository{}, indexRepositories, func(o client.Object) []string {
				return []string{o.(*v1alpha1.Repository).Spec.StorageRef.In(o.GetNamespace()).String()}
			}).WithIndex(&v1alpha1.BackupConfiguration{}, indexConfigurations, storagesOf).
			WithIndex(s, indexGoing, goes).Build()
	}
	cache := build(s, r, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		testbed.Definition("backupstorages", false))
	g.Expect(cache.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
	return &Reconciler{
		Client: cache, APIReader: staleReader{cache, build(policy...)}, EventRecorder: record.NewFakeRecorder(10),
		FieldManager: "test", Clock: clocktesting.NewFakePassiveClock(time.Now()),
	}, s, r
}

// keeps expects that a storage that goes waits for its user, and wipes nothing.
func keeps(t testing.TB, rec *Reconciler, s *v1alpha1.BackupStorage, r *v1alpha1.Repository, user string) {
	t.Helper()
	g := NewWithT(t)
	_, err := rec.finalize(t.Context(), s)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(rec.Get(t.Context(), client.ObjectKeyFromObject(r), r)).To(Succeed())
	g.Expect(r.DeletionTimestamp).To(BeNil(), "its data stays")
	g.Expect(r.Spec.DeletionPolicy).To(Equal(v1alpha1.DeleteObjects))
	g.Expect(rec.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
	g.Expect(conditions.GetReason(s, meta.ReadyCondition)).To(Equal(v1alpha1.ReasonInUse))
	g.Expect(conditions.GetMessage(s, meta.ReadyCondition)).To(ContainSubstring(user))
}

func configured(backends ...v1alpha1.BackendReference) *v1alpha1.BackupConfiguration {
	return &v1alpha1.BackupConfiguration{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "mail"},
		Spec: v1alpha1.BackupConfigurationSpec{
			Target:   &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "mail"},
			Backends: backends,
			Sessions: []v1alpha1.BackupConfigurationSession{{SessionConfig: v1alpha1.SessionConfig{Name: "nightly"}}},
		},
	}
}

func TestPolicyThatIsMadeWhileAStorageGoesKeepsItsData(t *testing.T) {
	t.Parallel()
	named := v1alpha1.BackendReference{
		Name: "main", StorageRef: &v1alpha1.ObjectReference{Name: testbed.S3("shop").Name},
	}
	ofRepository := configured()
	ofRepository.Name = "web" // the name of the Repository that it would go on with
	batch := &v1alpha1.BackupBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "all"}}
	batch.Spec.Backends = []v1alpha1.BackendReference{named}
	for name, tt := range map[string]struct {
		policy client.Object
		user   string
	}{
		"it names the storage":    {configured(named), "BackupConfiguration shop/mail"},
		"it has a Repository":     {ofRepository, "BackupConfiguration shop/web"},
		"a batch without targets": {batch, "BackupBatch shop/all"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec, s, r := goingStorage(t, false, tt.policy)
			keeps(t, rec, s, r, tt.user)
		})
	}
}

func TestPolicyThatCanGetADefaultStorageUsesIt(t *testing.T) {
	t.Parallel()
	batch := &v1alpha1.BackupBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "all", Generation: 1}}
	for name, tt := range map[string]struct {
		policy client.Object
		user   string
	}{
		"a configuration": {configured(), "BackupConfiguration shop/mail"},
		"a batch":         {batch, "BackupBatch shop/all"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec, s, r := goingStorage(t, true, tt.policy)
			keeps(t, rec, s, r, tt.user)
		})
	}
}

// Without a user the Repository goes.
func TestAStorageThatNoPolicyUsesGoes(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	rec, s, r := goingStorage(t, false, configured())
	_, err := rec.finalize(t.Context(), s)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(rec.Get(t.Context(), client.ObjectKeyFromObject(r), r)).To(Succeed())
	g.Expect(r.DeletionTimestamp).NotTo(BeNil())
	g.Expect(r.Spec.DeletionPolicy).To(Equal(v1alpha1.WipeOut))
}

// clusterLists counts lists of the whole cluster past the cache, and of them those without a limit.
type clusterLists struct {
	client.Reader
	lists, unlimited int
}

func (r *clusterLists) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	o := (&client.ListOptions{}).ApplyOptions(opts)
	if o.Namespace == "" {
		r.lists++
		if o.Limit == 0 {
			r.unlimited++
		}
	}
	return r.Reader.List(ctx, list, opts...)
}

// A configuration that names no storage is in no index. A storage that it holds for months must not be dear.
func TestAStorageInUseDoesNotListTheCluster(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	rec, s, r := goingStorage(t, true, configured())
	live := &clusterLists{Reader: rec.APIReader}
	rec.APIReader = live
	keeps(t, rec, s, r, "BackupConfiguration shop/mail")
	g.Expect(live.lists).To(Equal(4), "the cache lacks it: that is the last look before data can go")
	g.Expect(live.unlimited).To(BeZero(), "the API server is read in pages")

	g.Expect(rec.Create(t.Context(), configured())).To(Succeed())
	for held, after := range map[time.Duration]time.Duration{
		0: goingInterval, time.Minute: time.Minute, time.Hour: longestHeld,
	} {
		rec.Clock = clocktesting.NewFakePassiveClock(
			conditions.Get(s, meta.ReadyCondition).LastTransitionTime.Add(held))
		result, err := rec.finalize(t.Context(), s)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(result.RequeueAfter).To(Equal(after))
		g.Expect(rec.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
	}
	g.Expect(live.lists).To(Equal(4), "the cache has it")
}

// A storage that was in use for long looks for its users seldom. It must not have to wait for that.
func TestPolicyThatEndsItsUseWakesAStorageThatGoes(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	rec, s, _ := goingStorage(t, false)
	g.Expect(rec.Create(t.Context(), testbed.S3("mail"))).To(Succeed())
	was, is := configured(), configured()
	g.Expect(policyChanged.Create(event.CreateEvent{Object: is})).To(BeFalse(), "it ends no use")
	g.Expect(policyChanged.Update(event.UpdateEvent{ObjectOld: was, ObjectNew: is})).To(BeFalse(), "its status changed")
	is.Generation++
	g.Expect(policyChanged.Update(event.UpdateEvent{ObjectOld: was, ObjectNew: is})).To(BeTrue(), "its spec changed")
	g.Expect(policyChanged.Delete(event.DeleteEvent{Object: is})).To(BeTrue())
	g.Expect(rec.allGoing(t.Context(), is)).
		To(ConsistOf(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(s)}))
}

// A namespace that the storage does not allow can name it, and holds nothing up.
func TestAStrangersPolicyHoldsNoStorage(t *testing.T) {
	t.Parallel()
	key := &v1alpha1.ObjectReference{Namespace: "shop", Name: testbed.S3("shop").Name}
	named := configured(v1alpha1.BackendReference{Name: "main", StorageRef: key})
	named.Namespace = "tenant"
	batch := &v1alpha1.BackupBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "tenant", Name: "squat"}}
	batch.Spec.Backends = named.Spec.Backends
	ofRepository := configured()
	ofRepository.Namespace = "tenant"
	repository := func(initialised string) *v1alpha1.Repository {
		return &v1alpha1.Repository{
			ObjectMeta: metav1.ObjectMeta{Namespace: "tenant", Name: "mail"},
			Spec:       v1alpha1.RepositorySpec{StorageRef: *key, Path: "/tenant/mail"},
			Status:     v1alpha1.RepositoryStatus{InitializedSpec: initialised},
		}
	}
	const configurationUses, batchUses = "BackupConfiguration tenant/mail", "BackupBatch tenant/squat"
	for name, tt := range map[string]struct {
		policy          client.Object
		repository      *v1alpha1.Repository
		cached, allowed bool
		user            string
	}{
		"a batch":                          {policy: batch},
		"a configuration":                  {policy: named},
		"a configuration in the cache":     {policy: named, cached: true},
		"a Repository that was never made": {policy: ofRepository, repository: repository("")},
		"a Repository that was made": {
			policy: ofRepository, repository: repository("v1"), user: configurationUses,
		},
		"an allowed batch":         {policy: batch, allowed: true, user: batchUses},
		"an allowed configuration": {policy: named, allowed: true, user: configurationUses},
		"an allowed configuration in the cache": {
			policy: named, cached: true, allowed: true, user: configurationUses,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			o := tt.policy.DeepCopyObject().(client.Object)
			rec, s, r := goingStorage(t, false, o)
			if !tt.allowed {
				s.Spec.UsagePolicy = nil
				g.Expect(rec.Update(t.Context(), s)).To(Succeed())
			}
			if tt.cached {
				o.SetResourceVersion("")
				g.Expect(rec.Create(t.Context(), o)).To(Succeed())
			}
			if tt.repository != nil {
				g.Expect(rec.Create(t.Context(), tt.repository)).To(Succeed())
			}
			if tt.user != "" {
				keeps(t, rec, s, r, tt.user)
				return
			}
			_, err := rec.finalize(t.Context(), s)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(rec.Get(t.Context(), client.ObjectKeyFromObject(r), r)).To(Succeed())
			g.Expect(r.DeletionTimestamp).NotTo(BeNil(), "the namespace tenant has no right to the storage")
			if o := tt.repository; o != nil {
				g.Expect(rec.Get(t.Context(), client.ObjectKeyFromObject(o), o)).To(Succeed())
				g.Expect(o.DeletionTimestamp).To(BeNil(), "it is none of the storage")
				r.Finalizers = nil
				g.Expect(rec.Update(t.Context(), r)).To(Succeed())
				_, err := rec.finalize(t.Context(), s)
				g.Expect(err).NotTo(HaveOccurred())
				err = rec.Get(t.Context(), client.ObjectKeyFromObject(s), s)
				g.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "it waits for no Repository of a stranger")
			}
		})
	}
}

// writes counts the writes of a status.
type writes struct {
	client.Client
	n *int
}

func (w writes) Status() client.SubResourceWriter { *w.n++; return w.Client.Status() }

// The policies of a large tenant go one after the other, and each of them wakes the storage. Its condition names three
// users: it must not be written once for each policy.
func TestUsersThatGoDoNotWriteTheStorageEachTime(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	rec, s, _ := goingStorage(t, false)
	const users = 50
	var all []*v1alpha1.BackupConfiguration
	for i := range users {
		c := configured(v1alpha1.BackendReference{
			Name: "main", StorageRef: &v1alpha1.ObjectReference{Name: testbed.S3("shop").Name},
		})
		c.Name = fmt.Sprintf("mail-%02d", i)
		g.Expect(rec.Create(t.Context(), c)).To(Succeed())
		all = append(all, c)
	}
	_, err := rec.finalize(t.Context(), s)
	g.Expect(err).NotTo(HaveOccurred())
	written := 0
	rec.Client = writes{rec.Client, &written}
	for _, c := range all[:users-1] { // the API server lists, and the garbage collector deletes, by name
		g.Expect(rec.Delete(t.Context(), c)).To(Succeed())
		g.Expect(policyChanged.Delete(event.DeleteEvent{Object: c})).To(BeTrue())
		g.Expect(rec.allGoing(t.Context(), c)).To(HaveLen(1))
		g.Expect(rec.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
		_, err := rec.finalize(t.Context(), s)
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(written).To(BeNumerically("<", users/2))
}
