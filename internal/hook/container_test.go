package hook_test

import (
	"encoding/json"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/variables"
)

func claim(name, of string) v1alpha1.Volume {
	return v1alpha1.Volume{Name: name, VolumeSource: v1alpha1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: of},
	}}
}

// flush is a template that runs a Function, and the Function.
func flush() (*v1alpha1.HookTemplate, hook.Container) {
	template := &v1alpha1.HookTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: "hooks", Name: "t"},
		Spec: v1alpha1.HookTemplateSpec{
			Params: []v1alpha1.Parameter{{Name: "mode", Default: "soft"}, {Name: "claim"}},
			Executor: &v1alpha1.HookExecutor{
				Type: v1alpha1.HookExecutorFunction,
				Function: &v1alpha1.HookFunctionExecutor{
					Name:         "flush",
					Env:          []corev1.EnvVar{{Name: "MODE", Value: "${mode}"}},
					Volumes:      []v1alpha1.Volume{claim("data", "${claim}")},
					VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data/${mode}"}},
				},
			},
		},
	}
	return template, hook.Container{MoverImage: "example/mover:v1", Function: &v1alpha1.Function{
		ObjectMeta: metav1.ObjectMeta{Name: "flush"},
		Spec: v1alpha1.FunctionSpec{
			Image: "${moverImage}", Command: []string{"flush"},
			Args: []string{
				"--mode=${mode}", "--of=${targetKind}/${targetName}", "--for=${backupSession}",
				"--level=${LEVEL:=1}", "--in=${session}", "--via=${tmp:=/tmp}",
			},
		},
	}}
}

