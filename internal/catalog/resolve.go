package catalog

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/text"
	"github.com/cairn-backup/cairn/internal/variables"
)

// Variables are the built-in variables of a task. Resolve sets the task's name itself.
type Variables = variables.Builtin

// FunctionLookup returns the Function with a name, or nil. A caller whose lookup can fail in another way keeps the
// error and checks it before it uses what Resolve returned.
type FunctionLookup func(name string) *v1alpha1.Function

// Resolve fills in everything that a policy and the variables determine about a task: the containers of its steps,
// their volumes, and the values of all parameters that the task declares, defaults included. A nil addon means that the
// Addon does not exist, which is an error. Mistakes come back as ResolvedError; the other results are empty then.
func Resolve(
	addon *v1alpha1.Addon, functions FunctionLookup, info v1alpha1.AddonInfo, restore bool, vars Variables,
) (v1alpha1.ResolvedTask, map[string]string, *v1alpha1.ResolvedError) {
	r := resolution{addon: addon, functions: functions, info: &info, restore: restore, builtin: vars}
	if refusal := r.resolve(); refusal != nil {
		refusal.Message = text.Shorten(refusal.Message)
		return v1alpha1.ResolvedTask{}, nil, refusal
	}
	return r.out, r.params, nil
}

// resolution resolves one task.
type resolution struct {
	addon     *v1alpha1.Addon
	functions FunctionLookup
	info      *v1alpha1.AddonInfo
	restore   bool
	builtin   variables.Builtin

	task      *v1alpha1.Task
	reference *v1alpha1.TaskReference
	// shared holds the mounts that every container gets.
	shared []corev1.VolumeMount
	out    v1alpha1.ResolvedTask
	params map[string]string
}

