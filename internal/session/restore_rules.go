package session

import (
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// ApplyRules are the components that a restore writes as rules say, and for each that takes the data of another pod the component
// that it has it from. all are the components of the Snapshot that have data.
func ApplyRules(rules []v1alpha1.RestoreRule, all []string) (components []string, sources map[string]string, refusal *v1alpha1.ResolvedError) {
	sources = map[string]string{}
	named := map[string]bool{}
	for _, rule := range rules {
		for _, host := range rule.TargetHosts {
			if named[host] {
				return nil, nil, fail(v1alpha1.ReasonInvalidParameters, "dataSource.rules name %s twice: one rule says what a pod gets", host)
			}
			named[host] = true
			from, found := host, false
			if rule.SourceHost != "" {
				from = rule.SourceHost
			}
			for _, source := range all {
				if podOrdinal(source) == "" || "pod-"+podOrdinal(source) != from {
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
				return nil, nil, fail(v1alpha1.ReasonComponentNotFound, "the Snapshot has nothing of %s, which dataSource.rules name; these are its components: %s",
					from, strings.Join(all, ", "))
			}
		}
	}
	return components, sources, nil
}
