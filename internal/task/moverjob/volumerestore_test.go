package moverjob_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// volumesInput describes a pod of a StatefulSet with a file system and a raw device.
func volumesInput() moverjob.VolumeRestoreInput {
	in := moverjob.VolumeRestoreInput{RestoreJobInput: restoreInput()}
	in.Storage, in.Credentials = nil, moverjob.Credentials{}
	in.Resolved.Repository = v1alpha1.ResolvedRepository{Name: "shop-db"}
	in.Resolved.Task = v1alpha1.ResolvedTask{
		Function: "volumesnapshot-restore", Driver: v1alpha1.DriverVolumeSnapshotter, Image: "example.com/mover:v1",
		Args: []string{"volume-restore", "--wait-timeout=10m", "--bind=true"},
	}
	provision := func(of string, mode corev1.PersistentVolumeMode,
		binding v1alpha1.ClaimBinding,
	) *v1alpha1.ResolvedProvision {
		return &v1alpha1.ResolvedProvision{
			VolumeSnapshot: of, StorageClassName: new("fast"),
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			VolumeMode:  mode, Storage: resource.MustParse("2Gi"), Binding: binding,
		}
	}
	in.Host.Volumes = []v1alpha1.ResolvedRestoreVolume{
		{
			Component: "pod-0-data", ID: "uid-data", ClaimName: "data-db-0", Template: 1,
			Provision: provision("data-db-0-1795154820", corev1.PersistentVolumeFilesystem, v1alpha1.BindImmediate),
		},
		{
			Component: "pod-0-raw", ID: "uid-raw", ClaimName: "raw-db-0", Template: 2,
			Provision: provision("raw-db-0-1795154820", corev1.PersistentVolumeBlock, v1alpha1.BindConsumer),
		},
	}
	in.Templates = []v1alpha1.RestoreClaimTemplate{
		{
			Metadata: v1alpha1.ClaimMetadata{
				Name: "data-db-${POD_ORDINAL}", Labels: map[string]string{"app": "db", "pod": "db-${POD_ORDINAL}"},
			},
		},
		{Metadata: v1alpha1.ClaimMetadata{Name: "raw-db-${POD_ORDINAL}", Annotations: map[string]string{
			v1alpha1.AnnotationComponent: "pod-${POD_ORDINAL}-raw", v1alpha1.AnnotationReplace: "uid-old",
			"example.com/tier": "gold",
		}}},
	}
	return in
}

func TestAClaimWithoutItsTemplateIsNoJob(t *testing.T) {
	in := volumesInput()
	in.Templates = in.Templates[:1]
	_, err := moverjob.VolumeRestoreJob(in)
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("a claim has no template")))
}

func TestTheLastArgumentOfANameCounts(t *testing.T) {
	g := NewWithT(t)
	args := []string{"volume-restore", "--bind=true", "--bind=false", "--binding=x"}
	g.Expect(moverjob.Argument(args, "--bind")).To(Equal("false"))
	g.Expect(moverjob.Argument(args, "--wait-timeout")).To(BeEmpty())
}