func refuse(reason, format string, args ...any) *v1alpha1.ResolvedError {
	return &v1alpha1.ResolvedError{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

func (r *resolution) resolve() *v1alpha1.ResolvedError {
	switch {
	case r.addon == nil:
		return refuse(v1alpha1.ReasonAddonNotFound, "there is no Addon %q", r.info.Name)
	case len(r.info.Tasks) != 1:
		return refuse(v1alpha1.ReasonTaskNotFound, "name exactly one task of Addon %q", r.addon.Name)
	}
	if mistakes := TaskMistakes("addon", r.addon, r.info, r.restore); len(mistakes) > 0 {
		return asRefusal(mistakes)
	}
	r.reference = &r.info.Tasks[0]
	r.task = FindTask(r.addon, r.reference.Name, r.restore)
	r.out = v1alpha1.ResolvedTask{
		Addon: r.addon.Name, Task: r.task.Name, Driver: r.task.Driver,
		Singleton: r.task.Singleton,
	}
	if r.out.Driver == "" {
		r.out.Driver = v1alpha1.DriverKopia
	}
	r.template()
	if refusal := r.volumes(); refusal != nil {
		return refusal
	}
	steps := TaskSteps(r.task)
	for i := range steps {
		if refusal := r.step(steps[i], i, i == len(steps)-1); refusal != nil {
			return refusal
		}
	}
	return nil
}

// asRefusal reports all mistakes of a policy at once.
func asRefusal(mistakes []policy.Mistake) *v1alpha1.ResolvedError {
	messages := make([]string, len(mistakes))
	for i, m := range mistakes {
		messages[i] = m.Field + ": " + m.Message
	}
	return refuse(mistakes[0].Reason, "%s", strings.Join(messages, "; "))
}

// template keeps what shapes the pod. It drops what became a part of the containers and volumes.
func (r *resolution) template() {
	t := r.info.JobTemplate
	if t == nil {
		return
	}
	t = t.DeepCopy()
	if len(t.Controller.Labels)+len(t.Controller.Annotations) > 0 {
		r.out.JobMetadata = &t.Controller
	}
	if len(t.Metadata.Labels)+len(t.Metadata.Annotations) > 0 {
		r.out.PodMetadata = &t.Metadata
	}
	r.out.Job = &t.Spec
	r.out.Job.Env, r.out.Job.ContainerSecurityContext = nil, nil
	r.out.Job.Volumes, r.out.Job.VolumeMounts = nil, nil
}

// step resolves one step; the last step is the mover.
func (r *resolution) step(step v1alpha1.TaskStep, i int, last bool) *v1alpha1.ResolvedError {
	function := r.functions(step.Name)
	if function == nil {
		return refuse(v1alpha1.ReasonFunctionNotFound, "there is no Function %q, which task %q of Addon %q names",
			step.Name, r.task.Name, r.addon.Name)
	}
	unpacks := r.restore && Unpacks(function)
	if function.Spec.Stream != nil && (!last || r.builtin.TargetHost == "" && !unpacks) {
		return refuse(v1alpha1.ReasonInvalidTask,
			"task %q of Addon %q: Function %q runs a program of a database: it can only be the last step of a task "+
				"whose target is a database",
			r.task.Name, r.addon.Name, function.Name)
	}
	values, err := stepValues(r.task, step, r.reference, r.builtin)
	if err != nil {
		return refuse(v1alpha1.ReasonInvalidParameters, "task %q of Addon %q: %v", r.task.Name, r.addon.Name, err)
	}
	c, err := variables.FunctionContainer(function, values)
	if err == nil {
		err = moverArguments(function, &c)
	}
	if err != nil {
		return refuse(v1alpha1.ReasonInvalidParameters, "task %q of Addon %q: %v", r.task.Name, r.addon.Name, err)
	}
	r.settings(&c, last)
	r.mountShared(&c)
	if refusal := r.checkMounts(&c, function.Name); refusal != nil {
		return refusal
	}
	if !last {
		c.Name = stepName(function.Name, i)
		r.out.Steps = append(r.out.Steps, v1alpha1.ResolvedStep{
			Function: function.Name, TargetAccess: r.access(step), Container: c,
		})
		return nil
	}
	return r.mover(function, c, values)
}

// mountShared mounts the volumes that all steps share, unless the container mounts them already.
func (r *resolution) mountShared(c *corev1.Container) {
	for _, m := range r.shared {
		if !slices.ContainsFunc(c.VolumeMounts, func(own corev1.VolumeMount) bool {
			return own.Name == m.Name && own.MountPath == m.MountPath
		}) {
			c.VolumeMounts = append(c.VolumeMounts, m)
		}
	}
}

// access returns how a step sees the target. By default a step of a restore can write to it.
func (r *resolution) access(step v1alpha1.TaskStep) v1alpha1.TargetAccess {
	switch {
	case step.TargetAccess != "":
		return step.TargetAccess
	case r.restore:
		return v1alpha1.TargetAccessReadWrite
	default:
		return v1alpha1.TargetAccessReadOnly
	}
}

// mover resolves the last step, whose container is c.
func (r *resolution) mover(
	function *v1alpha1.Function, c corev1.Container, values variables.Values,
) *v1alpha1.ResolvedError {
	if mistakes := unmetRequirements("addon.tasks[0]", r.task, values); len(mistakes) > 0 {
		return asRefusal(mistakes)
	}
	if name := chosenImage(function); name != "" {
		return refuse(v1alpha1.ReasonInvalidTask, "task %q of Addon %q: Function %q moves the data, and ${%s} of a "+
			"policy or a target decides about its image %q, which would get the keys of the storage: use "+
			"${moverImage}, or run the program of that image as stream of the Function",
			r.task.Name, r.addon.Name, function.Name, name, function.Spec.Image)
	}
	r.out.Function, r.out.Image, r.out.Args = function.Name, c.Image, c.Args
	if function.Spec.Stream != nil && r.restore && Unpacks(function) {
		r.out.MoverImage = r.builtin.MoverImage
	}
	c.Image, c.Args = "", nil
	if !r.restore {
		r.readOnly(&c)
	}
	if refusal := r.scratch(&c, values); refusal != nil {
		return refusal
	}
	r.out.Container = nilIfEmpty(c)
	r.params = map[string]string{}
	for _, p := range r.task.Parameters {
		r.params[p.Name], _ = values.Value(p.Name)
	}
	return nil
}

// chosenImage names the variable by which somebody else than the administrator, who writes Functions, chooses the image
// of a Function that gets the keys of the storage; "" if there is none. A program of a stream does not get them.
func chosenImage(f *v1alpha1.Function) string {
	if f.Spec.Stream != nil {
		return ""
	}
	found := ""
	_, _ = variables.Expander{Value: func(name string) (string, error) {
		if !variables.IsFixed(name) && (name != "DB_VERSION" || len(f.Spec.AvailableVersions) == 0) {
			found = name
		}
		return "", nil
	}}.Expand(f.Spec.Image) // whoever fills in the variables reports what is wrong with them
	return found
}

// settings merges the container settings of the policy with those of the Function. The policy wins for the mover, the
// Function for a step before it.
func (r *resolution) settings(c *corev1.Container, last bool) {
	asked := &v1alpha1.ContainerRuntimeSettings{}
	if t := r.info.JobTemplate; t != nil {
		asked.Resources, asked.Env, asked.SecurityContext = t.Spec.Resources, t.Spec.Env,
			t.Spec.ContainerSecurityContext
	}
	if s := r.info.ContainerRuntimeSettings; s != nil {
		asked = &v1alpha1.ContainerRuntimeSettings{
			Resources:       MergedResources(asked.Resources, s.Resources),
			SecurityContext: Overlay(asked.SecurityContext, s.SecurityContext),
			Env:             MergedEnv(asked.Env, s.Env),
			EnvFrom:         s.EnvFrom,
		}
	}
	own := &v1alpha1.ContainerRuntimeSettings{
		Resources: c.Resources, SecurityContext: c.SecurityContext, Env: c.Env,
		EnvFrom: c.EnvFrom,
	}
	first, second := asked, own
	if last {
		first, second = own, asked
	}
	c.Resources = MergedResources(first.Resources, second.Resources)
	c.SecurityContext = Overlay(first.SecurityContext, second.SecurityContext)
	c.Env = MergedEnv(MergedEnv(first.Env, second.Env), r.reference.Variables)
	c.EnvFrom = slices.Concat(first.EnvFrom, second.EnvFrom)
}

// stepName returns the name of a step's container.
func stepName(function string, i int) string {
	suffix := fmt.Sprintf("-%d", i)
	name := strings.ReplaceAll(function, ".", "-")
	return strings.Trim(name[:min(len(name), 63-len(suffix))], "-") + suffix
}

// nilIfEmpty returns nil for a container without settings.
func nilIfEmpty(c corev1.Container) *corev1.Container {
	if len(c.Command)+len(c.Env)+len(c.EnvFrom)+len(c.Ports)+len(c.VolumeMounts)+len(c.VolumeDevices) == 0 &&
		c.WorkingDir == "" && c.SecurityContext == nil &&
		len(c.Resources.Limits)+len(c.Resources.Requests)+len(c.Resources.Claims) == 0 {
		return nil
	}
	return &c
}
