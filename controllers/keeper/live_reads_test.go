package keeper_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/controllers/snapshot"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// weighed counts the BackupConfigurations that are read past the cache.
type weighed struct {
	client.Reader
	configurations int
}

func (w *weighed) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if _, ok := o.(*v1alpha1.BackupConfiguration); ok {
		w.configurations++
	}
	return w.Reader.Get(ctx, key, o, opts...)
}

func (w *weighed) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if err := w.Reader.List(ctx, list, opts...); err != nil {
		return err
	}
	if _, ok := list.(*v1alpha1.BackupConfigurationList); ok {
		w.configurations += apimeta.LenList(list)
	}
	return nil
}

// Each run of a Repository lets one Snapshot go. What that reads must not grow with the configurations of the
// namespace. Only for the clock of this reconciler is the older Snapshot to go.
func TestARemovalReadsOnlyTheConfigurationsOfItsRepository(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	s.snapshot(s.repository, 1, good)
	older := s.snapshot(s.repository, 3, good)
	for i := range 20 {
		name := fmt.Sprintf("other-%02d", i)
		s.configuration(name, nil, nil, name)
	}
	s.policy("c", v1alpha1.RetentionPolicySpec{MaxRetentionPeriod: "4h"}, "web")
	s.expectRetention(s.repository, v1alpha1.ReasonApplied, "")
	bed.Quiet(t, s.namespace)
	expectKept(t, older)

	live := &weighed{Reader: bed.Manager.GetAPIReader()}
	r := staleRetention()
	r.APIReader = live
	later := clocktesting.NewFakePassiveClock(now.Now().Add(2 * time.Hour))
	r.Clock, r.ServerTime = later, func(context.Context) (time.Time, error) { return later.Now(), nil }
	g.Eventually(func(g Gomega) { // the cache can be behind
		live.configurations = 0
		_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s.repository)})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(older), older)).To(Succeed())
		g.Expect(older.DeletionTimestamp).NotTo(BeNil())
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "the older one goes")
	g.Expect(live.configurations).To(Equal(1), "one uses the Repository")
}

// definitions counts the CustomResourceDefinitions that are read past the cache.
type definitions struct {
	client.Reader
	read int
}

func (d *definitions) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if o.GetObjectKind().GroupVersionKind().Kind == "CustomResourceDefinition" {
		d.read++
	}
	return d.Reader.Get(ctx, key, o, opts...)
}

// One answer that the kind of Snapshots stays is good for all that were being deleted before the question.
func TestARemovalOfManySnapshotsAsksOnceForTheirKind(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	s.forbidJobs() // so that they stay
	var all []client.Object
	for hours := range 6 {
		o := s.snapshot(s.repository, hours+1, good, wipeOutSnapshot)
		del(t, o)
		all = append(all, o)
	}
	bed.Quiet(t, s.namespace)
	live, clock := &definitions{Reader: bed.Manager.GetAPIReader()}, clocktesting.NewFakePassiveClock(time.Now())
	r := &snapshot.Reconciler{
		Client: bed.Manager.GetClient(), EventRecorder: &events, APIReader: live, Clock: clock,
		FieldManager: "cairn-manager",
	}
	for range 2 {
		for _, o := range all {
			_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(o)})
			g.Expect(err).NotTo(HaveOccurred())
		}
	}
	g.Expect(live.read).To(Equal(1))
	clock.SetTime(clock.Now().Add(time.Minute))
	_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(all[0])})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(live.read).To(Equal(2), "the answer is old")
	for _, o := range all {
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o)).To(Succeed())
		g.Expect(o.GetFinalizers()).To(ContainElement(v1alpha1.FinalizerWipe))
	}
}

// A BackupConfiguration that the cache lacks, or has without the Repository, can name a policy that keeps more.
func TestAPolicyThatTheCacheLacksRemovesNothing(t *testing.T) {
	t.Parallel()
	for name, was := range map[string]func(*v1alpha1.BackupConfiguration){
		"the configuration is new": func(c *v1alpha1.BackupConfiguration) { c.UID = "another" },
		"it did not use the Repository": func(c *v1alpha1.BackupConfiguration) {
			c.Generation--
			c.Spec.Sessions[0].Repositories[0].Name = "other"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s := NewWithT(t), newShop(t)
			s.snapshot(s.repository, 1, good)
			older := s.snapshot(s.repository, 2, good)
			s.policy("a", last(2), "web")
			bed.Quiet(t, s.namespace)
			c := &v1alpha1.BackupConfiguration{}
			g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "a"}, c)).To(Succeed())
			uid := c.UID
			was(c)
			s.policy("b", last(1), "web") // a conflict
			bed.Quiet(t, s.namespace)
			expectKept(t, older)

			r := staleRetention()
			r.Client = unconfigured{r.Client, string(uid), c}
			result, err := r.Reconcile(t.Context(),
				ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s.repository)})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(result.RequeueAfter).To(Equal(time.Second), "it decides again soon")
			expectKept(t, older)
		})
	}
}

// unconfigured is a cache that has a BackupConfiguration as it was, without the Repository.
type unconfigured struct {
	client.Client
	uid string
	was *v1alpha1.BackupConfiguration
}

func (c unconfigured) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if err := c.Client.List(ctx, list, opts...); err != nil {
		return err
	}
	configurations, ok := list.(*v1alpha1.BackupConfigurationList)
	if !ok {
		return nil
	}
	o := (&client.ListOptions{}).ApplyOptions(opts)
	var known []v1alpha1.BackupConfiguration
	for _, configuration := range configurations.Items {
		switch {
		case string(configuration.UID) != c.uid:
			known = append(known, configuration)
		case o.FieldSelector == nil: // the index of the Repository does not have it
			known = append(known, *c.was)
		}
	}
	configurations.Items = known
	return nil
}
