package secrets

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// kinds are those that policy from Git can have and that name Secrets, or could.
var kinds = []any{
	v1alpha1.PolicySync{},
	v1alpha1.Ledger{},
	v1alpha1.BackupStorage{},
	v1alpha1.Repository{},
	v1alpha1.RetentionPolicy{},
	v1alpha1.BackupConfiguration{},
	v1alpha1.BackupBatch{},
	v1alpha1.RestoreSession{},
	v1alpha1.RestoreBatch{},
	v1alpha1.HookTemplate{},
	v1alpha1.Function{},
	v1alpha1.Addon{},
}

// noNames are fields that have the word in their names and name no Secret.
var noNames = []string{
	"PolicySync.spec.secrets", // which of them policy may name
	".secretKey",              // a key of the Secret of a database
}

// place is a field of the API, with a value.
type place struct {
	path   string
	object map[string]any
}

// named reports whether a field names a Secret, by its name or its type.
func named(name string, of reflect.Type) bool {
	return strings.Contains(strings.ToLower(name), "secret") || slices.Contains([]reflect.Type{
		reflect.TypeFor[corev1.SecretVolumeSource](), reflect.TypeFor[corev1.SecretKeySelector](),
		reflect.TypeFor[corev1.SecretEnvSource](), reflect.TypeFor[corev1.SecretProjection](),
		reflect.TypeFor[corev1.SecretReference](), reflect.TypeFor[corev1.LocalObjectReference](),
		reflect.TypeFor[v1alpha1.TypedObjectReference](), reflect.TypeFor[v1alpha1.TypedLocalObjectReference](),
	}, of)
}

// sample returns a value of a field that names the Secret probe.
func sample(of reflect.Type) any {
	switch {
	case of.Kind() == reflect.String:
		return "probe"
	case of == reflect.TypeFor[corev1.SecretVolumeSource]():
		return map[string]any{"secretName": "probe"}
	}
	if _, typed := of.FieldByName("Kind"); typed {
		return map[string]any{"kind": "Secret", "name": "probe"}
	}
	return map[string]any{"name": "probe"}
}

// places returns each field below a type that names a Secret. around puts a value of the type into an object.
func places(of reflect.Type, path string, seen []reflect.Type, around func(any) map[string]any) (out []place) {
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	switch {
	case of.Kind() == reflect.Slice:
		return places(of.Elem(), path+"[]", seen, func(v any) map[string]any { return around([]any{v}) })
	case of.Kind() == reflect.Map:
		return places(of.Elem(), path+"{}", seen, func(v any) map[string]any {
			return around(map[string]any{"key": v})
		})
	case of.Kind() != reflect.Struct || slices.Contains(seen, of):
		return nil
	}
	seen = append(slices.Clone(seen), of)
	for f := range of.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		at, inner := path+"."+name, func(v any) map[string]any { return around(map[string]any{name: v}) }
		if options == "inline" || f.Anonymous && name == "" {
			out = append(out, places(f.Type, path, seen, around)...)
			continue
		}
		if name == "" || name == "-" || name == "metadata" || name == "status" {
			continue
		}
		element, list := f.Type, false
		for element.Kind() == reflect.Pointer || element.Kind() == reflect.Slice {
			list = list || element.Kind() == reflect.Slice
			element = element.Elem()
		}
		if element.Kind() != reflect.Bool && named(name, element) {
			value := sample(element)
			if list {
				value = []any{value}
			}
			out = append(out, place{at, inner(value)})
		}
		out = append(out, places(f.Type, at, seen, inner)...)
	}
	return out
}

func TestEachFieldThatNamesASecretIsKnown(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	known := 0
	for _, kind := range kinds {
		of := reflect.TypeOf(kind)
		for _, p := range places(of, of.Name(), nil, func(v any) map[string]any { return v.(map[string]any) }) {
			if slices.ContainsFunc(noNames, func(s string) bool { return strings.HasSuffix(p.path, s) }) {
				continue
			}
			known++
			g.Expect(In(&unstructured.Unstructured{Object: p.object})).To(ContainElement(HaveField("Name", "probe")),
				"In does not find the Secret that %s names: add the field to its lists", p.path)
		}
	}
	g.Expect(known).To(BeNumerically(">", 30), "the test finds the fields")
}

