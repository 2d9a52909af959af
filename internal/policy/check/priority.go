package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// priorities reports the priority classes of the system that an object names for its Jobs. Only the cluster can tell
// whether the Namespace allows them. Those of a scheduler are never allowed: policy.ScheduleMistakes reports them.
func (c *checker) priorities(o *Object) {
	var walk func(at string, value any)
	walk = func(at string, value any) {
		switch v := value.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				class, is := v[key].(string)
				if key != "priorityClassName" || !is || !strings.HasPrefix(class, policy.SystemPriorityPrefix) ||
					strings.Contains(at, ".scheduler.") {
					walk(at+"."+key, v[key])
					continue
				}
				c.add(unknown, o, policy.Mistake{
					Field: at + "." + key, Reason: v1alpha1.ReasonPrivilegeRequired,
					Message: fmt.Sprintf("priorityClassName %s needs the annotation %s: \"true\" on the Namespace: "+
						"only the cluster can tell whether it has it", class, v1alpha1.AnnotationPrivilegedMovers),
				})
			}
		case []any:
			for i := range v {
				walk(fmt.Sprintf("%s[%d]", at, i), v[i])
			}
		}
	}
	if o.GroupVersionKind().Group == v1alpha1.Group {
		walk("spec", o.Object["spec"])
	}
}