func TestAFunctionIsFilledInAsInATask(t *testing.T) {
	g := NewWithT(t)
	template, of := flush()
	use := info(`{"claim":"uploads","mode":"a$(B)${namespace}"}`, v1alpha1.HookVariable{Name: "LEVEL", Value: "9"},
		fromSecret("TOKEN"))
	use.Volumes = []v1alpha1.Volume{
		{Name: "more", VolumeSource: v1alpha1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
	use.VolumeMounts = []corev1.VolumeMount{{Name: "more", MountPath: "/more"}}
	use.RuntimeSettings = &v1alpha1.HookRuntimeSettings{
		Pod: &apiextensionsv1.JSON{Raw: []byte(`{"nodeSelector": {"disk": "ssd"}}`)},
	}
	resolved, mistakes := hook.Resolve(use, template, builtin, of)
	g.Expect(mistakes).To(BeEmpty())
	of.Function.Spec.Command[0], template.Spec.Executor.Function.Env[0].Value = "changed", "since"

	// The frozen hook goes through the API server, and is filled in when the Job is made.
	text, err := json.Marshal(resolved)
	g.Expect(err).NotTo(HaveOccurred())
	var h v1alpha1.ResolvedHook
	g.Expect(json.Unmarshal(text, &h)).To(Succeed())
	g.Expect(h.Function.Pod.NodeSelector).To(Equal(map[string]string{"disk": "ssd"}))
	filled, err := hook.Fill(&h)
	g.Expect(err).NotTo(HaveOccurred())
	c, err := variables.FunctionContainer(filled.Function, filled.Values)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.Image).To(Equal("example/mover:v1"))
	g.Expect(append(c.Command, c.Args...)).To(Equal([]string{
		"flush", "--mode=a$$(B)$${namespace}", "--of=StatefulSet/db", "--for=run", "--level=9", "--in=nightly",
		"--via=/tmp",
	}))
	g.Expect(filled.Env).To(Equal([]corev1.EnvVar{{Name: "MODE", Value: "a$$(B)$${namespace}"}}))
	g.Expect(filled.Variables).To(HaveLen(2))
	g.Expect(filled.Variables[1].ValueFrom.SecretKeyRef.Name).To(Equal("s"), "the kubelet reads the Secret")
	g.Expect(filled.Volumes).To(HaveExactElements(claim("data", "uploads"), HaveField("Name", "more")))
	g.Expect(filled.VolumeMounts).To(HaveExactElements(
		HaveField("MountPath", "/data/a$(B)${namespace}"), HaveField("MountPath", "/more")))
}

func TestMistakesOfAFunctionAreFoundBeforeItsPod(t *testing.T) {
	for name, tt := range map[string]struct {
		edit  func(*v1alpha1.HookTemplate, *v1alpha1.Function, *v1alpha1.HookInfo)
		field string
		says  string
	}{
		"an unknown variable of the Function": {
			edit: func(_ *v1alpha1.HookTemplate, f *v1alpha1.Function, _ *v1alpha1.HookInfo) {
				f.Spec.Args[0] = "${nobody}"
			},
			field: "hookTemplate", says: `the HookTemplate "t": Function "flush": ${nobody} is neither`,
		},
		"an unknown variable of the template": {
			edit: func(t *v1alpha1.HookTemplate, _ *v1alpha1.Function, _ *v1alpha1.HookInfo) {
				t.Spec.Executor.Function.Volumes[0].PersistentVolumeClaim.ClaimName = "${nobody}"
			},
			field: "hookTemplate",
			says:  "executor.function.volumes[0].persistentVolumeClaim.claimName: ${nobody} is neither",
		},
		"a Secret's value in a command": {
			edit: func(_ *v1alpha1.HookTemplate, f *v1alpha1.Function, i *v1alpha1.HookInfo) {
				f.Spec.Args[0], i.Variables = "--token=${TOKEN}", []v1alpha1.HookVariable{fromSecret("TOKEN")}
			},
			field: "hookTemplate", says: "write $(TOKEN) in command, args or env",
		},
		"an unknown parameter": {
			edit: func(_ *v1alpha1.HookTemplate, _ *v1alpha1.Function, i *v1alpha1.HookInfo) {
				i.Params = &apiextensionsv1.JSON{Raw: []byte(`{"nobody":"x"}`)}
			},
			field: "params.nobody", says: `has no parameter "nobody"; it has: mode, claim`,
		},
		"a parameter that says which image runs": {
			edit: func(t *v1alpha1.HookTemplate, _ *v1alpha1.Function, _ *v1alpha1.HookInfo) {
				t.Spec.Params = append(t.Spec.Params, v1alpha1.Parameter{Name: "imageTag"})
			},
			field: "hookTemplate", says: "which is a reserved variable: rename it",
		},
		"a variable that says which image runs": {
			edit: func(_ *v1alpha1.HookTemplate, _ *v1alpha1.Function, i *v1alpha1.HookInfo) {
				i.Variables = []v1alpha1.HookVariable{{Name: "moverImage", Value: "x"}}
			},
			field: "variables[0].name", says: "is reserved, because it says which image runs",
		},
		"a mount of an unknown volume": {
			edit: func(_ *v1alpha1.HookTemplate, _ *v1alpha1.Function, i *v1alpha1.HookInfo) {
				i.VolumeMounts = []corev1.VolumeMount{{Name: "none", MountPath: "/none"}}
			},
			field: "hookTemplate", says: `volumeMounts: there is no volume "none"`,
		},
		"two mounts at one path": {
			edit: func(_ *v1alpha1.HookTemplate, _ *v1alpha1.Function, i *v1alpha1.HookInfo) {
				i.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data/soft/"}}
			},
			field: "hookTemplate", says: "data and data are both mounted at /data/soft",
		},
		"two volumes with one name": {
			edit: func(_ *v1alpha1.HookTemplate, _ *v1alpha1.Function, i *v1alpha1.HookInfo) {
				i.Volumes = []v1alpha1.Volume{claim("data", "x")}
			},
			field: "hookTemplate", says: `two volumes have the name "data"`,
		},
		"a setting that does not exist": {
			edit: func(_ *v1alpha1.HookTemplate, _ *v1alpha1.Function, i *v1alpha1.HookInfo) {
				i.RuntimeSettings = &v1alpha1.HookRuntimeSettings{
					Pod: &apiextensionsv1.JSON{Raw: []byte(`{"nodeSelectors": {}}`)},
				}
			},
			field: "runtimeSettings.pod",
			says:  `unknown field "nodeSelectors": use the fields of spec.runtimeSettings.pod of a BackupStorage`,
		},
		"a setting of KubeStash that is not supported": {
			edit: func(_ *v1alpha1.HookTemplate, _ *v1alpha1.Function, i *v1alpha1.HookInfo) {
				i.RuntimeSettings = &v1alpha1.HookRuntimeSettings{
					Pod: &apiextensionsv1.JSON{Raw: []byte(`{"readinessGates": []}`)},
				}
			},
			field: "runtimeSettings.pod", says: `unknown field "readinessGates": leave them out`,
		},
		"a setting of another type": {
			edit: func(_ *v1alpha1.HookTemplate, _ *v1alpha1.Function, i *v1alpha1.HookInfo) {
				i.RuntimeSettings = &v1alpha1.HookRuntimeSettings{
					Pod: &apiextensionsv1.JSON{Raw: []byte(`{"securityContext": {"runAsUser": "root"}}`)},
				}
			},
			field: "runtimeSettings.pod", says: "securityContext.runAsUser can't be string",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			template, of := flush()
			use := info("")
			_, mistakes := hook.Resolve(use, template, builtin, of)
			g.Expect(mistakes).To(BeEmpty())
			tt.edit(template, of.Function, use)
			_, mistakes = hook.Resolve(use, template, builtin, of)
			g.Expect(mistakes).To(HaveLen(1))
			g.Expect(mistakes[0].Field).To(Equal(tt.field))
			g.Expect(mistakes[0].Message).To(ContainSubstring(tt.says))
		})
	}
}

