package hook

import (
	"fmt"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Pods describes the pods among which a frozen hook chooses, filled in as far as that is possible without the values
// that are read when it runs: two hooks with the same description choose among the same pods. targets are those of the
// hook, whose pods it uses if it names none. Pods returns "" for a hook that acts in no pod.
func Pods(h *v1alpha1.ResolvedHook, targets []v1alpha1.TypedObjectReference) string {
	if h.Executor.Type == v1alpha1.HookExecutorOperator || h.Function != nil {
		return ""
	}
	pod := ptr.Deref(h.Executor.Pod, v1alpha1.HookPodExecutor{})
	selector := strings.TrimSpace(pod.Selector)
	if selector == "" && pod.Owner == nil {
		if len(targets) != 1 {
			return "" // Such a hook fails.
		}
		return fmt.Sprintf("target %q", targets)
	}
	if parsed, known := selectorOf(h); known {
		selector = labels.FormatLabels(parsed) // in one order
	}
	owner, controller := ptr.Deref(pod.Owner, v1alpha1.HookPodOwner{}), "any"
	if owner.Controller != nil {
		controller = strconv.FormatBool(*owner.Controller)
	}
	return fmt.Sprintf("selector %q owner %q", selector,
		[]string{owner.APIVersion, owner.Kind, owner.Name, owner.UID, controller})
}

// Template describes the pods of a workload before they exist.
type Template struct {
	// Labels are those of the pod template.
	Labels map[string]string
	// StatefulSet is the name of the workload if it is a StatefulSet. Its controller gives each pod a label with its
	// name, and one with its number.
	StatefulSet string
}

// MayChoose reports whether a frozen hook can choose pods that are made from a template, as far as that is known
// without the values that are read when it runs. A label that the template lacks can come later, such as that of
// Patroni with the role of a pod. targets are those of Pods.
func MayChoose(h *v1alpha1.ResolvedHook, targets []v1alpha1.TypedObjectReference, template Template) bool {
	if Pods(h, targets) == "" {
		return false
	}
	selector, _ := selectorOf(h)
	for key, value := range selector {
		if _, conflicts := template.label(key, value); conflicts {
			return false
		}
	}
	return true
}

// Chooses reports whether a frozen hook is meant for pods that are made from a template: they have one of the labels of
// its selector for certain. MayChoose is wider: a selector of labels that the template lacks can be for other pods.
func Chooses(h *v1alpha1.ResolvedHook, targets []v1alpha1.TypedObjectReference, template Template) bool {
	if !MayChoose(h, targets, template) {
		return false
	}
	selector, _ := selectorOf(h)
	for key, value := range selector {
		if has, _ := template.label(key, value); has {
			return true
		}
	}
	return len(selector) == 0
}

// Only returns the name of the only pod of a StatefulSet that a hook can choose, because its selector has the label
// with the name or the number of the pod. It returns "" if the hook can choose several.
func (t Template) Only(h *v1alpha1.ResolvedHook) string {
	selector, _ := selectorOf(h)
	for _, key := range []string{appsv1.StatefulSetPodNameLabel, appsv1.PodIndexLabel} {
		if has, _ := t.label(key, selector[key]); has && t.StatefulSet != "" {
			return t.StatefulSet + "-" + strings.TrimPrefix(selector[key], t.StatefulSet+"-")
		}
	}
	return ""
}

// label reports whether one of the pods has a label for certain, and whether none can have it.
func (t Template) label(key, value string) (has, conflicts bool) {
	of, known := t.Labels[key]
	has = known && of == value
	if key != appsv1.StatefulSetPodNameLabel && key != appsv1.PodIndexLabel {
		return has, known && !has
	}
	if t.StatefulSet != "" { // Only its controller gives these labels, whatever the template says.
		number, names := value, true
		if key == appsv1.StatefulSetPodNameLabel {
			number, names = strings.CutPrefix(value, t.StatefulSet+"-")
		}
		n, err := strconv.ParseUint(number, 10, 31)
		has = names && err == nil && strconv.FormatUint(n, 10) == number
	}
	return has, !has
}

// selectorOf returns the selector of the pods of a frozen hook. It is not known if it needs values that are read when
// the hook runs.
func selectorOf(h *v1alpha1.ResolvedHook) (selector map[string]string, known bool) {
	find := func(name string) (string, error) {
		for _, v := range h.Values {
			if v.Name == name {
				return v.Value, nil
			}
		}
		return "", errUnknown
	}
	text, err := expand(strings.TrimSpace(ptr.Deref(h.Executor.Pod, v1alpha1.HookPodExecutor{}).Selector), find)
	if err != nil {
		return nil, false
	}
	selector, err = parseSelector(text)
	return selector, err == nil
}
