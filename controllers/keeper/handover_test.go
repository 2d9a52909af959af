package keeper_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Two commits.
const (
	first  = "main@sha1:1111"
	second = "main@sha1:2222"
)

// sync makes a PolicySync that last found a revision an hour ago, and returns it with the labels of its objects.
func (s *shop) sync(name, tried, applied string) (*v1alpha1.PolicySync, map[string]string) {
	s.t.Helper()
	o := &v1alpha1.PolicySync{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec:       v1alpha1.PolicySyncSpec{URL: "https://git.example.com/" + s.namespace, Path: name},
	}
	bed.Create(s.t, o)
	bed.EditStatus(s.t, o, func() {
		o.Status.LastAttemptedRevision, o.Status.LastAppliedRevision = tried, applied
		o.Status.LastAppliedTime = new(metav1.NewTime(now.Now().Add(-time.Hour)))
	})
	return o, map[string]string{v1alpha1.LabelSyncNamespace: s.namespace, v1alpha1.LabelSyncName: name}
}

// disagree makes two configurations name different RetentionPolicies for the Repository: "own" names one that keeps
// all, "c" one that keeps the newest Snapshot. It returns the older one.
func (s *shop) disagree(ofTeam, ofPlatform map[string]string) (older *v1alpha1.Snapshot) {
	s.t.Helper()
	s.snapshot(s.repository, 1, good)
	older = s.snapshot(s.repository, 2, good)
	bed.Create(s.t, &v1alpha1.RetentionPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "long", Labels: ofTeam}, Spec: last(10),
	})
	bed.Create(s.t, &v1alpha1.RetentionPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "keep", Labels: ofPlatform}, Spec: last(1),
	})
	s.configuration("own", &v1alpha1.ObjectReference{Name: "long"}, ofTeam, "web")
	s.configuration("c", &v1alpha1.ObjectReference{Name: "keep"}, ofPlatform, "web")
	s.expectRetention(s.repository, v1alpha1.ReasonRetentionPolicyConflict, "")
	return older
}

func (s *shop) deleteConfiguration(name string) {
	s.t.Helper()
	c := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	NewWithT(s.t).Expect(bed.Client.Delete(s.t.Context(), c)).To(Succeed())
}

// One commit deletes the configuration of the team, and lets the RetentionPolicy of the platform keep as much. The
// PolicySync of the team comes first.
func TestAPolicyThatADeletionPutsInForceWaitsForItsPolicySync(t *testing.T) {
	t.Parallel()
	for name, over := range map[string]func(team, platform *v1alpha1.PolicySync){
		"until it has applied the commit": func(_, platform *v1alpha1.PolicySync) {
			bed.EditStatus(t, platform, func() { platform.Status.LastAppliedRevision = second })
		},
		"until the other one is deleted": func(team, _ *v1alpha1.PolicySync) {
			NewWithT(t).Expect(bed.Client.Delete(t.Context(), team)).To(Succeed())
		},
		"until it is deleted": func(_, platform *v1alpha1.PolicySync) {
			NewWithT(t).Expect(bed.Client.Delete(t.Context(), platform)).To(Succeed())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			team, ofTeam := s.sync("team", first, first)
			platform, ofPlatform := s.sync("platform", first, first)
			older := s.disagree(ofTeam, ofPlatform)
			bed.EditStatus(t, team, func() {
				status := &team.Status
				status.LastChangedRevision, status.LastChangedTime = second, new(metav1.NewTime(now.Now()))
				status.LastAttemptedRevision, status.LastAppliedRevision = second, second
				status.LastAppliedTime = new(metav1.NewTime(now.Now()))
			})
			bed.Cached(t, team)
			s.deleteConfiguration("own")
			of := "PolicySync/" + s.namespace
			s.expectRetention(s.repository, v1alpha1.ReasonRemovalHeld, "until each of "+of+"/platform and "+of+
				"/team has applied the revision with which the others last changed policy, or a later one")
			NewWithT(t).Expect(s.repository.Status.RetentionChangedTime).NotTo(BeNil())
			bed.Quiet(t, s.namespace)
			expectKept(t, older)
			was := s.repository.DeepCopy() // before the configurations disagreed
			was.Status.RetentionChangedTime = nil
			result, err := staleRetention(was).Reconcile(t.Context(),
				ctrl.Request{NamespacedName: client.ObjectKeyFromObject(was)})
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
			NewWithT(t).Expect(result.RequeueAfter).To(Equal(time.Second), "it waits for the cache")
			expectKept(t, older)

			over(team, platform)
			s.expectGone(older)
			NewWithT(t).Expect(s.repository.Status.RetentionChangedTime).To(BeNil())
		})
	}
}
