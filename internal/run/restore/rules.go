package restore

import (
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/workload"
	"github.com/cairn-backup/cairn/internal/workload/destination"
)

// ApplyRules returns the components that a restore writes according to rules. sources holds, for each component that
// takes the data of another pod, the component with that data. all are the components of the Snapshot that have data.
func ApplyRules(
	rules []v1alpha1.RestoreRule, all []string,
) (components []string, sources map[string]string, refusal *v1alpha1.ResolvedError) {
	sources = map[string]string{}
	named := map[string]bool{}
	for _, rule := range rules {
		for _, host := range rule.TargetHosts {
			if named[host] {
				return nil, nil, workload.Fail(v1alpha1.ReasonInvalidParameters,
					"dataSource.rules name %s twice: keep only one rule for each pod", host)
			}
			named[host] = true
			from, found := host, false
			if rule.SourceHost != "" {
				from = rule.SourceHost
			}
			for _, source := range all {
				if destination.PodOrdinal(source) == "" || "pod-"+destination.PodOrdinal(source) != from {
					continue
				}
				found = true
				component := host + strings.TrimPrefix(source, from)
				components = append(components, component)
				if component != source {
					sources[component] = source
				}
			}
			if !found {
				return nil, nil, workload.Fail(v1alpha1.ReasonComponentNotFound,
					"the Snapshot has no component of %s, which dataSource.rules name; it has: %s",
					from, strings.Join(all, ", "))
			}
		}
	}
	return components, sources, nil
}

// Asks returns a function that reports whether a restore asks for a component of its Snapshot.
func Asks(components []string, rules []v1alpha1.RestoreRule) func(component string) bool {
	return func(component string) bool {
		pod := "pod-" + destination.PodOrdinal(component)
		switch {
		case len(components) > 0:
			return slices.Contains(components, component)
		case len(rules) > 0:
			return slices.ContainsFunc(rules, func(r v1alpha1.RestoreRule) bool {
				return r.SourceHost == pod || r.SourceHost == "" && slices.Contains(r.TargetHosts, pod)
			})
		default:
			return true
		}
	}
}
