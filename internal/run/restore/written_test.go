package restore

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
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
	mayHave := func(s *v1alpha1.RestoreSession) {
		component(s, func(c *v1alpha1.RestoredComponent) { c.TargetUntouched = false })
	}
	attempt := func(attempt, untouched int32) func(*v1alpha1.RestoreSession) {
		return func(s *v1alpha1.RestoreSession) {
			component(s, func(c *v1alpha1.RestoredComponent) { c.UntouchedAttempts = untouched })
			s.Status.Attempt = attempt
		}
	}
	hooks := func(pre, post int32) func(*v1alpha1.RestoreSession) {
		return func(s *v1alpha1.RestoreSession) {
			s.Status.Resolved.Hooks = &v1alpha1.ResolvedHooks{}
			s.Status.Hooks = &v1alpha1.HookStatuses{
				PreHooks:  []v1alpha1.HookStatus{{}, {Attempts: pre}},
				PostHooks: []v1alpha1.HookStatus{{Attempts: post}},
			}
		}
	}
	step := func(access v1alpha1.TargetAccess) func(*v1alpha1.RestoreSession) {
		return func(s *v1alpha1.RestoreSession) {
			s.Status.Resolved.Task.Steps = []v1alpha1.ResolvedStep{{TargetAccess: access}}
			s.Status.Resolved.Task.Steps[0].Container.Name = "step"
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
		"its mover left it as it was":  {func(*v1alpha1.RestoreSession) {}, false},
		"its mover may have written":   {mayHave, true},
		"its claim was in use":         {reason(v1alpha1.ReasonVolumeInUse), false},
		"another attempt":              {attempt(2, 0), true},
		"another attempt left it, too": {attempt(2, 1), false},
		"a third attempt":              {attempt(3, 1), true},
		"its hooks did not run":        {hooks(0, 0), false},
		"a hook ran before it":         {hooks(1, 0), true},
		"a hook ran after it":          {hooks(0, 1), true},
		"a step can write":             {step(v1alpha1.TargetAccessReadWrite), true},
		"a step can only read":         {step(v1alpha1.TargetAccessReadOnly), false},
		"a step of a database": {func(s *v1alpha1.RestoreSession) {
			step(v1alpha1.TargetAccessNone)(s)
			(*volumes(s))[0].ClaimName, (*volumes(s))[0].Stream = "", &v1alpha1.ResolvedStream{}
		}, true},
		"it makes a claim": {func(s *v1alpha1.RestoreSession) { (*volumes(s))[0].Template = 1 }, true},
		"it makes a claim of a VolumeSnapshot": {func(s *v1alpha1.RestoreSession) {
			(*volumes(s))[0].Provision = &v1alpha1.ResolvedProvision{}
		}, true},
		"its mover is not sure": {func(s *v1alpha1.RestoreSession) {
			component(s, func(c *v1alpha1.RestoredComponent) { c.Phase = v1alpha1.RestoreSessionUnknown })
		}, true},
		"it was empty, and is not now": {func(s *v1alpha1.RestoreSession) {
			component(s, func(c *v1alpha1.RestoredComponent) { c.TargetWritten, c.TargetUntouched = true, false })
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
				{Name: "target", Volumes: []v1alpha1.ResolvedRestoreVolume{{Component: "data", ClaimName: "data"}}},
			}}
			s.Status.Components = map[string]v1alpha1.RestoredComponent{
				"data": {
					Phase: v1alpha1.RestoreSessionFailed, Reason: v1alpha1.ReasonUnreachable, TargetUntouched: true,
				},
			}
			tt.edit(s)
			NewWithT(t).Expect(MayHaveWritten(s)).To(Equal(tt.want))
		})
	}
}

