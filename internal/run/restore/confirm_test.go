package restore

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

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
		"a step writes, which is confirmed once more": {
			confirm: "uid/2", resolved: v1alpha1.ResolvedRestore{TargetUID: "uid", Task: writes},
		},
		"another target is confirmed once more": {
			confirm: "old/2", resolved: v1alpha1.ResolvedRestore{TargetUID: "uid"},
			reason:  v1alpha1.ReasonConfirmationWrong,
			message: "confirm names old/2, but Service/db has the UID uid",
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
				s.Name = "back-db"
				s.OwnerReferences = []metav1.OwnerReference{{
					Kind: v1alpha1.RestoreBatchKind, Name: "back", Controller: new(true),
				}}
				g.Expect(ConfirmationRefusal(s, &tt.resolved).Message).To(HaveSuffix(
					"create another RestoreBatch of the targets that are to be restored now, with confirm: uid " +
						"for this target (cairn restore --batch --confirm db/uid)"))
				s.Name = "back-of-a-name-that-was-cut-fd3a"
				s.OwnerReferences[0].Name = "back-of-a-name-that-was-cut-and-more"
				g.Expect(ConfirmationRefusal(s, &tt.resolved).Message).To(HaveSuffix("--confirm TARGET/uid)"))
			}
		})
	}
}

// confirming returns a restore that confirms so.
func confirming(confirm string) *v1alpha1.RestoreSession {
	return &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{Name: "of-" + confirm, UID: types.UID("of-" + confirm)},
		Spec:       v1alpha1.RestoreSessionSpec{Confirm: confirm},
	}
}

// ended releases what a restore has taken. How it ended is known from its only component.
func ended(annotations map[string]string, s *v1alpha1.RestoreSession, c v1alpha1.RestoredComponent) {
	Release(annotations, s, nil, &v1alpha1.RestoreSessionStatus{
		Attempt: 1,
		Resolved: &v1alpha1.ResolvedRestore{Hosts: []v1alpha1.ResolvedRestoreHost{{
			Volumes: []v1alpha1.ResolvedRestoreVolume{{Component: "pvc", ClaimName: "data"}},
		}}},
		Components: map[string]v1alpha1.RestoredComponent{"pvc": c},
	}, "data", "claim")
}

func TestAConfirmationCountsOnce(t *testing.T) {
	failed := v1alpha1.RestoreSessionFailed
	for name, tt := range map[string]struct {
		ends   v1alpha1.RestoredComponent
		former bool // an earlier version has taken the claim
		used   bool
	}{
		"it succeeded":         {ends: v1alpha1.RestoredComponent{Phase: v1alpha1.RestoreSessionSucceeded}, used: true},
		"it could not verify":  {ends: v1alpha1.RestoredComponent{Phase: v1alpha1.RestoreSessionUnknown}, used: true},
		"it broke off":         {ends: v1alpha1.RestoredComponent{Phase: failed}, used: true},
		"it wrote nothing":     {ends: v1alpha1.RestoredComponent{Phase: failed, TargetUntouched: true}},
		"it was there already": {ends: v1alpha1.RestoredComponent{Phase: failed}, former: true, used: true},
	} {
		t.Run(name, func(t *testing.T) {
			g, s, annotations := NewWithT(t), confirming("uid"), map[string]string{}
			g.Expect(ConfirmationOf(s).Used("PersistentVolumeClaim data", annotations)).To(BeNil())
			if tt.former {
				annotations[v1alpha1.AnnotationRestoring] = string(s.UID)
			}
			Take(annotations, s, "claim")
			g.Expect(UsedByAnother(s, "", annotations)).To(BeNil(), "it uses it itself")
			again := confirming("uid")
			again.UID = "again"
			g.Expect(UsedByAnother(again, "", annotations) != nil).To(Equal(!tt.former), "it can be killed now")
			ended(annotations, s, tt.ends)
			other := confirming("uid/other")
			Take(annotations, other, "claim")
			ended(annotations, other, v1alpha1.RestoredComponent{Phase: v1alpha1.RestoreSessionSucceeded})
			refusal := ConfirmationOf(again).Used("PersistentVolumeClaim data", annotations)
			if !tt.used {
				g.Expect(refusal).To(BeNil())
				return
			}
			g.Expect(refusal.Reason).To(Equal(v1alpha1.ReasonConfirmationUsed))
			g.Expect(refusal.Message).To(And(
				HavePrefix("PersistentVolumeClaim data has the annotation "+v1alpha1.AnnotationConfirmed+" of an"),
				ContainSubstring("create another RestoreSession with spec.confirm: uid/3 (")))
			g.Expect(UsedByAnother(again, "", annotations)).To(Equal(ConfirmationOf(again).Used("", annotations)))
			g.Expect(ConfirmationOf(confirming("")).Used("", annotations)).To(BeNil())
		})
	}
}

