package ledger

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// staleList lists objects as they were.
type staleList struct {
	client.Client
	then *v1alpha1.BackupSessionList
}

func (s staleList) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if sessions, ok := list.(*v1alpha1.BackupSessionList); ok {
		s.then.DeepCopyInto(sessions)
		return nil
	}
	return s.Client.List(ctx, list, opts...)
}

// A session can change after the cache saw it, for example by a push that is faster than the Collector. It is released
// anyway and keeps the change.
func TestReleaseOfWhatChanged(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.ledger("ledger")
	s := w.session("a")
	then := &v1alpha1.BackupSessionList{Items: []v1alpha1.BackupSession{*s.DeepCopy()}}
	s.Finalizers = append(s.Finalizers, "example.com/other")
	g.Expect(bed.Client.Update(t.Context(), s.DeepCopy())).To(Succeed())
	w.collector.Client = staleList{w.client, then}
	w.pass(11 * time.Second)
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, s).Finalizers).To(Equal([]string{"example.com/other"}))
	s.Finalizers = nil
	g.Expect(bed.Client.Update(t.Context(), s)).To(Succeed())
}

// staleCache knows the Ledgers and a Namespace as they were.
type staleCache struct {
	client.Client
	ledgers   []v1alpha1.Ledger
	namespace *corev1.Namespace
}

func (s staleCache) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if ledgers, ok := list.(*v1alpha1.LedgerList); ok && s.namespace == nil {
		ledgers.Items = s.ledgers
		return nil
	}
	return s.Client.List(ctx, list, opts...)
}

func (s staleCache) Get(
	ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption,
) error {
	if namespace, ok := o.(*corev1.Namespace); ok && s.namespace != nil {
		s.namespace.DeepCopyInto(namespace)
		return nil
	}
	return s.Client.Get(ctx, key, o, opts...)
}

func TestAStaleCacheOfOneLedgerLosesNoRecord(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]int{"which is the only one": 0, "of two": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			ledgers := []v1alpha1.Ledger{*w.ledger("one")}
			if known > 0 {
				w.ledger("two")
			}
			s := w.session("a")
			w.collector.Client = staleCache{Client: w.client, ledgers: ledgers[:known]}
			w.pass(11 * time.Second)
			_, err := w.collect()
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(w.parcels()).To(HaveLen(known + 1))
			g.Expect(get(w, s).Finalizers).To(BeEmpty())
		})
	}
}

func TestAStaleCacheOfNamespacesLosesNoRecord(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.ledger("ledger", func(l *v1alpha1.Ledger) {
		l.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "shop"}}
	})
	s := w.session("a")
	w.collector.Client = staleCache{Client: w.client, namespace: &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
	}}
	w.pass(11 * time.Second)
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.parcels()).To(HaveLen(1))
	g.Expect(get(w, s).Finalizers).To(BeEmpty())
}

// A tick that releases nothing reads nothing but the cache.
func TestACollectorThatWaitsReadsTheCache(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.ledger("ledger")
	w.session("a")
	w.collector.APIReader = nil
	result, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(BeNumerically(">", 0))
}

// A run that ended while the manager's clock was a year ahead must not keep its record, and those after it, for a year.
func TestARecordOfAClockThatWasAheadIsPushed(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	s := w.session("a", func(s *v1alpha1.BackupSession) {
		s.Status.CompletionTime = &metav1.Time{Time: s.Status.CompletionTime.AddDate(1, 0, 0)}
	})
	w.settle(l)
	g.Expect(w.files("clusters/production/records")).To(Equal([]string{w.path(s)}))
}

