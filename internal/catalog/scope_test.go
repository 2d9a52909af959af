package catalog_test

import (
	"encoding/json"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/catalog/catalogtest"
)

// The parameters of tasks that dump a database. Some decide which part of it is dumped: nobody reads args, which can do
// that too. The others only say how to reach it, or what a dump may lack. The database itself names the component.
var (
	selecting  = []string{"args", "largeObjects", "schemas", "tables"}
	connecting = []string{
		"clusterNode", "dataDirectory", "databases", "enableCache", "image", "lockWaitTimeout", "onlyVisible",
		"passwordKey", "port", "probeArgs", "scratchDir", "secretName", "sslMode", "staleReplica", "standby",
		"tlsSecretName", "user", "usernameKey", "withoutHistory",
	}
)

// A dump is compared with the last one that selected the same. If anything else kept them apart, the next one would be
// compared with nothing, and could be empty.
func TestOnlyWhatSelectsChangesTheScopeOfADump(t *testing.T) {
	t.Parallel()
	functions, addons := catalogtest.Shipped(t)
	for _, addon := range addons {
		for _, found := range addon.Spec.BackupTasks {
			if functions[catalog.MoverStep(&found).Name].Spec.Stream == nil {
				continue
			}
			t.Run(addon.Name+" "+found.Name, func(t *testing.T) {
				t.Parallel()
				g, vars := NewWithT(t), catalogtest.CatalogVariables(addon.Name)
				scope := func(vars catalog.Variables, param, value string) string {
					return scopeOf(t, functions, addon, &found, vars, param, value)
				}
				whole := scope(vars, "", "")
				g.Expect(whole).NotTo(BeEmpty(), "the Function says what selects")
				seen := map[string]bool{whole: true}
				vars.TargetHost, vars.TargetPort = "other.shop.svc", "4321"
				g.Expect(scope(vars, "", "")).To(Equal(whole), "another server")
				for _, p := range found.Parameters {
					got := scope(vars, p.Name, "true")
					if slices.Contains(selecting, p.Name) {
						g.Expect(seen).NotTo(HaveKey(got), p.Name)
						seen[got] = true
						g.Expect(scope(vars, p.Name, " true, ")).To(Equal(got), "the same, written differently")
						continue
					}
					g.Expect(connecting).To(ContainElement(p.Name), "a new parameter: does it select?")
					g.Expect(got).To(Equal(whole), p.Name)
				}
			})
		}
	}
}

// scopeOf returns the scope of a task's dump with a parameter.
func scopeOf(
	t *testing.T, functions map[string]*v1alpha1.Function, addon *v1alpha1.Addon, found *v1alpha1.Task,
	vars catalog.Variables, param, value string,
) string {
	t.Helper()
	g, params := NewWithT(t), map[string]string{}
	if slices.ContainsFunc(found.Parameters, func(p v1alpha1.TaskParameter) bool { return p.Name == "databases" }) {
		params["databases"] = "shop"
	}
	if param != "" {
		params[param] = value
	}
	raw, err := json.Marshal(params)
	g.Expect(err).NotTo(HaveOccurred())
	info := v1alpha1.AddonInfo{Name: addon.Name, Tasks: []v1alpha1.TaskReference{{
		Name: found.Name, Params: &apiextensionsv1.JSON{Raw: raw},
	}}}
	lookup := func(name string) *v1alpha1.Function { return functions[name] }
	streams, refusal := catalog.Streams(addon, lookup, info, false, vars, nil)
	g.Expect(refusal).To(BeNil(), "%+v", refusal)
	return streams[0].Stream.Scope
}
