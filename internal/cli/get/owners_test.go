package get_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
)

func TestWrongOwners(t *testing.T) {
	t.Parallel()
	claim := &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "albums"}
	include := map[string]string{"include": "/2025/one.jpg"}
	for name, tt := range map[string]struct {
		target *v1alpha1.TypedObjectReference
		params map[string]string
		lost   []int64
		want   int64
	}{
		"a claim":                        {claim, nil, []int64{12}, 12},
		"a new claim":                    {nil, nil, []int64{12}, 12},
		"a workload, as its own user":    {&v1alpha1.TypedObjectReference{Kind: "Deployment"}, nil, []int64{12}, 0},
		"the root directory alone":       {claim, nil, []int64{1, 1}, 0},
		"one file, without the root":     {claim, include, []int64{1}, 1},
		"all but one directory":          {claim, map[string]string{"exclude": "/2026"}, []int64{1}, 0},
		"one of several components":      {claim, nil, []int64{1, 3}, 3},
		"everything has the right owner": {claim, include, []int64{0}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := &v1alpha1.RestoreSession{}
			s.Spec.Target = tt.target
			s.Spec.Addon = &v1alpha1.AddonInfo{Tasks: []v1alpha1.TaskReference{
				{Name: catalog.RestoreTask, Params: catalog.NewParams(tt.params)},
			}}
			s.Status.Components = map[string]v1alpha1.RestoredComponent{}
			for i, lost := range tt.lost {
				s.Status.Components[string(rune('a'+i))] = v1alpha1.RestoredComponent{OwnersNotRestored: lost}
			}
			NewWithT(t).Expect(s.WrongOwners()).To(Equal(tt.want))
		})
	}
}