// The manager's clock was a year ahead when the Ledger pushed, and was put right. The records after that must not wait
// until that year is over, and nobody would see it: the Ledger is Ready.
func TestARecordArrivesAfterThePushOfAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger", func(l *v1alpha1.Ledger) { l.Spec.BatchWindow.Duration = time.Minute })
	w.session("one")
	w.pass(2 * time.Minute)
	w.settle(l)
	g.Expect(get(w, l).Status.Recorded).To(BeEquivalentTo(1))
	l.Status.LastPushedTime = new(metav1.NewTime(w.clock.Now().AddDate(1, 0, 0))) // so that clock wrote it
	g.Expect(bed.Client.Status().Update(t.Context(), l)).To(Succeed())
	w.session("two")
	for range 2 {
		w.pass(15 * time.Minute)
		_, err := w.collect()
		g.Expect(err).NotTo(HaveOccurred())
		_, err = w.push(l)
		g.Expect(err).NotTo(HaveOccurred())
	}
	get(w, l)
	g.Expect(l.Status.Recorded).To(BeEquivalentTo(2), "%d pending; Ready: %v", l.Status.Pending, ready(l))
	g.Expect(l.Status.LastPushedTime.After(w.clock.Now())).To(BeFalse())
}

// liveNamespaces counts the Namespaces that are read past the cache.
type liveNamespaces struct {
	client.Reader
	n int
}

func (r *liveNamespaces) Get(
	ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption,
) error {
	if _, ok := o.(*corev1.Namespace); ok {
		r.n++
	}
	return r.Reader.Get(ctx, key, o, opts...)
}

// Runs end all the time that no Ledger wants. Their release must not read the Namespaces of all runs that wait.
func TestAReleaseReadsNoNamespaceOfWhatWaits(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.ledger("ledger", func(l *v1alpha1.Ledger) {
		l.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "gold"}}
		l.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "shop"}}
	})
	waits := w.session("a", func(s *v1alpha1.BackupSession) { s.Labels = map[string]string{"tier": "gold"} })
	unwanted := w.session("b", func(s *v1alpha1.BackupSession) { s.Labels = nil })
	live := &liveNamespaces{Reader: w.client}
	w.collector.APIReader = live
	result, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(BeNumerically(">", 0))
	g.Expect(get(w, unwanted).Finalizers).To(BeEmpty())
	g.Expect(get(w, waits).Finalizers).NotTo(BeEmpty())
	g.Expect(live.n).To(BeZero())
	w.pass(11 * time.Second)
	_, err = w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, waits).Finalizers).To(BeEmpty())
	g.Expect(live.n).To(Equal(1), "what is stored and released is looked for")
}

// The cache does not know the Ledger whose window ends the wait of all: they are looked for, too.
func TestAWindowThatTheCacheLacksLosesNoRecord(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	gold := func(l *v1alpha1.Ledger) {
		l.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "gold"}}
		l.Spec.BatchWindow = metav1.Duration{Duration: time.Hour}
	}
	known := []v1alpha1.Ledger{*w.ledger("slow", gold)}
	w.ledger("new")
	s := w.session("a", func(s *v1alpha1.BackupSession) { s.Labels = map[string]string{"tier": "gold"} })
	other := w.session("b", func(s *v1alpha1.BackupSession) { s.Labels = nil })
	w.collector.Client = staleCache{Client: w.client, ledgers: known}
	w.pass(11 * time.Second)
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(w, s).Finalizers).To(BeEmpty())
	g.Expect(get(w, other).Finalizers).To(BeEmpty())
	g.Expect(w.parcels()).To(HaveLen(2), "of both Ledgers")
}

// otherNamespaces lists the pending runs as if each of them were in several Namespaces.
type otherNamespaces struct {
	client.Client
	names []string
}

func (o otherNamespaces) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if err := o.Client.List(ctx, list, opts...); err != nil {
		return err
	}
	if sessions, ok := list.(*v1alpha1.BackupSessionList); ok {
		for _, s := range sessions.Items {
			for _, name := range o.names {
				s := *s.DeepCopy()
				s.Namespace, s.UID = name, s.UID+"-"+types.UID(name)
				sessions.Items = append(sessions.Items, s)
			}
		}
	}
	return nil
}

