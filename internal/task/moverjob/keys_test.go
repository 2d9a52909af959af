package moverjob_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/internal/task"
)

// moverImages are the images of Cairn itself in the golden Jobs. All others are somebody else's.
var moverImages = []string{"example.com/mover:v1"}

// TestNoForeignImageSharesAContainerWithKeys holds invariant 16 for every kind of Job that has a golden file: a
// container with an image that is not the mover's has no mount and no variable with the keys of the storage, the
// password of the repository, the token of the pod, the task, the volume of the storage or the scratch volume of the
// mover. Of the volumes that it shares with the mover it can read only the target's and its own.
func TestNoForeignImageSharesAContainerWithKeys(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.yaml"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	foreign := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		var job batchv1.Job
		NewWithT(t).Expect(yaml.Unmarshal(text, &job)).To(Succeed())
		if job.Kind != "Job" {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			g := NewWithT(t)
			pod := job.Spec.Template.Spec
			g.Expect(pod.ShareProcessNamespace).To(BeNil())
			g.Expect(pod.AutomountServiceAccountToken).To(HaveValue(BeFalse()))
			for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
				if slices.Contains(moverImages, c.Image) {
					continue
				}
				foreign++
				g.Expect(keysIn(pod, c)).To(BeEmpty(), "container %s with the image %s", c.Name, c.Image)
				g.Expect(c.Name).NotTo(Equal(task.Container), "the mover runs in its own image")
			}
		})
	}
	NewWithT(t).Expect(foreign).To(BeNumerically(">=", 5), "the golden files have Jobs with images of others")
}

// keysIn lists what of the mover's a container sees.
func keysIn(pod corev1.PodSpec, c corev1.Container) []string {
	var out []string
	for _, m := range c.VolumeMounts {
		at := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if at < 0 {
			out = append(out, "no volume "+m.Name)
			continue
		}
		if what := keysOf(pod.Volumes[at]); what != "" {
			out = append(out, fmt.Sprintf("%s at %s", what, m.MountPath))
		}
	}
	for _, e := range c.Env {
		if f := e.ValueFrom; f != nil && f.SecretKeyRef != nil && isKey(f.SecretKeyRef.Name) {
			out = append(out, "variable "+e.Name)
		}
	}
	for _, e := range c.EnvFrom {
		if e.SecretRef != nil && isKey(e.SecretRef.Name) {
			out = append(out, "variables of Secret "+e.SecretRef.Name)
		}
	}
	return out
}

// keysOf says what of the mover's a volume holds; "" for nothing.
func keysOf(v corev1.Volume) string {
	switch {
	case v.Secret != nil && isKey(v.Secret.SecretName):
		return "Secret " + v.Secret.SecretName
	case slices.Contains([]string{"task", "token", "credentials", "encryption", "storage", "work"}, v.Name):
		return "volume " + v.Name
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil {
				return "token in volume " + v.Name
			}
			if s.Secret != nil && isKey(s.Secret.Name) {
				return "Secret " + s.Secret.Name
			}
		}
	}
	return ""
}

// isKey reports whether a Secret of the golden files opens a storage or a repository.
func isKey(secret string) bool {
	return slices.Contains([]string{"copied-key", "s3-key", "enc"}, secret)
}