// A restore of one file broke off. Another one ends its mark if nothing of what it was to write can still be missing.
func TestOnlyARestoreOfAllThatAnotherWasToWriteFulfilsIt(t *testing.T) {
	params := func(of map[string]string) func(*v1alpha1.RestoreSession) {
		return func(s *v1alpha1.RestoreSession) { s.Spec.Addon.Tasks[0].Params = catalog.NewParams(of) }
	}
	volume := func(s *v1alpha1.RestoreSession) *v1alpha1.ResolvedRestoreVolume {
		return &s.Status.Resolved.Hosts[0].Volumes[0]
	}
	never := func(s *v1alpha1.RestoreSession) { s.Spec.OverwritePolicy = v1alpha1.OverwriteNever }
	newer := func(s *v1alpha1.RestoreSession) { s.Spec.OverwritePolicy = v1alpha1.OverwriteIfNewer }
	for name, tt := range map[string]struct {
		earlier, later func(*v1alpha1.RestoreSession)
		want           bool
	}{
		"the same, as another user": {nil, func(s *v1alpha1.RestoreSession) {
			s.Spec.Addon.ContainerRuntimeSettings = &v1alpha1.ContainerRuntimeSettings{}
		}, true},
		"it also verifies": {nil, func(s *v1alpha1.RestoreSession) { s.Spec.Verify = true }, true},
		"another file":     {nil, params(map[string]string{"include": "/two"}), false},
		"without a file":   {nil, params(map[string]string{"include": "/one", "exclude": "*.log"}), false},
		"from another backup": {nil, func(s *v1alpha1.RestoreSession) {
			volume(s).ID = "k2"
		}, false},
		"to another path":    {nil, func(s *v1alpha1.RestoreSession) { volume(s).Path = "below" }, false},
		"into another claim": {nil, func(s *v1alpha1.RestoreSession) { volume(s).ClaimName = "other" }, false},
		"from another repository": {nil, func(s *v1alpha1.RestoreSession) {
			s.Status.Resolved.Repository.UID = "2"
		}, false},
		"by another task": {nil, func(s *v1alpha1.RestoreSession) {
			s.Status.Resolved.Task.Function = "unpack"
		}, false},
		"it keeps what is there":                                 {nil, never, false},
		"both keep what is there":                                {never, never, true},
		"it replaces what is older, and the earlier one nothing": {never, newer, false},
		"it replaces all":                                        {never, nil, true},
		"the earlier one is not frozen": {func(s *v1alpha1.RestoreSession) {
			s.Status.Resolved = nil
		}, nil, false},
		"more components": {nil, func(s *v1alpha1.RestoreSession) {
			h := &s.Status.Resolved.Hosts[0]
			h.Volumes = append(h.Volumes, v1alpha1.ResolvedRestoreVolume{Component: "b", ID: "k2", ClaimName: "data"})
		}, true},
		"fewer components": {func(s *v1alpha1.RestoreSession) {
			h := &s.Status.Resolved.Hosts[0]
			h.Volumes = append(h.Volumes, v1alpha1.ResolvedRestoreVolume{Component: "b", ID: "k2", ClaimName: "data"})
		}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			made := func(edit func(*v1alpha1.RestoreSession)) *v1alpha1.RestoreSession {
				s := &v1alpha1.RestoreSession{Spec: v1alpha1.RestoreSessionSpec{
					Addon: &v1alpha1.AddonInfo{Tasks: []v1alpha1.TaskReference{{}}},
				}}
				params(map[string]string{"include": "/one"})(s)
				s.Status.Resolved = &v1alpha1.ResolvedRestore{
					Repository: v1alpha1.ResolvedRepository{UID: "1"},
					Hosts: []v1alpha1.ResolvedRestoreHost{{Volumes: []v1alpha1.ResolvedRestoreVolume{
						{Component: "pvc", ID: "k1", ClaimName: "data"},
					}}},
				}
				if edit != nil {
					edit(s)
				}
				return s
			}
			g.Expect(fulfils(made(tt.later), made(tt.earlier), "data")).To(Equal(tt.want))
			g.Expect(fulfils(made(tt.later), nil, "data")).To(BeFalse(), "it is gone")
		})
	}
}

// The first restore was of one file, and the second of another. Both broke off, and the second was deleted by force.
func TestAMarkOfTwoRestoresEndsWithARestoreOfEverythingOnly(t *testing.T) {
	const target types.UID = "claim"
	g := NewWithT(t)
	annotations := map[string]string{v1alpha1.AnnotationHalfRestored: "first/1/claim"}
	session := func(name string, uid types.UID) *v1alpha1.RestoreSession {
		return &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Name: name, UID: uid}}
	}
	Take(annotations, session("second", "2"), target)
	_, by := HalfRestoredBy(annotations, target)
	g.Expect(by).To(BeEquivalentTo("1"), "the second may end it")
	Take(annotations, session("third", "3"), target)
	name, by := HalfRestoredBy(annotations, target)
	g.Expect(name).To(Equal("first"))
	g.Expect(by).To(BeEmpty())
	g.Expect(HalfRestored(annotations, target)).To(Equal("first"))
}

// A claim that a restore made in the place of one with data is not as it was, although no mover has touched it.
func TestWhatAMoverDidNotTouchIsNotHalfRestored(t *testing.T) {
	const target types.UID = "claim"
	untouched := v1alpha1.RestoredComponent{TargetUntouched: true}
	for name, tt := range map[string]struct {
		volume  v1alpha1.ResolvedRestoreVolume
		attempt int32
		ends    v1alpha1.RestoredComponent
		earlier string
		want    string
	}{
		"untouched":       {ends: untouched},
		"it told nothing": {want: "next"},
		"untouched, and empty before": {
			ends: v1alpha1.RestoredComponent{TargetUntouched: true, TargetWritten: true},
		},
		"an earlier restore has left it": {ends: untouched, earlier: "first/1/claim", want: "first"},
		"the restore made the claim": {
			volume: v1alpha1.ResolvedRestoreVolume{Template: 1}, ends: untouched, want: "next",
		},
		"in the second attempt": {attempt: 2, ends: untouched, want: "next"},
		"in the first and second attempt": {
			attempt: 2, ends: v1alpha1.RestoredComponent{TargetUntouched: true, UntouchedAttempts: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, annotations := NewWithT(t), map[string]string{}
			if tt.earlier != "" {
				annotations[v1alpha1.AnnotationHalfRestored] = tt.earlier
			}
			s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Name: "next", UID: "2"}}
			Take(annotations, s, target)
			tt.ends.Phase, tt.ends.Reason = v1alpha1.RestoreSessionFailed, v1alpha1.ReasonUnreachable
			tt.volume.Component, tt.volume.ClaimName = "pvc", "data"
			Release(annotations, s, nil, &v1alpha1.RestoreSessionStatus{
				Attempt: max(tt.attempt, 1),
				Resolved: &v1alpha1.ResolvedRestore{Hosts: []v1alpha1.ResolvedRestoreHost{{
					Volumes: []v1alpha1.ResolvedRestoreVolume{tt.volume},
				}}},
				Components: map[string]v1alpha1.RestoredComponent{"pvc": tt.ends},
			}, "data", target)
			g.Expect(HalfRestored(annotations, target)).To(Equal(tt.want))
		})
	}
}