func TestAnotherConfirmationOfTheSameTarget(t *testing.T) {
	for confirm, want := range map[string]string{
		"uid": "uid/2", "uid/": "uid/2", "uid/2": "uid/3", "uid/9": "uid/10", "uid/june": "uid/2",
		"uid/99999999999999999999": "uid/2",
	} {
		NewWithT(t).Expect(Confirmation{Value: confirm}.another(nil)).To(Equal(want), confirm)
	}
}

func TestARefusalProposesNoUsedConfirmation(t *testing.T) {
	g, annotations := NewWithT(t), map[string]string{}
	for _, confirm := range []string{"uid", "uid/2", "uid/3"} {
		s := confirming(confirm)
		Take(annotations, s, "claim")
		ended(annotations, s, v1alpha1.RestoredComponent{Phase: v1alpha1.RestoreSessionSucceeded})
	}
	g.Expect(ConfirmationOf(confirming("uid")).Used("", annotations).Message).To(ContainSubstring("uid/4 "))
}

// An annotation must not grow for ever.
func TestAnObjectRemembersTheLastConfirmations(t *testing.T) {
	g, annotations := NewWithT(t), map[string]string{}
	whole := v1alpha1.RestoredComponent{Phase: v1alpha1.RestoreSessionSucceeded}
	for i := range maxUsed + 1 {
		s := confirming(fmt.Sprintf("uid/%d", i))
		Take(annotations, s, "claim")
		ended(annotations, s, whole)
		annotations[v1alpha1.AnnotationRestored] = Stamp{Digest: Digests(s)[0], Target: "claim", Volume: "v"}.String()
	}
	g.Expect(ConfirmationOf(confirming("uid/0")).Used("", annotations)).To(BeNil())
	for i := range maxUsed {
		g.Expect(ConfirmationOf(confirming(fmt.Sprintf("uid/%d", i+1))).Used("", annotations)).NotTo(BeNil())
	}
	g.Expect(len(annotations[v1alpha1.AnnotationConfirmed])).To(BeNumerically("<", 4<<10))
}

// What an earlier version has written: the digest of the last restore, with or without what it filled.
func TestAConfirmationThatAnEarlierVersionKnows(t *testing.T) {
	digests := Digests(confirming("uid"))
	for i, digest := range digests {
		for _, stamp := range []Stamp{{Digest: digest}, {Digest: digest, Target: "claim", Volume: "v", Claims: 1}} {
			g, annotations := NewWithT(t), map[string]string{v1alpha1.AnnotationRestored: stamp.String()}
			refusal := ConfirmationOf(confirming("uid")).Used("Lease mark", annotations)
			g.Expect(refusal.Message).To(HavePrefix("Lease mark has the annotation " + v1alpha1.AnnotationRestored))
			for _, next := range []string{"", "uid/2"} {
				Take(annotations, confirming(next), "claim")
				annotations[v1alpha1.AnnotationRestored] = Stamp{Digest: "of the next", Target: "claim"}.String()
				g.Expect(ConfirmationOf(confirming("uid")).Used("", annotations)).NotTo(BeNil(), "%d", i)
			}
		}
	}
}

// Another RestoreBatch that differs for other targets has another stamp, but says the same of this one.
func TestAConfirmationOfABatchIsThatOfItsTarget(t *testing.T) {
	of := func(stamp, confirmation string) *v1alpha1.RestoreSession {
		s := confirming("uid")
		s.UID = types.UID("of-" + stamp + confirmation)
		s.Annotations = map[string]string{
			v1alpha1.AnnotationSpecDigest: stamp, v1alpha1.AnnotationConfirmationDigest: confirmation,
		}
		s.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.RestoreBatchKind, Controller: new(true),
		}}
		return s
	}
	for name, end := range map[string]v1alpha1.RestoredComponent{
		"used":             {Phase: v1alpha1.RestoreSessionSucceeded},
		"it wrote nothing": {Phase: v1alpha1.RestoreSessionFailed, TargetUntouched: true},
	} {
		t.Run(name, func(t *testing.T) {
			g, annotations := NewWithT(t), map[string]string{}
			first := of("sha256:1", "sha256:a")
			Take(annotations, first, "claim")
			ended(annotations, first, end)
			used := func(s *v1alpha1.RestoreSession) bool { return ConfirmationOf(s).Used("", annotations) != nil }
			g.Expect(used(of("sha256:2", "sha256:a"))).To(Equal(name == "used"))
			g.Expect(used(of("sha256:2", "sha256:b"))).To(BeFalse())
		})
	}
}
