package catalog

import (
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestTaskDriver(t *testing.T) {
	g := NewWithT(t)
	addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{
		BackupTasks: []v1alpha1.Task{
			{Name: "volume-snapshot", Driver: v1alpha1.DriverVolumeSnapshotter}, {Name: "files"},
		},
		RestoreTasks: []v1alpha1.Task{{Name: "back", Driver: v1alpha1.DriverVolumeSnapshotter}},
	}}
	of := func(name string, restore bool) v1alpha1.Driver {
		return TaskDriver(addon,
			&v1alpha1.AddonInfo{Tasks: []v1alpha1.TaskReference{{
				Name:   name,
				Params: &apiextensionsv1.JSON{},
			}}}, restore)
	}
	g.Expect(of("VolumeSnapshot", false)).To(Equal(v1alpha1.DriverVolumeSnapshotter), "the older spelling of KubeStash")
	g.Expect(of("files", false)).To(Equal(v1alpha1.DriverKopia))
	g.Expect(of("none", false)).To(BeEmpty())
	g.Expect(of("back", true)).To(Equal(v1alpha1.DriverVolumeSnapshotter))
	g.Expect(TaskDriver(nil, nil, false)).To(BeEmpty())
}
