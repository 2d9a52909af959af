package catalog_test

import (
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
)

// The container that moves the data has the keys of the storage. Only whoever may write Functions chooses its image.
func TestNoPolicyChoosesTheImageOfAMover(t *testing.T) {
	tasks := []v1alpha1.Task{{
		Name: "move", Function: "move",
		Parameters: []v1alpha1.TaskParameter{{Parameter: v1alpha1.Parameter{Name: "image"}}},
	}}
	addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{BackupTasks: tasks, RestoreTasks: tasks}}
	addon.Name = "own"
	for image, tc := range map[string]struct {
		versions []string
		says     string
	}{
		"${moverImage}": {},
		"${imageRegistry}/${imageRepo}:${imageTag}": {},
		"example.com/mover:v2":                      {},
		"example.com/mover:${DB_VERSION}":           {versions: []string{"1.0.0"}},
		"${image}": {
			says: `task "move" of Addon "own": Function "move" moves the data, and ${image} of a policy or a target ` +
				`decides about its image "${image}", which would get the keys of the storage: use ${moverImage}, or ` +
				"run the program of that image as stream of the Function",
		},
		"${image:=example.com/mover:v2}":                {says: "${image} of a policy"},
		"${imageRegistry}/${namespace}/mover":           {says: "${namespace} of a policy"},
		"${targetImage:-example.com/mover}":             {says: "${targetImage} of a policy"},
		"example.com/mover:${DB_VERSION:=latest}":       {says: "${DB_VERSION} of a policy"},
		"example.com/mover@${image:=sha256:abc}-${tag}": {says: "of a policy"},
	} {
		for _, restore := range []bool{false, true} {
			t.Run(image, func(t *testing.T) {
				g := NewWithT(t)
				function := &v1alpha1.Function{Spec: v1alpha1.FunctionSpec{
					Image: image, Args: []string{"backup"}, AvailableVersions: tc.versions,
				}}
				function.Name = "move"
				info := v1alpha1.AddonInfo{Name: "own", Tasks: []v1alpha1.TaskReference{{
					Name: "move", Params: &apiextensionsv1.JSON{Raw: []byte(`{"image":"example.com/evil"}`)},
				}}}
				resolved, _, refusal := catalog.Resolve(addon,
					func(string) *v1alpha1.Function { return function }, info, restore, catalog.Variables{
						MoverImage: "example.com/mover:v1", Namespace: "shop", TargetImage: "example.com/database",
						DatabaseVersion: "1.0.0",
					})
				if tc.says == "" {
					g.Expect(refusal).To(BeNil())
					g.Expect(resolved.Image).To(HavePrefix("example.com/mover:"))
					return
				}
				g.Expect(refusal).NotTo(BeNil(), "%+v", resolved)
				g.Expect(refusal.Reason).To(BeElementOf(v1alpha1.ReasonInvalidTask, v1alpha1.ReasonInvalidParameters))
				if refusal.Reason == v1alpha1.ReasonInvalidTask {
					g.Expect(refusal.Message).To(ContainSubstring(tc.says))
				}
			})
		}
	}
}
