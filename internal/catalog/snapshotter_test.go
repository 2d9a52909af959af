package catalog

import (
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy/policytest"
)

func TestWhatBecomesOfTheSnapshotIsOneOfTwo(t *testing.T) {
	for value, want := range map[string]string{"Delete": "", "Retain": "", "Keep": "set it to Delete or Retain"} {
		t.Run(value, func(t *testing.T) {
			g := NewWithT(t)
			addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{BackupTasks: []v1alpha1.Task{{
				Name: "volume-snapshot", Driver: v1alpha1.DriverVolumeSnapshotter, Function: "f",
				Parameters: []v1alpha1.TaskParameter{{Parameter: v1alpha1.Parameter{Name: ParamContentDeletionPolicy}}},
			}}}}
			info := policytest.SnapshotAddon.DeepCopy()
			info.Tasks[0].Params = &apiextensionsv1.JSON{Raw: []byte(`{"contentDeletionPolicy": "` + value + `"}`)}
			mistakes := TaskMistakes("addon", addon, info, false)
			if want == "" {
				g.Expect(mistakes).To(BeEmpty())
				return
			}
			g.Expect(mistakes).To(ConsistOf(And(HaveField("Field", "addon.tasks[0].params.contentDeletionPolicy"),
				HaveField("Reason", v1alpha1.ReasonInvalidParameters), HaveField("Message", ContainSubstring(want)))))
		})
	}
}
