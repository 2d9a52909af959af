package restore_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// A restore holds what it writes into, and nothing else: a claim, or a database by any of its names.
func TestWhatARestoreHolds(t *testing.T) {
	made := time.Date(2026, 11, 26, 5, 0, 0, 0, time.UTC)
	database := func(server string) *v1alpha1.ResolvedDatabase { return &v1alpha1.ResolvedDatabase{Server: server} }
	writer := func(name string, after time.Duration, resolved v1alpha1.ResolvedRestore) v1alpha1.RestoreSession {
		return v1alpha1.RestoreSession{
			ObjectMeta: metav1.ObjectMeta{
				Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(made.Add(after)),
			},
			Status: v1alpha1.RestoreSessionStatus{Resolved: &resolved},
		}
	}
	into := func(claim string) v1alpha1.ResolvedRestore {
		return v1alpha1.ResolvedRestore{Hosts: []v1alpha1.ResolvedRestoreHost{
			{Volumes: []v1alpha1.ResolvedRestoreVolume{{ClaimName: claim}}},
		}}
	}
	onto := func(target types.UID, server string) v1alpha1.ResolvedRestore {
		return v1alpha1.ResolvedRestore{TargetUID: target, Task: v1alpha1.ResolvedTask{Database: database(server)}}
	}
	ended := writer("ended", 0, into("data"))
	ended.Status.Phase = v1alpha1.RestoreSessionSucceeded
	record := writer("record", 0, into("data"))
	record.Annotations = map[string]string{v1alpha1.AnnotationRecord: "x"}
	all := []v1alpha1.RestoreSession{
		ended, record,
		writer("logs", time.Second, into("logs")),
		writer("late", time.Hour, into("data")), writer("early", time.Minute, into("data")),
		writer("pod", time.Second, onto("service", "Pod/db-0")), writer("far", time.Second, onto("binding", "")),
	}
	mine := writer("mine", 2*time.Minute, into("data"))
	dump := writer("mine", 2*time.Minute, onto("alias", "Pod/db-0"))
	for name, tc := range map[string]struct {
		got  *v1alpha1.RestoreSession
		want string
	}{
		"the oldest writer of a claim":  {restore.RestoreInto(all, "data", ""), "early"},
		"not itself":                    {restore.RestoreInto(all, "data", "early"), "late"},
		"another claim":                 {restore.RestoreInto(all, "cache", ""), ""},
		"an older one comes first":      {restore.ClaimBlockedBy(all, &mine, "data", ""), "early"},
		"who holds it keeps it":         {restore.ClaimBlockedBy(all, &mine, "data", "late"), "late"},
		"its own":                       {restore.ClaimBlockedBy(all, &mine, "data", "mine"), ""},
		"a holder of another claim":     {restore.ClaimBlockedBy(all, &mine, "cache", "late"), ""},
		"a database by its object":      {restore.RestoreIntoDatabase(all, "binding", nil, ""), "far"},
		"a database by its server":      {restore.RestoreIntoDatabase(all, "x", database("Pod/db-0"), ""), "pod"},
		"servers that nobody knows":     {restore.RestoreIntoDatabase(all, "x", database(""), ""), ""},
		"another server":                {restore.RestoreIntoDatabase(all, "x", database("Pod/db-1"), ""), ""},
		"an older one, by another name": {restore.DatabaseBlockedBy(all, &dump, dump.Status.Resolved, ""), "pod"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			if tc.want == "" {
				g.Expect(tc.got).To(BeNil())
				return
			}
			g.Expect(tc.got).To(HaveField("Name", tc.want))
		})
	}
}
