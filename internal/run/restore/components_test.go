package restore_test

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

func TestChooseComponents(t *testing.T) {
	snapshot := func(names ...string) *v1alpha1.Snapshot {
		s := &v1alpha1.Snapshot{Status: v1alpha1.SnapshotStatus{Components: map[string]v1alpha1.Component{}}}
		for _, n := range names {
			s.Status.Components[n] = v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded, ID: "k"}
		}
		if len(names) > 2 {
			s.Status.Components[names[2]] = v1alpha1.Component{Phase: v1alpha1.SnapshotFailed}
		}
		return s
	}
	tests := map[string]struct {
		have, asked []string
		want        []string
		message     string
	}{
		"the only one": {have: []string{"pvc"}, want: []string{"pvc"}},
		"the one asked for": {have: []string{"pod-0", "pod-1"}, asked: []string{"pod-1"}, want: []string{
			"pod-1",
		}},
		"all":                     {have: []string{"pod-1", "pod-0"}, want: []string{"pod-0", "pod-1"}},
		"one that does not exist": {have: []string{"pod-0"}, asked: []string{"pod-7"}, message: "pod-0"},
		"one without data": {
			have: []string{"pod-0", "pod-1", "pod-2"}, message: "component pod-2 of Snapshot  has no data",
		},
		"none at all": {message: "no components"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, err := restore.ChooseComponents(snapshot(tt.have...), tt.asked)
			g.Expect(got).To(Equal(tt.want))
			if tt.message != "" {
				g.Expect(err.Reason).To(Equal(v1alpha1.ReasonComponentNotFound))
				g.Expect(err.Message).To(ContainSubstring(tt.message))
			}
		})
	}
}

// halfRestored makes a Snapshot one of a half restored target.
func halfRestored(s *v1alpha1.Snapshot) {
	s.Annotations = map[string]string{v1alpha1.AnnotationHalfRestored: "broke-off"}
}

// letGo makes a Snapshot one that retention has let go, and that stays as the last whole one.
func letGo(s *v1alpha1.Snapshot) {
	s.DeletionTimestamp = &metav1.Time{Time: runtest.Now}
	conditions.MarkFalse(s, v1alpha1.ConditionWiped, v1alpha1.ReasonLastSuccess, "it is the last")
}

// unchecked makes a Snapshot one that a scan has made and no check has looked at.
func unchecked(s *v1alpha1.Snapshot) {
	metav1.SetMetaDataAnnotation(&s.ObjectMeta, v1alpha1.AnnotationRebuilt, "uid")
}

// Whoever asks for the latest hears which good one there is, also if it stays only until another one is whole.
func TestAHalfRestoredLatestNamesTheGoodOne(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		first []func(*v1alpha1.Snapshot)
		want  string
	}{
		"it is free to take":       {nil, "; the newest from before is first: name"},
		"it is the last whole one": {[]func(*v1alpha1.Snapshot){letGo}, "; from before there is only first of "},
		"it is half restored, too": {
			[]func(*v1alpha1.Snapshot){letGo, halfRestored}, "; there is none from before: name",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := []v1alpha1.Snapshot{
				heldBy("first", "s", 1, nil, tt.first...), heldBy("second", "s", 2, nil, halfRestored),
			}
			message := restore.HalfRestoredMessage(&list[1], list, restore.Before{}, runtest.Now.AddDate(0, 0, 1))
			NewWithT(t).Expect(message).To(ContainSubstring(tt.want))
		})
	}
}

// Of those that stay, a whole one comes before one that nobody is sure of, and the newest before the others.
func TestLastWhole(t *testing.T) {
	t.Parallel()
	stays := func(name string, hour int, edit ...func(*v1alpha1.Snapshot)) v1alpha1.Snapshot {
		return heldBy(name, "s", hour, nil, append(edit, letGo)...)
	}
	for name, tt := range map[string]struct {
		all  []v1alpha1.Snapshot
		by   int // hour
		want string
	}{
		"the newest":               {all: []v1alpha1.Snapshot{stays("a", 1), stays("b", 2)}, want: "b"},
		"the newest, listed first": {all: []v1alpha1.Snapshot{stays("b", 2), stays("a", 1)}, want: "b"},
		"the newest by pitr":       {all: []v1alpha1.Snapshot{stays("a", 1), stays("b", 2)}, by: 1, want: "a"},
		"none by pitr":             {all: []v1alpha1.Snapshot{stays("b", 2)}, by: 1},
		"a whole one before a newer unchecked one": {
			all: []v1alpha1.Snapshot{stays("a", 1), stays("b", 2, unchecked)}, want: "a",
		},
		"a whole one after a newer unchecked one": {
			all: []v1alpha1.Snapshot{stays("b", 2, unchecked), stays("a", 1)}, want: "a",
		},
		"a whole one before a newer half restored one": {
			all: []v1alpha1.Snapshot{stays("a", 1), stays("b", 2, halfRestored)}, want: "a",
		},
		"the newest unchecked one": {
			all: []v1alpha1.Snapshot{stays("a", 1, unchecked), stays("b", 2, unchecked)}, want: "b",
		},
		"one that is free to take": {all: []v1alpha1.Snapshot{heldBy("a", "s", 1, nil)}},
		"a damaged one": {all: []v1alpha1.Snapshot{stays("a", 1, func(s *v1alpha1.Snapshot) {
			s.Status.Integrity = new(false)
		})}},
		"one without a time": {all: []v1alpha1.Snapshot{stays("a", 1, func(s *v1alpha1.Snapshot) {
			s.Status.SnapshotTime = nil
		})}},
		"a record": {all: []v1alpha1.Snapshot{stays("a", 1, func(s *v1alpha1.Snapshot) {
			metav1.SetMetaDataAnnotation(&s.ObjectMeta, v1alpha1.AnnotationRecord, "c")
		})}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var before restore.Before
			if tt.by != 0 {
				before.At = runtest.Now.Add(time.Duration(tt.by) * time.Hour)
			}
			got := ""
			if last := restore.LastWhole(tt.all, before, runtest.Now.AddDate(0, 0, 1)); last != nil {
				got = last.Name
			}
			NewWithT(t).Expect(got).To(Equal(tt.want))
		})
	}
}

// Nobody must believe that a Snapshot is whole of which that is not known.
func TestTheLastOneIsCalledWholeOnlyIfItIs(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		edit        []func(*v1alpha1.Snapshot)
		want, doubt string
	}{
		"a whole one": {nil, " is left whole but last of ", "pause the policy first, and name it"},
		"an unchecked one": {
			[]func(*v1alpha1.Snapshot){unchecked},
			" is left whole without a doubt. There is last of ",
			". But no check has looked at it since a scan brought it back. To restore",
		},
		"a half restored one": {
			[]func(*v1alpha1.Snapshot){halfRestored},
			" is left whole without a doubt. There is last of ",
			". But before it was made, RestoreSession broke-off can have written into its target and did not end " +
				"well. To restore",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			last := heldBy("last", "s", 1, nil, append(tt.edit, letGo)...)
			last.Spec.Repository = "web"
			refusal := restore.LastWholeRefusal(&last, nil, " by noon", runtest.Now)
			NewWithT(t).Expect(refusal.Message).To(And(
				HavePrefix("no Snapshot of Repository web by noon"+tt.want), ContainSubstring(tt.doubt)))
		})
	}
}