// The Git server is down for long, and the outbox is full. Each run that ends wakes the Collector, which can store and
// release nothing: it must not ask the API server for the Namespace of everything that waits.
func TestAFullOutboxReadsNoNamespaceOfWhatWaits(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger", func(l *v1alpha1.Ledger) {
		l.Spec.Suspend = true
		l.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "shop"}}
	})
	w.fill(l)
	var names []string
	for range 20 {
		n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			GenerateName: w.namespace + "-",
			Labels:       map[string]string{"team": "shop", v1alpha1.RecordedByLabel(w.namespace): "true"},
		}}
		w.create(n)
		names = append(names, n.Name)
	}
	w.session("a")
	w.collector.Client = otherNamespaces{w.client, names}
	live := &liveNamespaces{Reader: w.client}
	w.collector.APIReader = live
	w.pass(11 * time.Second)
	result, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(Equal(fullRetry), "the outbox is full")
	before := live.n
	for range 3 { // runs end elsewhere
		_, err = w.collect()
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(live.n-before).To(BeNumerically("<=", 3), "nothing can be stored or released")
}

// A run ends while the only Ledger that would record it waits for its Git server to go.
func TestARunWithoutARecordIsReported(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger", func(l *v1alpha1.Ledger) {
		l.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelSession: "hourly"}}
	})
	w.settle(l)
	w.session("before")
	w.pass(11 * time.Second)
	g.Expect(w.collect()).Error().NotTo(HaveOccurred())
	w.down = true
	g.Expect(bed.Client.Delete(t.Context(), l)).To(Succeed())
	w.seen()
	s := w.session("after")
	other := w.session("other", func(s *v1alpha1.BackupSession) { s.Labels[v1alpha1.LabelSession] = "nightly" })
	then := &v1alpha1.BackupSessionList{Items: []v1alpha1.BackupSession{*s.DeepCopy(), *other.DeepCopy()}}
	for range 2 { // the second time from a stale cache
		g.Expect(w.collect()).Error().NotTo(HaveOccurred())
		w.collector.Client = staleList{w.client, then}
	}
	g.Expect(get(w, s).Finalizers).To(BeEmpty())
	g.Expect(get(w, other).Finalizers).To(BeEmpty())
	g.Expect(w.seen()).To(Equal("Warning RecordDropped Ledger "+w.namespace+"/ledger is being deleted and takes no "+
		"more records, and no other Ledger records this"), "once, and not for what no Ledger would have recorded")

	w.collector.Client = w.client
	second := w.ledger("second")
	both := w.session("both")
	w.pass(11 * time.Second)
	g.Expect(w.collect()).Error().NotTo(HaveOccurred())
	g.Expect(get(w, both).Finalizers).To(BeEmpty())
	g.Expect(w.seen()).To(BeEmpty(), "%s records it", second.Name)
}

// An admission policy denies each change of one run. Its backoff holds up nobody else.
func TestARunThatCannotBeReleasedDelaysNoOther(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	stuck := w.session("stuck")
	w.collector.Client = interceptor.NewClient(w.client, interceptor.Funcs{Patch: func(
		ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption,
	) error {
		if o.GetName() == stuck.Name {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "backupsessions"}, o.GetName(), errCrash)
		}
		return c.Patch(ctx, o, p, opts...)
	}})
	w.pass(11 * time.Second)
	g.Expect(w.collect()).Error().To(MatchError(ContainSubstring("release BackupSession")))
	g.Expect(w.push(l)).Error().NotTo(HaveOccurred())
	w.session("later")
	result, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred(), "an error has a delay of its own, which grows")
	g.Expect(result.RequeueAfter).To(BeNumerically("~", 10*time.Second, time.Second))
	g.Expect(get(w, stuck).Finalizers).NotTo(BeEmpty())
	w.collector.Client = w.client
	w.pass(11 * time.Second)
	g.Expect(w.collect()).Error().NotTo(HaveOccurred())
	g.Expect(get(w, stuck).Finalizers).To(BeEmpty())
}