// The API server accepts the settings of the pod without validation, so everything that it would refuse in a
// BackupStorage is refused here.
func TestSettingsOfThePodAreChecked(t *testing.T) {
	for pod, want := range map[string]hook.Mistake{
		`{"securityContext": {"runAsUser": -1}}`: {Field: "securityContext", Message: "must not be negative"},
		`{"priority": 1}`:                        {Field: "priority", Message: "priority needs priorityClassName"},
		`{"automountServiceAccountToken": true}`: {
			Field: "automountServiceAccountToken", Message: "a hook gets no token",
		},
		`{"podLabels": {"backup.cairn.dev/keeper": "x"}}`: {
			Field: "podLabels", Message: "the label backup.cairn.dev/keeper is reserved for Cairn",
		},
		`{"podLabels": {"batch.kubernetes.io/job-name": "x"}}`: {
			Field: "podLabels", Message: "reserved for Cairn or Kubernetes",
		},
		`{"podLabels": {"batch.kubernetes.io/controller-uid": "x"}}`: {
			Field: "podLabels", Message: "reserved for Cairn or Kubernetes",
		},
		`{"podLabels": {"job-name": "x"}}`: {Field: "podLabels", Message: "reserved for Cairn or Kubernetes"},
		`{"podAnnotations": {"backup.cairn.dev/task": "x"}}`: {
			Field: "podAnnotations", Message: "the annotation backup.cairn.dev/task is reserved for Cairn",
		},
		`{"priority": 1, "priorityClassName": "p", "automountServiceAccountToken": false, "podLabels": {"a": "b"}, "nodeName": "n"}`: {},
	} {
		t.Run(pod, func(t *testing.T) {
			g := NewWithT(t)
			template, of := flush()
			use := info("")
			use.RuntimeSettings = &v1alpha1.HookRuntimeSettings{Pod: &apiextensionsv1.JSON{Raw: []byte(pod)}}
			_, mistakes := hook.Resolve(use, template, builtin, of)
			if want.Field == "" {
				g.Expect(mistakes).To(BeEmpty())
				return
			}
			g.Expect(mistakes).To(HaveExactElements(And(
				HaveField("Field", "runtimeSettings.pod."+want.Field),
				HaveField("Message", ContainSubstring(want.Message)))))
		})
	}
}

func TestVolumesAndSettingsAreForFunctionsOnly(t *testing.T) {
	g := NewWithT(t)
	use := info("")
	use.Volumes = []v1alpha1.Volume{claim("data", "x")}
	use.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	use.RuntimeSettings = &v1alpha1.HookRuntimeSettings{}
	_, mistakes := hook.Resolve(use, command("sync"), builtin, hook.Container{})
	g.Expect(mistakes).To(HaveExactElements(HaveField("Field", "volumes"), HaveField("Field", "volumeMounts"),
		HaveField("Field", "runtimeSettings")))
	g.Expect(mistakes[0].Message).To(ContainSubstring(`the HookTemplate "t" has executor type Pod, which makes no pod`))
}
