// Package secrets knows each place where an object names a Secret. It is pure. Invariant: no field of the API names a
// Secret that In does not find. TestEachFieldThatNamesASecretIsKnown reads the API's types for that.
package secrets

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Named is a Secret that an object names.
type Named struct {
	// Field is the path of the name in the object, such as spec.secretRef.name.
	Field string
	// Namespace is that of the object if the field has none. It is empty for an object without a namespace: then each
	// use of the object finds its Secret somewhere else.
	Namespace string
	// Name is as the object has it. It can hold variables.
	Name string
}

// The fields that name a Secret, wherever they are in an object: a field has the same name and meaning at each place.
// Those of pods are Kubernetes' own.
var (
	// names hold the name itself. Two of them are also parameters of tasks.
	names = []string{"secretName", "tlsSecretName", "maintenanceSecretName"}
	// references hold an object with the name and, in some, a namespace.
	references = []string{
		"secretRef", "encryptionSecret", "secretKeyRef", "nodePublishSecretRef",
		"secret", // of a projected volume. That of a volume has a secretName.
	}
	// lists hold several references.
	lists = []string{"imagePullSecrets", "secrets"}
)

// In returns the Secrets that an object names, in the order of their fields. Status, metadata and the data of Secrets
// and ConfigMaps name none.
func In(u *unstructured.Unstructured) []Named {
	w := walk{namespace: u.GetNamespace()}
	for _, key := range sorted(u.Object) {
		if !slices.Contains([]string{"metadata", "status", "data", "stringData", "binaryData"}, key) {
			w.field(key, key, u.Object[key])
		}
	}
	return w.found
}

type walk struct {
	namespace string
	found     []Named
}

func (w *walk) field(path, key string, value any) {
	switch v := value.(type) {
	case string:
		if slices.Contains(names, key) {
			w.add(path, "", v)
		}
	case map[string]any:
		if slices.Contains(references, key) || v["kind"] == v1alpha1.KindSecret {
			w.reference(path, v)
		}
		for _, k := range sorted(v) {
			w.field(path+"."+k, k, v[k])
		}
	case []any:
		for i, element := range v {
			at := fmt.Sprintf("%s[%d]", path, i)
			m, isMap := element.(map[string]any)
			if isMap && slices.Contains(lists, key) {
				w.reference(at, m)
				continue
			}
			w.field(at, "", element)
		}
	}
}

// reference adds the Secret of an object with a name.
func (w *walk) reference(path string, v map[string]any) {
	if name, ok := v["name"].(string); ok {
		namespace, _ := v["namespace"].(string)
		w.add(path+".name", namespace, name)
	}
}

func (w *walk) add(field, namespace, name string) {
	if namespace == "" {
		namespace = w.namespace
	}
	if name != "" {
		w.found = append(w.found, Named{Field: field, Namespace: namespace, Name: name})
	}
}

// sorted returns the keys of an object. Its order is random otherwise.
func sorted(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// OfPod returns the names of the Secrets whose values the containers of a pod get, without those of the volumes for
// which skip returns true. Pull secrets are left out: no container sees them.
func OfPod(spec *corev1.PodSpec, skip func(volume string) bool) []string {
	var found []string
	for i := range spec.Volumes {
		if v := &spec.Volumes[i]; !skip(v.Name) {
			found = append(found, ofVolume(v)...)
		}
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		found = append(found, ofContainer(&c)...)
	}
	var out []string
	for _, name := range found {
		if name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func ofVolume(v *corev1.Volume) (out []string) {
	switch {
	case v.Secret != nil:
		out = append(out, v.Secret.SecretName)
	case v.CSI != nil && v.CSI.NodePublishSecretRef != nil:
		out = append(out, v.CSI.NodePublishSecretRef.Name)
	case v.Projected != nil:
		for _, source := range v.Projected.Sources {
			if source.Secret != nil {
				out = append(out, source.Secret.Name)
			}
		}
	}
	return out
}

func ofContainer(c *corev1.Container) (out []string) {
	for _, e := range c.Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			out = append(out, e.ValueFrom.SecretKeyRef.Name)
		}
	}
	for _, e := range c.EnvFrom {
		if e.SecretRef != nil {
			out = append(out, e.SecretRef.Name)
		}
	}
	return out
}
