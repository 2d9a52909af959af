package backupstorage

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Of two storages that prove one place, each can have looked before the other wrote.
func TestARivalThatProvesThePlaceCastsDoubt(t *testing.T) {
	t.Parallel()
	proved := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	storage := func(status metav1.ConditionStatus, after time.Duration) v1alpha1.BackupStorage {
		return v1alpha1.BackupStorage{Status: v1alpha1.BackupStorageStatus{Conditions: []metav1.Condition{{
			Type: v1alpha1.ConditionBackendInitialized, Status: status,
			LastTransitionTime: metav1.NewTime(proved.Add(after)),
		}}}}
	}
	for name, c := range map[string]struct {
		rivals  []v1alpha1.BackupStorage
		doubted bool
	}{
		"none":               {},
		"before":             {[]v1alpha1.BackupStorage{storage(metav1.ConditionTrue, -time.Second)}, false},
		"in the same second": {[]v1alpha1.BackupStorage{storage(metav1.ConditionTrue, 0)}, true},
		"later":              {[]v1alpha1.BackupStorage{storage(metav1.ConditionTrue, time.Minute)}, true},
		"not":                {[]v1alpha1.BackupStorage{storage(metav1.ConditionFalse, time.Minute)}, false},
		"one of two": {[]v1alpha1.BackupStorage{
			storage(metav1.ConditionTrue, time.Minute), storage(metav1.ConditionTrue, -time.Hour),
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			s := storage(metav1.ConditionTrue, 0)
			r := &Reconciler{Clock: clocktesting.NewFakePassiveClock(proved.Add(credentialInterval))}
			doubted, _ := r.doubted(&s, provedAt(c.rivals))
			g.Expect(doubted).To(Equal(c.doubted))
			r.Clock = clocktesting.NewFakePassiveClock(proved.Add(time.Minute))
			doubted, again := r.doubted(&s, provedAt(c.rivals))
			g.Expect(doubted).To(BeFalse(), "one Job in ten minutes")
			g.Expect(again > 0).To(Equal(c.doubted))
		})
	}
}

func TestTheDirectoriesOfAnInitJobLieEvenly(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	all := []string{"a", "b", "c", "d", "e", "f"}
	g.Expect(spread(all, 6)).To(Equal(all))
	g.Expect(spread(all, 3)).To(Equal([]string{"a", "c", "e"}))
	g.Expect(spread(all, 4)).To(Equal([]string{"a", "b", "d", "e"}))
	g.Expect(spread(all, 0)).To(BeEmpty())
}
