package hook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kubestash"
	"github.com/cairn-backup/cairn/internal/variables"
)

// Container is the Function that an executor of type Function names, and the image for ${moverImage} in it.
type Container struct {
	Function   *v1alpha1.Function
	MoverImage string
}

// FilledFunction is the input for the Job of a hook's Function. Everything is filled in but the Function itself.
type FilledFunction struct {
	// Function is the Function, and Values are those of the variables that it names.
	Function *v1alpha1.Function
	Values   variables.Values
	// Env is that of the HookTemplate, and Variables are those of the hook.
	Env, Variables []corev1.EnvVar
	// Volumes and VolumeMounts are those of the HookTemplate and the hook.
	Volumes      []v1alpha1.Volume
	VolumeMounts []corev1.VolumeMount
}

// Fill fills in the values of a frozen hook with a Function.
func Fill(h *v1alpha1.ResolvedHook) (FilledFunction, error) {
	executor := h.Executor.Function.DeepCopy()
	out := FilledFunction{
		Function:  &v1alpha1.Function{Spec: *h.Function.Spec.DeepCopy()},
		Values:    functionValues(h),
		Variables: environment(h),
	}
	out.Function.Name = executor.Name
	c := corev1.Container{Env: executor.Env, VolumeMounts: executor.VolumeMounts}
	if err := out.Values.Container(&c); err != nil {
		return FilledFunction{}, fmt.Errorf("executor.function: %w", err)
	}
	if err := out.Values.Object(&executor.Volumes); err != nil {
		return FilledFunction{}, fmt.Errorf("executor.function.volumes%w", err)
	}
	out.Env = c.Env
	out.Volumes = slices.Concat(executor.Volumes, h.Function.Volumes)
	out.VolumeMounts = slices.Concat(c.VolumeMounts, h.Function.VolumeMounts)
	return out, nil
}

// functionValues returns the values of ${name} in the Function of a frozen hook: those of a task and those of any hook.
func functionValues(h *v1alpha1.ResolvedHook) variables.Values {
	values := map[string]string{}
	for _, v := range h.Values {
		values[v.Name] = v.Value
	}
	return variables.New(variables.Builtin{
		MoverImage: h.Function.MoverImage, Namespace: values["namespace"],
		BackupSession: values[BackupSessionName], RestoreSession: values["restoreSession"],
		InvokerKind: values["invokerKind"], InvokerName: values["invokerName"],
		TargetKind: values["targetKind"], TargetName: values["targetName"],
	}).With(values).WithEnv(environment(h))
}

// environment returns the variables of a frozen hook as its container gets them.
func environment(h *v1alpha1.ResolvedHook) []corev1.EnvVar {
	out := slices.Clone(h.Function.Env)
	for _, v := range h.Variables {
		e := corev1.EnvVar{Name: v.Name, ValueFrom: &corev1.EnvVarSource{}}
		if ref := v.ValueFrom.SecretKeyRef; ref != nil {
			e.ValueFrom.SecretKeyRef = &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: ref.Name}, Key: ref.Key,
			}
		}
		if ref := v.ValueFrom.ConfigMapKeyRef; ref != nil {
			e.ValueFrom.ConfigMapKeyRef = &corev1.ConfigMapKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: ref.Name}, Key: ref.Key,
			}
		}
		out = append(out, e)
	}
	return out
}

// noFunction refuses fields that only a hook with a Function can use.
func (r *resolver) noFunction() {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"volumes", len(r.info.Volumes) > 0}, {"volumeMounts", len(r.info.VolumeMounts) > 0}, {
			"runtimeSettings", r.info.RuntimeSettings != nil,
		},
	} {
		if f.set {
			r.add(f.name,
				"the HookTemplate %q has executor type %s, which makes no pod: leave this field out, or name a "+
					"HookTemplate with executor type Function",
				r.template.Name, r.template.Spec.Executor.Type)
		}
	}
}

// function freezes the Function. It also fills the Function in with what is known, to find what can't be filled in.
func (r *resolver) function() {
	for _, p := range r.template.Spec.Params {
		if variables.IsFixed(p.Name) {
			r.add("hookTemplate",
				"the HookTemplate %q declares the parameter %q, which is a reserved variable: rename it",
				r.template.Name, p.Name)
		}
	}
	frozen := &v1alpha1.ResolvedFunction{
		MoverImage: r.of.MoverImage, Volumes: r.info.Volumes, VolumeMounts: r.info.VolumeMounts,
	}
	for i, v := range r.info.Variables {
		if variables.IsFixed(v.Name) {
			r.add(fmt.Sprintf("variables[%d].name", i),
				"the variable %q is reserved, because it says which image runs: rename it", v.Name)
		}
		if v.ValueFrom == nil {
			frozen.Env = append(frozen.Env, corev1.EnvVar{Name: v.Name, Value: v.Value})
		}
	}
	if s := r.info.RuntimeSettings; s != nil {
		frozen.Container = s.Container
		r.pod(s, frozen)
	}
	if r.of.Function == nil {
		return
	}
	frozen.Spec = r.of.Function.Spec
	r.frozenFunction = frozen.DeepCopy()
	if len(r.mistakes) > 0 {
		return
	}
	h := r.frozen()
	filled, err := Fill(&h)
	if err != nil {
		r.add("hookTemplate", "the HookTemplate %q: %v", r.template.Name, err)
		return
	}
	c, err := variables.FunctionContainer(filled.Function, filled.Values)
	if err != nil {
		r.add("hookTemplate", "the HookTemplate %q: %v", r.template.Name, err)
		return
	}
	mounts := slices.Concat(c.VolumeMounts, filled.VolumeMounts)
	if err := checkMounts(filled.Volumes, mounts, c.VolumeDevices); err != nil {
		r.add("hookTemplate", "the HookTemplate %q: function %q: %v", r.template.Name, filled.Function.Name, err)
	}
}