func TestEachKindOfTheAPIIsLookedAt(t *testing.T) {
	t.Parallel()
	looked := make([]string, 0, len(kinds))
	for _, kind := range kinds {
		looked = append(looked, reflect.TypeOf(kind).Name())
	}
	// The cluster makes these: they come from no file.
	looked = append(looked, v1alpha1.BackupSessionKind, v1alpha1.SnapshotKind)
	scheme, known := runtime.NewScheme(), []string{}
	g := NewWithT(t)
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	for name, of := range scheme.KnownTypes(v1alpha1.GroupVersion) {
		if of.PkgPath() == reflect.TypeFor[v1alpha1.PolicySync]().PkgPath() && !strings.HasSuffix(name, "List") {
			known = append(known, name)
		}
	}
	g.Expect(looked).To(ConsistOf(known))
}

func TestIn(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		object map[string]any
		want   []Named
	}{
		"the password of a repository of another namespace": {
			map[string]any{"spec": map[string]any{"sessions": []any{map[string]any{"repositories": []any{
				map[string]any{"encryptionSecret": map[string]any{"name": "enc", "namespace": "backup"}},
			}}}}},
			[]Named{{"spec.sessions[0].repositories[0].encryptionSecret.name", "backup", "enc"}},
		},
		"a header of a request": {
			map[string]any{"spec": map[string]any{"variables": []any{map[string]any{"valueFrom": map[string]any{
				"secretKeyRef": map[string]any{"name": "token", "key": "k"},
			}}}}},
			[]Named{{"spec.variables[0].valueFrom.secretKeyRef.name", "shop", "token"}},
		},
		"a parameter of a task": {
			map[string]any{"spec": map[string]any{"params": map[string]any{"secretName": "db", "args": "secretName"}}},
			[]Named{{"spec.params.secretName", "shop", "db"}},
		},
		"a target": {
			map[string]any{"spec": map[string]any{"target": map[string]any{"kind": "Secret", "name": "db"}}},
			[]Named{{"spec.target.name", "shop", "db"}},
		},
		"the Secrets of an account": {
			map[string]any{"kind": "ServiceAccount", "secrets": []any{map[string]any{"name": "token"}}},
			[]Named{{"secrets[0].name", "shop", "token"}},
		},
		"content, status and metadata": {
			map[string]any{
				"kind": "Secret", "data": map[string]any{"secretName": "eA=="},
				"stringData": map[string]any{"secretName": "x"}, "status": map[string]any{"secretName": "x"},
				"metadata": map[string]any{"annotations": map[string]any{"secretName": "x"}},
			},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := &unstructured.Unstructured{Object: tc.object}
			u.SetNamespace("shop")
			NewWithT(t).Expect(In(u)).To(Equal(tc.want))
		})
	}
}

func TestOfPod(t *testing.T) {
	t.Parallel()
	secret := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	volume := func(name string) corev1.VolumeSource {
		return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}}
	}
	projected := &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{Secret: &corev1.SecretProjection{LocalObjectReference: secret("part")}},
	}}
	csi := &corev1.CSIVolumeSource{NodePublishSecretRef: new(secret("csi"))}
	pod := &corev1.PodSpec{
		Volumes: []corev1.Volume{
			{Name: "mine", VolumeSource: volume("skipped")},
			{Name: "a", VolumeSource: volume("volume")},
			{Name: "b", VolumeSource: corev1.VolumeSource{Projected: projected}},
			{Name: "c", VolumeSource: corev1.VolumeSource{CSI: csi}},
		},
		InitContainers: []corev1.Container{{Env: []corev1.EnvVar{{ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: secret("variable")},
		}}}}},
		Containers: []corev1.Container{{EnvFrom: []corev1.EnvFromSource{
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: secret("variables")}},
		}}},
	}
	NewWithT(t).Expect(OfPod(pod, func(volume string) bool { return volume == "mine" })).
		To(Equal([]string{"volume", "part", "csi", "variable", "variables"}))
}
