package restore

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestMayHaveWritten(t *testing.T) {
	component := func(s *v1alpha1.RestoreSession, edit func(*v1alpha1.RestoredComponent)) {
		c := s.Status.Components["data"]
		edit(&c)
		s.Status.Components["data"] = c
	}
	reason := func(reason string) func(*v1alpha1.RestoreSession) {
		return func(s *v1alpha1.RestoreSession) {
			component(s, func(c *v1alpha1.RestoredComponent) { c.Reason = reason })
		}
	}
	volumes := func(s *v1alpha1.RestoreSession) *[]v1alpha1.ResolvedRestoreVolume {
		return &s.Status.Resolved.Hosts[0].Volumes
	}
	for name, tt := range map[string]struct {
		edit func(*v1alpha1.RestoreSession)
		want bool
	}{
		"it was never frozen":         {func(s *v1alpha1.RestoreSession) { s.Status.Resolved = nil }, false},
		"another restore kept it out": {reason(v1alpha1.ReasonRestoreInProgress), true},
		"another restore kept it from being frozen": {func(s *v1alpha1.RestoreSession) {
			s.Status.Resolved, s.Status.Reason = nil, v1alpha1.ReasonRestoreInProgress
		}, true},
		"its volume holds data":       {reason(v1alpha1.ReasonVolumeNotEmpty), false},
		"its password does not fit":   {reason(v1alpha1.ReasonPasswordChanged), false},
		"its confirmation is wrong":   {reason(v1alpha1.ReasonConfirmationWrong), false},
		"its Snapshot is damaged":     {reason(v1alpha1.ReasonSnapshotDamaged), false},
		"its mover failed":            {reason(v1alpha1.ReasonTargetUnwritable), true},
		"it was cancelled":            {reason(v1alpha1.ReasonCancelled), true},
		"its mover left no reason":    {reason(v1alpha1.ReasonJobFailed), true},
		"its storage is out of reach": {reason(v1alpha1.ReasonUnreachable), true},
		"it is another attempt":       {func(s *v1alpha1.RestoreSession) { s.Status.Attempt = 2 }, true},
		"it has hooks": {
			func(s *v1alpha1.RestoreSession) { s.Status.Resolved.Hooks = &v1alpha1.ResolvedHooks{} }, true,
		},
		"its task has a step before the mover": {func(s *v1alpha1.RestoreSession) {
			s.Status.Resolved.Task.Steps = []v1alpha1.ResolvedStep{{}}
		}, true},
		"it makes a claim": {func(s *v1alpha1.RestoreSession) { (*volumes(s))[0].Template = 1 }, true},
		"its mover had begun": {func(s *v1alpha1.RestoreSession) {
			component(s, func(c *v1alpha1.RestoredComponent) { c.TargetWritten = true })
		}, true},
		"another component was restored": {func(s *v1alpha1.RestoreSession) {
			*volumes(s) = append(*volumes(s), v1alpha1.ResolvedRestoreVolume{Component: "more"})
			s.Status.Components["more"] = v1alpha1.RestoredComponent{Phase: v1alpha1.RestoreSessionSucceeded}
		}, true},
		"nothing is known of another component": {func(s *v1alpha1.RestoreSession) {
			*volumes(s) = append(*volumes(s), v1alpha1.ResolvedRestoreVolume{Component: "more"})
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &v1alpha1.RestoreSession{}
			s.Status.Attempt = 1
			s.Status.Resolved = &v1alpha1.ResolvedRestore{Hosts: []v1alpha1.ResolvedRestoreHost{
				{Name: "target", Volumes: []v1alpha1.ResolvedRestoreVolume{{Component: "data"}}},
			}}
			s.Status.Components = map[string]v1alpha1.RestoredComponent{
				"data": {Phase: v1alpha1.RestoreSessionFailed, Reason: v1alpha1.ReasonVolumeNotEmpty},
			}
			tt.edit(s)
			NewWithT(t).Expect(MayHaveWritten(s)).To(Equal(tt.want))
		})
	}
}