// pod decodes the settings of the pod, which the API server accepts without validation.
func (r *resolver) pod(s *v1alpha1.HookRuntimeSettings, into *v1alpha1.ResolvedFunction) {
	if s.Pod == nil {
		return
	}
	decoder := json.NewDecoder(bytes.NewReader(s.Pod.Raw))
	decoder.DisallowUnknownFields()
	into.Pod = &v1alpha1.PodRuntimeSettings{}
	if err := decoder.Decode(into.Pod); err != nil {
		r.add("runtimeSettings.pod", "%s", readable(err))
		return
	}
	r.checkPod(into.Pod)
}

// checkPod finds the mistakes that the API server would find in a BackupStorage.
func (r *resolver) checkPod(p *v1alpha1.PodRuntimeSettings) {
	const at = "runtimeSettings.pod."
	negative := func(n *int64) bool { return n != nil && *n < 0 }
	if user := p.SecurityContext; user != nil && (negative(user.RunAsUser) || negative(user.RunAsGroup)) {
		r.add(at+"securityContext", "runAsUser and runAsGroup must not be negative")
	}
	if p.Priority != nil && p.PriorityClassName == "" {
		r.add(at+"priority", "priority needs priorityClassName: Kubernetes takes no priority but that of a class")
	}
	if p.AutomountServiceAccountToken != nil && *p.AutomountServiceAccountToken {
		r.add(at+"automountServiceAccountToken", "automountServiceAccountToken can't be true: a hook gets no token")
	}
	for _, key := range slices.Sorted(maps.Keys(p.PodLabels)) {
		if reservedLabel(key) {
			r.add(at+"podLabels", "the label %s is reserved for Cairn or Kubernetes: leave it out", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p.PodAnnotations)) {
		if strings.HasPrefix(key, v1alpha1.Group+"/") {
			r.add(at+"podAnnotations", "the annotation %s is reserved for Cairn: leave it out", key)
		}
	}
}

// reservedLabel reports whether Cairn or Kubernetes sets a label of a Job's pod. Kubernetes refuses a Job with another
// value. The two names without a prefix come from old versions of Kubernetes, which still sets them.
func reservedLabel(key string) bool {
	return strings.HasPrefix(key, v1alpha1.Group+"/") || key == v1alpha1.LabelManagedBy ||
		strings.HasPrefix(key, "batch.kubernetes.io/") || key == "job-name" || key == "controller-uid"
}

// readable explains a decoding error of pod settings in the words of a policy.
func readable(err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Sprintf("%s can't be %s", wrong.Field, wrong.Value)
	}
	says := strings.TrimPrefix(err.Error(), "json: ")
	if name, unknown := strings.CutPrefix(says, "unknown field "); unknown {
		field := "spec.runtimeSettings.pod." + strings.Trim(name, `"`)
		if advice := kubestash.Advice(v1alpha1.BackupStorageKind, field); advice != "" {
			return says + ": " + advice
		}
	}
	return says + ": use the fields of spec.runtimeSettings.pod of a BackupStorage"
}

// checkMounts finds duplicate volumes, mounts of unknown volumes, and mounts at paths that are taken.
func checkMounts(volumes []v1alpha1.Volume, mounts []corev1.VolumeMount, devices []corev1.VolumeDevice) error {
	names := map[string]bool{variables.ScratchVolume: true}
	for _, v := range volumes {
		if names[v.Name] {
			return fmt.Errorf("two volumes have the name %q", v.Name)
		}
		names[v.Name] = true
	}
	paths := map[string]string{variables.ScratchDir: variables.ScratchVolume}
	for _, m := range mounts {
		at := path.Clean(m.MountPath)
		other, taken := paths[at]
		switch {
		case !names[m.Name]:
			return fmt.Errorf(
				"volumeMounts: there is no volume %q: define it in volumes of the HookTemplate's executor.function "+
					"or of the hook", m.Name)
		case taken && !(other == m.Name && m.Name == variables.ScratchVolume):
			return fmt.Errorf("volumeMounts: %s and %s are both mounted at %s", other, m.Name, at)
		case !path.IsAbs(at) || at == "/":
			return fmt.Errorf("volumeMounts: mountPath %s is not a directory below /", m.MountPath)
		}
		paths[at] = m.Name
	}
	for _, d := range devices {
		if !names[d.Name] {
			return fmt.Errorf(
				"volumeDevices: there is no volume %q: define it in volumes of the HookTemplate's executor.function "+
					"or of the hook", d.Name)
		}
	}
	return nil
}
