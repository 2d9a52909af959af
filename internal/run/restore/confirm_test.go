package restore

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestConfirmation(t *testing.T) {
	writes := v1alpha1.ResolvedTask{Steps: []v1alpha1.ResolvedStep{{TargetAccess: v1alpha1.TargetAccessReadWrite}}}
	writes.Steps[0].Container.Name = "prepare-0"
	reads := v1alpha1.ResolvedTask{Steps: []v1alpha1.ResolvedStep{{TargetAccess: v1alpha1.TargetAccessReadOnly}}}
	into := func(v v1alpha1.ResolvedRestoreVolume) []v1alpha1.ResolvedRestoreHost {
		return []v1alpha1.ResolvedRestoreHost{{Name: "target", Volumes: []v1alpha1.ResolvedRestoreVolume{v}}}
	}
	database := func(probe *v1alpha1.ResolvedProbe) []v1alpha1.ResolvedRestoreHost {
		return into(v1alpha1.ResolvedRestoreVolume{Stream: &v1alpha1.ResolvedStream{Probe: probe}})
	}
	for name, tt := range map[string]struct {
		confirm  string
		resolved v1alpha1.ResolvedRestore
		reason   string
		message  string
	}{
		"the mover looks for itself": {
			resolved: v1alpha1.ResolvedRestore{
				TargetUID: "uid", Task: reads, Hosts: into(v1alpha1.ResolvedRestoreVolume{ClaimName: "data"}),
			},
		},
		"another target is confirmed": {
			confirm: "old", resolved: v1alpha1.ResolvedRestore{TargetUID: "uid"},
			reason:  v1alpha1.ReasonConfirmationWrong,
			message: "confirm names old, but Service/db has the UID uid",
		},
		"a step writes before the mover looks": {
			resolved: v1alpha1.ResolvedRestore{TargetUID: "uid", Task: writes},
			reason:   v1alpha1.ReasonConfirmationMissing, message: "step prepare-0 of the task can write",
		},
		"a step writes, which is confirmed": {
			confirm: "uid", resolved: v1alpha1.ResolvedRestore{TargetUID: "uid", Task: writes},
		},
		"a step writes into claims that are new": {resolved: v1alpha1.ResolvedRestore{Task: writes}},
		"nothing can look into the database": {
			resolved: v1alpha1.ResolvedRestore{TargetUID: "uid", Hosts: database(nil)},
			reason:   v1alpha1.ReasonConfirmationMissing,
			message: "the task has no way to see whether Service/db holds data; to restore into it anyway, create " +
				"another RestoreSession with spec.confirm: uid",
		},
		"nothing can look into the database, which is confirmed": {
			confirm: "uid", resolved: v1alpha1.ResolvedRestore{TargetUID: "uid", Hosts: database(nil)},
		},
		"a program looks into the database": {
			resolved: v1alpha1.ResolvedRestore{TargetUID: "uid", Hosts: database(&v1alpha1.ResolvedProbe{})},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := &v1alpha1.RestoreSession{Spec: v1alpha1.RestoreSessionSpec{
				Target: &v1alpha1.TypedObjectReference{Kind: "Service", Name: "db"}, Confirm: tt.confirm,
			}}
			refusal := ConfirmationRefusal(s, &tt.resolved)
			if tt.reason == "" {
				g.Expect(refusal).To(BeNil())
				return
			}
			g.Expect(refusal.Reason).To(Equal(tt.reason))
			g.Expect(refusal.Message).To(ContainSubstring(tt.message))
			if strings.Contains(tt.message, "create another RestoreSession") {
				s.OwnerReferences = []metav1.OwnerReference{{
					Kind: v1alpha1.RestoreBatchKind, Name: "back", Controller: new(true),
				}}
				g.Expect(ConfirmationRefusal(s, &tt.resolved).Message).To(HaveSuffix(
					"create another RestoreBatch with confirm: uid for this target " +
						"(cairn restore --batch --confirm TARGET/uid)"))
			}
		})
	}
}
